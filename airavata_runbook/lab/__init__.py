"""The lab: hosts on this machine with systemd, sshd and an address of their own, for a site with a `lab:` section.

Every function takes a `Site` and finds the hosts' state by itself: a lab that was killed, or that another process started,
is the same lab. Nothing outside this package knows whether a host is a lab's.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from airavata_runbook.errors import CannotBuild, HostUnreachable
from airavata_runbook.lab import keys, network, preflight
from airavata_runbook.lab.host import SYSTEMS, LabHost, lab_folder, lab_host, lab_hosts, lab_settings
from airavata_runbook.local.colours import painted
from airavata_runbook.local.files import write_file
from airavata_runbook.local.once import locked
from airavata_runbook.local.terminal import text_table
from airavata_runbook.site import Site

__all__ = ["LabHost", "down", "ssh", "status", "up"]

HEADER = ["NAME", "STATE", "ADDRESS", "USER", "PID", "SYSTEM"]
COLOURS = {"running": "ok", "off": "stopped", "absent": "skipped"}  # state → the status whose colour it has


def up(site: Site) -> list[LabHost]:
    """Boot all hosts of the lab in parallel and return them; a host that is running is left as it is.

    A host that crashed or was powered off, or is on its way there, boots from the disk it had. Raises CannotBuild with all
    problems of this machine before anything is created.
    """
    hosts, lab = lab_hosts(site), lab_settings(site)
    with _locked(site):
        _crash_without_bridge(hosts, lab.bridge)
        _in_parallel(hosts, _finish_poweroff)
        starting = [host for host in hosts if host.state != "running"]
        if not starting:
            _in_parallel(hosts, LabHost.wait)
            return hosts
        preflight.check(site, len(starting))
        for host in {host.packages: host for host in starting}.values():
            host.ensure_image()
        network.create_bridge(lab)
        key = _ensure_keys(site, hosts)
        _in_parallel(hosts, lambda host: host.start(key))
    return hosts


def down(site: Site) -> None:
    """Kill the lab's hosts and delete everything of them: disks, keys, cgroups, mounts, the bridge."""
    hosts, folder = lab_hosts(site), lab_folder(site)
    with _locked(site):
        _in_parallel(hosts + _removed_from_site(site), LabHost.remove)
        network.remove_bridge(lab_settings(site).bridge)
        for name in ("id_ed25519", "id_ed25519.pub", "known_hosts"):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # it is not there, or not empty
            folder.rmdir()


def status(site: Site) -> list[dict[str, str]]:
    """Print a table of the hosts; returns its rows: column → text."""
    rows = [
        [host.name, host.state, host.address, host.node.ssh.user, str(host.pid or "-"), SYSTEMS[host.packages]]
        for host in lab_hosts(site)
    ]
    print(text_table([HEADER, *([row[0], painted(row[1], COLOURS.get(row[1], "")), *row[2:]] for row in rows)]))
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


def ssh(site: Site, name: str, command: list[str] | None = None) -> int:
    """Run a command (or a shell) on a host over SSH, on this terminal; returns its exit status."""
    host = lab_host(site, name)
    if host.state != "running":
        raise HostUnreachable(
            f"the lab host is {host.state}",
            where=f"host {host.name}",
            needed="a running host",
            remedy=f"boot the hosts of site {site.name}: airavata-runbook lab up",
        )
    return host.ssh(command or [])


def _ensure_keys(site: Site, hosts: list[LabHost]) -> str:
    """Generate the lab's missing keys and write known_hosts from all of them; returns the user's public key."""
    folder = lab_folder(site)
    public = keys.ensure_key(folder / "id_ed25519", f"airavata-lab-{lab_settings(site).bridge}")
    known = keys.known_hosts([(host.address, host.node.ssh.port, host.ensure_key()) for host in hosts])
    write_file(folder / "known_hosts", known.encode(), 0o644)
    return public


def _crash_without_bridge(hosts: list[LabHost], bridge: str) -> None:
    """Kill running hosts whose bridge was removed: they cannot be connected to a new one without a boot."""
    running = [host for host in hosts if host.pid]
    if running and not any(link.name == bridge for link in network.links()):
        _in_parallel(running, LabHost.crash)


def _finish_poweroff(host: LabHost) -> None:
    """Wait for the end of a host that is powering off: it would be taken for running, and be off a moment later."""
    if host.is_stopping:
        host.poweroff()


def _removed_from_site(site: Site) -> list[LabHost]:
    """Hosts that this lab has and the site file no longer names."""
    names = {node.name for node in site.nodes}
    found = [key.parent.name for key in lab_folder(site).glob("*/ssh_host_ed25519_key")]
    return [LabHost(site, site.nodes[0].model_copy(update={"name": name})) for name in found if name not in names]


def _in_parallel(hosts: list[LabHost], work: Callable[[LabHost], None]) -> None:
    """Do the work for all hosts in parallel; the first failure is raised once all have finished."""
    with ThreadPoolExecutor(max_workers=max(len(hosts), 1)) as pool:
        for future in [pool.submit(work, host) for host in hosts]:
            future.result()


@contextmanager
def _locked(site: Site) -> Iterator[None]:
    """Let one command at a time change a lab. Raises CannotBuild where its hosts belong to another state folder."""
    _require_own_hosts(site)
    with locked(lab_folder(site)):
        yield


def _require_own_hosts(site: Site) -> None:
    """Raise CannotBuild when a lab of another state folder has running hosts of the same bridge and names.

    Without this check they would be killed as leftovers of this lab.
    """
    foreign = {host.name: folder for host in lab_hosts(site) if (folder := host.foreign_state_dir)}
    if foreign:
        folder = next(iter(foreign.values()))
        raise CannotBuild(
            "a lab of another state folder uses this bridge",
            where=f"bridge {lab_settings(site).bridge}",
            found=f"{', '.join(foreign)} of the lab in {folder}",
            needed="a bridge of its own for each lab",
            remedy=f"set another lab.bridge and lab.network, or take that lab down: AIRAVATA_RUNBOOK_STATE={folder} "
            "airavata-runbook lab down with its site file",
        )
