"""rpm and dnf, the real ones of this machine (Debian's packages), on a host that is a folder: nothing outside of it is touched.

It stands in for Rocky Linux: the package manager, its database, the repositories' metadata and their signatures are real.
Scripts of packages are Lua, which rpm runs itself, so that no shell has to be in the folder.
"""

import os
import subprocess
from pathlib import Path

SPEC = """Name: {name}
Version: {version}
Release: {release}
Summary: test
License: none
Packager: {packager}
BuildArch: noarch
{requires}
%description
test
%install
mkdir -p %{{buildroot}}/usr/bin %{{buildroot}}/usr/share/doc/{name}
echo {version}-{release} > %{{buildroot}}/usr/bin/{name}
%files
/usr/bin/{name}
%dir /usr/share/doc/{name}
{scripts}
"""


class RpmHost:
    """The folder as a host. It has two repositories, "ours", which is not enabled, and "base"."""

    def __init__(self, root: Path, monkeypatch):
        self.root = root
        for name in ("bin", "tmp", "etc/yum.repos.d", "usr/bin"):
            (root / name).mkdir(parents=True)
        rpm = f'exec /usr/bin/rpm --root {root} "$@"'
        self.program("rpm", f'test "$1" != -E || {{ echo {root}$(/usr/bin/rpm "$@"); exit; }}\n{rpm}')
        self.program(
            "dnf",
            f'exec /usr/bin/dnf --installroot {root} --releasever 9 --setopt=reposdir={root}/etc/yum.repos.d "$@"',
        )
        self.program("systemctl", "exit 0")
        for name in ("ours", "base"):
            (root / name).mkdir()
            self.index(name)
            text = f"[{name}]\nname={name}\nbaseurl=file://{root}/{name}\nenabled={int(name == 'base')}\ngpgcheck=0\n"
            (root / f"etc/yum.repos.d/{name}.repo").write_text(text + "metadata_expire=1\n" * (name == "ours"))
        monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
        monkeypatch.setenv("TMPDIR", str(root / "tmp"))

    def program(self, name: str, script: str) -> None:
        """A program that stands in for one of the machine's."""
        (self.root / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.root / "bin" / name).chmod(0o755)

    def index(self, repository: str) -> None:
        subprocess.run(["createrepo_c", "-q", self.root / repository], check=True, capture_output=True)

    def publish(
        self, repository: str, name: str, version: str = "1.0-1", requires: str = "", scripts: str = "", packager: str = "test"
    ) -> Path:
        """Put a package into a repository. requires: as in a spec file. scripts: sections of it."""
        number, _, release = version.partition("-")
        work = self.root / "build"
        work.mkdir(exist_ok=True)
        spec = work / f"{name}-{version}.spec"
        needs = f"Requires: {requires}" if requires else ""
        text = SPEC.format(name=name, version=number, release=release, requires=needs, scripts=scripts, packager=packager)
        spec.write_text(text)
        subprocess.run(["/usr/bin/rpmbuild", "-bb", "--define", f"_topdir {work}", spec], check=True, capture_output=True)
        made = work / "RPMS/noarch" / f"{name}-{version}.noarch.rpm"
        target = self.root / repository / made.name
        target.write_bytes(made.read_bytes())
        self.index(repository)
        return target

    def sh(self, script: str) -> str:
        """What the admin does by hand: standard output. Raises CalledProcessError."""
        return subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True).stdout

    def state(self) -> list[str]:
        """The packages that are installed, with their versions, sorted."""
        return sorted(self.sh("rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\\n'").splitlines())
