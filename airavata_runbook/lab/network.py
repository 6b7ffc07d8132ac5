"""The lab's private network: one bridge with this machine's own address, .1 of the network.

There is no NAT and no routing: the hosts reach each other and this machine, nothing else.
"""

import json
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local.process import run
from airavata_runbook.site.parts import Lab

ALIAS = "airavata-lab"  # the alias by which a lab's bridge is recognised


@dataclass(frozen=True)
class Link:
    """A network interface of this machine."""

    name: str
    alias: str
    addresses: tuple[IPv4Interface, ...]


def links() -> list[Link]:
    """All network interfaces with their IPv4 addresses."""
    return parse_links(_ip("-details", "-json", "address", "show"))


def parse_links(text: str) -> list[Link]:
    """The interfaces in the output of `ip -details -json address show`."""
    return [
        Link(
            item["ifname"],
            item.get("ifalias", ""),
            tuple(
                IPv4Interface(f"{entry['local']}/{entry['prefixlen']}")
                for entry in item.get("addr_info", [])
                if entry.get("family") == "inet"
            ),
        )
        for item in json.loads(text)
        if "ifname" in item
    ]


def routes() -> list[tuple[IPv4Network, str]]:
    """This machine's IPv4 routes as (network, interface), without default routes."""
    return [
        (IPv4Network(item["dst"]), item.get("dev", ""))
        for item in json.loads(_ip("-json", "-4", "route", "show"))
        if item["dst"] != "default"
    ]


def create_bridge(lab: Lab) -> None:
    """Create the lab's bridge with this machine's address and set it up; an existing one is completed."""
    if lab.bridge not in {link.name for link in links()}:
        # Without a MAC address of its own a bridge takes that of a port, another one whenever a host boots or ends, and the
        # hosts' ARP caches keep the stale one for minutes. 02: locally administered.
        mac = "02:00:" + ":".join(f"{byte:02x}" for byte in lab.gateway.packed)
        _ip("link", "add", "name", lab.bridge, "address", mac, "type", "bridge")
        _ip("link", "set", "dev", lab.bridge, "alias", ALIAS)
    address = IPv4Interface(f"{lab.gateway}/{lab.network.prefixlen}")
    if address not in next(link.addresses for link in links() if link.name == lab.bridge):
        _ip("address", "add", str(address), "dev", lab.bridge)
    _ip("link", "set", "dev", lab.bridge, "up")


def remove_bridge(name: str) -> None:
    """Remove the bridge if it exists and is a lab's."""
    if any(link.name == name and link.alias == ALIAS for link in links()):
        _ip("link", "delete", "dev", name)


def remove_host_interface(machine: str) -> None:
    """Remove this machine's end of the veth pair that systemd-nspawn adds to the bridge for a host, if it exists.

    The kernel does that itself once the host's network namespace is gone, but a namespace outlives its processes as long as
    a mount or an open file refers to it; the next host of that name could not boot.
    """
    name = f"vb-{machine}"  # longer than an interface's name may be, it is kept as an alternative name (systemd-nspawn(1))
    try:
        run("ip", "link", "delete", "dev", name, failure="the network interface of a stopped host cannot be removed", where=name)
    except CannotBuild:
        if not subprocess.run(["ip", "link", "show", "dev", name], capture_output=True, check=False).returncode:
            raise


def forward_drops(bridge: str) -> bool:
    """Whether this machine's firewall would drop what one host sends to another over the bridge.

    That is so when bridged packets pass iptables (as they do once br_netfilter is loaded, unless it is switched off), the
    FORWARD chain's policy is DROP, and no rule accepts what is forwarded within the bridge.
    """
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if switch.exists() and switch.read_text().strip() == "0":
        return False
    policy = subprocess.run(["iptables", "-S", "FORWARD"], capture_output=True, text=True).stdout
    accept = ["iptables", "-C", "FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"]
    return "-P FORWARD DROP" in policy.splitlines() and subprocess.run(accept, capture_output=True).returncode != 0


def _ip(*arguments: str) -> str:
    return run("ip", *arguments, failure="the lab's network cannot be set up or inspected")
