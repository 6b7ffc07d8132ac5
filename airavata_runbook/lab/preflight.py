"""What has to be true before a lab is made: everything is looked at first, all problems are told at once."""

import os
import platform
import shutil
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.lab import machine, network
from airavata_runbook.local.paths import state_dir
from airavata_runbook.site import Site

MEMORY = 1536  # MiB a host: the measured idle cluster of two takes 1.4 GB, Airavata's services about as much
DISK = 3072  # MiB a host, with images and databases
IMAGE = 1024  # MiB, once
WATCHERS = 20  # inotify instances a host: 16 were counted on a worker, 27 on a master; root's hosts share root's limit


@dataclass(frozen=True)
class Facts:
    """What a lab meets on this machine. memory, disk: MiB available. watchers: inotify instances that root has left.
    forward_drops: see network.forward_drops.
    modules: kernel modules that hosts need, that are not loaded, and that they cannot load themselves.
    """

    system: str
    uid: int
    kind: machine.Kind
    missing: list[str]
    memory: int
    disk: int
    watchers: int
    links: list[network.Link]
    routes: list[tuple[IPv4Network, str]]
    forward_drops: bool
    modules: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """One thing that stands in the way, and what to do about it."""

    what: str
    remedy: str


def look(site: Site) -> Facts:
    """The facts of this machine. What cannot be asked (no Linux, no iproute2) counts as empty."""
    linux, missing = platform.system() == "Linux", machine.missing_tools()
    can_ask = linux and not any(tool.startswith(("ip ", "iptables ")) for tool in missing)
    return Facts(
        system=platform.system(),
        uid=os.geteuid(),
        kind=machine.kind() if linux else machine.Kind.UNKNOWN,
        missing=missing,
        memory=_available_memory() if linux else 0,
        disk=shutil.disk_usage(state_dir()).free >> 20,
        watchers=_free_watchers() if linux else 0,
        links=network.links() if can_ask else [],
        routes=network.routes() if can_ask else [],
        forward_drops=can_ask and network.forward_drops() and not network.forward_accepted(site.lab.bridge),
        modules=_missing_modules() if linux else [],
    )


def problems(facts: Facts, site: Site, starting: int) -> list[Problem]:
    """All that is wrong; empty when a lab can be made. starting: hosts that do not run yet and need room."""
    if facts.system != "Linux":
        return [
            Problem(
                f"this machine runs {facts.system}; lab hosts are Linux containers",
                "use a Linux machine or a Linux virtual machine, or point the site at real hosts",
            )
        ]
    found = []
    if facts.uid != 0:
        found.append(Problem("lab hosts can only be made by root", "run the same command with sudo"))
    if facts.kind is machine.Kind.UNKNOWN:
        found.append(
            Problem(
                "the machine has neither systemd with cgroup v2 nor cgroup v1 without systemd",
                "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
            )
        )
    if facts.missing:
        packages = " ".join(tool.partition("(")[2].rstrip(")") for tool in facts.missing)
        found.append(Problem(f"missing tools: {', '.join(facts.missing)}", f"apt-get install {packages}"))
    if facts.modules:
        found.append(
            Problem(
                f"kernel modules that hosts need are not loaded: {', '.join(facts.modules)}",
                "modprobe -a overlay br_netfilter vxlan nf_conntrack",
            )
        )
    for what, available, needed in (
        ("memory", facts.memory, starting * MEMORY),
        ("disk space", facts.disk, starting * DISK + IMAGE),
    ):
        if available < needed:
            found.append(
                Problem(
                    f"{starting} hosts need {needed} MiB of {what}, {available} MiB are available",
                    "free some, or use fewer nodes"
                    + ("" if what == "memory" else ", or set AIRAVATA_RUNBOOK_STATE to a larger disk"),
                )
            )
    if facts.watchers < (needed := starting * WATCHERS):
        found.append(
            Problem(
                f"{starting} hosts need {needed} inotify instances, {facts.watchers} are available",
                "sysctl -w fs.inotify.max_user_instances=1024, or take another lab down",
            )
        )
    return (
        found
        + _network_problems(facts, site)
        + [
            Problem(
                f"node {node.name} names its interface {node.interface}; a lab host's is host0",
                f"set interface: host0 for {node.name} in the site file",
            )
            for node in site.nodes
            if node.interface != "host0"
        ]
    )


def _network_problems(facts: Facts, site: Site) -> list[Problem]:
    lab, found = site.lab, []
    ours = {link.name for link in facts.links if link.name == lab.bridge and link.alias == network.MARK}
    if not ours and any(link.name == lab.bridge for link in facts.links):
        found.append(
            Problem(f"there is an interface {lab.bridge} that is not a lab's", "set another lab.bridge in the site file")
        )
    if (
        ours
        and not any(
            address.network == lab.network for link in facts.links if link.name == lab.bridge for address in link.addresses
        )
        and any(link.addresses for link in facts.links if link.name == lab.bridge)
    ):
        found.append(
            Problem(
                f"bridge {lab.bridge} belongs to a lab with another network than {lab.network}",
                "take that lab down, or set another lab.bridge",
            )
        )
    clash = [f"{target} on {device}" for target, device in facts.routes if device not in ours and target.overlaps(lab.network)]
    if clash:
        found.append(
            Problem(
                f"lab.network {lab.network} overlaps a network that this machine reaches: " + ", ".join(clash),
                "choose another lab.network, and addresses in it, in the site file",
            )
        )
    if facts.forward_drops:
        found.append(
            Problem(
                "this machine's FORWARD policy is DROP and bridged packets pass it: the hosts could not reach each other",
                f"iptables -I FORWARD -i {lab.bridge} -o {lab.bridge} -j ACCEPT",
            )
        )
    return found


def check(site: Site, starting: int) -> None:
    """Raise CannotBuild with every problem at once; return when there is none. starting: as in `problems`."""
    found = problems(look(site), site, starting)
    if found:
        raise CannotBuild(
            f"the lab cannot be made on this machine ({len(found)} problem{'s' * (len(found) > 1)})",
            found="\n".join(f"{number}. {problem.what}" for number, problem in enumerate(found, 1)),
            remedy="\n".join(f"{number}. {problem.remedy}" for number, problem in enumerate(found, 1)),
        )


def _missing_modules() -> list[str]:
    present = {
        "overlay": "\toverlay\n" in Path("/proc/filesystems").read_text(),
        "br_netfilter": Path("/proc/sys/net/bridge").is_dir(),
    }
    return [name for name, there in present.items() if not there]


def _free_watchers() -> int:
    used = sum(_target(file) == "anon_inode:inotify" for file in Path("/proc").glob("[0-9]*/fd/*"))
    return int(Path("/proc/sys/fs/inotify/max_user_instances").read_text()) - used


def _target(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:  # it was closed in this moment
        return ""


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    raise CannotBuild("the kernel does not say how much memory is available", where="/proc/meminfo")
