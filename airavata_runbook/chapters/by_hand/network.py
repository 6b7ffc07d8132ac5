"""Chapter 01 by hand: it only looks."""

from shlex import quote

from airavata_runbook.chapters.by_hand.shell import example, here, on_each
from airavata_runbook.engine.by_hand import ByHand
from airavata_runbook.site import Site


def preflight(site: Site) -> ByHand:
    looks = (
        "free -m; swapon --show",
        "df -h / /var/lib",
        "ss -lntu  # who listens on which port",
        "date -u",
    )
    return _each(site, *looks)


def hosts(site: Site) -> ByHand:
    looks = (
        "grep PRETTY_NAME /etc/os-release; uname -mr",
        f"ip -brief address show dev {example(site).interface}",
        "stat -f -c %T /sys/fs/cgroup  # cgroup2fs is version 2, tmpfs version 1",
    )
    return _each(site, *looks)


def networks(site: Site) -> ByHand:
    network = site.network
    looks = (
        f"ip -4 route show root {network.pods}  # before 03: nothing may be within the pods' network",
        f"ip -4 route show root {network.services}  # nor within the services'",
        f"cat /sys/class/net/{example(site).interface}/mtu",
    )
    return _each(site, *looks)


def sources(site: Site) -> ByHand:
    own = site.registry.certificate
    looks = [f"airavata-runbook check {site.name} --offline"]
    looks += [f"openssl x509 -noout -subject -enddate -in {quote(own.certificate)}"] if own else []
    return ByHand(check=(here(*looks),))


def picture(site: Site) -> ByHand:
    """Of the three networks, the hosts' own is there already."""
    return _each(site, "ip -4 -brief address", "ip -4 route")


def _each(site: Site, *looks: str) -> ByHand:
    return ByHand(check=(on_each(site, *looks),))
