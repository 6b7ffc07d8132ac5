"""`airavata-runbook bundle SITE -o FILE`: all that a site needs, for a machine without a network, in one signed file.

    project/      notebooks, the site file and what it names, README
    cache/        packages and images, as the runbook's cache has them: named by what they are made of, so that the same version
                  of the runbook finds each and neither builds nor fetches anything
    wheels/       the runbook and the Python packages that it needs, pinned with digests by requirements.txt
    bin/kubectl   the mirror's, where the cache has one
    about.json    which Python and machine it is for, and what to do next
    install.py    verifies all of it and installs it there (install.py)

The file's format: archive.py. No secret is in it: what the site file refers to is named instead, to be brought another way. Go's
toolchain is not in it, either.
"""

import json
import platform
import tempfile
from collections.abc import Collection, Iterator
from importlib.metadata import version
from pathlib import Path

from airavata_runbook.chapters.site_stack import site_images
from airavata_runbook.checks import preflight
from airavata_runbook.local import paths
from airavata_runbook.local.terminal import size_text
from airavata_runbook.mirror import everything, packages
from airavata_runbook.mirror.catalogue import of_distribution
from airavata_runbook.mirror.choice import choose
from airavata_runbook.mirror.kubectl import own_kubectl
from airavata_runbook.run.bundle import archive
from airavata_runbook.run.bundle.archive import MANIFEST, NAMESPACE, SIGNATURE, SIGNER, Bundle, Content
from airavata_runbook.run.bundle.inputs import Inputs, inputs_of
from airavata_runbook.run.bundle.wheels import PYTHON, collect_wheels, needed_libc, pins
from airavata_runbook.run.runner import notebooks
from airavata_runbook.site import Site
from airavata_runbook.site import file as site_file

FORMAT = 1
README, INSTALL, SIGNERS = "README", "install.py", "signers"


def bundle(name: str, output: Path, key: Path | None = None, kinds: Collection[str] = ("deb",)) -> None:
    """Write the bundle of a site, and print what to do with it. What the cache lacks is built or fetched first.

    name: the site's name or path. key: of SSH, that signs it (default: one of the runbook's own, made once). kinds: of packages,
    for hosts of which the site file does not tell; no host is asked. Raises SiteError before anything is built; CannotBuild,
    DownloadFailed, BadImage, RegistryError.
    """
    site, site_path = Site.load(name), Path(site_file.read(name)[1])
    archive.refuse_existing(output)
    found = inputs_of(site)
    found.files[f"parameters/{site_path.stem}.yaml"] = site_path
    private, public = archive.signing_key(key)
    if findings := [one for one in preflight.offline(site) if one.failed]:
        print(f"a run of this site would fail:\n{preflight.format_findings(findings)}", flush=True)
    with tempfile.TemporaryDirectory() as work:
        packed = collect_wheels(Path(work))
        releases = choose(site).releases  # as the other machine chooses for a site that does not exist yet
        everything.build_for(site, {image.mirrored for image in site_images(site, releases).values()} - {""}, releases)
        cached = [*_packages(site, kinds, releases), *_images(site, releases)]
        files = _files(site_path.stem, found, cached, packed)
        files[README] = _readme(site, found).encode()
        archive.write(output, Bundle(_folder(site), README, files), private)
    print(f"{output}: {size_text(output.stat().st_size)}, {len(files)} files, signed by\n  {SIGNER} {public}")
    print(_commands(site, output.name, f"echo '{SIGNER} {public}' > {SIGNERS}   # from here, never from the bundle"))
    print(_to_bring(found))


def _packages(site: Site, kinds: Collection[str], releases: Collection[str]) -> Iterator[Path]:
    """The files of the cache that hosts install from, each with the record of its digest."""
    for format, names in everything.packages_of(site, kinds).items():
        for package in packages.make(names, releases, format):
            yield from (package.path, package.path.with_name(f"{package.path.name}.json"))


