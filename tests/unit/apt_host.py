"""apt and dpkg, the real ones of this machine, on a host that is a temporary folder: nothing outside of it is touched.

Packages have no scripts, so that nothing has to run in the folder.
"""

import hashlib
import itertools
import os
import subprocess
from pathlib import Path

CONFIGURATION = """Dir "{root}/";
Dir::Bin::dpkg "{root}/bin/dpkg";
APT::Architecture "amd64";
APT::Sandbox::User "root";
Acquire::http::Proxy "DIRECT";
"""
STATUS = """Package: base
Status: install ok installed
Maintainer: test
Architecture: all
Version: 12
Description: what every host has
"""
MOMENTS = itertools.count(1767225600)  # seconds since the epoch
FOLDERS = (
    "bin",
    "tmp",
    "etc/apt/sources.list.d",
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "var/lib/dpkg/info",
    "var/lib/dpkg/updates",
    "var/lib/apt/lists/partial",
    "var/cache/apt/archives/partial",
    "var/log/apt",
)


class AptHost:
    """The folder as a host. It has two repositories, "ours" and "debian", whose lists it does not have yet."""

    def __init__(self, root: Path, monkeypatch):
        self.root, self.dpkg = root, root / "var/lib/dpkg"
        for name in FOLDERS:
            (root / name).mkdir(parents=True)
        (root / "apt.conf").write_text(CONFIGURATION.format(root=root))
        (self.dpkg / "status").write_text(STATUS)
        self.program("dpkg", 'exec /usr/bin/dpkg "$@"')
        self.program("systemctl", "exit 0")
        for name in ("ours", "debian"):
            (root / name).mkdir()
            (root / name / "Packages").touch()
            self.source(name, f"file:{root}/{name}")
        monkeypatch.setenv("APT_CONFIG", str(root / "apt.conf"))
        monkeypatch.setenv("DPKG_ROOT", str(root))
        monkeypatch.setenv("TMPDIR", str(root / "tmp"))
        monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")

    def program(self, name: str, script: str) -> None:
        """A program that stands in for one of the machine's."""
        (self.root / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.root / "bin" / name).chmod(0o755)

    def source(self, repository: str, address: str) -> None:
        (self.root / f"etc/apt/sources.list.d/{repository}.list").write_text(f"deb [trusted=yes] {address} ./\n")

    def publish(self, repository: str, name: str, version: str = "1.0-1", depends: str = "", file: str = "") -> None:
        """Put a package into a repository. depends: as in a control file. file: its name, where it is not the usual one."""
        folder, control = self.root / repository, self.root / "build" / f"{name}-{version}" / "DEBIAN" / "control"
        control.parent.mkdir(parents=True, exist_ok=True)
        control.write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: test\nDescription: test\n"
            + (f"Depends: {depends}\n" if depends else "")
        )
        deb = folder / (file or f"{name}.deb")
        subprocess.run(["dpkg-deb", "-b", control.parent.parent, deb], check=True, capture_output=True)
        entry = (
            f"{control.read_text()}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\n"
            f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}\n\n"
        )
        entries = (folder / "Packages").read_text().split("\n\n")
        others = [other for other in entries if other and not other.startswith(f"Package: {name}\n")]
        (folder / "Packages").write_text("\n\n".join([*others, entry]))
        moment = next(MOMENTS)
        os.utime(folder / "Packages", (moment, moment))  # a web server tells another index by its time

    def sh(self, script: str) -> str:
        """What the admin does by hand: standard output. Raises CalledProcessError."""
        return subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True).stdout

    def state(self) -> dict[str, str]:
        """Package → its state in letters and its version, of all but `base` that are there in any way."""
        rows = self.sh("dpkg-query -W -f='${Package} ${db:Status-Abbrev} ${Version}\\n'").splitlines()
        return {name: " ".join(rest) for name, *rest in map(str.split, rows) if name != "base"}
