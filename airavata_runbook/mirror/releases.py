"""Official releases of the components: where upstream publishes them, as data, and the sha256 of each file, from a lock file.

The lock file (LOCK) is committed. `airavata-runbook lock` writes it from the digests that upstream publishes beside its files.
"""

import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml

from airavata_runbook.errors import CannotBuild, RunbookError
from airavata_runbook.images import download
from airavata_runbook.local.files import write_file
from airavata_runbook.local.terminal import text_table
from airavata_runbook.mirror.components import BY_NAME, Component
from airavata_runbook.mirror.signatures import signed_text

LOCK = Path(__file__).with_name("releases.lock.yaml")
LOCK_VARIABLE = "AIRAVATA_RUNBOOK_RELEASES_LOCK"  # the path of a lock file in the place of LOCK
# The URL of a server that has the files of the release hosts, each below its own host and path (as Kubespray's files_repo). The
# digests are those of the lock file all the same.
MIRROR_VARIABLE = "AIRAVATA_RUNBOOK_RELEASES"
HEAD = """# The sha256 of each file of an official release, by URL, and where each digest was read (source).
# Written by `airavata-runbook lock`. A component that is not here has no digest yet: it can be built, and not be downloaded.
"""
GITHUB = "https://github.com"


@dataclass(frozen=True)
class Release:
    """How upstream publishes a component for Linux on x86-64.

    url: of a file, with {version}, and {program} where each program is a file of its own. member: the path of a program within
    the archive; "" where the file is the program itself. digests: the URL of what has the sha256 of the file, as sha256sum
    prints it, alone, or as GitHub's API has it. keys, signers: where that list is clear-signed by OpenPGP, the URL of the public
    keys and the fingerprints of those that may sign. unchecked: what upstream signs in a way that is not checked here.
    """

    url: str
    digests: str
    member: str = ""
    keys: str = ""
    signers: tuple[str, ...] = ()
    unchecked: str = ""


def _github(project: str, file: str, digests: str = "{url}.sha256", member: str = "{program}") -> Release:
    return Release(f"{GITHUB}/{project}/releases/download/v{{version}}/{file}", digests, member)


# Sources: the documentation and the release pages of each; etcd-io/etcd pull request 11087 for SHA256SUMS. Of containerd the
# static archive, which, as a build here, runs on every distribution. flannel publishes no digests: GitHub has them of all files.
RELEASES = {
    "kubernetes": Release(
        "https://dl.k8s.io/release/v{version}/bin/linux/amd64/{program}",
        "{url}.sha256",
        # Beside each file there are .sig and .cert (kubernetes.io, Verify Signed Kubernetes Artifacts). The certificate is one of
        # Fulcio's, valid for ten minutes. That it signed within these is known to Rekor only, which cosign asks online.
        unchecked="each file, by cosign without a key; whether in time, only Rekor knows",
    ),
    "etcd": _github(
        "etcd-io/etcd",
        "etcd-v{version}-linux-amd64.tar.gz",
        f"{GITHUB}/etcd-io/etcd/releases/download/v{{version}}/SHA256SUMS",
        "etcd-v{version}-linux-amd64/{program}",
    ),
    "cni": _github("containernetworking/plugins", "cni-plugins-linux-amd64-v{version}.tgz"),
    # Its release_sign.sh clear-signs the list; its runc.keyring has these primary keys in 2026-08.
    "runc": Release(
        f"{GITHUB}/opencontainers/runc/releases/download/v{{version}}/runc.amd64",
        f"{GITHUB}/opencontainers/runc/releases/download/v{{version}}/runc.sha256sum",
        keys="https://raw.githubusercontent.com/opencontainers/runc/v{version}/runc.keyring",
        signers=(
            "C9C370B246B09F6DBCFC744C34401015D1D2D386",  # Aleksa Sarai
            "C2428CD75720FACDCF76B6EA17DE5ECB75A1100E",  # Kir Kolyshkin
            "C020EA876CE4E06C7AB95AEF49524C6F9F638F1A",  # Akihiro Suda
        ),
    ),
    "containerd": _github(
        "containerd/containerd", "containerd-static-{version}-linux-amd64.tar.gz", "{url}.sha256sum", "bin/{program}"
    ),
    "flannel": _github(
        "flannel-io/flannel",
        "flannel-v{version}-linux-amd64.tar.gz",
        "https://api.github.com/repos/flannel-io/flannel/releases/tags/v{version}",
    ),
    "registry": _github("distribution/distribution", "registry_{version}_linux_amd64.tar.gz"),
    "cri-tools": _github("kubernetes-sigs/cri-tools", "crictl-v{version}-linux-amd64.tar.gz"),
    "coredns": _github("coredns/coredns", "coredns_{version}_linux_amd64.tgz"),
}


def urls(component: Component) -> dict[str, str]:
    """The programs of a component: name → URL of the file that is it, or has it."""
    url = RELEASES[component.name].url
    return {program: url.format(version=component.version, program=program) for program in component.programs.values()}


