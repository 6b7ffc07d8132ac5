"""Everything that is wrong with a site, found before anything is changed: named checks, all run, each can be left out.

A check looks at one host, at all hosts together, or at the site file alone. What it finds it says with what is needed
and the remedy. A site leaves a check out by its name (`ignore_checks`); it is then run and reported as ignored.
"""

import re
import secrets
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

from airavata_runbook import stacks
from airavata_runbook.batch import batch, split
from airavata_runbook.errors import HostUnreachable, RunbookError, SiteError, StepFailed, printable
from airavata_runbook.facts.host import HostFacts
from airavata_runbook.site import Node, Site
from airavata_runbook.site_images import SYSTEM
from airavata_runbook.sources import sources
from airavata_runbook.ssh import Host, connect, side_by_side
from airavata_runbook.step import Target

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
FRAGMENTS = {
    "ports": "ss -Htulnp || echo ss fails",
    # Asked of the running kernel; else whether a module could be loaded. A network namespace of its own, gone at once,
    # shows whether vxlan works.
    "features": """can() { modprobe -nq $1 2>/dev/null && echo $1; true; }
if grep -qw overlay /proc/filesystems; then echo overlay; else can overlay; fi
if test -d /proc/sys/net/bridge; then echo br_netfilter; else can br_netfilter; fi
if test -e /proc/sys/net/netfilter/nf_conntrack_max; then echo nf_conntrack; else can nf_conntrack; fi
if unshare -n ip link add v0 type vxlan id 1 dstport 8472 local 127.0.0.1 2>/dev/null; then echo vxlan; else can vxlan; fi""",
}
USABLE, MEND = "something that can be used", "mend the file, the variable or the site file"
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
    name leads to there. features: what the kernel has. repository: "index NAME" that the package repository gave the host, or
    why it gave none."""

    node: Node
    facts: HostFacts
    listening: dict[tuple[str, int], str]
    registry: tuple[str, ...]
    features: frozenset[str]
    repository: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be. host: a host's name, or "site"."""

    check: str
    host: str
    found: str
    needed: str
    remedy: str
    ignored: bool = False


Found = Iterable[tuple[str, str, str]]  # found, needed, remedy


def _os(site: Site, seen: Seen) -> Found:
    if seen.facts.os not in ("debian", "ubuntu"):
        yield f"{seen.facts.os} {seen.facts.version}", "Debian or Ubuntu", "packages for apt are all there is yet"
    if not seen.facts.systemd:
        yield "systemd is not its first process", "systemd", "use a host that boots with systemd"


def _architecture(site: Site, seen: Seen) -> Found:
    if seen.facts.architecture not in ("x86_64", "aarch64"):
        yield seen.facts.architecture, "x86_64 or aarch64", "use another host"


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


def _selinux(site: Site, seen: Seen) -> Found:
    if seen.facts.selinux == "enforcing":
        yield "SELinux enforces", "permissive or disabled", "setenforce 0, and SELINUX=permissive in /etc/selinux/config"


def _firewalld(site: Site, seen: Seen) -> Found:
    if seen.facts.firewalld:
        yield ("firewalld is active", "no firewall between the hosts",
               "systemctl disable --now firewalld, or trust the private network")


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
    "os": _os, "architecture": _architecture, "memory": _memory, "disk": _disk, "address": _address, "mtu": _mtu,
    "ports": _ports, "swap": _swap, "kernel": _kernel, "selinux": _selinux, "firewalld": _firewalld, "clock": _clock,
    "networks": _networks, "registry-name": _registry_name, "sources": _repository}
UNIQUE = {"hostname": "hostnamectl set-hostname NAME", "machine-id": "rm /etc/machine-id; systemd-machine-id-setup"}
# Every check by name, with what it asks.
QUESTIONS = {
    "reachable": "an SSH session with a known host key, and sudo without a password",
    "os": "Debian or Ubuntu with systemd", "architecture": "x86_64 or aarch64",
    "memory": f"at least {MEMORY >> 20} MiB", "disk": f"at least {DISK >> 30} GiB free on /",
    "address": "the address of the site file, on the interface of the site file", "mtu": f"packets of {MTU} bytes or more",
    "ports": "the ports of Kubernetes, etcd, flannel and the registry are free, or theirs already",
    "swap": "none where pods could not be kept out of it", "kernel": f"has {', '.join(FEATURES)}",
    "selinux": "does not enforce", "firewalld": "not between the hosts",
    "clock": f"within {SKEW:.0f} s of this machine's",
    "networks": "of pods and services overlap no address of a host",
    "registry-name": "leads to the registry's host or nowhere yet",
    "hostname": "no two hosts share one", "machine-id": "no two hosts share one",
    "sources": "certificates, images and secrets that the site file points to can be used",
    "stack": "its components, images and secrets fit together",
}


