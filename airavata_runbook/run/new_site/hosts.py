"""The connections to the hosts of a new site: their keys, their addresses, their interfaces."""

from ipaddress import IPv4Address

from airavata_runbook.errors import HostKeyRefused, SiteError
from airavata_runbook.hosts import first_contact
from airavata_runbook.run.new_site.values import NewHost, NewSite

COMPARE = "compare each with what the machine itself says: `ssh-keygen -lf FILE` on its console, or the log of its first boot"


def looked_at(site: NewSite) -> NewSite:
    """The site with the address and interface of each host, which were connected to. Raises the first host's error.

    HostKeyRefused with all fingerprints for hosts that nobody has compared yet.
    """
    unknown = {}
    for host in site.hosts:
        if first_contact.is_unknown(site.node(host)):
            key = first_contact.presented_key(site.node(host))
            unknown[host.name] = f"{host.name}, {host.target}: {key.get_name()} {key.fingerprint} ({key_file(key.get_name())})"
    if unknown:
        raise HostKeyRefused(
            "host keys are unknown; nothing was written",
            found="\n".join(unknown.values()),
            needed="verified host keys; none is ever accepted automatically",
            remedy=f"{COMPARE}; then give them: " + " ".join(f"--fingerprint {name}=SHA256:…" for name in unknown),
        )
    for host in site.hosts:
        settle(host, first_contact.addresses(site.node(host)))
    return site


def as_given(site: NewSite) -> NewSite:
    """The site without connecting to its hosts. Raises SiteError for a host that is given by its name alone."""
    for host in site.hosts:
        if not host.address and not is_address(host.target):
            raise SiteError(
                "the address of a host is not known without connecting to it",
                where=f"host {host.name}",
                needed=f"--host {host.name}={host.user}@{host.target}/ADDRESS",
            )
        host.address = host.address or host.target
    return site


def settle(host: NewHost, found: dict[str, str]) -> None:
    """Give a host its address and interface, of those that it has. Raises SiteError when several might be meant."""
    if not host.address and (host.target in found or len(found) == 1):
        host.address = host.target if host.target in found else next(iter(found))
    if host.address not in found:
        raise SiteError(
            "the host has no such address" if host.address else "the address that the hosts share is not clear",
            where=f"host {host.name}, {host.target}",
            found=", ".join(f"{address} on {interface}" for address, interface in found.items()) or "no address",
            needed="its address on the network that all hosts of the site share",
            remedy=f"--host {host.name}={host.user}@{host.target}/ADDRESS",
        )
    host.interface = found[host.address]


def key_file(algorithm: str) -> str:
    """Where sshd keeps a key of that type."""
    kind = algorithm.removeprefix("ssh-").partition("-")[0]
    return f"/etc/ssh/ssh_host_{kind}_key.pub"


def is_address(text: str) -> bool:
    try:
        return bool(IPv4Address(text))
    except ValueError:
        return False
