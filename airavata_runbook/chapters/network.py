"""Chapter 01: the hosts and their networks, checked before anything is touched (POC rows 1 and 2)."""

from ipaddress import IPv4Interface

from airavata_runbook import display
from airavata_runbook.errors import StepFailed
from airavata_runbook.facts.host import HostFacts
from airavata_runbook.picture import network_picture
from airavata_runbook.site import Node, Site
from airavata_runbook.sources import sources as sources_of
from airavata_runbook.ssh import connect, side_by_side
from airavata_runbook.step import Target, check

MEMORY = 1 << 30  # bytes; a host of the idle cluster was measured at 0.7 GB
DISK = 8 << 30  # bytes; packages, images and their unpacked layers were measured at 2.5 GB on the master
SKEW = 30.0  # seconds; a certificate is valid from its making on, and leases end by the clock
VXLAN = 50  # bytes of each packet that vxlan takes (RFC 7348 over IPv4)


@check("The hosts", before=True)
def hosts(site: Site) -> list[list[str]]:
    """Rows of host and facts. Raises StepFailed with everything that a host lacks."""
    facts = facts_of(site)
    problems = [f"{node.name}: {problem}" for node in _sorted(site) for problem in lacks(node, facts[node.name])]
    if problems:
        raise StepFailed("hosts are not as they must be", found="\n".join(problems),
                         remedy="mend the hosts or the site file; nothing was changed yet")
    rows = [["host", "role", "address", "interface", "system", "memory", "control groups"]]
    for node in _sorted(site):
        one = facts[node.name]
        rows.append([node.name, node.role, str(node.address), f"{node.interface}, MTU {one.mtu[node.interface]}",
                     f"{one.os} {one.version}, {one.architecture}", "enough", f"version {one.cgroup}"])
    return rows


@check("The networks against each other", before=True)
def networks(site: Site) -> list[list[str]]:
    """Rows of network, addresses and room. Raises StepFailed when a host already has addresses in one of them."""
    facts, network = facts_of(site), site.network
    problems = [f"{node.name}: {interface} has {address}, inside {name} {wanted}"
                for node in _sorted(site) for interface, address in sorted(facts[node.name].addresses.items())
                for name, wanted in (("network.pods", network.pods), ("network.services", network.services))
                if interface not in ("cni0", "flannel.1") and IPv4Interface(address).network.overlaps(wanted)]
    if problems:
        raise StepFailed("the site's networks overlap what the hosts have already", found="\n".join(problems),
                         remedy="choose other networks in the site file, before the first run")
    mtu = min(facts[node.name].mtu[node.interface] for node in site.nodes) - VXLAN
    leases = 2 ** (network.subnet_length - network.pods.prefixlen) - 1
    return [["network", "addresses", "room"],
            ["hosts", ", ".join(str(node.address) for node in _sorted(site)), f"{len(site.nodes)} hosts"],
            ["pods", str(network.pods), f"{leases} hosts of /{network.subnet_length}, packets of {mtu} bytes"],
            ["services", str(network.services), f"{network.services.num_addresses - 2} services"]]


@check("What the site file points to", before=True)
def sources(site: Site) -> list[list[str]]:
    """Rows of field, what it names and how that was found. Raises StepFailed with all that cannot be used."""
    found = list(sources_of(site))
    if problems := [f"{one.field}: {one.names}: {one.problem}" for one in found if one.problem]:
        raise StepFailed("what the site file points to cannot be used", found="\n".join(problems),
                         remedy="mend the files, variables or the site file; nothing was changed yet")
    return [["field", "names", ""], *([one.field, one.names, one.state] for one in found),
            ["all other images", "the runbook's own", "built from Debian packages and pinned Go modules"]]


def picture(site: Site, plan: bool = False) -> display.Picture:
    """The hosts and their networks as a drawing."""
    return network_picture(site)


def lacks(node: Node, facts: HostFacts) -> list[str]:
    """What keeps a host from being a node, in words; [] when nothing."""
    address = facts.addresses.get(node.interface, "")
    needs = [
        (node.interface in facts.mtu, f"there is no interface {node.interface}; it has {', '.join(sorted(facts.mtu))}"),
        (address.partition("/")[0] == str(node.address),
         f"{node.interface} has address {address or 'none'}, the site file says {node.address}"),
        (facts.systemd > 0, "systemd is not its first process"),
        (facts.os in ("debian", "ubuntu"), f"its system is {facts.os}; packages for apt are all there is yet"),
        (facts.memory >= MEMORY, f"it has {facts.memory >> 20} MiB of memory; needed: {MEMORY >> 20}"),
        (facts.disk_free >= DISK, f"it has {facts.disk_free >> 30} GiB of disk free; needed: {DISK >> 30}"),
        (abs(facts.skew) <= SKEW, f"its clock is {abs(facts.skew):.0f} s {'ahead of' if facts.skew > 0 else 'behind'} this "
                                  f"machine's; needed: at most {SKEW:.0f} s (timedatectl set-ntp true)"),
    ]
    return [problem for fine, problem in needs if not fine]


def facts_of(site: Site) -> dict[str, HostFacts]:
    """Facts of all hosts by name, looked up side by side. Raises StepFailed with every host that cannot be reached."""
    found = side_by_side(list(connect(site).values()), lambda host: Target(site, host).facts)
    problems = [f"{name}: {error}" for name, error in sorted(found.items()) if isinstance(error, Exception)]
    if problems:
        raise StepFailed("hosts cannot be looked at", found="\n".join(problems), retryable=True)
    return found


def _sorted(site: Site) -> list[Node]:
    return sorted(site.nodes, key=lambda node: node.name)
