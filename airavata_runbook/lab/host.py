"""LabHost: one systemd-nspawn container on this machine, from nothing to SSH and back to nothing.

Source of facts: systemd-nspawn(1) of systemd 252, systemd-run(1).
"""

import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.lab import cgroups, image, keys, network, processes, rootfs, rpm_image
from airavata_runbook.lab.cgroups import Driver
from airavata_runbook.local.once import remove
from airavata_runbook.local.paths import state_dir
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node
from airavata_runbook.site.parts import Lab

NSPAWN = Path("/run/systemd/nspawn")
BOOT_TIMEOUT = 60.0  # seconds from start to SSH; measured: 1 to 2
POWEROFF_TIMEOUT = 60.0  # seconds; etcd alone may take 20
KILL_TIMEOUT = 5.0  # seconds
# Bound from this machine's file system: containerd's snapshots are overlays, which cannot be stacked on the root's overlay.
BIND_FOLDERS = {"containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet"}
IMAGES = {"deb": image.ensure, "rpm": rpm_image.ensure}
SYSTEMS = {"deb": "Debian 12", "rpm": f"{rpm_image.NAME} {rpm_image.VERSION}"}  # for people
UNIT_PREFIX = "airavata-lab"
# The shell joins the host's cgroups before it becomes systemd-nspawn: they are then the root of what the host sees.
JOIN_CGROUPS = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 70; shift; done; shift; exec "$@"'


def lab_settings(site: Site) -> Lab:
    """The site's `lab:` section; raises CannotBuild for a site without one."""
    if site.lab is None:
        raise CannotBuild(
            f"site {site.name} has no lab: its hosts are real",
            needed="a `lab:` section in the site file",
            remedy="use a site such as lab, or connect to the hosts as usual",
        )
    return site.lab


def lab_folder(site: Site) -> Path:
    """Where a lab's keys and hosts are kept; Site.load sets the keys of a lab's nodes to those here."""
    return state_dir() / "labs" / str(lab_settings(site).bridge)


