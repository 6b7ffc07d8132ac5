"""LabHost: one host on this machine, from nothing to SSH and back to nothing."""

import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from airavata_runbook.errors import CannotBuild, HostUnreachable
from airavata_runbook.lab import image, keys, machine, network, processes, rootfs
from airavata_runbook.local.paths import state_dir
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Node

NSPAWN = Path("/run/systemd/nspawn")
BOOT = 60.0  # seconds from start to SSH; measured: 1 to 2
POWEROFF = 60.0  # seconds for an orderly end; etcd alone may take 20
# File systems of their own, because an overlay (containerd's snapshots) cannot stand on an overlay.
OWN_FOLDERS = {"containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet"}


def lab_folder(site: Site) -> Path:
    """Where a lab's keys and hosts are kept; Site.load lets a lab's nodes point to the keys here."""
    return state_dir() / "labs" / site.lab.bridge


class LabHost:
    """A node of a lab site. Its state is all on disk, in cgroups and in processes: any command can find it again."""

    def __init__(self, site: Site, node: Node):
        self.site, self.node, self.name, self.address = site, node, node.name, str(node.address)
        self.folder = lab_folder(site) / node.name
        self.launch = machine.Launch(
            site.lab.bridge,
            node.name,
            self.folder / "root",
            tuple((self.folder / name, target) for name, target in OWN_FOLDERS.items()),
            site.lab.memory,
        )
        self.kind = machine.kind()

    @property
    def pid(self) -> int | None:
        """The process id of the host's systemd-nspawn while it runs."""
        return processes.recall(self.folder / "pid")

    @property
    def state(self) -> str:
        """running, off (powered off or crashed, its disk is kept) or absent."""
        return "running" if self.pid else "off" if (self.folder / "made").exists() else "absent"

    @cached_property
    def identity(self) -> rootfs.Identity:
        return rootfs.Identity(
            self.name,
            self.node.address,
            self.site.lab.network,
            self.node.ssh.user,
            self.node.ssh.port,
            self.site.lab.firewall == "closed",
        )

    @property
    def elsewhere(self) -> Path | None:
        """The state folder of another lab whose host has this one's bridge and name, and runs."""
        for arguments in processes.with_argument(self.launch.machine):
            root = Path(arguments[arguments.index("-D") + 1]) if "-D" in arguments else self.launch.root
            if root != self.launch.root and root.is_dir():
                return root.parents[3]
        return None

    def make_key(self) -> str:
        """Make the host's SSH key unless it has one; returns the public line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return keys.ensure_key(self.folder / "ssh_host_ed25519_key", self.name)

    def start(self, user_key: str) -> None:
        """Start the host unless it runs, with the disk that it has or a new one; returns once SSH answers.

        user_key: the public line that may log in. Raises CannotBuild with the end of the host's console.
        """
        if self.pid is None:
            self._clear()
            made = self.folder / "made"  # the image that the disk is laid over
            if not made.exists():
                self._delete_disk()
                base = image.ensure()
                rootfs.personalise(rootfs.mount(base, self.folder), self.identity, user_key, self.folder / "ssh_host_ed25519_key")
                for name in OWN_FOLDERS:
                    (self.folder / name).mkdir(exist_ok=True)
                made.write_text(f"{base}\n")
            rootfs.mount(self._base(), self.folder)
            self._launch()
        self.wait()

    def wait(self, seconds: float = BOOT) -> None:
        """Return when the host lets its user in by SSH; raises CannotBuild when it ends or takes too long."""
        end = time.monotonic() + seconds
        while not (_greets(self.address, self.node.ssh.port) and self.ssh(["true"], quiet=True) == 0):
            if not self.pid or time.monotonic() > end:
                raise CannotBuild(
                    "a lab host ended while it started"
                    if not self.pid
                    else f"a lab host does not answer SSH after {seconds:.0f} s",
                    where=f"host {self.name}",
                    found=self._console(),
                    remedy=f"the console's whole text is in {self.folder}/console",
                )
            time.sleep(0.03)

    def ssh(self, command: list[str], quiet: bool = False) -> int:
        """Run a command (an interactive shell when it is empty) over SSH on this terminal; returns its status.

        The host's key has to be the one in the lab's known_hosts. quiet: no input, no output. SSH itself failing
        gives 255.
        """
        lab = lab_folder(self.site)
        call = [
            "ssh",
            "-F",
            "none",
            "-p",
            str(self.node.ssh.port),
            "-i",
            str(lab / "id_ed25519"),
            "-o",
            f"UserKnownHostsFile={lab / 'known_hosts'}",
            "-o",
            "GlobalKnownHostsFile=none",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
            f"{self.node.ssh.user}@{self.address}",
            *command,
        ]
        to = subprocess.DEVNULL if quiet else None
        return subprocess.run(call, stdin=to, stdout=to, stderr=to, check=False).returncode

    def poweroff(self) -> None:
        """Shut the host down as its power button would; its disk stays. One that hangs is ended after a minute."""
        self._end(processes.POWEROFF, POWEROFF)

    def crash(self) -> None:
        """End the host at once, as when its power fails; its disk stays."""
        self._end(signal.SIGKILL, 5.0)

    def remove(self) -> None:
        """End the host at once and delete everything of it."""
        supervisor = self.pid
        self._end(signal.SIGKILL, 5.0)
        self._delete_disk()
        if self.folder.exists():
            shutil.rmtree(self.folder)
        if supervisor:  # it has ended; its entry is there until its parent, PID 1 by now, has looked at it
            processes.wait(lambda: not Path(f"/proc/{supervisor}").exists(), 10.0)

    def _launch(self) -> None:
        groups = machine.make_groups(self.launch) if self.kind is machine.Kind.CGROUP_V1 else []
        with (self.folder / "console").open("wb") as console:
            process = subprocess.Popen(
                machine.launch_command(self.launch, self.kind, groups),
                stdout=console,
                stderr=console,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        processes.remember(self.folder / "pid", process.pid)
        process.returncode = 0  # the host outlives this command on purpose: Popen must not warn of it

    def _end(self, number: int, seconds: float) -> None:
        supervisor = self.pid
        if supervisor:
            init = processes.first_child(supervisor)
            if init:
                processes.send(init, number)
            processes.wait(lambda: self.pid is None, seconds if init else 0)
        self._clear()

    def _clear(self) -> None:
        """Whatever a host that has ended, or was killed, may have left, other than its disk."""
        if not processes.kill_all(lambda: machine.members(self.launch, self.kind)):
            raise CannotBuild(
                "processes of a lab host cannot be ended",
                where=f"host {self.name}",
                found=", ".join(map(str, sorted(machine.members(self.launch, self.kind)))),
                remedy="see what they wait for in /proc/PID/stack",
            )
        if self.kind is machine.Kind.CGROUP_V1:
            machine.remove_groups(self.launch)
        network.remove_cable(self.launch.machine)
        self._release_lock()
        rootfs.unmount(self.folder)
        (self.folder / "pid").unlink(missing_ok=True)
        for leftover in (NSPAWN / "propagate" / self.launch.machine, NSPAWN / "unix-export" / self.launch.machine):
            with suppress(FileNotFoundError):
                leftover.rmdir()

    def _release_lock(self) -> None:
        """Remove the lock that a killed systemd-nspawn leaves, named by the root's device and inode."""
        if self.launch.root.is_mount():
            found = self.launch.root.stat()
            (NSPAWN / "locks" / f"inode-{found.st_dev}:{found.st_ino}").unlink(missing_ok=True)

    def _delete_disk(self) -> None:
        (self.folder / "made").unlink(missing_ok=True)
        for name in ("root", "upper", "work", *OWN_FOLDERS):
            if (self.folder / name).exists():
                shutil.rmtree(self.folder / name)

    def _base(self) -> Path:
        base = Path((self.folder / "made").read_text().strip())
        if not base.is_dir():
            raise CannotBuild(
                "the image below a lab host's disk is gone from the cache",
                where=f"host {self.name}",
                needed=str(base),
                remedy="take the lab down and up again",
            )
        return base

    def _console(self) -> str:
        with suppress(FileNotFoundError):
            return "\n".join((self.folder / "console").read_text(errors="replace").splitlines()[-12:])
        return "no console output"


def lab_hosts(site: Site) -> list[LabHost]:
    """The hosts of a lab site, in its order; raises CannotBuild for a site that has no lab."""
    if site.lab is None:
        raise CannotBuild(
            f"site {site.name} has no lab: its hosts are real",
            needed="a `lab:` section in the site file",
            remedy="use a site such as lab, or reach the hosts as you always do",
        )
    return [LabHost(site, node) for node in site.nodes]


def lab_host(site: Site, name: str) -> LabHost:
    """The lab host of that name; raises SiteError when the site has no such node."""
    site.node(name)
    return next(host for host in lab_hosts(site) if host.name == name)


def need_running(host: LabHost) -> None:
    """Raise HostUnreachable when a lab host does not run."""
    if host.state != "running":
        raise HostUnreachable(
            f"the lab host is {host.state}",
            where=f"host {host.name}",
            needed="a running host",
            remedy=f"airavata-runbook lab up brings {host.site.name}'s hosts up",
        )


def _greets(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1.0) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
