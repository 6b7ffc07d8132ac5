"""A host that this machine may not know yet: which key it has, and what it is like once that key is trusted."""

import json
from contextlib import ExitStack, closing
from functools import partial
from itertools import pairwise

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.client import log_in, negotiate
from airavata_runbook.hosts.connection import through
from airavata_runbook.hosts.hop import route
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.host_key import files_of
from airavata_runbook.hosts.known_hosts import KnownHosts
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.hosts.ssh_transport import KEYS
from airavata_runbook.site.node import Node


def presented_key(node: Node) -> paramiko.PKey:
    """The host key that a host proves to have. Nobody is logged in there, and nothing is trusted by it.

    Jump hosts on the way have to be known. Raises HostUnreachable, SiteError.
    """
    with ExitStack() as opened:
        dial = None
        hop = route(node)
        for jump, following in pairwise(hop.chain):
            dial = partial(through, opened.enter_context(log_in(jump, dial)), following)
        with closing(negotiate(hop, dial, KEYS)) as transport:
            return transport.get_remote_server_key()


def is_unknown(node: Node) -> bool:
    """Whether the files of known hosts have nothing at all about the host: no key, no authority, no revoked key."""
    hop = route(node)
    known = KnownHosts.read(files_of(node.ssh)).of(hop.address, hop.ssh.port)
    return not (hop.ssh.fingerprint or known.keys or known.authorities or known.revoked)


def addresses(node: Node) -> dict[str, str]:
    """IPv4 address → interface of a host, read as root, as a run does everything; without loopback and containers' bridges.

    Raises HostUnreachable (HostKeyRefused, NotRoot), StepFailed, SiteError.
    """
    host = Host(node)
    try:
        result = host.run("ip -json -4 address show up")
    finally:
        host.stop()
    try:
        links = json.loads(result.text)
        found = {
            entry["local"]: link["ifname"]
            for link in links
            for entry in link["addr_info"]
            if not link["ifname"].startswith(("lo", "docker", "cni", "flannel", "veth", "virbr", "br-"))
        }
    except (ValueError, LookupError, TypeError):
        raise StepFailed("the addresses of a host cannot be read", where=f"host {node.name}", found=result.last_lines) from None
    return found
