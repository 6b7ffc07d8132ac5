"""The rules of a host's packet filter, and whether they drop a packet.

Read are tables of the families ip and inet (`nft -j list table`, libnftables-json(5)) and `iptables-save`, whose options are
put into the same terms. Of a rule these conditions are understood: interfaces, addresses, sets, protocol, destination port,
the state of a connection, whether its target was translated (no packet's was), the type of the address. A rule with any other
condition (marks, limits, ipset, sets of several fields) is not taken to drop anything; where it might have accepted a packet
that is dropped later, that is told as not certain. Chains of netdev, bridge and postrouting, and nat tables, are not judged.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

HOOKS = {"input": ("prerouting", "input"), "forward": ("prerouting", "forward"), "output": ("output",)}
VERDICTS = {"accept": "accept", "drop": "drop", "reject": "drop", "return": "return"}
WITHOUT_EFFECT = ("counter", "log", "mangle", "notrack", "comment", "set", "map", "ct helper", "meter")  # on a rule's conditions
DEEPEST = 16  # jumps; the kernel's own limit (NFT_JUMP_STACK_SIZE)
UNKNOWN = object()  # a field whose value is not known here
ABSENT = object()  # a field that the packet does not have
IPTABLES_OPTIONS = {
    "-s": {"payload": {"protocol": "ip", "field": "saddr"}},
    "-d": {"payload": {"protocol": "ip", "field": "daddr"}},
    "-i": {"meta": {"key": "iifname"}},
    "-o": {"meta": {"key": "oifname"}},
    "-p": {"meta": {"key": "l4proto"}},
    "--dport": {"payload": {"protocol": "th", "field": "dport"}},
    "--dports": {"payload": {"protocol": "th", "field": "dport"}},
    "--ctstate": {"ct": {"key": "state"}},
    "--state": {"ct": {"key": "state"}},
    "--dst-type": {"fib": {"result": "type", "flags": ["daddr"]}},
}
IPTABLES_MODULES = ("tcp", "udp", "icmp", "conntrack", "state", "comment", "multiport", "addrtype")  # their options are known


class Packet(NamedTuple):
    """The first packet of a connection. hook: input, forward or output. iif, oif: interfaces, "" where there is none."""

    hook: str
    iif: str
    oif: str
    source: IPv4Address
    target: IPv4Address
    protocol: str
    port: int


class Rule(NamedTuple):
    """matches: of libnftables-json, None for a condition that is not understood. verdict: as in VERDICTS, jump, goto or ""."""

    matches: tuple[Any, ...]
    verdict: str
    target: str = ""


@dataclass
class Chain:
    """place: how it is named to the admin, "inet filter input". hook: "" where only other chains lead to it."""

    place: str
    hook: str = ""
    policy: str = "accept"
    rules: list[Rule] = field(default_factory=list)


@dataclass
class Table:
    """kind: nftables, iptables or iptables-legacy. sets: name → elements, or for a map pairs of key and verdict."""

    kind: str
    name: str
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, list[Any]] = field(default_factory=dict)


class Drop(NamedTuple):
    """Where a packet is dropped. certain: no rule that is not understood could have accepted it before."""

    table: Table
    chain: Chain
    certain: bool


def first_drop(tables: list[Table], packet: Packet) -> Drop | None:
    """The base chain that drops a packet, a certain one first; None when all let it pass."""
    found = []
    for table in tables:
        for chain in table.chains.values():
            if chain.hook in HOOKS[packet.hook]:
                verdict, doubt = _walk(table, chain, packet, {}, 0)
                if (verdict or chain.policy) == "drop":
                    found.append(Drop(table, chain, not doubt))
    return max(found, key=lambda drop: drop.certain, default=None)


def first_target(table: Table, chain: str, packet: Packet) -> str:
    """The chain that a packet comes to from one whose rules only distribute packets, "" for none."""
    rules = table.chains[chain].rules if chain in table.chains else []
    fitting = (rule for rule in rules if _all(_matches(match, packet, table.sets) for match in rule.matches))
    return next((rule.target for rule in fitting if rule.target), "")


def parse_nft(text: str) -> Table:
    """A table from the output of `nft -j list table`. Raises ValueError or LookupError for anything else."""
    listed = json.loads(text)["nftables"]
    of_kind: dict[str, list[Any]] = {}
    for entry in listed:
        for kind, content in entry.items():
            of_kind.setdefault(kind, []).append(content)
    (head,) = of_kind["table"]
    table = Table("nftables", f"{head['family']} {head['name']}")
    for one in of_kind.get("set", []) + of_kind.get("map", []):
        table.sets[one["name"]] = one.get("elem", [])
    for one in of_kind.get("chain", []):
        is_filter = one.get("type") in ("filter", "route")
        hook = one["hook"] if is_filter else ""
        table.chains[one["name"]] = Chain(f"{table.name} {one['name']}", hook, one.get("policy", "accept"))
    for one in of_kind.get("rule", []):
        table.chains[one["chain"]].rules += _nft_rules(one["expr"], table.sets)
    return table


def parse_iptables(text: str) -> list[Table]:
    """The tables of `iptables-save` of both variants; of nat only the chains' names, without hooks.

    Raises ValueError or LookupError for anything else.
    """
    tables: list[Table] = []
    kind = "iptables"
    for line in text.splitlines():
        if line.startswith("# Generated by "):
            kind = "iptables" if "nf_tables" in line else "iptables-legacy"
        elif line.startswith("*"):
            tables.append(Table(kind, line[1:].strip()))
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            hook = name.lower() if policy != "-" and tables[-1].name != "nat" else ""
            tables[-1].chains[name] = Chain(f"{tables[-1].name} {name}", hook, policy.lower())
        elif line.startswith("-A ") and tables[-1].name != "nat":
            _, chain, *words = shlex.split(line)
            tables[-1].chains[chain].rules.append(_iptables_rule(words, tables[-1]))
    return tables


def _walk(table: Table, chain: Chain, packet: Packet, walked: dict[str, tuple[str, bool]], depth: int) -> tuple[str, bool]:
    """accept, drop or "" at a chain's end; and whether a rule that is not understood could have decided otherwise before."""
    doubt = False
    for rule in chain.rules:
        fits = _all(_matches(match, packet, table.sets) for match in rule.matches)
        verdict = rule.verdict
        if fits is False or not verdict:
            continue
        if verdict in ("jump", "goto"):
            if rule.target not in walked:
                walked[rule.target] = ("", True)
                if depth < DEEPEST and rule.target in table.chains:
                    walked[rule.target] = _walk(table, table.chains[rule.target], packet, walked, depth + 1)
            verdict, inner = walked[rule.target]
            doubt = doubt or inner
            verdict = verdict or ("return" if rule.verdict == "goto" else "")
        if fits and verdict:
            return ("" if verdict == "return" else verdict), doubt
        doubt = doubt or verdict in ("accept", "return")
    return "", doubt