def download_url(url: str) -> str:
    """Where a file of a release is downloaded from: its own URL, or a mirror's. Raises CannotBuild for one without TLS."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    if mirror and not mirror.startswith("https://"):
        raise CannotBuild("releases are fetched by TLS only", where=MIRROR_VARIABLE, needed="https://HOST[/PATH]")
    return f"{mirror}/{url.removeprefix('https://')}" if mirror else url


def locked(component: Component) -> dict[str, str]:
    """The files of a component's release: URL → sha256, as the lock file has them. Raises CannotBuild where it has none."""
    entry, known = _entry(component)
    wanted = sorted(set(urls(component).values()))
    if missing := [url for url in wanted if url not in known]:
        raise CannotBuild(
            f"no sha256 of the release of {component.name} {component.version} is known",
            where=str(lock_file()),
            found=f"an entry of {entry['version']}" if entry and not known else "no entry",
            needed="\n".join(missing),
            remedy="airavata-runbook lock, where this machine reaches the hosts of the releases; else let it be built",
        )
    return {url: known[url] for url in wanted}


def is_locked(component: Component) -> bool:
    """Whether the lock file has the sha256 of all files of the component's release. Raises CannotBuild for no lock file."""
    return set(urls(component).values()) <= _entry(component)[1].keys()


def refresh() -> list[str]:
    """Write the lock file anew: what upstream publishes of the versions here. Returns a line for each component that failed.

    Its former entry stays, also where upstream's digest of a file is another one than before: files of a release do not change,
    so that a person has to look. Raises CannotBuild when the file cannot be written.
    """
    lock, failed = _lock(), []
    for name, release in RELEASES.items():
        component = BY_NAME[name]
        try:
            files = {url: _published(release, component, url) for url in sorted(set(urls(component).values()))}
            _compare(lock.get(name, {}).get("files", {}), files)
        except RunbookError as error:
            failed.append(f"{name} {component.version}: {error.summary}")
            continue
        lock[name] = {"version": component.version, "source": release.digests, "files": files}
    try:
        write_file(lock_file(), (HEAD + yaml.safe_dump(lock, sort_keys=True, width=200)).encode(), 0o644)
    except OSError as error:
        raise CannotBuild(
            "the lock file cannot be written",
            where=str(lock_file()),
            found=str(error.strerror),
            remedy=f"run this in a checkout of yours, or set {LOCK_VARIABLE} to a path",
        ) from None
    return failed


def table() -> str:
    """The lock file for a person: each component with its version, the number of files, and the signatures of upstream."""
    rows = [["component", "version", "files", "signatures of upstream"]]
    lock = _lock()
    for name, release in RELEASES.items():
        entry = lock.get(name, {})
        signatures = (
            f"not checked: {release.unchecked}"
            if release.unchecked
            else "of the digests, checked when they are read"
            if release.signers
            else "-"
        )
        rows.append([name, BY_NAME[name].version, str(len(entry["files"])) if entry else "none", signatures])
    return text_table(rows)


def digest_in(text: str, file: str) -> str:
    """The sha256 of the file with that name, of what upstream publishes. Raises ValueError."""
    if text.lstrip().startswith("{"):
        try:
            found = {one["digest"].removeprefix("sha256:") for one in json.loads(text)["assets"] if one["name"] == file}
        except (KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError("no list of assets with digests") from None
    else:
        lines = [re.fullmatch(r"([0-9a-f]{64})(?:\s+\*?(\S+))?", line.strip()) for line in text.splitlines()]
        found = {line[1] for line in lines if line and (not line[2] or PurePosixPath(line[2]).name == file)}
    if len(found) != 1 or not re.fullmatch("[0-9a-f]{64}", *found):
        raise ValueError(f"{len(found)} digests of {file}")
    return found.pop()


def _published(release: Release, component: Component, url: str) -> str:
    where = release.digests.format(url=url, version=component.version)
    text = download.read(where)
    if release.signers:
        text = signed_text(text, download.read(release.keys.format(version=component.version)), release.signers, where)
    try:
        return digest_in(text, Path(urlsplit(url).path).name)
    except ValueError as error:
        raise CannotBuild("no sha256 is published where it is expected", where=where, found=str(error)) from None


def _compare(before: dict[str, str], now: dict[str, str]) -> None:
    if changed := [url for url, sha256 in now.items() if before.get(url, sha256) != sha256]:
        raise CannotBuild(
            "upstream publishes another sha256 of a file than before",
            where=changed[0],
            found=now[changed[0]],
            needed=before[changed[0]],
            remedy="find out why; only then remove its entry from the lock file",
        )


def _entry(component: Component) -> tuple[dict[str, Any], dict[str, str]]:
    """The component's entry, and the files in it where it is of this version: URL → sha256."""
    entry = _lock().get(component.name, {})
    return entry, entry.get("files", {}) if entry.get("version") == component.version else {}


def lock_file() -> Path:
    """The lock file that counts on this machine."""
    return Path(os.environ.get(LOCK_VARIABLE) or LOCK)


def _lock() -> dict[str, Any]:
    try:
        return dict(_parsed(lock_file().read_text()))
    except OSError as error:
        raise CannotBuild(
            "the lock file of releases cannot be read", where=str(lock_file()), found=str(error.strerror), remedy=LOCK_VARIABLE
        ) from None


@lru_cache(1)  # it is asked for each package of each component
def _parsed(text: str) -> dict[str, Any]:
    return yaml.safe_load(text) or {}
