"""How this machine carries a host: its cgroups, and the command line that starts systemd-nspawn in them.

Two kinds of machine are known. CGROUP_V1: no systemd as PID 1, cgroup v1 controllers; the lab makes the cgroups
itself. SYSTEMD: an ordinary machine with systemd and cgroup v2, which gives each host a delegated scope; this
kind has not been tried, its command line is only tested as text.
Source of facts: LAB.md's measurements; systemd-nspawn(1), systemd-run(1), cgroups(7).
"""

import shutil
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
ROOT = "airavata-lab"
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified")
# The launcher joins the host's cgroups before it becomes systemd-nspawn: they are then the root of what the host sees.
JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 70; shift; done; shift; exec "$@"'


class Kind(Enum):
    """CGROUP_V1 and SYSTEMD as above; UNKNOWN machines cannot carry a lab."""

    CGROUP_V1 = "cgroup v1 without systemd"
    SYSTEMD = "systemd with cgroup v2"
    UNKNOWN = "neither of them"


@dataclass(frozen=True)
class Launch:
    """What starts one host. machine: its nspawn name. memory: MiB, a soft bound, or None."""

    bridge: str
    name: str
    root: Path
    binds: tuple[tuple[Path, str], ...]
    memory: int | None = None

    @property
    def machine(self) -> str:
        return f"{self.bridge}-{self.name}"

    @property
    def unit(self) -> str:
        return f"{ROOT}-{self.machine}.scope"


def kind() -> Kind:
    """What kind of machine this is."""
    systemd = Path("/proc/1/comm").read_text().strip() == "systemd"
    unified = (CGROUPS / "cgroup.controllers").exists()
    if systemd and unified:
        return Kind.SYSTEMD
    return Kind.CGROUP_V1 if not systemd and (CGROUPS / "systemd/cgroup.procs").exists() else Kind.UNKNOWN


def nspawn_command(launch: Launch) -> list[str]:
    """The command line of systemd-nspawn alone, the same on every machine."""
    return [
        "systemd-nspawn",
        "--quiet",
        "-D",
        str(launch.root),
        "-b",
        "--register=no",
        "--keep-unit",
        f"--network-bridge={launch.bridge}",
        "-M",
        launch.machine,
        f"--hostname={launch.name}",
        "--link-journal=no",
        "--system-call-filter=add_key keyctl",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=pipe",
        *(f"--bind={source}:{target}" for source, target in launch.binds),
    ]


def launch_command(launch: Launch, on: Kind, groups: list[Path] | None = None) -> list[str]:
    """The whole command line; its process id becomes systemd-nspawn's. groups: this host's cgroups (CGROUP_V1)."""
    if on is Kind.SYSTEMD:
        bound = [f"--property=MemoryHigh={launch.memory}M"] if launch.memory else []
        return [
            "systemd-run",
            "--scope",
            "--quiet",
            "--collect",
            f"--unit={launch.unit}",
            "--property=Delegate=yes",
            *bound,
            *nspawn_command(launch),
        ]
    return ["sh", "-c", JOIN, ROOT, *map(str, groups or []), "--", *nspawn_command(launch)]


def groups(launch: Launch, base: Path = CGROUPS) -> list[Path]:
    """Where the host's cgroups are on a CGROUP_V1 machine, whether they exist or not."""
    return [base / name / ROOT / launch.bridge / launch.name for name in CONTROLLERS if (base / name / "cgroup.procs").exists()]


def make_groups(launch: Launch, base: Path = CGROUPS) -> list[Path]:
    """Make the host's cgroups and return them."""
    for attempt in range(5):
        try:
            for leaf in groups(launch, base):
                for group in (leaf.parent.parent, leaf.parent, leaf):
                    group.mkdir(exist_ok=True)
                    if leaf.parents[2].name == "cpuset":
                        _inherit_cpuset(group)
                if leaf.parents[2].name == "memory" and launch.memory:
                    (leaf / "memory.soft_limit_in_bytes").write_text(str(launch.memory << 20))
            break
        except FileNotFoundError:  # another lab's end took the empty common parent away in between
            if attempt == 4:
                raise
    return groups(launch, base)


def _inherit_cpuset(group: Path) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (group / name).read_text().strip():
            (group / name).write_text((group.parent / name).read_text())


def members(launch: Launch, on: Kind) -> set[int]:
    """The ids of all processes in the host's cgroups, below them too."""
    tops = groups(launch) if on is Kind.CGROUP_V1 else [CGROUPS / "system.slice" / launch.unit]
    found: set[int] = set()
    for top in tops:
        for file in [top / "cgroup.procs", *top.rglob("cgroup.procs")]:
            try:
                found.update(int(line) for line in file.read_text().split())
            except (FileNotFoundError, OSError):  # gone, with its last process, since it was listed
                continue
    return found


def remove_groups(launch: Launch, deadline: float = 5.0) -> None:
    """Remove the host's cgroups and the common parents that are empty then. Raises OSError when one stays busy."""
    end = time.monotonic() + deadline
    for leaf in groups(launch):
        while leaf.is_dir():
            try:
                for folder in sorted((path for path in leaf.rglob("*") if path.is_dir()), reverse=True):
                    folder.rmdir()
                leaf.rmdir()
            except OSError:  # the last process has ended but the kernel has not yet let go of it
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        for parent in (leaf.parent, leaf.parent.parent):
            try:
                if not any(path.is_dir() for path in parent.iterdir()):
                    parent.rmdir()
            except FileNotFoundError:  # the lab's other hosts go in this very moment, and one of them removed it
                continue
            except OSError:  # another lab has just made its own group there
                break


def missing_tools() -> list[str]:
    """The programs that a lab needs and this machine lacks, as `program (Debian package)`."""
    needed = {
        "systemd-nspawn": "systemd-container",
        "debootstrap": "debootstrap",
        "ip": "iproute2",
        "iptables": "iptables",
        "ssh": "openssh-client",
        "unshare": "util-linux",
        "mount": "mount",
    }
    return [f"{program} ({package})" for program, package in needed.items() if not shutil.which(program)]
