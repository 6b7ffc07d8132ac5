"""The checks that look at one host: what they need of it comes back in one round trip, and each is a pure function of that."""

import re
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface

from airavata_runbook.batch import batch, split
from airavata_runbook.errors import StepFailed
from airavata_runbook.facts.host import HostFacts
from airavata_runbook.mirror.packages import PACKAGE, PACKAGES, of_host
from airavata_runbook.site import Node, Site
from airavata_runbook.ssh import Host
from airavata_runbook.step import Target

CPUS = 2  # on the master; what kubeadm asks of a control plane too
MEMORY = 1 << 30  # bytes; a host of the idle cluster was measured at 0.7 GB
DISK = 8 << 30  # bytes; packages, images and their unpacked layers were measured at 2.5 GB on the master
SKEW = 30.0  # seconds; a certificate is valid from its making on, and leases end by the clock
MTU = 1330  # bytes; IPv4 asks for 1280 in practice, and vxlan takes 50 of each packet (RFC 7348)
OURS = ("cni0", "flannel.1")  # interfaces of an earlier run, whose addresses are the pods'
# Port → the program of the runbook's own that may already listen there (as ss shows it: 15 characters).
MASTER_PORTS = {("tcp", 6443): "kube-apiserver", ("tcp", 2379): "etcd", ("tcp", 2380): "etcd",
                ("tcp", 10257): "kube-controller", ("tcp", 10259): "kube-scheduler"}
NODE_PORTS = {("tcp", 10250): "kubelet", ("tcp", 10256): "kube-proxy", ("udp", 8472): ""}  # vxlan has no program
FEATURES = ("overlay", "br_netfilter", "vxlan", "nf_conntrack")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")  # control groups' that the kubelet limits pods by
IN_THE_WAY = {other for package in PACKAGES for other in package.conflicts}
FRAGMENTS = {
    "ports": "ss -Htulnp || echo ss fails",
    # Asked of the running kernel; else whether a module could be loaded. A network namespace of its own, gone at once,
    # shows whether vxlan works.
    "features": """can() { modprobe -nq $1 2>/dev/null && echo $1; true; }
if grep -qw overlay /proc/filesystems; then echo overlay; else can overlay; fi
if test -d /proc/sys/net/bridge; then echo br_netfilter; else can br_netfilter; fi
if test -e /proc/sys/net/netfilter/nf_conntrack_max; then echo nf_conntrack; else can nf_conntrack; fi
if unshare -n ip link add v0 type vxlan id 1 dstport 8472 local 127.0.0.1 2>/dev/null; then echo vxlan; else can vxlan; fi""",
    # Version 2 names them in the first file, version 1 in the second: name, hierarchy, number of groups, enabled.
    "cgroup": "cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null || awk '$4 == 1 {print $1}' /proc/cgroups",
    # The second letter says how a package is: n is not there, of c only the configuration is left.
    "packages": "dpkg-query -W -f='${db:Status-Abbrev} ${Package}\\n' " + " ".join(sorted(IN_THE_WAY))
                + " 2>/dev/null | awk '$1 !~ /^.[nc]/ {print $2}'",
}
# apt's own downloader is there before curl is, and goes the way that apt will go.
INDEX = """dir=$(mktemp -d)
for file in Release InRelease Packages Packages.gz; do
    said=$(timeout 10 /usr/lib/apt/apt-helper -qq -o Acquire::Retries=0 download-file {url}/$file $dir/index 2>&1) &&
        said="index $file" && break
    case $? in 124) said="no answer within 10 s" ;; esac
    # Only what is not there may be there by another name.
    case $said in *40[34]*) ;; *) break ;; esac
done
echo "$said" | grep -v '^W:' | head -n 1; rm -rf $dir"""


@dataclass(frozen=True)
class Seen:
    """A host for the checks. listening: (protocol, port) → the program's name. registry: addresses that the registry's
    name leads to there. packages: those of others that are in the way of one of ours. features: what the kernel has.
    controllers: of its control groups. repository: "index NAME" that the package repository gave the host, or why it
    gave none.
    """

    node: Node
    facts: HostFacts
    listening: dict[tuple[str, int], str]
    registry: tuple[str, ...]
    packages: frozenset[str]
    features: frozenset[str]
    controllers: frozenset[str]
    repository: str = ""


