"""Installs a bundle of airavata-runbook on a machine without a network.

    python3 -I install.py --signers FILE [--into FOLDER]

FILE is an allowed_signers file (ssh-keygen(1)) with the line that was printed when the bundle was made: `bundle ssh-ed25519 …`.
It must have come another way than the bundle, as all of that may have been exchanged, with this program: README says how to
verify that first. Nothing is installed before everything is verified, and nothing that MANIFEST does not name. Python's standard
library is enough, from 3.8 on: it can say which Python the runbook needs.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MANIFEST, SIGNATURE, ABOUT = "MANIFEST", "MANIFEST.sig", "about.json"
NAMESPACE, SIGNER = "airavata-runbook-bundle", "bundle"
LINE = re.compile(r"([0-9a-f]{64})  ([^/\\][^\\]*)")
CACHE, PROJECT, WHEELS, KUBECTL = "cache/", "project/", "wheels/", "bin/kubectl"
INTO = "~/airavata-runbook"
UNPACKED = 7  # times the size of the wheels: what the virtual environment needs (measured: 6.6)


class Refused(Exception):
    """Its text is the whole message."""

    def __init__(self, message, **parts):
        lines = [message, *(f"  {name + ':':8}{text}" for name, text in parts.items() if text)]
        super().__init__("\n".join(lines))


def main():
    """Verify, then install; the exit status."""
    parser = argparse.ArgumentParser(prog="install.py", description="Verify and install this bundle of airavata-runbook")
    parser.add_argument("--signers", required=True, metavar="FILE", help="an allowed_signers file with the line of who made it")
    parser.add_argument(
        "--into", default=INTO, metavar="FOLDER", help="for the project and its environment (default: %(default)s)"
    )
    options = parser.parse_args()
    try:
        install(Path(options.signers), Path(options.into).expanduser().absolute())
    except Refused as refused:
        print(f"install.py: {refused}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("install.py: stopped; run it again to continue", file=sys.stderr)
        return 130
    return 0


def install(signers, into):
    """Install the bundle that this file is in. Raises Refused."""
    digests = verify(HERE, signers)
    about = json.loads((HERE / ABOUT).read_text())
    print(f"verified: the signature, and {len(digests)} files")
    check_machine(about)
    cache = Path(os.environ.get("AIRAVATA_RUNBOOK_CACHE") or "~/.cache/airavata-runbook").expanduser().absolute()
    cached = [name for name in digests if name.startswith(CACHE)]
    check_space(into, sum(UNPACKED * (HERE / name).stat().st_size for name in digests if name.startswith(WHEELS)))
    sizes = {digests[name]: (HERE / name).stat().st_size for name in cached}
    check_space(cache, sum(sizes.values()), linked=True)
    kept = place_project([name for name in digests if name.startswith(PROJECT)], into)
    placed: dict = {}  # sha256 → where it is by now
    for name in cached:
        target = cache / name[len(CACHE) :]
        place(placed.setdefault(digests[name], HERE / name), target)
        placed[digests[name]] = target
    print(f"packages and images: {cache}")
    make_environment(into / ".venv", KUBECTL in digests)
    print(f"project: {into}")
    for name in kept:
        print("not overwritten: {0}, which is another one; the bundle's is {0}.new".format(into / name))
    print(about["next"].replace("FOLDER", str(into)))


def verify(folder, signers):
    """Name → sha256 of the files of a bundle, once all are as the signed manifest says. Raises Refused."""
    manifest = read(folder / MANIFEST)
    if not signers.is_file():
        raise Refused("there is no such file of signers", where=str(signers), remedy="see README")
    call = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", SIGNER, "-n", NAMESPACE, "-s", str(folder / SIGNATURE)]
    read(folder / SIGNATURE)
    try:
        done = subprocess.run(call, input=manifest, capture_output=True)
    except FileNotFoundError:
        raise Refused("ssh-keygen is not installed", remedy="install OpenSSH's client") from None
    if done.returncode:
        found = (done.stdout + done.stderr).decode(errors="replace").strip().replace("\n", "; ")
        needed = f"the signature of a key in {signers}"
        raise Refused("the bundle is not signed by who should have made it", where=MANIFEST, found=found, needed=needed)
    digests = {}
    for line in manifest.decode().splitlines():
        match = LINE.fullmatch(line)
        if not match or ".." in match[2].split("/"):
            raise Refused("the manifest is none", where=MANIFEST, found=line)
        digests[match[2]] = match[1]
    problems = [problem for name, sha256 in digests.items() for problem in compare(folder, name, sha256)]
    if problems:
        remedy = "copy the bundle again, and unpack it with tar -xf into an empty folder"
        found = ("\n" + " " * 10).join(problems[:20] + [f"and {len(problems) - 20} more"] * (len(problems) > 20))
        raise Refused("the bundle is not as it was made", found=found, remedy=remedy)
    return digests


def compare(folder, name, sha256):
    """What is wrong with a file of the bundle."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        yield f"{name}: missing"
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        yield f"{name}: changed"


