"""The systemd-nspawn container that is a lab host: its parameters, command lines and processes.

Source of facts: systemd-nspawn(1) of systemd 252, systemd-run(1).
"""

from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.lab import cgroups
from airavata_runbook.lab.cgroups import Driver

UNIT_PREFIX = "airavata-lab"
# The shell joins the host's cgroups before it becomes systemd-nspawn: they are then the root of what the host sees.
JOIN_CGROUPS = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 70; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class Container:
    """One host's container. root: its root file system. binds: (folder of this machine, folder of the host).
    memory: a soft limit in MiB, or None.
    """

    bridge: str
    name: str
    root: Path
    binds: tuple[tuple[Path, str], ...]
    memory: int | None = None

    @property
    def machine(self) -> str:
        """systemd-nspawn's name of the container."""
        return f"{self.bridge}-{self.name}"

    @property
    def scope(self) -> str:
        """The systemd unit that it runs in (Driver.SYSTEMD)."""
        return f"{UNIT_PREFIX}-{self.machine}.scope"

    def cgroups(self, driver: Driver) -> list[Path]:
        """The cgroups that hold its processes, whether they exist or not."""
        if driver is Driver.SYSTEMD:
            return [cgroups.CGROUPS / "system.slice" / self.scope]
        return cgroups.paths(self.bridge, self.name)

    def nspawn_command(self) -> list[str]:
        """The command line of systemd-nspawn alone, the same on every machine."""
        return [
            "systemd-nspawn",
            "--quiet",
            "-D",
            str(self.root),
            "-b",
            "--register=no",
            "--keep-unit",
            f"--network-bridge={self.bridge}",
            "-M",
            self.machine,
            f"--hostname={self.name}",
            "--link-journal=no",
            "--system-call-filter=add_key keyctl",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=pipe",
            *(f"--bind={source}:{target}" for source, target in self.binds),
        ]

    def boot_command(self, driver: Driver, groups: list[Path] | None = None) -> list[str]:
        """The whole command line; its process becomes systemd-nspawn. groups: the host's cgroups (Driver.CGROUPFS)."""
        if driver is Driver.SYSTEMD:
            scope = ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={self.scope}", "--property=Delegate=yes"]
            limit = [f"--property=MemoryHigh={self.memory}M"] if self.memory else []
            return [*scope, *limit, *self.nspawn_command()]
        return ["sh", "-c", JOIN_CGROUPS, UNIT_PREFIX, *map(str, groups or []), "--", *self.nspawn_command()]