def _matches(match: Any, packet: Packet, sets: Mapping[str, list[Any]]) -> bool | None:
    """Whether a condition holds, None when it is not understood."""
    if match is None or match.get("op") not in ("==", "!=", "in"):
        return None
    try:
        value = _field(match["left"], packet)
        among = None if value is UNKNOWN else value is not ABSENT and _among(match["right"], value, sets)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return among if among is None or value is ABSENT or match["op"] != "!=" else not among


def _field(left: Any, packet: Packet) -> Any:
    """What a packet has in a field."""
    if not isinstance(left, dict) or len(left) != 1:
        return UNKNOWN
    ((kind, what),) = left.items()
    if kind == "meta":
        names = {"iif": packet.iif, "iifname": packet.iif, "oif": packet.oif, "oifname": packet.oif}
        known = names | {"l4proto": packet.protocol, "nfproto": "ipv4", "protocol": "ip", "pkttype": "host"}
        return known.get(what["key"], UNKNOWN)
    if kind == "payload":
        header, name = what.get("protocol"), what.get("field")
        if header == "ip":
            fields = {"saddr": packet.source, "daddr": packet.target, "protocol": packet.protocol}
            return fields.get(name, UNKNOWN)
        if header in ("th", packet.protocol):
            return packet.port if name == "dport" else UNKNOWN
        return UNKNOWN if header in (None, "ether", "vlan") else ABSENT
    if kind == "ct":  # of the packets that are judged none has its target translated
        return {"state": "new", "status": ABSENT}.get(what.get("key"), UNKNOWN)
    if kind == "fib" and what.get("result") == "type" and what.get("flags") == ["daddr"]:
        return "local" if packet.hook == "input" else "unicast"
    return UNKNOWN