Found = Iterable[tuple[str, str, str]]  # found, needed, remedy


def _os(site: Site, seen: Seen) -> Found:
    if seen.facts.os not in ("debian", "ubuntu"):
        yield f"{seen.facts.os} {seen.facts.version}", "Debian or Ubuntu", "packages for apt are all there is yet"
    if not seen.facts.systemd:
        yield "systemd is not its first process", "systemd", "use a host that boots with systemd"


def _architecture(site: Site, seen: Seen) -> Found:
    if seen.facts.architecture not in ("x86_64", "aarch64"):
        yield seen.facts.architecture, "x86_64 or aarch64", "use another host"


def _cpu(site: Site, seen: Seen) -> Found:
    if seen.node == site.master and seen.facts.cpus < CPUS:
        yield f"{seen.facts.cpus} CPU", f"{CPUS} on the master", "give the host more, or make another one the master"


def _memory(site: Site, seen: Seen) -> Found:
    if seen.facts.memory < MEMORY:
        yield f"{seen.facts.memory >> 20} MiB", f"{MEMORY >> 20} MiB", "give the host more memory"


def _disk(site: Site, seen: Seen) -> Found:
    if seen.facts.disk_free < DISK:
        yield f"{seen.facts.disk_free >> 30} GiB free on /", f"{DISK >> 30} GiB", "make room"


def _address(site: Site, seen: Seen) -> Found:
    node, facts = seen.node, seen.facts
    if node.interface not in facts.mtu:
        others = sorted(name for name in facts.mtu if name not in OURS and not name.startswith("veth"))
        yield (f"no interface {node.interface}; it has {', '.join(others)}", f"{node.address} on {node.interface}",
               "correct the node's interface in the site file")
    elif (address := facts.addresses.get(node.interface, "none")).partition("/")[0] != str(node.address):
        yield (f"{node.interface} has address {address}", str(node.address), "correct the node's address in the site file")


def _mtu(site: Site, seen: Seen) -> Found:
    mtu = seen.facts.mtu.get(seen.node.interface, MTU)
    if mtu < MTU:
        yield f"{seen.node.interface} has MTU {mtu}", f"{MTU} or more", "raise the MTU of the private network"


def _ports(site: Site, seen: Seen) -> Found:
    wanted = dict(NODE_PORTS)
    wanted |= MASTER_PORTS if seen.node == site.master else {}
    wanted |= {("tcp", site.registry.port): "registry"} if seen.node == site.registry_node else {}
    for (protocol, port), program in wanted.items():
        listener = seen.listening.get((protocol, port))
        if listener is not None and listener != program:
            yield f"{listener or 'something'} listens on {port}/{protocol}", "a free port", "stop it, or move it to another port"


def _swap(site: Site, seen: Seen) -> Found:
    # With cgroup version 2 the kubelet keeps pods out of swap; with version 1 it cannot.
    if seen.facts.swap and seen.facts.cgroup == 1:
        yield (f"{seen.facts.swap >> 20} MiB of swap, with cgroup version 1", "no swap",
               "swapoff -a, and its line out of /etc/fstab")


def _kernel(site: Site, seen: Seen) -> Found:
    if missing := [name for name in FEATURES if name not in seen.features]:
        yield f"no {', '.join(missing)}", ", ".join(FEATURES), "use a kernel that has them (Debian's and Ubuntu's do)"


def _cgroup(site: Site, seen: Seen) -> Found:
    if missing := [name for name in CONTROLLERS if name not in seen.controllers]:
        yield (f"no {', '.join(missing)} in control groups version {seen.facts.cgroup}", ", ".join(CONTROLLERS),
               f"boot with {' '.join(f'cgroup_enable={name}' for name in missing)} on the kernel's command line")


def _selinux(site: Site, seen: Seen) -> Found:
    if seen.facts.selinux == "enforcing":
        yield "SELinux enforces", "permissive or disabled", "setenforce 0, and SELINUX=permissive in /etc/selinux/config"


def _firewalld(site: Site, seen: Seen) -> Found:
    if seen.facts.firewalld:
        yield ("firewalld is active", "no firewall between the hosts",
               "systemctl disable --now firewalld, or trust the private network")


