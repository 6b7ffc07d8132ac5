"""What an earlier cluster or somebody else's service left on a host, found before anything is changed.

A host is a node of the site once it has the site's block in /etc/hosts (chapter 02 writes it before anything starts) or the
site's authority; what is there then is the site's own, also after an interrupted run. Only what disturbs a living node too, a
CNI configuration that comes first or a foreign authority, is found there.
"""

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from airavata_runbook.checks.firewall import FilterRules
from airavata_runbook.checks.types import Problem
from airavata_runbook.distributions import makers
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot
from airavata_runbook.mirror.catalogue import MAINTAINER
from airavata_runbook.site import Site
from airavata_runbook.wellknown import CLUSTER_CA, PKI

CNI, OWN_CNI = "/etc/cni/net.d", "10-airavata.conflist"
HARMLESS_CNI = re.compile(r"87-podman.*|.*loopback.*")  # after the runbook's; podman's own, and what other tools always write
# Of flannel and the bridge plugin, kube-proxy, Calico, Cilium, Weave, kube-router and the node-local DNS cache.
INTERFACE = re.compile(
    r"cni0|flannel[.-].+|kube-ipvs0|cali[0-9a-f]{11}|vxlan\.calico|cilium_\w+|weave|kube-bridge|kube-dummy-if|nodelocaldns"
)
CHAIN = re.compile(r"KUBE-.*|FLANNEL-.*|CNI-.*|cali-.*|CILIUM_.*|WEAVE.*")
TABLE = re.compile(r"\w+ (kube-proxy|flannel-ipv\d|cni_\w+|calico)")
FOLDERS = ("/var/lib/etcd", "/var/lib/kubelet", "/etc/kubernetes/manifests")
AUTHORITY = " authority"  # ends the common name of a site's CA
OTHER_TOOL = "the reset of the tool that made it (kubeadm reset, k3s-uninstall.sh, k0s reset)"


class Membership(Fact["Member"]):
    """What says that a host is a node of the site, or of another cluster."""

    def __init__(self, site: Site):
        begin = shlex.quote(f"# BEGIN airavata-runbook {site.name}")
        ours = shlex.quote(f"\t{MAINTAINER}")
        self.command = (
            f"grep -qxF {begin} /etc/hosts && echo site\n"
            f"{makers(['flannel', 'containerd'])} | grep -qF {ours} && echo runbook\n"
            f"cat {PKI}/{CLUSTER_CA}.crt 2>/dev/null; true"
        )

    def parse(self, text: str) -> "Member":
        marks = {line for line in text.splitlines() if line in ("site", "runbook")}
        begin = text.find("-----BEGIN CERTIFICATE-----")
        names: list[str] = []
        if begin >= 0:
            try:
                subject = x509.load_pem_x509_certificate(text[begin:].encode()).subject
                names = [str(one.value) for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            except ValueError:
                pass  # what is no certificate is the finding of the step that needs it
        return Member("site" in marks, "runbook" in marks, names[0] if names else "")


class Member(NamedTuple):
    """in_hosts: /etc/hosts has the site's block. packages: the runbook's are installed. authority: the CA's common name."""

    in_hosts: bool
    packages: bool
    authority: str

    def of(self, site: Site) -> bool:
        """Whether the host is a node of the site, or a run was interrupted while it became one."""
        return self.in_hosts or self.authority == f"{site.name}{AUTHORITY}"


class Remains(NamedTuple):
    """cni: names of files. interfaces: all. folders: of FOLDERS those that are not empty."""

    cni: list[str]
    interfaces: list[str]
    folders: list[str]


class ClusterRemains(Fact[Remains]):
    """What a cluster leaves on a host, other than rules of the packet filter."""

    command = f"""for path in {CNI}/*.conf {CNI}/*.conflist {CNI}/*.json; do test ! -e "$path" || echo "cni ${{path##*/}}"; done
for path in /sys/class/net/*; do echo "interface ${{path##*/}}"; done
for path in {" ".join(FOLDERS)}; do
    test -z "$(ls -A $path 2>/dev/null | grep -vx lost+found)" || echo "folder $path"
done"""

    def parse(self, text: str) -> Remains:
        found: dict[str, list[str]] = {"cni": [], "interface": [], "folder": []}
        for line in filter(None, text.splitlines()):
            kind, name = line.split(" ", 1)
            found[kind].append(name)
        if not found["interface"]:
            raise ValueError("no interfaces: even a bare host has lo")
        return Remains(sorted(found["cni"]), found["interface"], found["folder"])


def find_leftovers(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """A problem for each thing that an earlier cluster left."""
    member, remains = host[Membership], host[ClusterRemains]
    is_node = member.of(site)
    reset = _reset(site, member, OWN_CNI in remains.cni)
    if member.authority not in ("", f"{site.name}{AUTHORITY}"):
        yield Problem(
            f"{PKI} holds the certificate authority {member.authority!r} of another cluster",
            f"a host of no other cluster than {site.name}",
            reset,
        )
    for name in remains.cni:
        first = name < OWN_CNI
        if name != OWN_CNI and (first or not is_node and not HARMLESS_CNI.fullmatch(name)):
            yield Problem(
                f"{CNI}/{name} configures another pod network{', and containerd would use it' if first else ''}",
                f"no file there, or none before {OWN_CNI}",
                f"rm {shlex.quote(f'{CNI}/{name}')}, if no other cluster on this host needs it",
            )
    if is_node:
        return
    for name in remains.interfaces:
        if INTERFACE.fullmatch(name):
            yield Problem(f"interface {name} of an earlier cluster", "none", f"{reset}; then ip link delete {shlex.quote(name)}")
    if chains := _chains(host):
        yield Problem(
            f"packet filter rules of an earlier cluster: {', '.join(chains[:4])}{', …' * (len(chains) > 4)}",
            "none",
            f"{reset}; then reboot, or iptables-save | grep -vE 'KUBE-|FLANNEL-|CNI-|cali-|CILIUM_' | iptables-restore",
        )
    for path in remains.folders:
        yield Problem(
            f"{path} holds data of an earlier cluster",
            "an empty folder, or none",
            f"{reset}; or mv {path} {path}.old, if nothing on this host uses it",
        )


def _chains(host: HostSnapshot) -> list[str]:
    """Chains and tables of a cluster, by name."""
    tables = (host.get(FilterRules) or ([], []))[0]  # what could not be read is the finding of the check firewall
    chains = {name for table in tables for name in table.chains if CHAIN.fullmatch(name)}
    return sorted(chains | {f"table {table.name}" for table in tables if TABLE.fullmatch(table.name)})


def _reset(site: Site, member: Member, own_network: bool) -> str:
    """The command that takes an earlier cluster away, as far as is known whose it is."""
    if member.authority.endswith(AUTHORITY):
        return f"airavata-runbook reset with the file of site {member.authority.removesuffix(AUTHORITY)}"
    if member.authority:
        return OTHER_TOOL
    reset = f"airavata-runbook reset {site.name}"
    return reset if member.packages or own_network else f"{reset} if an earlier run of the runbook made it, else {OTHER_TOOL}"
