"""The lab's private network: one bridge that carries this machine's own address, .1 of the network.

No address is translated and nothing is routed: the hosts reach each other and this machine, nothing else.
"""

import json
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from airavata_runbook.errors import CannotBuild

MARK = "airavata-lab"  # the alias that tells a lab's bridge from anybody else's


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
    """Where this machine routes to: (network, interface); default routes are left out."""
    return [
        (IPv4Network(item["dst"]), item.get("dev", ""))
        for item in json.loads(_ip("-json", "-4", "route", "show"))
        if item["dst"] != "default"
    ]


def make_bridge(name: str, network: IPv4Network) -> None:
    """Make the bridge, give it the network's first address and set it up; what is already so is left."""
    if name not in {link.name for link in links()}:
        _ip("link", "add", "name", name, "address", _mac(network), "type", "bridge")
        _ip("link", "set", "dev", name, "alias", MARK)
    address = IPv4Interface(f"{network.network_address + 1}/{network.prefixlen}")
    if address not in next(link.addresses for link in links() if link.name == name):
        _ip("address", "add", str(address), "dev", name)
    _ip("link", "set", "dev", name, "up")


def _mac(network: IPv4Network) -> str:
    # Without one of its own a bridge takes a port's address, another one whenever a host comes or goes, and the
    # hosts keep the stale one for minutes. 02: locally administered.
    return "02:00:" + ":".join(f"{byte:02x}" for byte in (network.network_address + 1).packed)


def remove_bridge(name: str) -> None:
    """Remove the bridge if it is there and a lab's."""
    if any(link.name == name and link.alias == MARK for link in links()):
        _ip("link", "delete", "dev", name)


def remove_cable(machine: str) -> None:
    """Remove the interface by which systemd-nspawn ties a host to its bridge, if it is there.

    The kernel does that itself once the host's network namespace is gone, but a namespace outlives its processes as long as
    a mount or a file of it is held anywhere; the next host of that name could not start.
    """
    name = f"vb-{machine}"  # longer than an interface's name may be, it is kept as an alternative name (systemd-nspawn(1))
    done = subprocess.run(["ip", "link", "delete", "dev", name], capture_output=True, text=True, check=False)
    if done.returncode and not subprocess.run(["ip", "link", "show", "dev", name], capture_output=True, check=False).returncode:
        raise CannotBuild(
            "an ended host's network interface cannot be removed",
            where=name,
            found=done.stderr.strip(),
            remedy=f"ip link delete dev {name}",
        )


def forward_drops() -> bool:
    """Whether this machine's firewall would drop what one host sends to another over the bridge.

    That is so when bridged packets are shown to iptables (as they are once br_netfilter is loaded, unless it is
    switched off) and the FORWARD chain drops by default.
    """
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if switch.exists() and switch.read_text().strip() == "0":
        return False
    done = subprocess.run(["iptables", "-S", "FORWARD"], capture_output=True, text=True, check=False)
    return "-P FORWARD DROP" in done.stdout.splitlines()


def forward_accepted(bridge: str) -> bool:
    """Whether a rule accepts what is forwarded within the bridge, whatever the chain's policy is."""
    rule = ["iptables", "-C", "FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"]
    return subprocess.run(rule, capture_output=True, check=False).returncode == 0


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild("the lab's network could not be made", where="ip " + " ".join(arguments), found=done.stderr.strip())
    return done.stdout
