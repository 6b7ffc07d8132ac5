"""All preflight checks, in one table at the end; their functions are pure, and yield a Problem for each thing that is wrong.

A function that takes a fact which could not be parsed ends there, and that is its check's finding.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Interface

from airavata_runbook import stacks
from airavata_runbook.checks.facts import (
    CONTAINERS,
    CgroupControllers,
    ForeignPackages,
    FreeSpace,
    KernelFeatures,
    Listening,
    PackageIndexError,
    RegistryAddresses,
)
from airavata_runbook.checks.references import check_references
from airavata_runbook.checks.types import Check, HostCheck, PeerCheck, Problem, SessionCheck, SiteCheck
from airavata_runbook.errors import HostKeyRefused, NotRoot, SiteError
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot
from airavata_runbook.mirror.catalogue import PACKAGE, check_versions, of_host
from airavata_runbook.site import Site
from airavata_runbook.site.fields import without_login
from airavata_runbook.site.stack_file import SYSTEM, StackError
from airavata_runbook.wellknown import CONTROL_PLANE_PORTS, FLANNEL_PORT, KUBELET_PORT, NODE_PORTS

SYSTEMS = {"debian": (12,), "ubuntu": (24, 4)}  # os-release's id → the oldest supported version
SUPPORTED = "Debian 12, Ubuntu 24.04, or later"
CPUS = 2  # on the master; kubeadm's minimum for a control plane too
# Bytes. A host of the idle cluster was measured at 0.7 GB; the kernel of a nominal 1 GiB machine shows about 960 MiB of it.
MEMORY = 900 << 20
DISK = 8 << 30  # bytes where images are unpacked; packages, images and their layers were measured at 2.5 GB on the master
# Bytes in every other folder that the runbook fills, and everywhere on a host that is a node already: its packages and
# images are there, and this is for those of another version beside them.
DISK_ELSEWHERE = 2 << 30
CLOCK_SKEW = 30.0  # seconds; a certificate is valid from its making on, and leases end by the clock
MTU = 1330  # bytes; IPv4 needs 1280 in practice, and vxlan takes 50 of each packet (RFC 7348)
OWN_INTERFACES = ("cni0", "flannel.1")  # of an earlier run; their addresses are the pods'
COMM = 15  # characters of a program's name that ss shows (proc_pid_comm(5))
FEATURES = ("overlay", "br_netfilter", "vxlan", "nf_conntrack")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")  # by which the kubelet limits pods


def _forwarding(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if error := host.forbidden:
        yield Problem(f"{error.summary} ({error.where})", error.needed, error.remedy)


def _os(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    name, version = host[facts.Os]
    if name not in SYSTEMS:
        yield Problem(f"{name} {version}", SUPPORTED, "use another host: only apt's packages are supported")
    elif _comparable(version) < SYSTEMS[name]:
        yield Problem(f"{name} {version or 'without a version'}", SUPPORTED, "use another host, or upgrade it")
    if not host[facts.Systemd]:
        yield Problem("PID 1 is not systemd", "systemd", "use a host that boots with systemd")


def _comparable(version: str) -> tuple[int, ...]:
    """Empty, so before all others, for text that is no version."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else ()


