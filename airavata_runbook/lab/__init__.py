"""The lab: real hosts on this machine, with systemd, sshd and an address of their own, for a site that says `lab:`.

Every function takes a `Site` and finds what is there by itself: a lab that was killed, or that another process
made, is the same lab. Nothing outside this package knows that a host is a lab's.
"""

import fcntl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.lab import image, keys, network, preflight, rootfs
from airavata_runbook.lab.hosts import LabHost, lab_folder, lab_host, lab_hosts, need_running
from airavata_runbook.local.paths import state_dir
from airavata_runbook.local.terminal import text_table
from airavata_runbook.site import Site

__all__ = ["LabHost", "crash", "down", "poweroff", "ssh", "start", "status", "up"]

HEADER = ["NAME", "STATE", "ADDRESS", "USER", "PID"]


def up(site: Site) -> list[LabHost]:
    """Bring all hosts of the lab up, side by side, and return them; what runs already is left as it is.

    A host that crashed or was powered off starts with the disk it had. Raises CannotBuild with all problems of
    this machine before anything is made.
    """
    hosts = lab_hosts(site)
    with _locked(site):
        _reconnect(site, hosts)
        starting = [host for host in hosts if host.state != "running"]
        if not starting:
            _together(hosts, lambda host: host.wait())
            return hosts
        preflight.check(site, len(starting))
        image.ensure()
        network.make_bridge(site.lab.bridge, site.lab.network)
        key = _write_keys(site, hosts)
        _together(hosts, lambda host: host.start(key))
    return hosts


def down(site: Site) -> None:
    """End the lab's hosts at once and delete everything of them: disks, keys, cgroups, mounts, the bridge."""
    with _locked(site):
        _together(lab_hosts(site) + _forgotten(site), lambda host: host.remove())
        network.remove_bridge(site.lab.bridge)
        folder = lab_folder(site)
        for name in ("id_ed25519", "id_ed25519.pub", "known_hosts"):
            (folder / name).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def status(site: Site) -> list[dict[str, str]]:
    """Print a header and one host a line, its name first; returns the same as rows: column → text."""
    rows = [[host.name, host.state, host.address, host.node.ssh.user, str(host.pid or "-")] for host in lab_hosts(site)]
    print(text_table([HEADER, *rows]))
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


def ssh(site: Site, name: str, command: list[str] | None = None) -> int:
    """Run a command (or a shell) on a host over SSH, on this terminal; returns its exit status."""
    host = lab_host(site, name)
    need_running(host)
    return host.ssh(command or [])


def poweroff(site: Site, name: str) -> None:
    """Shut one host down in order; its disk stays and `start` boots it again."""
    host = lab_host(site, name)
    with _locked(site):
        host.poweroff()


def crash(site: Site, name: str) -> None:
    """Take one host's power away; its disk stays and `start` boots it again."""
    host = lab_host(site, name)
    with _locked(site):
        host.crash()


def start(site: Site, name: str) -> LabHost:
    """Boot one host of a lab that is up; returns once SSH answers."""
    host = lab_host(site, name)
    with _locked(site):
        network.make_bridge(site.lab.bridge, site.lab.network)
        host.start(_write_keys(site, lab_hosts(site)))
    return host


def _write_keys(site: Site, hosts: list[LabHost]) -> str:
    """Make what is missing of the lab's keys, write known_hosts from them; returns the user's public line."""
    folder = lab_folder(site)
    folder.mkdir(parents=True, exist_ok=True)
    public = keys.ensure_key(folder / "id_ed25519", f"airavata-lab-{site.lab.bridge}")
    known = keys.known_hosts([(host.address, host.node.ssh.port, host.make_key()) for host in hosts])
    rootfs.write(folder / "known_hosts", known.encode(), 0o644)
    return public


def _reconnect(site: Site, hosts: list[LabHost]) -> None:
    """Hosts that run without their bridge have lost their cable for good: they are ended, to start again."""
    if not any(link.name == site.lab.bridge for link in network.links()):
        _together(hosts, lambda host: host.crash())


def _forgotten(site: Site) -> list[LabHost]:
    """Hosts that this lab once had and that the site file no longer names."""
    names = {node.name for node in site.nodes}
    folder = lab_folder(site)
    left = [key.parent.name for key in folder.glob("*/ssh_host_ed25519_key") if key.parent.name not in names]
    return [LabHost(site, site.nodes[0].model_copy(update={"name": name})) for name in left]


def _together(hosts: list[LabHost], work: Callable[[LabHost], None]) -> None:
    """Do the work for all hosts side by side; every host's is finished before the first failure is raised."""
    with ThreadPoolExecutor(max_workers=max(len(hosts), 1)) as pool:
        for done in [pool.submit(work, host) for host in hosts]:
            done.result()


@contextmanager
def _locked(site: Site) -> Iterator[None]:
    """One command at a time changes a lab, and none changes a lab of another state folder.

    Raises CannotBuild when hosts of the same bridge and names belong to one: they would be ended as this lab's leftovers.
    """
    others = {host.name: host.elsewhere for host in lab_hosts(site) if host.elsewhere}
    if others:
        folder = next(iter(others.values()))
        raise CannotBuild(
            "a lab of another state folder has this bridge",
            where=f"bridge {site.lab.bridge}",
            found=f"{', '.join(others)} of the lab in {folder}",
            needed="a bridge of its own for each lab",
            remedy=f"set another lab.bridge and lab.network, or end that lab: AIRAVATA_RUNBOOK_STATE={folder} "
            "airavata-runbook lab down with its site file",
        )
    file: Path = state_dir() / "labs" / f".{site.lab.bridge}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