def _images(site: Site, releases: tuple[str, ...]) -> Iterator[Path]:
    """The files of the cache that images are pushed from."""
    for image in site_images(site, releases).values():
        if not image.kept:
            image.layout()
        yield from (file for path in image.files() for file in _regular(path))


def _files(site_name: str, found: Inputs, cached: list[Path], packed: list[Path]) -> dict[str, Content]:
    """Name → content of all but README. site_name: by which commands know the site. packed: the wheels."""
    project = paths.project_dir()
    named = {"README.md", "parameters/site.schema.json", *(f"notebooks/{path.name}" for path in notebooks(project))}
    files: dict[str, Content] = {f"project/{name}": project / name for name in sorted(named) if (project / name).is_file()}
    files |= {f"project/{name}": path for name, path in found.files.items()}
    files |= {f"cache/{path.relative_to(paths.cache_dir())}": path for path in cached}
    files |= {f"wheels/{path.name}": path for path in packed}
    if kubectl := own_kubectl():
        files["bin/kubectl"] = kubectl
    files["requirements.txt"] = pins(packed).encode()
    files["about.json"] = json.dumps(_about(site_name, packed), indent=1).encode()
    return files | {INSTALL: Path(__file__).with_name(INSTALL)}


def _regular(path: Path) -> Iterator[Path]:
    """A file, or all files of a folder but the locks that are beside what they lock."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.name.startswith("."):
            yield file


def _about(site_name: str, packed: list[Path]) -> dict[str, object]:
    following = (
        f"next:\n  cd FOLDER && . .venv/bin/activate\n"
        f"  airavata-runbook check {site_name} --offline    # names what of README's list is still missing\n"
        f"  airavata-runbook run {site_name}"
    )
    machine = {"python": PYTHON, "machine": platform.machine(), "glibc": needed_libc(packed)}
    return {"format": FORMAT, "site": site_name, "runbook": version("airavata-runbook"), **machine, "next": following}


def _commands(site: Site, file: str, signers: str) -> str:
    """By which the bundle is verified and installed; the first three by what every machine has that logs in by SSH."""
    verify = f"ssh-keygen -Y verify -f {SIGNERS} -I {SIGNER} -n {NAMESPACE} -s {SIGNATURE} < {MANIFEST}"
    return f"""on the other machine, in an empty folder:
  tar -xf {file}
  cd {_folder(site)}
  {signers}
  {verify} &&
    sha256sum --check --quiet {MANIFEST} &&
    python{PYTHON} -I {INSTALL} --signers {SIGNERS}"""


def _folder(site: Site) -> str:
    return f"airavata-runbook-{site.name}"


def _to_bring(found: Inputs) -> str:
    """What the other machine needs besides the bundle."""
    lines = (
        f"that machine: Python {PYTHON} with venv, OpenSSH's client, tar",
        "SSH: a key that the hosts accept, and theirs in known_hosts unless the site file has their fingerprints",
        f"the hosts: {', '.join(of_distribution())} of their distribution, installed or in a repository that they reach",
        *(f"{field}: {value}" for field, value in found.to_bring.items()),
    )
    return "\n  ".join(["not in the bundle:", *lines])


def _readme(site: Site, found: Inputs) -> str:
    """With a place for the key: one that comes in the bundle says nothing."""
    signers = f"echo '{SIGNER} ssh-…' > {SIGNERS}   # the line that was printed when the bundle was made"
    return f"""The site {site.name} of airavata-runbook, for a machine without a network.

{_commands(site, "FILE", signers)}

ssh-keygen says who signed, sha256sum names each file that is not as it was, and {INSTALL} verifies both again before it installs
anything: the project into ~/airavata-runbook (--into), packages and images into ~/.cache/airavata-runbook
(AIRAVATA_RUNBOOK_CACHE). This folder can be removed afterwards. Without the line of the key from who made the bundle nothing is
verified, as whoever exchanged the bundle has exchanged this text as well.

{_to_bring(found)}
"""
