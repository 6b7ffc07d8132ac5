"""What this machine must have before a lab is created: all problems are collected, then reported together."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.errors import CannotBuild, counted
from airavata_runbook.lab import cgroups, network
from airavata_runbook.lab.host import lab_hosts, lab_settings
from airavata_runbook.local.paths import state_dir
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Lab

MEMORY = 1536  # MiB a host: an idle cluster of two was measured to take 1.4 GB, Airavata's services about as much
DISK = 3072  # MiB a host, with images and databases
IMAGE = 1024  # MiB, once for hosts of each kind
INOTIFY = 20  # inotify instances a host: 16 were counted on a worker, 27 on a master; root's hosts share root's limit
AIO = 1024  # requests of asynchronous I/O a host: a site of two was measured to set 2048 aside, for its database
TOOLS = {  # program → Debian package
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "ssh": "openssh-client",
    "unshare": "util-linux",
    "mount": "mount",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with this machine, and how to fix it."""

    what: str
    remedy: str


def problems(site: Site, starting: int) -> list[Problem]:
    """All problems of this machine; empty when the lab can be created. starting: how many hosts are not running yet."""
    if platform.system() != "Linux":
        return [
            Problem(
                f"this machine runs {platform.system()}; lab hosts are Linux containers",
                "use a Linux machine or a Linux virtual machine, or a site with real hosts",
            )
        ]
    missing = [program for program in TOOLS if not shutil.which(program)]
    found = [*_system_problems(missing), *_capacity_problems(site, starting)]
    return found if {"ip", "iptables"} & set(missing) else [*found, *network_problems(lab_settings(site))]


def check(site: Site, starting: int) -> None:
    """Raise CannotBuild with every problem at once; return when there is none. starting: as in `problems`."""
    found = problems(site, starting)
    if found:
        raise CannotBuild(
            f"the lab cannot run on this machine ({counted(len(found), 'problem')})",
            found="\n".join(f"{number}. {problem.what}" for number, problem in enumerate(found, 1)),
            remedy="\n".join(f"{number}. {problem.remedy}" for number, problem in enumerate(found, 1)),
        )


def _system_problems(missing_tools: list[str]) -> Iterator[Problem]:
    if os.geteuid():
        yield Problem("only root can create lab hosts", "run the same command with sudo")
    if cgroups.detect_driver() is cgroups.Driver.UNSUPPORTED:
        yield Problem(
            "the machine has neither systemd with cgroup v2 nor cgroup v1 without systemd",
            "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
        )
    if missing_tools:
        packages = " ".join(TOOLS[program] for program in missing_tools)
        yield Problem(f"missing tools: {', '.join(missing_tools)}", f"apt-get install {packages}")
    if modules := _missing_modules():
        yield Problem(
            f"kernel modules that hosts need are not loaded: {', '.join(modules)}",
            "modprobe -a overlay br_netfilter vxlan nf_conntrack",
        )


@dataclass(frozen=True)
class Resource:
    """What hosts share of this machine. each: what one host needs of it. once: what it takes for all. remedy: for too little."""

    name: str
    each: int
    available: int
    remedy: str
    once: int = 0

    def needed(self, hosts: int) -> int:
        return hosts * self.each + self.once

    def shortage(self, hosts: int) -> str:
        """ "3072 MiB of memory, 2000 MiB are available"; "" where there is enough."""
        unit = " MiB" if self.name.startswith("MiB ") else ""
        enough = self.available >= self.needed(hosts)
        return "" if enough else f"{self.needed(hosts)} {self.name}, {self.available}{unit} are available"

    def hosts(self) -> int:
        """How many hosts there is enough for."""
        return max(self.available - self.once, 0) // self.each


def resources(images: int = 1) -> list[Resource]:
    """What hosts need and this machine has. images: of how many kinds of hosts."""
    room = "free some, or use fewer nodes"
    return [
        Resource("MiB of memory", MEMORY, _available_memory(), room),
        Resource(
            "MiB of disk space",
            DISK,
            shutil.disk_usage(state_dir()).free >> 20,
            f"{room}, or set AIRAVATA_RUNBOOK_STATE to a folder on a larger disk",
            once=images * IMAGE,
        ),
        Resource(
            "inotify instances",
            INOTIFY,
            _free_inotify_instances(),
            "sysctl -w fs.inotify.max_user_instances=1024, or take another lab down",
        ),
        Resource(
            "requests of asynchronous I/O",
            AIO,
            _number("/proc/sys/fs/aio-max-nr") - _number("/proc/sys/fs/aio-nr"),
            "sysctl -w fs.aio-max-nr=1048576, or take another lab down",
        ),
    ]


def _capacity_problems(site: Site, starting: int) -> Iterator[Problem]:
    for one in resources(images=len({host.packages for host in lab_hosts(site)})):
        if shortage := one.shortage(starting):
            yield Problem(f"{starting} hosts need {shortage}", one.remedy)


def network_problems(lab: Lab) -> Iterator[Problem]:
    """What is in the way of the lab's bridge and network."""
    bridge = next((link for link in network.links() if link.name == lab.bridge), None)
    own = bridge is not None and bridge.alias == network.ALIAS
    if bridge and not own:
        yield Problem(f"interface {lab.bridge} exists and is not a lab's", "set another lab.bridge in the site file")
    if bridge and own and bridge.addresses and lab.network not in [address.network for address in bridge.addresses]:
        yield Problem(
            f"bridge {lab.bridge} belongs to a lab with another network than {lab.network}",
            "take that lab down, or set another lab.bridge",
        )
    overlaps = [
        f"{target} on {device}"
        for target, device in network.routes()
        if target.overlaps(lab.network) and not (own and device == lab.bridge)
    ]
    if overlaps:
        yield Problem(
            f"lab.network {lab.network} overlaps a network that this machine has a route to: " + ", ".join(overlaps),
            "choose another lab.network, and addresses in it, in the site file",
        )
    if network.forward_drops(lab.bridge):
        yield Problem(
            "this machine's FORWARD policy is DROP and bridged packets pass it: the hosts could not reach each other",
            f"iptables -I FORWARD -i {lab.bridge} -o {lab.bridge} -j ACCEPT",
        )


def _missing_modules() -> list[str]:
    loaded = {
        "overlay": "\toverlay\n" in Path("/proc/filesystems").read_text(),
        "br_netfilter": Path("/proc/sys/net/bridge").is_dir(),
    }
    return [name for name, is_loaded in loaded.items() if not is_loaded]


def _free_inotify_instances() -> int:
    used = sum(_link_target(file) == "anon_inode:inotify" for file in Path("/proc").glob("[0-9]*/fd/*"))
    return _number("/proc/sys/fs/inotify/max_user_instances") - used


def _number(path: str) -> int:
    return int(Path(path).read_text())


def _link_target(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:  # it was closed since it was listed
        return ""


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    raise CannotBuild("the kernel does not report available memory", where="/proc/meminfo", needed="a line MemAvailable")
