"""All preflight checks, in one table at the end; their functions are pure, and yield a Problem for each thing that is wrong.

A function that takes a fact which could not be parsed ends there, and that is its check's finding.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from airavata_runbook import stacks
from airavata_runbook.checks.facts import (
    CONTAINERS,
    CgroupControllers,
    ForeignPackages,
    FreeSpace,
    KernelFeatures,
    Listening,
    PackageIndexError,
    ProductUuid,
    SiteRecord,
    StorageFolders,
)
from airavata_runbook.checks.firewall import find_firewall
from airavata_runbook.checks.leftovers import find_leftovers
from airavata_runbook.checks.network import (
    MTU,
    find_address,
    find_cloud_init,
    find_equal,
    find_equal_mac,
    find_mtu,
    find_nameservers,
    find_networks,
    find_registry_name,
)
from airavata_runbook.checks.owners import find_units, others_on
from airavata_runbook.checks.references import check_references
from airavata_runbook.checks.ssh import check_algorithms, check_known_hosts
from airavata_runbook.checks.types import Check, ConnectionCheck, HostCheck, PeerCheck, Problem, SessionCheck, SiteCheck
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import HostKeyRefused, NotRoot, SiteError
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.hosts.snapshot import HostSnapshot
from airavata_runbook.mirror.catalogue import PACKAGE, check_versions, of_host
from airavata_runbook.mirror.recipes import BY_NAME
from airavata_runbook.site import Site, storage
from airavata_runbook.site.fields import without_login
from airavata_runbook.site.life import another_master, departures, kept_folders, unfinished_restore
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
NEW_MACHINE = "give the virtual machine a UUID of its own: a clone has that of its template"
FEATURES = ("overlay", "br_netfilter", "vxlan", "nf_conntrack")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")  # by which the kubelet limits pods


def _forwarding(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if error := host.forbidden:
        yield Problem(f"{error.summary} ({error.where})", error.needed, error.remedy)


def _os(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    system = host[facts.Os]
    if system.id in SYSTEMS:
        if not system.version:
            yield Problem(f"{system.id} without a version", SUPPORTED, "none: a testing release was not tried", note=True)
        elif _comparable(system.version) < SYSTEMS[system.id]:
            yield Problem(str(system), SUPPORTED, "use another host, or upgrade it")
    elif like := [name for name in system.like if name in SYSTEMS]:
        yield Problem(f"{system}, like {like[0]}", SUPPORTED, "none: a derivative was not tried", note=True)
    else:
        yield Problem(str(system), SUPPORTED, "use another host: only apt's packages are supported")
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


def _ports(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    registry = (site.registry.port, site.registry_pull_port) if host.node == site.registry_node else ()
    programs = dict.fromkeys(registry, "registry")
    programs |= CONTROL_PLANE_PORTS if host.node == site.master else {}
    programs |= NODE_PORTS
    wanted = {("tcp", port): program for port, program in programs.items()}
    # The kernel listens on flannel's. On a NodePort nothing does: it is a rule of the packet filter.
    wanted |= {("udp", FLANNEL_PORT): ""}
    with suppress(StackError):  # a finding of its own
        wanted |= dict.fromkeys(stacks.node_ports(_loaded(site)), "kube-proxy")
    for (protocol, port), program in wanted.items():
        names = host[Listening].get((protocol, port), frozenset())
        for other in others_on(site, host, (protocol, port), program, names):
            yield Problem(f"{other} listens on {port}/{protocol}", "a free port", "stop it, or change its port")


def _swap(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    # With cgroup version 2 the kubelet keeps pods out of swap; with version 1 it cannot.
    swap, boot = host[facts.Memory].swap, host[facts.SwapAtBoot]
    if host[facts.CgroupVersion] == 1 and (swap or boot):
        now = f"{swap >> 20} MiB of swap" if swap else f"swap at the next boot ({', '.join(boot)})"
        units = [name for name in boot if not name.startswith("/etc/fstab")]
        remedy = ["swapoff -a, and remove it from /etc/fstab", *(f"systemctl mask {unit}" for unit in units)]
        yield Problem(f"{now}, with cgroup version 1", "no swap, also after a boot", "; ".join(remedy))


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


def _fixed_fields(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    state, recorded = host[SiteRecord]
    if unfinished := unfinished_restore(state, site):
        yield Problem(unfinished.found, unfinished.needed, unfinished.remedy)
    found = departures(recorded, site, state != "not") if recorded else []
    if not recorded and host.node == site.master and (other := another_master(state, site)):
        found = [other]
    for one in found:
        yield Problem(f"{one.field}: {one.found}", one.needed, one.remedy)
    for kept in kept_folders(recorded):
        yield Problem(
            f"{', '.join(kept.folders)} on {kept.host} are the databases' folders before they were moved",
            "a decision of yours",
            f"when everything works: airavata-runbook move-storage {site.name} --delete-old",
            note=True,
        )


def _storage(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    yield from (Problem(*one) for one in storage.problems(site, host.node.name, host[StorageFolders]))


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
        for name in sorted(stacks.image_names(site) - site.airavata.sources.keys() - BY_NAME.keys()):
            yield Problem(
                f"stack.yaml: image {name}: neither the site names it nor the runbook builds it",
                f"airavata.images.{name}, or one of {', '.join(sorted(BY_NAME))}",
                "correct the stack, or name the image in the site file",
            )
        _loaded(site)
    except StackError as error:
        for problem in error.problems or (f"{error.summary} ({error.where})",):
            yield Problem(problem, "a consistent stack that fits the site", "correct the site file or the stack")


def _loaded(site: Site) -> stacks.Stack:
    """The site's stack, of images that have no digests yet. Raises StackError."""
    names = (*SYSTEM, *stacks.image_names(site))
    return session_of(site).stack({name: f"{site.registry_address}/{name}:any" for name in names})


