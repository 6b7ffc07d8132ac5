"""The checks that look at one host: each is a pure function of what the host answered."""

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface

from airavata_runbook.checks.look import CONTAINERS, Seen
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.node_settings import derive
from airavata_runbook.mirror.catalogue import PACKAGE, of_host
from airavata_runbook.site import Site
from airavata_runbook.site.fields import without_login

SYSTEMS = {"debian": (12,), "ubuntu": (24, 4)}  # os-release's id → the oldest version that will do
OLDEST = "Debian 12 or Ubuntu 24.04, or a later one"
CPUS = 2  # on the master; what kubeadm asks of a control plane too
# Bytes. A host of the idle cluster was measured at 0.7 GB; the kernel of a nominal 1 GiB machine shows about 960 MiB of it.
MEMORY = 900 << 20
DISK = 8 << 30  # bytes where images are unpacked; packages, images and their layers were measured at 2.5 GB on the master
# Bytes wherever else the runbook fills a folder. Of a host that is a node already no more is asked anywhere: what the
# runbook uses is used, and this is room for the packages and images of another version beside those.
ROOM = 2 << 30
SKEW = 30.0  # seconds; a certificate is valid from its making on, and leases end by the clock
MTU = 1330  # bytes; IPv4 asks for 1280 in practice, and vxlan takes 50 of each packet (RFC 7348)
OURS = ("cni0", "flannel.1")  # interfaces of an earlier run, whose addresses are the pods'
# Port → the program of the runbook's own that may already listen there (as ss shows it: 15 characters).
MASTER_PORTS = {
    ("tcp", 6443): "kube-apiserver",
    ("tcp", 2379): "etcd",
    ("tcp", 2380): "etcd",
    ("tcp", 10257): "kube-controller",
    ("tcp", 10259): "kube-scheduler",
}
KUBELET = ("tcp", 10250)
NODE_PORTS = {KUBELET: "kubelet", ("tcp", 10256): "kube-proxy", ("udp", 8472): ""}  # vxlan has no program
FEATURES = ("overlay", "br_netfilter", "vxlan", "nf_conntrack")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")  # control groups' that the kubelet limits pods by

Found = Iterable[tuple[str, str, str]]  # found, needed, remedy


def _os(site: Site, seen: Seen) -> Found:
    if seen.os not in SYSTEMS:
        yield f"{seen.os} {seen.version}", OLDEST, "packages for apt are all there is yet"
    elif _version(seen.version) < SYSTEMS[seen.os]:
        yield f"{seen.os} {seen.version or 'without a version'}", OLDEST, "use another host, or upgrade it"
    if not seen.systemd:
        yield "systemd is not its first process", "systemd", "use a host that boots with systemd"


def _version(text: str) -> tuple[int, ...]:
    """For comparing; of what is no version: (), which comes before all others."""
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d+(\.\d+)*", text) else ()


def _architecture(site: Site, seen: Seen) -> Found:
    if seen.architecture != "x86_64":  # what images and packages are built for
        yield seen.architecture, "x86_64", "use another host"


def _cpu(site: Site, seen: Seen) -> Found:
    if seen.node == site.master and seen.cpus < CPUS:
        yield f"{seen.cpus} CPU", f"{CPUS} on the master", "give the host more, or make another one the master"


def _memory(site: Site, seen: Seen) -> Found:
    if seen.memory < MEMORY:
        yield f"{seen.memory >> 20} MiB", f"{MEMORY >> 20} MiB", "give the host more memory"


def _disk(site: Site, seen: Seen) -> Found:
    for mount in sorted({mount for mount, _ in seen.room.values()}):
        free = {folder: free for folder, (where, free) in seen.room.items() if where == mount}
        needed = DISK if CONTAINERS in free and not _is_node(seen) else ROOM
        if (least := min(free.values())) < needed:
            yield (
                f"{least / (1 << 30):.1f} GiB free on {mount}, for {', '.join(free)}",
                f"{needed >> 30} GiB",
                "make room, or mount a larger disk there",
            )


def _is_node(seen: Seen) -> bool:
    """Whether the kubelet of an earlier run is at work."""
    try:
        return "kubelet" in seen.listening.get(KUBELET, ())
    except StepFailed:  # the check `ports` tells it
        return False


def _address(site: Site, seen: Seen) -> Found:
    node = seen.node
    if node.interface not in seen.mtu:
        others = sorted(name for name in seen.mtu if name not in OURS and not name.startswith("veth"))
        yield (
            f"no interface {node.interface}; it has {', '.join(others)}",
            f"{node.address} on {node.interface}",
            "correct the node's interface in the site file",
        )
        return
    own = seen.addresses.get(node.interface, ())
    if node.address not in [IPv4Interface(address).ip for address in own]:
        yield (
            f"{node.interface} has address {', '.join(own) or 'none'}",
            str(node.address),
            "correct the node's address in the site file",
        )


def _mtu(site: Site, seen: Seen) -> Found:
    mtu = seen.mtu.get(seen.node.interface, MTU)
    if mtu < MTU:
        yield f"{seen.node.interface} has MTU {mtu}", f"{MTU} or more", "raise the MTU of the private network"


