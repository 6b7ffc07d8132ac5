"""All preflight checks, in one table at the end; their functions are pure, and yield a Problem for each thing that is wrong.

A function that takes a fact which could not be parsed ends there, and that is its check's finding.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from airavata_runbook import stacks
from airavata_runbook.checks.facts import (
    ForeignPackages,
    Listening,
    MissingPackages,
    PackageIndexError,
    ProductUuid,
    SiteRecord,
    StorageFolders,
    asks_for_index,
)
from airavata_runbook.checks.firewall import find_firewall, find_firewalld
from airavata_runbook.checks.host_parts import find_host_parts
from airavata_runbook.checks.leftovers import find_leftovers
from airavata_runbook.checks.machine import (
    CONTROLLERS,
    CPUS,
    DISK,
    DISK_ELSEWHERE,
    FEATURES,
    MEMORY,
    find_architecture,
    find_cgroup,
    find_cpu,
    find_disk,
    find_kernel,
    find_memory,
    find_os,
    find_selinux,
    find_swap,
    find_sysctls,
)
from airavata_runbook.checks.network import (
    MTU,
    find_address,
    find_cloud_init,
    find_cloud_setup,
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
from airavata_runbook.distributions import SUPPORTED, check_repository_id, packaging_of
from airavata_runbook.errors import HostKeyRefused, NotRoot, SiteError
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.hosts.snapshot import HostSnapshot
from airavata_runbook.mirror.catalogue import PACKAGE, check_releases, check_versions, of_host
from airavata_runbook.mirror.choice import choose
from airavata_runbook.mirror.recipes import BY_NAME
from airavata_runbook.site import Site, storage
from airavata_runbook.site.fields import without_login
from airavata_runbook.site.life import another_master, departures, kept_folders, unfinished_restore
from airavata_runbook.site.stack_file import SYSTEM, StackError
from airavata_runbook.wellknown import CONTROL_PLANE_PORTS, FLANNEL_PORT, NODE_PORTS

CLOCK_SKEW = 30.0  # seconds; a certificate is valid from its making on, and leases end by the clock
NEW_MACHINE = "give the virtual machine a UUID of its own: a clone has that of its template"


def _forwarding(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if error := host.forbidden:
        yield Problem(f"{error.summary} ({error.where})", error.needed, error.remedy)


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


def _packages(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    foreign, by_hand = host[ForeignPackages], packaging_of(host.get(facts.Os)).remove_by_hand
    for name in of_host(site, host.node):
        for other in sorted(foreign.intersection(PACKAGE[name].conflicts)):
            yield Problem(
                f"{other} is installed, which conflicts with {name}",
                "only one of them",
                f"{by_hand([other])}, if the host does not need it",
            )
        if site.repository.folder and name in foreign:  # else the site's own repository may have provided it
            yield Problem(
                f"{name} from another maintainer is installed; the runbook's would replace it, and a reset remove it",
                "none, or the runbook's own",
                f"{by_hand([name])}, if the host does not need it",
            )


def _dependencies(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    missing = host[MissingPackages]
    if missing:
        yield Problem(
            f"{', '.join(sorted(missing))}: neither installed nor in a repository whose index the host has",
            "02-install can install them",
            "read the index of the distribution's repository; without a network install them from its medium",
            note=True,  # an index that was never read is read by the installation
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


def _components(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    yield from find_host_parts(site, host)
    state, recorded = host[SiteRecord]
    if host.node == site.master and state == "not" and not recorded and not site.lab:  # a lab says so when it is chosen
        for note in choose(site).notes:
            yield Problem(note, "a sha256 in the lock file", "none; airavata-runbook lock reads them", note=True)


def _repository(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    try:
        check_repository_id(host.get(facts.Os), site.repository)
    except SiteError as error:
        yield Problem(error.summary, error.needed, error.remedy)
    if asks_for_index(site) and (reason := host[PackageIndexError]):
        yield Problem(
            without_login(f"no package index at {site.repository.baseurl}: {reason}"),
            "the site's package repository is reachable from the host",
            "correct repository.baseurl, or allow the host to connect to it",
        )


def _versions(site: Site, query: bool) -> Iterator[Problem]:
    if site.repository.folder:  # filled from the mirror
        try:
            check_versions(site.versions)
        except SiteError as error:
            yield Problem(error.found, "versions that the mirror builds", error.remedy)
    try:
        check_releases(site)
    except SiteError as error:
        yield Problem(error.found, f"a known sha256 of the files of a release: {error.needed}", error.remedy)


def _sources(site: Site, query: bool) -> Iterator[Problem]:
    for one in check_references(site, query):
        if one.problem:
            yield Problem(
                f"{one.field}: {one.target}: {one.problem}",
                one.needed or "a usable file, variable or image",
                one.remedy or "correct it, or the site file",
            )
        elif one.note:
            yield Problem(f"{one.field}: {one.target}: {one.state}", one.needed, one.remedy, note=True)


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
    HostCheck("os", f"{SUPPORTED}, with systemd", find_os),
    HostCheck("architecture", "x86_64", find_architecture),
    HostCheck("cpu", f"at least {CPUS} on the master", find_cpu),
    HostCheck("memory", f"at least {MEMORY >> 20} MiB", find_memory),
    HostCheck(
        "disk", f"{DISK >> 30} GiB free for containers, {DISK_ELSEWHERE >> 30} GiB elsewhere and on existing nodes", find_disk
    ),
    HostCheck("address", "the site file's address on the site file's interface", find_address),
    PeerCheck("mtu", f"at least {MTU} bytes, the same on all hosts", find_mtu),
    HostCheck("ports", "of Kubernetes, etcd, flannel, the registry and node ports are free, or used by them already", _ports),
    HostCheck("units", "of these services are the runbook's, without drop-ins of others", find_units),
    HostCheck("swap", "none with cgroup version 1, now and after a boot", find_swap),
    HostCheck("kernel", f"has {', '.join(FEATURES)}", find_kernel),
    HostCheck("sysctl", "no other file takes back the runbook's kernel settings at boot", find_sysctls),
    HostCheck("cgroup", f"controllers {', '.join(CONTROLLERS)} are enabled", find_cgroup),
    HostCheck("selinux", "has a policy for containers where it is on; it is not changed", find_selinux),
    HostCheck("firewalld", "lets hosts and pods reach each other, where it is active", find_firewalld),
    HostCheck("firewall", "ufw, nftables and iptables let hosts and pods reach each other", find_firewall),
    HostCheck("packages", "none from others that conflict with the runbook's or have the same name", _packages),
    HostCheck("components", "those of the host's own are new enough for the others; what is built is reported", _components),
    HostCheck("dependencies", "of the runbook's packages are installed, or in a known repository (reported)", _dependencies),
    HostCheck("leftovers", "nothing of an earlier cluster", find_leftovers),
    HostCheck("clock", f"within {CLOCK_SKEW:.0f} s of this machine's", _clock),
    HostCheck("networks", "of pods and services do not overlap a host's address or route", find_networks),
    HostCheck("registry-name", "resolves to the registry's host, or not at all", find_registry_name),
    HostCheck("cloud-init", "leaves /etc/hosts, or has the registry's name in its template", find_cloud_init),
    HostCheck("nm-cloud-setup", "not enabled", find_cloud_setup),
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