class LabHost:
    """A node of a lab site. All its state is on disk, in cgroups and in processes, so that any later command finds it."""

    def __init__(self, site: Site, node: Node):
        self.site, self.node, self.name, self.address = site, node, node.name, str(node.address)
        self.lab = lab_settings(site)
        self.packages = self.lab.host(node.name).packages
        self.folder = lab_folder(site) / node.name
        self.root = self.folder / "root"
        self.machine = f"{self.lab.bridge}-{node.name}"  # systemd-nspawn's name of the container
        self.scope = f"{UNIT_PREFIX}-{self.machine}.scope"  # the systemd unit that it runs in (Driver.SYSTEMD)
        self.driver = cgroups.detect_driver()

    @property
    def pid(self) -> int | None:
        """The process id of the host's systemd-nspawn while it runs."""
        return processes.read_pid_file(self.folder / "pid")

    @property
    def state(self) -> str:
        """running, off (powered off or crashed, its disk is kept) or absent."""
        return "running" if self.pid else "off" if self._image_file.exists() else "absent"

    @property
    def is_stopping(self) -> bool:
        """Whether the host is on its way to power off or restart, asked from outside: sshd may have ended already."""
        init = processes.first_child(supervisor) if (supervisor := self.pid) else None
        if init is None:
            return False
        ask = ["nsenter", f"--target={init}", "--mount", "--pid", "--root", "systemctl", "is-system-running"]
        return subprocess.run(ask, capture_output=True, check=False).stdout.strip() == b"stopping"

    @property
    def foreign_state_dir(self) -> Path | None:
        """The state folder of another lab that has a running host of this one's bridge and name."""
        for words in processes.command_lines(self.machine):
            root = Path(words[words.index("-D") + 1]) if "-D" in words else self.root
            if root != self.root and root.is_dir():
                return root.parents[3]
        return None

    def ensure_key(self) -> str:
        """The public line of the host's SSH key, which is generated when missing."""
        return keys.ensure_key(self.folder / "ssh_host_ed25519_key", self.name)

    def ensure_image(self) -> Path:
        """The image below its disk, which is built when the cache has none. Raises CannotBuild."""
        return IMAGES[self.packages]()

    def start(self, authorized_key: str) -> None:
        """Boot the host unless it runs, from its disk or a new one; returns once SSH answers.

        authorized_key: the public key that may log in. Raises CannotBuild with the end of the host's console.
        """
        if self.pid is None:
            self._clean_up()
            if not self._image_file.exists():
                self._create_disk(authorized_key)
            rootfs.mount(self._image(), self.folder)
            self._boot()
        self.wait()

    def wait(self) -> None:
        """Return when the host accepts its user over SSH; raises CannotBuild when it ends or the timeout passes."""
        end = time.monotonic() + BOOT_TIMEOUT
        while not (_has_ssh_banner(self.address, self.node.ssh.port) and self.ssh(["true"], quiet=True) == 0):
            alive = self.pid is not None
            if not alive or time.monotonic() > end:
                raise CannotBuild(
                    f"a lab host does not answer SSH after {BOOT_TIMEOUT:.0f} s" if alive else "a lab host ended while it booted",
                    where=f"host {self.name}",
                    found=self._last_console_lines(),
                    remedy=f"read the whole console in {self.folder}/console",
                )
            time.sleep(0.03)

    def ssh(self, command: list[str], quiet: bool = False) -> int:
        """Run a command (an interactive shell when it is empty) over SSH on this terminal; returns its exit status.

        The host's key has to be the one in the lab's known_hosts. quiet: no input, no output. 255: SSH itself failed.
        """
        folder = lab_folder(self.site)
        options = {
            "UserKnownHostsFile": folder / "known_hosts",
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "10",
        }
        call = ["ssh", "-F", "none", "-p", str(self.node.ssh.port), "-i", str(folder / "id_ed25519")]
        call += [f"-o{name}={value}" for name, value in options.items()]
        call += [f"{self.node.ssh.user}@{self.address}", *command]
        stream = subprocess.DEVNULL if quiet else None
        return subprocess.run(call, stdin=stream, stdout=stream, stderr=stream, check=False).returncode

    def poweroff(self) -> None:
        """Shut the host down as its power button would; its disk is kept. It is killed after POWEROFF_TIMEOUT."""
        self._stop(processes.SIGPOWEROFF, POWEROFF_TIMEOUT)

    def crash(self) -> None:
        """Kill the host at once, as a power failure would; its disk is kept."""
        self._stop(signal.SIGKILL, KILL_TIMEOUT)

    def remove(self) -> None:
        """Kill the host at once and delete everything of it."""
        supervisor = self.pid
        self.crash()
        self._delete_disk()
        remove(self.folder)
        if supervisor:  # it has ended; its entry remains until its parent, PID 1 by now, has reaped it
            processes.wait_until(lambda: not Path(f"/proc/{supervisor}").exists(), 10.0)

    @property
    def _image_file(self) -> Path:
        """Names the image below the disk; it is there as long as the disk is whole."""
        return self.folder / "made"

    def _create_disk(self, authorized_key: str) -> None:
        self._delete_disk()
        base = self.ensure_image()
        root = rootfs.mount(base, self.folder)
        rootfs.configure(root, self.node, self.lab, authorized_key, self.folder / "ssh_host_ed25519_key")
        for name in BIND_FOLDERS:
            (self.folder / name).mkdir(exist_ok=True)
        self._image_file.write_text(f"{base}\n")

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
            f"--network-bridge={self.lab.bridge}",
            "-M",
            self.machine,
            f"--hostname={self.name}",
            "--link-journal=no",
            "--system-call-filter=add_key keyctl",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=pipe",
            *(f"--bind={self.folder / name}:{target}" for name, target in BIND_FOLDERS.items()),
        ]

    def boot_command(self, groups: list[Path]) -> list[str]:
        """The whole command line; its process becomes systemd-nspawn. groups: the host's cgroups (Driver.CGROUPFS)."""
        if self.driver is Driver.SYSTEMD:
            scope = ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={self.scope}", "--property=Delegate=yes"]
            limit = [f"--property=MemoryHigh={self.lab.memory}M"] if self.lab.memory else []
            return [*scope, *limit, *self.nspawn_command()]
        return ["sh", "-c", JOIN_CGROUPS, UNIT_PREFIX, *map(str, groups), "--", *self.nspawn_command()]

    def _cgroups(self) -> list[Path]:
        """The cgroups that hold its processes, whether they exist or not."""
        if self.driver is Driver.SYSTEMD:
            return [cgroups.CGROUPS / "system.slice" / self.scope]
        return cgroups.paths(self.lab.bridge, self.name)

    def _boot(self) -> None:
        groups = []
        if self.driver is Driver.CGROUPFS:
            groups = cgroups.create(self.lab.bridge, self.name, self.lab.memory)
        with (self.folder / "console").open("wb") as console:
            process = subprocess.Popen(
                self.boot_command(groups),
                stdout=console,
                stderr=console,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        processes.write_pid_file(self.folder / "pid", process.pid)
        process.returncode = 0  # the host outlives this command on purpose: Popen must not warn of it

    def _stop(self, number: int, seconds: float) -> None:
        """Send init the signal, wait up to `seconds` for the container to end, then kill and clean up what is left."""
        if supervisor := self.pid:
            init = processes.first_child(supervisor)
            if init:
                processes.send_signal(init, number)
            processes.wait_until(lambda: self.pid is None, seconds if init else 0)
        self._clean_up()

    def _clean_up(self) -> None:
        """Remove all that a host which ended or was killed may have left, except its disk."""
        groups = self._cgroups()
        if not processes.kill_all(lambda: cgroups.members(groups)):
            raise CannotBuild(
                "processes of a lab host cannot be killed",
                where=f"host {self.name}",
                found=", ".join(map(str, sorted(cgroups.members(groups)))),
                remedy="see what they wait for in /proc/PID/stack",
            )
        if self.driver is Driver.CGROUPFS:
            cgroups.remove(groups)
        network.remove_host_interface(self.machine)
        self._remove_nspawn_lock()
        rootfs.unmount(self.folder)
        (self.folder / "pid").unlink(missing_ok=True)
        for leftover in (NSPAWN / "propagate" / self.machine, NSPAWN / "unix-export" / self.machine):
            with suppress(FileNotFoundError):
                leftover.rmdir()

    def _remove_nspawn_lock(self) -> None:
        """Remove the lock that a killed systemd-nspawn leaves, named by the root's device and inode."""
        if self.root.is_mount():
            found = self.root.stat()
            (NSPAWN / "locks" / f"inode-{found.st_dev}:{found.st_ino}").unlink(missing_ok=True)

    def _delete_disk(self) -> None:
        self._image_file.unlink(missing_ok=True)
        for name in ("root", "upper", "work", *BIND_FOLDERS):
            remove(self.folder / name)

    def _image(self) -> Path:
        base = Path(self._image_file.read_text().strip())
        if not base.is_dir():
            raise CannotBuild(
                "the image of a lab host's disk is no longer in the cache",
                where=f"host {self.name}",
                needed=str(base),
                remedy="airavata-runbook lab down, then lab up",
            )
        return base

    def _last_console_lines(self) -> str:
        with suppress(FileNotFoundError):
            return "\n".join((self.folder / "console").read_text(errors="replace").splitlines()[-12:])
        return "no console output"


def lab_hosts(site: Site) -> list[LabHost]:
    """The hosts of a lab site, in the order of its nodes; raises CannotBuild for a site without a lab."""
    return [LabHost(site, node) for node in site.nodes]


def lab_host(site: Site, name: str) -> LabHost:
    """The lab host of that name; raises SiteError when the site has no such node, CannotBuild when it has no lab."""
    return LabHost(site, site.node(name))


def _has_ssh_banner(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1.0) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