def read(path):
    """The content of a small file. Raises Refused."""
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = "unpack the whole bundle with tar -xf"
        raise Refused("the bundle is not whole", where=str(path), found=error.strerror, remedy=remedy) from None


def check_machine(about):
    """Raises Refused where the wheels are not for this Python and machine, or it has no venv."""
    python, wanted = "{}.{}".format(*sys.version_info), about["python"]
    if python != wanted:
        raise Refused(
            "the bundle is for another Python",
            found=f"Python {python}, {sys.executable}",
            needed=f"Python {wanted}",
            remedy=f"install it with its venv, and call this with it: python{wanted} -I install.py",
        )
    if platform.machine() != about["machine"]:
        raise Refused("the bundle is for other machines", found=platform.machine(), needed=about["machine"])
    library, version = platform.libc_ver()
    if library != "glibc" or numbers(version) < numbers(about["glibc"]):
        found = f"{library or 'another one'} {version}".strip()
        raise Refused("the bundle is for a newer C library", found=found, needed="glibc {} or newer".format(about["glibc"]))
    try:
        import ensurepip  # noqa: F401  Debian has it in a package of its own
        import venv  # noqa: F401
    except ImportError as error:
        remedy = f"apt-get install python{python}-venv"
        raise Refused("Python cannot make virtual environments", found=str(error), remedy=remedy) from None


def numbers(version):
    """ "2.34" as numbers."""
    return [int(number) for number in version.split(".") if number]


def check_space(folder, needed, linked=False):
    """Raises Refused when the disk of a folder, which need not exist, has less free bytes. linked: from a bundle on that disk."""
    there = folder
    while not there.exists():
        there = there.parent
    if linked and there.stat().st_dev == HERE.stat().st_dev:
        return
    free = shutil.disk_usage(str(there)).free
    if free < needed:
        sizes = {"found": f"{free >> 20} MiB are free", "needed": f"{needed >> 20} MiB"}
        raise Refused("the disk is too full", where=str(folder), **sizes, remedy="free disk space")


def place(source, target, mode=0o644, link=True):
    """Put a file there at once, as a link where that can be done, so that it takes no room twice."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.new")
    if part.exists():
        part.unlink()
    try:
        if not link:
            raise OSError
        os.link(str(source), str(part))
    except OSError:
        shutil.copyfile(str(source), str(part))
    part.chmod(mode)
    os.replace(str(part), str(target))


def place_project(names, into):
    """Copy notebooks and parameters; parameters that the admin has changed are kept, and returned."""
    kept = []
    for name in names:
        source, inner = HERE / name, name[len(PROJECT) :]
        target = into / inner
        changed = target.exists() and target.read_bytes() != source.read_bytes()
        if changed and inner.startswith("parameters/"):
            kept.append(inner)
            target = target.with_name(target.name + ".new")
        place(source, target, link=False)
    return kept


def make_environment(folder, with_kubectl):
    """A virtual environment with the bundle's wheels, each by its digest. Raises Refused."""
    print(f"virtual environment: {folder}")
    run([sys.executable, "-I", "-m", "venv", "--clear", str(folder)])
    python, wheels = str(folder / "bin/python"), str(HERE / WHEELS)
    pip = [python, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "--quiet", "--no-cache-dir"]
    only = ["--no-index", "--no-deps", "--find-links", wheels, "--require-hashes"]
    run([*pip, "install", *only, "--requirement", str(HERE / "requirements.txt")])
    if with_kubectl:
        place(HERE / KUBECTL, folder / KUBECTL, 0o755, link=False)


def run(command):
    """Raises Refused with what the command printed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Refused("the virtual environment could not be made", ran=" ".join(command), found=done.stdout.strip()[-1500:])


if __name__ == "__main__":
    sys.exit(main())
