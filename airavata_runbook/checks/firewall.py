"""Whether a host's own firewall lets through what the cluster sends: between the hosts, and to and between its pods.

Nothing of a host's firewall is changed: a finding has the commands that let the cluster through, as they can be pasted. Rules of
nftables are read with `nft`, those of iptables with `iptables-save`; a host that has neither tool installed is taken for one
without rules, but for firewalld, which is known to be active.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from airavata_runbook.checks import firewalld
from airavata_runbook.checks.firewalld import Allowed
from airavata_runbook.checks.ruleset import Drop, Packet, Table, first_drop, parse_iptables, parse_nft
from airavata_runbook.checks.types import Problem
from airavata_runbook.distributions import platform_of
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node
from airavata_runbook.wellknown import API_PORT, BRIDGE, ETCD_PORT, FLANNEL_PORT, KUBELET_PORT, TUNNEL

IPTABLES = ("# Generated ", "*", ":", "-A ")  # lines of iptables-save
POD_PORT = 8080  # of a pod, any


class PacketFilter(NamedTuple):
    """tables: all that could be read. unread: the names of those that could not."""

    tables: list[Table]
    unread: list[str]

    @property
    def ufw(self) -> bool:
        """Whether ufw made the rules of iptables."""
        return any(name.startswith("ufw-") for table in self.tables for name in table.chains)


class FilterRules(Fact[PacketFilter]):
    """The rules of the host's packet filter for IPv4.

    Of iptables' nat tables only the chains are printed: kube-proxy's rules in them are many. The tables of iptables' newer
    variant are nftables' too, and are not printed twice.
    """

    command = """saved=$(for tool in iptables-nft-save iptables-legacy-save; do $tool 2>/dev/null; done)
printf '%s\\n' "$saved" | awk '/^[*]/ {nat = $0 == "*nat"} /^([*:]|# Generated)/ || (/^-A/ && !nat)'
nft list tables 2>/dev/null | while read -r _ family name; do
    case $family in ip) printf '%s\\n' "$saved" | grep -qxF "*$name" && continue ;; inet) ;; *) continue ;; esac
    nft -j list table $family $name 2>/dev/null || echo "unread $family $name"
done; true"""

    def parse(self, text: str) -> PacketFilter:
        lines = [line for line in text.splitlines() if line.strip()]
        iptables = [line for line in lines if line.startswith(IPTABLES)]
        others = [line for line in lines if not line.startswith((*IPTABLES, "unread "))]
        try:
            tables = parse_iptables("\n".join(iptables)) + [parse_nft(line) for line in others]
        except (TypeError, AttributeError, RecursionError):
            raise ValueError("not the rules of a packet filter") from None
        return PacketFilter(tables, [line.removeprefix("unread ") for line in lines if line.startswith("unread ")])


def find_firewall(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """A problem for each chain that drops what the cluster sends; a note where that is not certain."""
    rules = host[FilterRules]
    dropped: dict[str, list[tuple[Packet, Drop]]] = {}
    for packet, drop in _dropped(site, host.node, [table for table in rules.tables if not firewalld.made(table)]):
        dropped.setdefault(drop.chain.place, []).append((packet, drop))
    for found in dropped.values():
        yield _problem(site, host, rules.ufw, found)
    for name in rules.unread:
        if name != firewalld.TABLE:
            yield Problem(
                f"the nftables table {name} could not be read, and was not judged",
                "a firewall that lets the hosts and pods reach each other",
                f"see nft list table {name}: {_needed(site, host.node, ('input', 'forward'))}",
                note=True,
            )


def find_firewalld(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """What firewalld drops of what the cluster sends; of its zones, and with its own commands."""
    if not host[facts.Firewalld]:
        return
    hooks: tuple[str, ...] = ("forward", "input")
    tables = [table for table in host[FilterRules].tables if firewalld.made(table)]
    found = list(_dropped(site, host.node, tables))
    certain = [one for one in found if one[1].certain]
    if tables and not found:
        return
    if tables:
        hooks = tuple(sorted({packet.hook for packet, _ in certain or found}))
        what = f"{_how(not certain)} {_described([packet for packet, _ in certain or found])}"
    else:
        what = "is active, and its rules could not be read"
    zone = next(filter(None, (firewalld.zone(table, host.node.interface) for table in tables)), "")
    yield Problem(
        f"firewalld{f' (zone {zone})' * bool(zone)} {what}",
        _needed(site, host.node, hooks),
        "; ".join(firewalld.commands(list(_allowed(site, host.node, hooks)), zone)),
        note=bool(tables) and not certain,
    )


def open_ports(site: Site, node: Node) -> dict[int, list[Node]]:
    """TCP port of a host → the other hosts that connect to it."""
    others = [other for other in site.nodes if other != node]
    ports = {API_PORT: others, ETCD_PORT: others} if node == site.master else {}
    if node == site.registry_node:
        ports[site.registry_pull_port] = others
    ports[KUBELET_PORT] = [other for other in others if other == site.master]
    return dict(sorted((port, peers) for port, peers in ports.items() if peers))


def _packets(site: Site, node: Node) -> Iterator[Packet]:
    """The first packets of the cluster's connections that a host's firewall sees."""
    here, pod, other_pod = node.address, site.network.pods[2], site.network.pods[-2]
    for port, peers in open_ports(site, node).items():
        for peer in peers:
            yield Packet("input", node.interface, "", peer.address, here, "tcp", port)
    for other in site.nodes:
        if other == node:
            continue
        yield Packet("input", node.interface, "", other.address, here, "udp", FLANNEL_PORT)
        yield Packet("output", "", node.interface, here, other.address, "udp", FLANNEL_PORT)
        for port, peers in open_ports(site, other).items():
            if node in peers:
                yield Packet("output", "", node.interface, here, other.address, "tcp", port)
    if node == site.master:
        yield Packet("input", BRIDGE, "", pod, here, "tcp", API_PORT)  # a pod of the master asks the API server
    yield Packet("output", "", BRIDGE, here, pod, "tcp", POD_PORT)  # the kubelet's probes
    for protocol, port in (("tcp", POD_PORT), ("udp", 53)):
        yield Packet("forward", BRIDGE, TUNNEL, pod, other_pod, protocol, port)
        yield Packet("forward", TUNNEL, BRIDGE, other_pod, pod, protocol, port)


def _dropped(site: Site, node: Node, tables: list[Table]) -> Iterator[tuple[Packet, Drop]]:
    for packet in _packets(site, node):
        if drop := first_drop(tables, packet):
            yield packet, drop


def _problem(site: Site, host: HostSnapshot, ufw: bool, found: Sequence[tuple[Packet, Drop]]) -> Problem:
    certain = [one for one in found if one[1].certain]
    judged, node = certain or found, host.node
    drop = judged[0][1]
    hooks = tuple(sorted({packet.hook for packet, _ in judged}))
    firewall = "ufw" if ufw and drop.table.kind != "nftables" else drop.table.kind
    commands = [COMMANDS[firewall](one, drop) for one in _allowed(site, node, hooks)]
    if firewall != "ufw":
        platform = platform_of(host.get(facts.Os))
        commands.append(f"the same in {platform.nftables_file}" if firewall == "nftables" else platform.save_iptables)
    return Problem(
        f"{firewall} ({drop.chain.place}) {_how(not certain)} {_described([packet for packet, _ in judged])}",
        _needed(site, node, hooks),
        "; ".join(commands),
        note=not certain,
    )


def _how(doubtful: bool) -> str:
    return "may drop, by conditions that were not judged," if doubtful else "drops"


def _described(packets: list[Packet]) -> str:
    """The packets, the ports of the same peers and the peers of the same ports together."""
    what = []
    peers: dict[tuple[str, str, int], list[str]] = {}
    for one in packets:
        if one.hook == "forward":
            what.append("packets between pods")
        elif BRIDGE in (one.iif, one.oif):
            what.append(f"{one.protocol} {one.port} from pods" if one.hook == "input" else "packets to pods")
        else:
            way, peer = ("from", one.source) if one.hook == "input" else ("to", one.target)
            peers.setdefault((way, one.protocol, one.port), []).append(str(peer))
    ports: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (way, protocol, port), addresses in peers.items():
        ports.setdefault((protocol, way, tuple(addresses)), []).append(str(port))
    hosts = [f"{protocol} {', '.join(numbers)} {way} {', '.join(others)}" for (protocol, way, others), numbers in ports.items()]
    return "; ".join([*hosts, *dict.fromkeys(what)])


def _needed(site: Site, node: Node, hooks: tuple[str, ...]) -> str:
    """What a host's firewall has to let through."""
    parts = []
    for one in _allowed(site, node, hooks):
        what = " ".join(filter(None, ("forwarded" * (one.hook == "forward"), one.protocol or "all", ", ".join(one.ports))))
        parts.append(f"{what} {'from' if one.sources else 'to'} {', '.join(one.sources or one.targets)}")
    return "accepted: " + "; ".join(parts)