def _architecture(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if host[facts.Architecture] != "x86_64":  # what images and packages are built for
        yield Problem(host[facts.Architecture], "x86_64", "use another host")


def _cpu(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if host.node == site.master and host[facts.Cpus] < CPUS:
        yield Problem(f"{host[facts.Cpus]} CPU", f"{CPUS} on the master", "add CPUs, or make another host the master")


def _memory(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if (total := host[facts.Memory].total) < MEMORY:
        yield Problem(f"{total >> 20} MiB", f"{MEMORY >> 20} MiB", "add memory to the host")


def _disk(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    is_node = "kubelet" in (host.get(Listening) or {}).get(("tcp", KUBELET_PORT), ())
    for mount in sorted({system.mount for system in host[FreeSpace].values()}):
        free = {folder: system.free for folder, system in host[FreeSpace].items() if system.mount == mount}
        needed = DISK if CONTAINERS in free and not is_node else DISK_ELSEWHERE
        if (least := min(free.values())) < needed:
            yield Problem(
                f"{least / (1 << 30):.1f} GiB free on {mount}, for {', '.join(free)}",
                f"{needed >> 30} GiB",
                "free disk space, or mount a larger disk there",
            )


def _address(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    node, mtus = host.node, host[facts.Mtus]
    if node.interface not in mtus:
        others = sorted(name for name in mtus if name not in OWN_INTERFACES and not name.startswith("veth"))
        yield Problem(
            f"no interface {node.interface}; it has {', '.join(others)}",
            f"{node.address} on {node.interface}",
            "correct the node's interface in the site file",
        )
        return
    own = host[facts.Addresses].get(node.interface, ())
    if node.address not in [IPv4Interface(address).ip for address in own]:
        yield Problem(
            f"{node.interface} has address {', '.join(own) or 'none'}",
            str(node.address),
            "correct the node's address in the site file",
        )


def _mtu(host: HostSnapshot, others: Sequence[HostSnapshot]) -> Iterator[Problem]:
    interface = host.node.interface
    mtu = host[facts.Mtus].get(interface)
    if mtu is None:
        return  # a missing interface is the finding of the check address
    if mtu < MTU:
        yield Problem(f"{interface} has MTU {mtu}", f"{MTU} or more", "raise the MTU of the private network")
    mtus = {other.node.name: (other.get(facts.Mtus) or {}).get(other.node.interface, mtu) for other in others}
    if different := [f"{name} has {its}" for name, its in mtus.items() if its != mtu]:
        yield Problem(
            f"{interface} has MTU {mtu}, {', '.join(different)}",
            "the same on all hosts",
            "set the same MTU on all interfaces of the private network",
        )


def _ports(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    programs = {site.registry.port: "registry"} if host.node == site.registry_node else {}
    programs |= CONTROL_PLANE_PORTS if host.node == site.master else {}
    programs |= NODE_PORTS
    wanted = {("tcp", port): program[:COMM] for port, program in programs.items()} | {("udp", FLANNEL_PORT): ""}
    for (protocol, port), program in wanted.items():
        for other in sorted(host[Listening].get((protocol, port), frozenset()) - {program}):
            yield Problem(f"{other or 'something'} listens on {port}/{protocol}", "a free port", "stop it, or change its port")


def _swap(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    # With cgroup version 2 the kubelet keeps pods out of swap; with version 1 it cannot.
    if (swap := host[facts.Memory].swap) and host[facts.CgroupVersion] == 1:
        yield Problem(f"{swap >> 20} MiB of swap, with cgroup version 1", "no swap", "swapoff -a, and remove it from /etc/fstab")


def _kernel(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if missing := [name for name in FEATURES if name not in host[KernelFeatures]]:
        yield Problem(f"no {', '.join(missing)}", ", ".join(FEATURES), "use a kernel that has them (Debian's and Ubuntu's do)")


def _cgroup(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if missing := [name for name in CONTROLLERS if name not in host[CgroupControllers]]:
        yield Problem(
            f"no controllers {', '.join(missing)} in cgroup version {host[facts.CgroupVersion]}",
            ", ".join(CONTROLLERS),
            f"boot with {' '.join(f'cgroup_enable={name}' for name in missing)} on the kernel's command line",
        )


def _selinux(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if host[facts.Selinux] == "enforcing":
        yield Problem("SELinux is enforcing", "not enforcing", "setenforce 0, and SELINUX=permissive in /etc/selinux/config")


def _firewalld(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if host[facts.Firewalld]:
        yield Problem("firewalld is active", "not active", "systemctl disable --now firewalld, or trust the private network")


def _packages(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    foreign = host[ForeignPackages]
    for name in of_host(site, host.node):
        for other in sorted(foreign.intersection(PACKAGE[name].conflicts)):
            yield Problem(
                f"{other} is installed, which conflicts with {name}",
                "only one of them",
                f"apt-get remove {other}, if the host does not need it",
            )
        if site.repository.folder and name in foreign:  # else the site's own repository may have provided it
            yield Problem(
                f"{name} from another maintainer is installed; the runbook's would replace it, and a reset remove it",
                "none, or the runbook's own",
                f"apt-get remove {name}, if the host does not need it",
            )


def _clock(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    skew = facts.clock_skew(host)
    if abs(skew) > CLOCK_SKEW:
        yield Problem(
            f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine",
            f"at most {CLOCK_SKEW:.0f} s",
            "timedatectl set-ntp true",
        )


def _networks(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    cluster = {"pods": site.network.pods, "services": site.network.services}
    for interface, addresses in sorted(host[facts.Addresses].items()):
        for address in addresses if interface not in OWN_INTERFACES else ():
            for name, network in cluster.items():
                if IPv4Interface(address).network.overlaps(network):
                    yield Problem(
                        f"{interface} has {address}, which overlaps network.{name} {network}",
                        "networks that no host uses",
                        "choose another network in the site file, before the first run",
                    )


def _registry_name(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    # Chapter 02 puts the name into /etc/hosts of each host; another address for it, from DNS, would conflict.
    if other := [address for address in host[RegistryAddresses] if address != str(site.registry_node.address)]:
        yield Problem(
            f"{site.registry.name} resolves to {', '.join(other)}",
            str(site.registry_node.address),
            "correct that name in DNS or /etc/hosts, or choose another registry.name",
        )


def _settings(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    derive_node_settings(host)
    yield from ()


def _repository(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if not site.repository.folder and (error := host[PackageIndexError]):
        yield Problem(
            without_login(f"no package index at {site.repository.baseurl}: {error}"),
            "the site's package repository is reachable from the host",
            "correct repository.baseurl, or allow the host to connect to it",
        )


def _unique(fact: type[Fact[str]], remedy: str, host: HostSnapshot, others: Sequence[HostSnapshot]) -> Iterator[Problem]:
    own = host[fact]
    if same := [other.node.name for other in others if other.get(fact) == own]:
        yield Problem(f"{own or 'none'}, as {', '.join(same)}", "unique", remedy)


def _versions(site: Site, query: bool) -> Iterator[Problem]:
    if site.repository.folder:  # filled from the mirror
        try:
            check_versions(site.versions)
        except SiteError as error:
            yield Problem(error.found, "versions that the mirror builds", error.remedy)


def _sources(site: Site, query: bool) -> Iterator[Problem]:
    for one in check_references(site, query):
        if one.problem:
            yield Problem(
                f"{one.field}: {one.target}: {one.problem}",
                one.needed or "a usable file, variable or image",
                one.remedy or "correct it, or the site file",
            )


def _stack(site: Site, query: bool) -> Iterator[Problem]:
    try:
        stacks.load(site, {name: f"{site.registry_address}/{name}:any" for name in (*SYSTEM, *stacks.image_names(site))})
    except StackError as error:
        for problem in error.problems or (error.summary,):
            yield Problem(problem, "a consistent stack that fits the site", "correct the site file or the stack")


CHECKS: tuple[Check, ...] = (
    SessionCheck("reachable", "an SSH session can be opened", Exception),
    SessionCheck("host-key", "matches the site file's fingerprint or known_hosts", HostKeyRefused),
    SessionCheck("sudo", "the user is root or has sudo without a password", NotRoot),
    HostCheck("forwarding", "the SSH server forwards ports for the user", _forwarding),
    HostCheck("os", f"{SUPPORTED}, with systemd", _os),
    HostCheck("architecture", "x86_64", _architecture),
    HostCheck("cpu", f"at least {CPUS} on the master", _cpu),
    HostCheck("memory", f"at least {MEMORY >> 20} MiB", _memory),
    HostCheck("disk", f"{DISK >> 30} GiB free for containers, {DISK_ELSEWHERE >> 30} GiB elsewhere and on existing nodes", _disk),
    HostCheck("address", "the site file's address on the site file's interface", _address),
    PeerCheck("mtu", f"at least {MTU} bytes, the same on all hosts", _mtu),
    HostCheck("ports", "of Kubernetes, etcd, flannel and the registry are free, or used by them already", _ports),
    HostCheck("swap", "none with cgroup version 1", _swap),
    HostCheck("kernel", f"has {', '.join(FEATURES)}", _kernel),
    HostCheck("cgroup", f"controllers {', '.join(CONTROLLERS)} are enabled", _cgroup),
    HostCheck("selinux", "not enforcing", _selinux),
    HostCheck("firewalld", "not active", _firewalld),
    HostCheck("packages", "none from others that conflict with the runbook's or have the same name", _packages),
    HostCheck("clock", f"within {CLOCK_SKEW:.0f} s of this machine's", _clock),
    HostCheck("networks", "of pods and services do not overlap a host's address", _networks),
    HostCheck("registry-name", "resolves to the registry's host, or not at all", _registry_name),
    HostCheck("settings", "of the kubelet and kube-proxy can be derived from the host's facts", _settings),
    HostCheck("repository", "the hosts can download its package index, unless it is a folder of theirs", _repository),
    PeerCheck("hostname", "unique", partial(_unique, facts.Hostname, "hostnamectl set-hostname NAME")),
    PeerCheck("machine-id", "unique", partial(_unique, facts.MachineId, "rm /etc/machine-id; systemd-machine-id-setup")),
    SiteCheck("versions", "the mirror builds those of the site file", _versions),
    SiteCheck("sources", "certificates, images, keys and secrets that the site file names are usable", _sources),
    SiteCheck("stack", "its components, images and secrets are consistent", _stack),
)