def _ports(site: Site, seen: Seen) -> Found:
    wanted = {("tcp", site.registry.port): "registry"} if seen.node == site.registry_node else {}
    wanted |= MASTER_PORTS if seen.node == site.master else {}
    wanted |= NODE_PORTS
    for (protocol, port), program in wanted.items():
        for other in sorted(seen.listening.get((protocol, port), frozenset()) - {program}):
            yield f"{other or 'something'} listens on {port}/{protocol}", "a free port", "stop it, or move it to another port"


def _swap(site: Site, seen: Seen) -> Found:
    # With cgroup version 2 the kubelet keeps pods out of swap; with version 1 it cannot.
    if seen.swap and seen.cgroup == 1:
        yield (f"{seen.swap >> 20} MiB of swap, with cgroup version 1", "no swap", "swapoff -a, and its line out of /etc/fstab")


def _kernel(site: Site, seen: Seen) -> Found:
    if missing := [name for name in FEATURES if name not in seen.features]:
        yield f"no {', '.join(missing)}", ", ".join(FEATURES), "use a kernel that has them (Debian's and Ubuntu's do)"


def _cgroup(site: Site, seen: Seen) -> Found:
    if missing := [name for name in CONTROLLERS if name not in seen.controllers]:
        yield (
            f"no {', '.join(missing)} in control groups version {seen.cgroup}",
            ", ".join(CONTROLLERS),
            f"boot with {' '.join(f'cgroup_enable={name}' for name in missing)} on the kernel's command line",
        )


def _selinux(site: Site, seen: Seen) -> Found:
    if seen.selinux == "enforcing":
        yield "SELinux enforces", "permissive or disabled", "setenforce 0, and SELINUX=permissive in /etc/selinux/config"


def _firewalld(site: Site, seen: Seen) -> Found:
    if seen.firewalld:
        yield (
            "firewalld is active",
            "no firewall between the hosts",
            "systemctl disable --now firewalld, or trust the private network",
        )


def _packages(site: Site, seen: Seen) -> Found:
    for name in of_host(site, seen.node):
        for other in sorted(seen.packages.intersection(PACKAGE[name].conflicts)):
            yield (
                f"{other} is installed, which cannot be beside {name}",
                "only one of them",
                f"apt-get remove {other}, if the host needs it for nothing else",
            )
        if site.repository.folder and name in seen.packages:  # else the site's own repository may well have it
            yield (
                f"{name} of another maker is installed; ours would replace it, and a reset remove it",
                "none, or the runbook's own",
                f"apt-get remove {name}, if the host needs it for nothing else",
            )


def _clock(site: Site, seen: Seen) -> Found:
    if abs(seen.skew) > SKEW:
        yield (
            f"{abs(seen.skew):.0f} s {'ahead of' if seen.skew > 0 else 'behind'} this machine",
            f"at most {SKEW:.0f} s",
            "timedatectl set-ntp true",
        )


def _networks(site: Site, seen: Seen) -> Found:
    used = [(interface, address) for interface, own in sorted(seen.addresses.items()) for address in own if interface not in OURS]
    for interface, address in used:
        for name in ("pods", "services"):
            wanted = getattr(site.network, name)
            if IPv4Interface(address).network.overlaps(wanted):
                yield (
                    f"{interface} has {address}, which overlaps network.{name} {wanted}",
                    "networks that no host has yet",
                    "choose another in the site file, before the first run",
                )


def _registry_name(site: Site, seen: Seen) -> Found:
    # /etc/hosts of each host gets the name in 02; another address for it, from DNS, would be in the way.
    other = [address for address in seen.registry if address != str(site.registry_node.address)]
    if other:
        yield (
            f"{site.registry.name} leads to {', '.join(other)}",
            str(site.registry_node.address),
            "correct that name in DNS or /etc/hosts, or choose another registry.name",
        )


def _settings(site: Site, seen: Seen) -> Found:
    derive(seen.facts)  # raises what cannot be read
    return ()


def _repository(site: Site, seen: Seen) -> Found:
    if not site.repository.folder and not re.fullmatch("index [A-Za-z.]+", seen.repository):
        why = re.sub("^E: (Failed to fetch \\S+ +)?", "", seen.repository)[:200] or "nothing was said"
        yield (
            without_login(f"no package index at {site.repository.baseurl}: {why}"),
            "the site's package repository, as the host reaches it",
            "correct repository.baseurl, or open the host's way to it",
        )


EACH_HOST: dict[str, Callable[[Site, Seen], Found]] = {
    "os": _os,
    "architecture": _architecture,
    "cpu": _cpu,
    "memory": _memory,
    "disk": _disk,
    "address": _address,
    "mtu": _mtu,
    "ports": _ports,
    "swap": _swap,
    "kernel": _kernel,
    "cgroup": _cgroup,
    "selinux": _selinux,
    "firewalld": _firewalld,
    "packages": _packages,
    "clock": _clock,
    "networks": _networks,
    "registry-name": _registry_name,
    "settings": _settings,
    "repository": _repository,
}
