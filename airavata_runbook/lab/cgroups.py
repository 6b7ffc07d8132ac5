"""The cgroups of lab hosts: how this machine manages them, and a host's own.

Source of facts: measurements on a machine of each kind; cgroups(7), systemd-run(1).
"""

import time
from enum import Enum
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PARENT = "airavata-lab"
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified")


class Driver(Enum):
    """Who makes a host's cgroups on this machine.

    CGROUPFS: cgroup v1 and no systemd as PID 1; the lab makes them itself. SYSTEMD: systemd with cgroup v2 gives each host
    a delegated scope; not tried on a real machine, its command line is only tested as text. UNSUPPORTED: no lab can run.
    """

    CGROUPFS = "cgroup v1 without systemd"
    SYSTEMD = "systemd with cgroup v2"
    UNSUPPORTED = "neither of them"


def detect_driver() -> Driver:
    """The driver of this machine."""
    init = Path("/proc/1/comm")
    systemd = init.exists() and init.read_text().strip() == "systemd"
    if systemd and (CGROUPS / "cgroup.controllers").exists():
        return Driver.SYSTEMD
    return Driver.CGROUPFS if not systemd and (CGROUPS / "systemd/cgroup.procs").exists() else Driver.UNSUPPORTED


def paths(bridge: str, host: str, root: Path = CGROUPS) -> list[Path]:
    """The cgroup of a host in each cgroup v1 hierarchy of this machine, whether it exists or not."""
    return [root / name / PARENT / bridge / host for name in CONTROLLERS if (root / name / "cgroup.procs").exists()]


def create(bridge: str, host: str, memory: int | None = None, root: Path = CGROUPS) -> list[Path]:
    """Create a host's cgroup in each cgroup v1 hierarchy and return them. memory: a soft limit in MiB."""
    groups = paths(bridge, host, root)
    for attempt in range(5):
        try:
            for leaf in groups:
                _create(leaf, memory)
            break
        except FileNotFoundError:  # the end of another lab has just removed the empty parent
            if attempt == 4:
                raise
    return groups


def _create(leaf: Path, memory: int | None) -> None:
    controller = leaf.parents[2].name
    for group in (leaf.parent.parent, leaf.parent, leaf):
        group.mkdir(exist_ok=True)
        if controller == "cpuset":
            _inherit_cpuset(group)
    if controller == "memory" and memory:
        (leaf / "memory.soft_limit_in_bytes").write_text(str(memory << 20))


def _inherit_cpuset(group: Path) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (group / name).read_text().strip():
            (group / name).write_text((group.parent / name).read_text())


def members(groups: list[Path]) -> set[int]:
    """The ids of all processes in the cgroups and below them."""
    found: set[int] = set()
    for group in groups:
        for file in [group / "cgroup.procs", *group.rglob("cgroup.procs")]:
            try:
                found.update(int(line) for line in file.read_text().split())
            except OSError:  # removed since it was listed
                continue
    return found


def remove(groups: list[Path], deadline: float = 5.0) -> None:
    """Remove a host's cgroups, and their parents once empty. Raises OSError when one is still busy after `deadline` s."""
    end = time.monotonic() + deadline
    for leaf in groups:
        while leaf.is_dir():
            try:
                for folder in sorted((path for path in leaf.rglob("*") if path.is_dir()), reverse=True):
                    folder.rmdir()
                leaf.rmdir()
            except OSError:  # the kernel has not yet released the last process
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        for parent in (leaf.parent, leaf.parent.parent):
            try:
                if not any(path.is_dir() for path in parent.iterdir()):
                    parent.rmdir()
            except FileNotFoundError:  # another host of the lab ends at the same time and has removed it
                continue
            except OSError:  # another lab has just created its own cgroup there
                break
