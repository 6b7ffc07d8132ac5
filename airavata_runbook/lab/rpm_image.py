"""The host image with rpm and dnf: a STAND-IN for Rocky Linux, made from the host image of Debian.

rpm with its database, dnf and yum are real. Everything else is Debian's: a kernel that is shared, no SELinux, no firewalld, no
NetworkManager. Debian's package manager is taken out, so that nothing works by it. The rpm database has one package,
`airavata-lab-base`, which says by the names that Enterprise Linux has for them what the Debian base provides.
"""

import hashlib
import json
import shutil
from pathlib import Path

from airavata_runbook.distributions.rpm_format import RPM_FORMAT
from airavata_runbook.lab import image
from airavata_runbook.local import debian
from airavata_runbook.local.files import write_file
from airavata_runbook.local.once import build_once
from airavata_runbook.local.paths import cache_dir
from airavata_runbook.local.process import run
from airavata_runbook.local.terminal import progress

NAME = "STAND-IN for Rocky Linux"
VERSION = "9.6"
PRETTY_NAME = f"{NAME} {VERSION} on a Debian 12 base"
PACKAGES = ["dnf", "rpm"]
BASE = "airavata-lab-base"  # the package of the rpm database
# Debian's name → Enterprise Linux's.
RENAMED = {"conntrack": RPM_FORMAT.dependency("conntrack"), "iproute2": "iproute", "procps": "procps-ng"}
DEBIAN_ONLY = ("systemd-sysv",)
REMOVED = ("apt", "dpkg")
REMOVED_FOLDERS = ("etc/apt", "etc/dpkg", "var/cache/apt", "var/lib/apt", "var/lib/dpkg", "var/log/apt")
FILES = {
    "usr/lib/os-release": f'NAME="{NAME}"\nVERSION="{VERSION} (STAND-IN)"\nID="rocky"\nID_LIKE="rhel centos fedora"\n'
    f'VERSION_ID="{VERSION}"\nPLATFORM_ID="platform:el9"\nPRETTY_NAME="{PRETTY_NAME}"\n',
    "etc/redhat-release": f"{PRETTY_NAME}\n",
    "etc/issue": f"{PRETTY_NAME}\n\n",
    # Debian's rpm keeps its database in the home of whoever calls it.
    "etc/rpm/macros.lab": "%_dbpath /var/lib/rpm\n",
}
SPEC = """Name: {name}
Version: {version}
Release: 1
Summary: {summary}
License: none
Packager: airavata-runbook lab
BuildArch: noarch
{provides}
%description
{summary}. It has no files: it says what the Debian base of this lab host provides.
%files
"""


def digest() -> str:
    """The image's version, as that of the Debian image, which it includes."""
    recipe = [image.digest(), PACKAGES, RENAMED, DEBIAN_ONLY, REMOVED, REMOVED_FOLDERS, FILES, SPEC]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]


def path() -> Path:
    """Where the image is, or will be, in the cache."""
    return cache_dir() / "lab" / f"rpm-host-{digest()}"


def ensure() -> Path:
    """The folder of the image, which is built when the cache has none (half a minute more than the Debian image). Raises
    CannotBuild.
    """
    base, target = image.ensure(), path()
    build_once(target, target.is_dir, lambda root: _build(base, root))
    return target


def spec(versions: dict[str, str]) -> str:
    """The spec file of the package BASE. versions: those of the Debian packages that the host image names, by Debian's name."""
    provided = {RENAMED.get(name, name): version for name, version in versions.items() if name not in DEBIAN_ONLY}
    # By the second one dnf knows $releasever.
    lines = ["Provides: /bin/sh", f"Provides: system-release(releasever) = {VERSION.partition('.')[0]}"]
    lines += [f"Provides: {name} = {version}" for name, version in sorted(provided.items())]
    return SPEC.format(name=BASE, version=VERSION, summary=PRETTY_NAME, provides="\n".join(lines))


def _build(base: Path, root: Path) -> None:
    with progress(f"lab: host image, {NAME}", total=3) as update:
        update("copy of the Debian image", done=0)
        run("cp", "-a", "--reflink=auto", str(base), str(root), failure="the host image could not be copied", where=str(base))
        update("dnf and rpm", done=1)
        debian.install(root, PACKAGES)
        update("settings", done=2)
        text = spec(_versions(root))
        _remove_debians(root)
        _configure(root)
        _register(root, text)
    image.remove_old("rpm-host-*")


def _versions(root: Path) -> dict[str, str]:
    """The upstream version of each package that the host image names."""
    listed = run(
        *("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f=${Package} ${source:Upstream-Version}\\n", *image.PACKAGES),
        failure="the packages of the host image could not be listed",
        where=str(root),
    )
    return {name: version.replace("-", "_") for name, version in map(str.split, listed.splitlines())}


def _remove_debians(root: Path) -> None:
    for package in REMOVED:
        for name in (root / f"var/lib/dpkg/info/{package}.list").read_text().splitlines():
            file = root / name.lstrip("/")
            if name.count("/") > 1 and (file.is_symlink() or file.is_file()):  # not /lib and /sbin, links to those of /usr
                file.unlink()
    for folder in REMOVED_FOLDERS:
        shutil.rmtree(root / folder, ignore_errors=True)
    (root / "etc/debian_version").unlink()  # where it is, Debian's rpm refuses to install packages
    for link in (root / "etc/systemd/system").glob("*.wants/*"):  # of their timers
        if not (root / str(link.readlink()).lstrip("/")).exists():
            link.unlink()


def _configure(root: Path) -> None:
    for name, content in FILES.items():
        write_file(root / name, content.encode(), 0o644)
    for link, target in (("etc/os-release", "../usr/lib/os-release"), ("usr/bin/yum", "dnf-3")):
        (root / link).unlink(missing_ok=True)
        (root / link).symlink_to(target)
    for folder in ("etc/pki/rpm-gpg", "etc/yum.repos.d"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def _register(root: Path, text: str) -> None:
    """Have rpm build the package BASE within the image, and install it there."""
    work = root / "tmp/lab-base"
    work.mkdir()
    (work / "base.spec").write_text(text)
    script = "cd /tmp/lab-base && rpmbuild -bb --quiet --define '_topdir /tmp/lab-base' base.spec && rpm -i RPMS/noarch/*.rpm"
    run("chroot", str(root), "sh", "-c", script, failure=f"the package {BASE} could not be made", where=str(root))
    shutil.rmtree(work)