def _packages(site: Site, seen: Seen) -> Found:
    for name in of_host(site, seen.node):
        for other in sorted(seen.packages.intersection(PACKAGE[name].conflicts)):
            yield (f"{other} is installed, which cannot be beside {name}", "only one of them",
                   f"apt-get remove {other}, if the host needs it for nothing else")


def _clock(site: Site, seen: Seen) -> Found:
    if abs(seen.facts.skew) > SKEW:
        yield (f"{abs(seen.facts.skew):.0f} s {'ahead of' if seen.facts.skew > 0 else 'behind'} this machine",
               f"at most {SKEW:.0f} s", "timedatectl set-ntp true")


def _networks(site: Site, seen: Seen) -> Found:
    for interface, address in sorted(seen.facts.addresses.items()):
        for name in ("pods", "services"):
            wanted = getattr(site.network, name)
            if interface not in OURS and IPv4Interface(address).network.overlaps(wanted):
                yield (f"{interface} has {address}, inside network.{name} {wanted}", "networks that no host has yet",
                       "choose another in the site file, before the first run")


def _registry_name(site: Site, seen: Seen) -> Found:
    # /etc/hosts of each host gets the name in 02; another address for it, from DNS, would be in the way.
    other = [address for address in seen.registry if address != str(site.registry_node.address)]
    if other:
        yield (f"{site.registry.name} leads to {', '.join(other)}", str(site.registry_node.address),
               "correct that name in DNS or /etc/hosts, or choose another registry.name")


def _repository(site: Site, seen: Seen) -> Found:
    if not site.repository.folder and not re.fullmatch("index [A-Za-z.]+", seen.repository):
        why = re.sub("^E: (Failed to fetch \\S+ +)?", "", seen.repository)[:200] or "nothing was said"
        yield (_without_login(f"no package index at {site.repository.baseurl}: {why}"),
               "the site's package repository, as the host reaches it",
               "correct repository.baseurl, or open the host's way to it")


def _without_login(text: str) -> str:
    return re.sub("//[^/@ ]*@", "//", text)


EACH_HOST: dict[str, Callable[[Site, Seen], Found]] = {
    "os": _os, "architecture": _architecture, "cpu": _cpu, "memory": _memory, "disk": _disk, "address": _address, "mtu": _mtu,
    "ports": _ports, "swap": _swap, "kernel": _kernel, "cgroup": _cgroup, "selinux": _selinux, "firewalld": _firewalld,
    "packages": _packages, "clock": _clock, "networks": _networks, "registry-name": _registry_name, "sources": _repository}


def look(site: Site, host: Host) -> Seen:
    """What the checks need of one host. Raises RunbookError."""
    facts, nonce = Target(site, host).facts, secrets.token_hex(8)
    fragments = FRAGMENTS | {"registry": f"timeout 5 getent ahostsv4 {site.registry.name} || true"}
    if not site.repository.folder:
        fragments["repository"] = INDEX.format(url=shlex.quote(site.repository.baseurl.rstrip("/")))
    answers = split(host.run(batch(fragments, nonce)).stdout, nonce, fragments)
    return parse(host.node, facts, {name: answer.text for name, answer in answers.items()})


def parse(node: Node, facts: HostFacts, texts: dict[str, str]) -> Seen:
    """A host from what the fragments printed. Raises StepFailed when that is something else."""
    return Seen(node, facts, dict(_listeners(texts["ports"])),
                tuple(sorted({line.split()[0] for line in texts["registry"].splitlines() if line.split()})),
                frozenset(texts["packages"].split()),
                frozenset(texts["features"].split()), frozenset(texts["cgroup"].split()), texts.get("repository", "").strip())


def _listeners(text: str) -> Iterator[tuple[tuple[str, int], str]]:
    for words in map(str.split, text.splitlines()):
        port = words[4].rpartition(":")[2] if len(words) > 4 else ""
        if not port.isdecimal() or len(port) > 5:
            raise StepFailed("what listens on the host cannot be read", found=" ".join(words)[:200],
                             needed=f"the output of: {FRAGMENTS['ports']}")
        yield (words[0], int(port)), words[6].split('"')[1] if len(words) > 6 and '"' in words[6] else ""