def _maintenance(site: Site, query: bool) -> Iterator[Problem]:
    if site.registry.maintenance:
        yield Problem(
            f"{site.registry.user} can delete images",
            "registry.maintenance: false, but while images are deleted on purpose",
            "set it back and run 04-registry",
            note=True,
        )


CHECKS: tuple[Check, ...] = (
    SessionCheck("reachable", "an SSH session can be opened", Exception),
    SessionCheck("host-key", "matches the site file's fingerprint or known_hosts", HostKeyRefused),
    SessionCheck("sudo", "the user is root or has sudo without a password", NotRoot),
    ConnectionCheck("ssh-algorithms", "of today, unless the site file has ssh.legacy (reported)", check_algorithms),
    HostCheck("forwarding", "the SSH server forwards ports for the user", _forwarding),
    HostCheck("os", f"{SUPPORTED}, with systemd", _os),
    HostCheck("architecture", "x86_64", _architecture),
    HostCheck("cpu", f"at least {CPUS} on the master", _cpu),
    HostCheck("memory", f"at least {MEMORY >> 20} MiB", _memory),
    HostCheck("disk", f"{DISK >> 30} GiB free for containers, {DISK_ELSEWHERE >> 30} GiB elsewhere and on existing nodes", _disk),
    HostCheck("address", "the site file's address on the site file's interface", find_address),
    PeerCheck("mtu", f"at least {MTU} bytes, the same on all hosts", find_mtu),
    HostCheck("ports", "of Kubernetes, etcd, flannel, the registry and node ports are free, or used by them already", _ports),
    HostCheck("units", "of these services are the runbook's, without drop-ins of others", find_units),
    HostCheck("swap", "none with cgroup version 1, now and after a boot", _swap),
    HostCheck("kernel", f"has {', '.join(FEATURES)}", _kernel),
    HostCheck("cgroup", f"controllers {', '.join(CONTROLLERS)} are enabled", _cgroup),
    HostCheck("selinux", "not enforcing", _selinux),
    HostCheck("firewalld", "not active", _firewalld),
    HostCheck("firewall", "ufw, nftables and iptables let hosts and pods reach each other", find_firewall),
    HostCheck("packages", "none from others that conflict with the runbook's or have the same name", _packages),
    HostCheck("leftovers", "nothing of an earlier cluster", find_leftovers),
    HostCheck("clock", f"within {CLOCK_SKEW:.0f} s of this machine's", _clock),
    HostCheck("networks", "of pods and services do not overlap a host's address or route", find_networks),
    HostCheck("registry-name", "resolves to the registry's host, or not at all", find_registry_name),
    HostCheck("cloud-init", "leaves /etc/hosts, or has the registry's name in its template", find_cloud_init),
    HostCheck("nameservers", "pods can reach those of the host", find_nameservers),
    HostCheck("fixed-fields", "of the site file are as the site was made with, if it exists already", _fixed_fields),
    HostCheck("storage", "the databases' folders have their data, if they had any, and no other pods use them", _storage),
    HostCheck("settings", "of the kubelet and kube-proxy can be derived from the host's facts", _settings),
    HostCheck("repository", "the hosts can download its package index, unless it is a folder of theirs", _repository),
    PeerCheck("hostname", "unique", partial(find_equal, facts.Hostname, "hostnamectl set-hostname NAME")),
    PeerCheck("machine-id", "unique", partial(find_equal, facts.MachineId, "rm /etc/machine-id; systemd-machine-id-setup")),
    PeerCheck("mac", "of the site file's interface is unique", find_equal_mac),
    PeerCheck("product-uuid", "unique, outside of containers", partial(find_equal, ProductUuid, NEW_MACHINE, optional=True)),
    SiteCheck("versions", "the mirror builds those of the site file", _versions),
    SiteCheck("sources", "certificates, images, keys and secrets that the site file names are usable", _sources),
    SiteCheck(
        "known-hosts", "the lines of the known_hosts files can be parsed (others are reported, and skipped)", check_known_hosts
    ),
    SiteCheck("registry-maintenance", "is over: no image can be deleted (reported)", _maintenance),
    SiteCheck("stack", "its manifests, images and secrets are consistent, and safe", _stack),
)
