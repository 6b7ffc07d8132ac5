"""The preflight checks of a host's addresses, routes and names."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface

from airavata_runbook.checks.facts import CloudInitHosts, CloudSetup, MacAddresses, RegistryAddresses, Route, Routes
from airavata_runbook.checks.leftovers import Membership
from airavata_runbook.checks.types import Problem
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.node_settings import pods_resolv_conf
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot
from airavata_runbook.site import Site
from airavata_runbook.wellknown import BRIDGE, TUNNEL

MTU = 1330  # bytes; IPv4 needs 1280 in practice, and vxlan takes 50 of each packet (RFC 7348)
OWN_INTERFACES = (BRIDGE, TUNNEL)  # of an earlier run; their addresses and routes are the pods'
CLOUD_CONFIG = "/etc/cloud/cloud.cfg.d/99-hosts.cfg"


def find_address(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """An address or interface that is not the site file's."""
    node, mtus = host.node, host[facts.Mtus]
    if node.interface not in mtus:
        others = sorted(name for name in mtus if name not in OWN_INTERFACES and not name.startswith("veth"))
        yield Problem(
            f"no interface {node.interface}; it has {', '.join(others)}",
            f"{node.address} on {node.interface}",
            "correct the node's interface in the site file",
        )
        return
    own = host[facts.Addresses].get(node.interface, ())
    if node.address not in [IPv4Interface(address).ip for address in own]:
        yield Problem(
            f"{node.interface} has address {', '.join(own) or 'none'}",
            str(node.address),
            "correct the node's address in the site file",
        )


def find_mtu(host: HostSnapshot, others: Sequence[HostSnapshot]) -> Iterator[Problem]:
    """Packets that are too small, or not as large as the other hosts'."""
    interface = host.node.interface
    mtu = host[facts.Mtus].get(interface)
    if mtu is None:
        return  # a missing interface is the finding of the check address
    if mtu < MTU:
        yield Problem(f"{interface} has MTU {mtu}", f"{MTU} or more", "raise the MTU of the private network")
    mtus = {other.node.name: (other.get(facts.Mtus) or {}).get(other.node.interface, mtu) for other in others}
    if different := [f"{name} has {its}" for name, its in mtus.items() if its != mtu]:
        yield Problem(
            f"{interface} has MTU {mtu}, {', '.join(different)}",
            "the same on all hosts",
            "set the same MTU on all interfaces of the private network",
        )


def find_networks(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """Pods' and services' networks that a host already has: by its addresses, or by a route to them."""
    routes: list[Route] = host[Routes]
    own = {name: addresses for name, addresses in sorted(host[facts.Addresses].items()) if name not in OWN_INTERFACES}
    networks = {name: [IPv4Interface(address).network for address in addresses] for name, addresses in own.items()}
    used = [(f"{name} has {one}", IPv4Interface(one).network, False) for name, addresses in own.items() for one in addresses]
    # Not those of the pods' own interfaces, nor those that the kernel adds for an address.
    used += [
        (f"a route to {route.network}{' by ' * bool(route.device)}{route.device}", route.network, True)
        for route in dict.fromkeys(routes)
        if route.device not in OWN_INTERFACES
        and route.network not in networks.get(route.device, ())
        and route.network.prefixlen > 1
    ]
    is_node = host[Membership].of(site)
    for what, network, is_route in used:
        for name, cluster in (("pods", site.network.pods), ("services", site.network.services)):
            if network.overlaps(cluster):
                # A node works beside a wider route, as those of the pods are more specific.
                wider = is_route and network.prefixlen < cluster.prefixlen
                yield Problem(
                    f"{what}, which overlaps network.{name} {cluster}",
                    "networks that no host uses",
                    "choose another network in the site file, before the first run",
                    note=is_node and wider,
                )


def find_registry_name(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """A registry's name that leads elsewhere."""
    # Chapter 02 puts the name into /etc/hosts of each host; another address for it, from DNS, would conflict.
    if other := [address for address in host[RegistryAddresses] if address != str(site.registry_node.address)]:
        yield Problem(
            f"{site.registry.name} resolves to {', '.join(other)}",
            str(site.registry_node.address),
            "correct that name in DNS or /etc/hosts, or choose another registry.name",
        )


def find_equal(
    fact: type[Fact[str]], remedy: str, host: HostSnapshot, others: Sequence[HostSnapshot], optional: bool = False
) -> Iterator[Problem]:
    """A fact that other hosts have too. optional: hosts where it is "" are left out."""
    own = host[fact]
    same = [other.node.name for other in others if other.get(fact) == own]
    if same and (own or not optional):
        yield Problem(f"{own or 'none'}, as {', '.join(same)}", "unique", remedy)


def find_equal_mac(host: HostSnapshot, others: Sequence[HostSnapshot]) -> Iterator[Problem]:
    """A MAC address of the site's interface that other hosts have too."""
    own = host[MacAddresses].get(host.node.interface, "")
    same = [other.node.name for other in others if (other.get(MacAddresses) or {}).get(other.node.interface) == own]
    if own and same:
        yield Problem(
            f"{host.node.interface} has {own}, as {', '.join(same)}",
            "unique",
            "give the virtual machine a network interface with a MAC address of its own",
        )


def find_nameservers(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """No file with name servers that pods can ask."""
    if not pods_resolv_conf(host):
        servers = host[facts.Nameservers].get(facts.RESOLV_CONF)
        has = "does not exist" if servers is None else f"has {', '.join(servers) or 'no name server'}"
        yield Problem(
            f"{facts.RESOLV_CONF} {has}, and no other file has name servers that pods can reach",
            "a name server that is not on the host's loopback, which is each pod's own",
            f"name the server behind it in {facts.RESOLV_CONF}, or use systemd-resolved",
        )


def find_cloud_init(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """A cloud-init that writes /etc/hosts anew at each boot."""
    settings = host[CloudInitHosts]
    if settings and settings[-1][1] in ("true", "yes", "on", "template"):
        path, value = settings[-1]
        remedy = f"echo 'manage_etc_hosts: false' > {CLOUD_CONFIG}"
        if path.startswith("/var/lib/cloud/"):  # it overrides the files of the host
            remedy = "set manage_etc_hosts: false in the user data of the machine"
        yield Problem(
            f"cloud-init writes /etc/hosts at each boot (manage_etc_hosts: {value} in {path})",
            f"{site.registry.name} stays in /etc/hosts",
            f"{remedy}, or add {site.registry_node.address} {site.registry.name} to /etc/cloud/templates/hosts.*.tmpl",
        )


def find_cloud_setup(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """A service of NetworkManager whose routing rules lead pods' packets astray (k3s' requirements; rancher/rke2#1053)."""
    if host[CloudSetup]:
        yield Problem(
            "nm-cloud-setup is enabled, whose routing rules lead packets of pods astray",
            "not enabled",
            "systemctl disable --now nm-cloud-setup.service nm-cloud-setup.timer, and reboot",
        )