def preflight(site: Site) -> list[Finding]:
    """All findings, those that the site ignores too. Changes nothing, and raises nothing about hosts.

    Registries that images are pulled from, and a package repository that is no folder, are asked as well.
    """
    seen, findings = {}, []
    for name, result in sorted(side_by_side(list(connect(site).values()), lambda host: look(site, host)).items()):
        if isinstance(result, Exception):
            findings.append(_unreachable(name, result))
        else:
            seen[name] = result
    for check, look_at in EACH_HOST.items():
        findings += [Finding(check, name, *parts) for name, one in seen.items() for parts in look_at(site, one)]
    findings += _not_unique(seen)
    return _marked(site, findings) + _site_alone(site, ask=True)


def offline(site: Site) -> list[Finding]:
    """What can be found without any host: files, images and secrets that the site file points to, and its stack."""
    return _site_alone(site, ask=False)


def _site_alone(site: Site, ask: bool) -> list[Finding]:
    findings = [Finding("sources", "site", f"{one.field}: {one.names}: {one.problem}", one.needed or USABLE, one.remedy or MEND)
                for one in sources(site, ask) if one.problem]
    try:
        stacks.load(site, {name: f"{site.registry_address}/{name}:any" for name in (*SYSTEM, *stacks.image_names(site))})
    except SiteError as error:
        first, *problems = str(error).splitlines()
        told = [line.strip(" -") for line in problems if line.startswith("  - ")] or [first]
        findings += [Finding("stack", "site", line, "a stack that fits the site", "correct the site file or the stack")
                     for line in told]
    return _marked(site, findings)


def told(findings: list[Finding]) -> str:
    """The findings for a terminal: check and host in columns, below what was found what is needed and the remedy."""
    lines = []
    for one in findings:
        lines += [f"{one.check:14} {one.host:12} {one.found}{'  (ignored)' * one.ignored}",
                  f"{'':28}needed: {one.needed}", f"{'':28}remedy: {one.remedy}"]
    return printable("\n".join(lines))


def _marked(site: Site, findings: list[Finding]) -> list[Finding]:
    return [replace(one, ignored=one.check in site.ignore_checks) for one in findings]


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
                frozenset(texts["features"].split()), texts.get("repository", "").strip())


def _listeners(text: str) -> Iterator[tuple[tuple[str, int], str]]:
    for words in map(str.split, text.splitlines()):
        port = words[4].rpartition(":")[2] if len(words) > 4 else ""
        if not port.isdecimal() or len(port) > 5:
            raise StepFailed("what listens on the host cannot be read", found=" ".join(words)[:200],
                             needed=f"the output of: {FRAGMENTS['ports']}")
        yield (words[0], int(port)), words[6].split('"')[1] if len(words) > 6 and '"' in words[6] else ""


def _not_unique(seen: dict[str, Seen]) -> Iterator[Finding]:
    for check, value in (("hostname", lambda one: one.facts.hostname), ("machine-id", lambda one: one.facts.machine_id)):
        counted = Counter(map(value, seen.values()))
        for name, one in seen.items():
            if counted[value(one)] > 1:
                others = ", ".join(other for other in seen if other != name and value(seen[other]) == value(one))
                yield Finding(check, name, f"{value(one) or 'none'}, as {others}", "one of its own", UNIQUE[check])


def _unreachable(name: str, error: Exception) -> Finding:
    if not isinstance(error, RunbookError):
        return Finding("reachable", name, f"{type(error).__name__}: {error}", "an SSH session as root", "report this")
    where = f" ({error.where.removeprefix(f'host {name}, ')})" if isinstance(error, HostUnreachable) else ""
    return Finding("reachable", name, error.message + where + (f": {error.found}" if error.found else ""),
                   error.needed or "a verified SSH session, and sudo without a password", error.remedy)