def _allowed(site: Site, node: Node, hooks: tuple[str, ...]) -> Iterator[Allowed]:
    pods, others = str(site.network.pods), tuple(str(other.address) for other in site.nodes if other != node)
    if "input" in hooks:
        by_peers: dict[tuple[str, ...], list[str]] = {}
        for port, peers in open_ports(site, node).items():
            by_peers.setdefault(tuple(str(peer.address) for peer in peers), []).append(str(port))
        for sources, ports in by_peers.items():
            yield Allowed("input", sources, (), "tcp", tuple(ports))
        if others:
            yield Allowed("input", others, (), "udp", (str(FLANNEL_PORT),))
        yield Allowed("input", (pods,), ())
    if "output" in hooks:
        yield Allowed("output", (), (*others, pods))
    if "forward" in hooks:
        yield Allowed("forward", (pods,), ())
        yield Allowed("forward", (), (pods,))


def _ufw(one: Allowed, drop: Drop) -> str:
    """ufw(8): one address a command."""
    way = {"input": "allow", "output": "allow out", "forward": "route allow"}[one.hook]
    port = f" proto {one.protocol}" if one.protocol else ""
    to = f" to any port {','.join(one.ports)}" if one.ports else ""
    return "; ".join(
        f"ufw {way}{port} {'from' if one.sources else 'to'} {address}{to}" for address in (one.sources or one.targets)
    )


def _iptables(one: Allowed, drop: Drop) -> str:
    table, chain = drop.chain.place.split()
    words = [drop.table.kind, *(["-t", table] if table != "filter" else []), "-I", chain]
    words += ["-s", ",".join(one.sources)] if one.sources else []
    words += ["-d", ",".join(one.targets)] if one.targets else []
    words += ["-p", one.protocol, "-m", "multiport", "--dports", ",".join(one.ports)] if one.ports else []
    return " ".join([*words, "-j", "ACCEPT"])


def _nft(one: Allowed, drop: Drop) -> str:
    parts = [f"ip saddr {{ {', '.join(one.sources)} }}"] if one.sources else []
    parts += [f"ip daddr {{ {', '.join(one.targets)} }}"] if one.targets else []
    parts += [f"{one.protocol} dport {{ {', '.join(one.ports)} }}"] if one.ports else []
    return f"nft 'insert rule {drop.chain.place} {' '.join(parts)} accept'"


COMMANDS = {"ufw": _ufw, "iptables": _iptables, "iptables-legacy": _iptables, "nftables": _nft}
