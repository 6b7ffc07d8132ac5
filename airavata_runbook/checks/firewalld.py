"""firewalld: which rules are its own, the zone of an interface, and the commands that let the cluster through.

Its rules are judged as they are in the kernel, like those of any other firewall. Sources: firewall-cmd(1), firewalld.zones(5),
firewalld.richlanguage(5); k3s' requirements, which have the pods in the zone `trusted` too. Nothing needs to be masqueraded by
it: flanneld and kube-proxy have rules of their own. Node ports pass it: it accepts what was translated (`ct status dnat`).
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from airavata_runbook.checks.ruleset import Packet, Table, first_target
from airavata_runbook.wellknown import BRIDGE, TUNNEL

TABLE = "inet firewalld"
# The chain that leads to an interface's zone, and the beginning of the zone's own: of its backends nftables and iptables.
ZONES = {"filter_INPUT_ZONES": "filter_IN_", "INPUT_ZONES": "IN_"}
TRUST_PODS = f"firewall-cmd --permanent --zone=trusted --change-interface={BRIDGE} --change-interface={TUNNEL}"
RELOAD = "firewall-cmd --reload"


class Allowed(NamedTuple):
    """A rule that is needed: packets from sources or to targets; of one protocol to some ports, or all."""

    hook: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    protocol: str = ""
    ports: tuple[str, ...] = ()


def made(table: Table) -> bool:
    """Whether the table is firewalld's."""
    return table.name == TABLE or any(chain in table.chains for chain in ZONES)


def zone(table: Table, interface: str) -> str:
    """The zone of an interface, by its own binding or as the default one; "" where the rules do not tell."""
    nobody = IPv4Address("0.0.0.0")
    packet = Packet("input", interface, "", nobody, nobody, "tcp", 0)
    for chain, start in ZONES.items():
        if (target := first_target(table, chain, packet)).startswith(start):
            return target.removeprefix(start)
    return ""


def commands(needed: Sequence[Allowed], zone: str) -> Iterator[str]:
    """The commands that add what is needed to the zone, and the pods' interfaces to the zone `trusted`, for good and now."""
    into = f"firewall-cmd --permanent{f' --zone={zone}' * bool(zone)}"
    for one in needed:
        for source in one.sources if one.ports else ():
            for port in one.ports:
                rule = f'rule family="ipv4" source address="{source}" port port="{port}" protocol="{one.protocol}" accept'
                yield f"{into} --add-rich-rule='{rule}'"
    if any(one.hook == "output" for one in needed):
        yield "firewall-cmd --list-all-policies, and correct the one with the ingress zone HOST"
    yield TRUST_PODS
    yield RELOAD
