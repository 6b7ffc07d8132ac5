"""One SSH connection to a node, through its jump hosts if it has any, closed when keepalives stay unanswered."""

import threading
from contextlib import ExitStack, suppress
from functools import partial

from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts.client import CONNECT_TIMEOUT, log_in
from airavata_runbook.hosts.hop import Hop, route
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.hosts.ssh_transport import Transport
from airavata_runbook.site.node import Node

CLOSE_TIMEOUT = 5.0  # seconds for a thread to end
KEEPALIVE = 15.0  # seconds between two keepalive requests, and for the reply to one


class Connection:
    """Logged in, with a verified host key. transport: of the node itself. Raises HostUnreachable, SiteError."""

    transport: Transport

    def __init__(self, name: str, node: Node):
        self._threads: list[threading.Thread] = []  # a transport is one, which its close() does not wait for
        with ExitStack() as opened:  # closes the jump hosts' if the host's cannot be opened
            for hop in route(node).chain:
                dial = partial(through, self.transport, hop) if hop.through else None
                self.transport = opened.enter_context(log_in(hop, dial))
                self._threads.append(self.transport)
            self._opened = opened.pop_all()
        self._closed = threading.Event()
        watcher = threading.Thread(target=self._watch, name=f"keepalive of {name}", daemon=True)
        watcher.start()
        self._threads.append(watcher)

    @property
    def active(self) -> bool:
        return self.transport.is_active()

    def close(self) -> None:
        """Close it and the jump host's connection; their threads end."""
        self._closed.set()
        self._opened.close()
        for thread in self._threads:
            thread.join(CLOSE_TIMEOUT)

    def _watch(self) -> None:
        """Close the connection when a keepalive is not answered: a host that lost power sends no FIN."""
        while self.active and not self._closed.is_set():
            replied = threading.Event()
            request = threading.Thread(target=self._request, args=(replied,), daemon=True)
            request.start()
            if not replied.wait(KEEPALIVE):
                self.transport.close()
            request.join()
            self._closed.wait(KEEPALIVE)

    def _request(self, replied: threading.Event) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):  # a lost connection is reported by its user
            self.transport.global_request("keepalive@openssh.com", wait=True)  # every server replies, even if it refuses
        replied.set()


def through(jump: Transport, hop: Hop) -> paramiko.Channel:
    """A channel to a machine through the connection to its jump host."""
    try:
        return jump.open_channel("direct-tcpip", (hop.address, hop.ssh.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT)
    except (EOFError, OSError, paramiko.SSHException) as error:  # unreachable from the jump host, or forwarding is off
        raise HostUnreachable(
            "the jump host cannot reach the host",
            where=f"{hop.where} through {hop.through.login if hop.through else ''}",
            found=str(error),
            remedy="check that the host is up, that ssh.host is its address as seen from the jump host, and that "
            "the jump host's sshd has AllowTcpForwarding yes",
        ) from None