def _among(right: Any, value: Any, sets: Mapping[str, list[Any]]) -> bool | None:
    """Whether a value is what a condition names, or among it."""
    if isinstance(right, list):
        return _any(_among(one, value, sets) for one in right)
    if isinstance(right, dict):
        if "set" in right:
            return _among(right["set"], value, sets)
        if "elem" in right:
            return _among(right["elem"]["val"], value, sets)
        if "prefix" in right and isinstance(value, IPv4Address):
            return value in IPv4Network(f"{right['prefix']['addr']}/{right['prefix']['len']}", strict=False)
        if "range" in right and not isinstance(value, str):
            low, high = (type(value)(end) for end in right["range"])
            return low <= value <= high
        return None
    if isinstance(right, str) and right.startswith("@"):
        return _among(sets[right[1:]], value, sets) if right[1:] in sets else None
    if isinstance(right, str) and right.endswith("*"):
        return str(value).startswith(right[:-1])
    return str(value) == str(right)


def _all(found: Iterator[bool | None]) -> bool | None:
    known = list(found)
    return False if False in known else None if None in known else True


def _any(found: Iterator[bool | None]) -> bool | None:
    known = list(found)
    return True if True in known else None if None in known else False


def _nft_rules(expressions: list[Any], sets: Mapping[str, list[Any]]) -> Iterator[Rule]:
    """A rule; with a verdict map, one rule for each of its keys."""
    matches: list[Any] = []
    for expression in expressions:
        ((kind, content),) = expression.items()
        if kind == "match":
            matches.append(content)
        elif kind == "vmap":
            data = content["data"]
            pairs = sets.get(data[1:], []) if isinstance(data, str) else data["set"]
            for key, verdict in pairs:
                yield _nft_verdict((*matches, {"op": "==", "left": content["key"], "right": key}), verdict)
        elif kind in VERDICTS or kind in ("jump", "goto"):
            yield _nft_verdict(tuple(matches), expression)
        elif kind not in WITHOUT_EFFECT and content != {"type": "match", "name": "comment"}:
            matches.append(None)


def _nft_verdict(matches: tuple[Any, ...], verdict: dict[str, Any]) -> Rule:
    ((kind, content),) = verdict.items()
    return Rule(matches, VERDICTS.get(kind, kind), content["target"] if kind in ("jump", "goto") else "")


def _iptables_rule(words: list[str], table: Table) -> Rule:
    """A rule from the words after its chain."""
    matches: list[Any] = []
    rest = iter(words)
    op = "=="
    for word in rest:
        if word == "!":
            op = "!="
            continue
        if word in ("-j", "-g"):
            target = next(rest, "")
            verdict = VERDICTS.get(target.lower(), ("jump" if word == "-j" else "goto") if target in table.chains else "")
            return Rule(tuple(matches), verdict, target)
        if word == "-m":
            matches += [] if next(rest, "") in IPTABLES_MODULES else [None]
        elif word == "--comment":
            next(rest, "")
        elif word in IPTABLES_OPTIONS:
            matches.append({"op": op, "left": IPTABLES_OPTIONS[word], "right": _iptables_value(word, next(rest, ""))})
        elif word.startswith("-"):
            matches.append(None)  # the values that follow are passed over
        op = "=="
    return Rule(tuple(matches), "")


def _iptables_value(option: str, text: str) -> Any:
    """An option's value in nftables' terms."""
    if option in ("-s", "-d"):
        network = IPv4Network(text, strict=False)
        return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
    if option in ("-i", "-o"):
        return re.sub(r"\+$", "*", text)
    if option in ("--dport", "--dports"):
        ranges = [one.partition(":") for one in text.split(",")]
        return [{"range": [int(low), int(high or low)]} for low, _, high in ranges]
    return text.lower().split(",")
