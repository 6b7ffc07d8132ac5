"""One SSH connection to a node, through its jump host if it has one, closed when keepalives stay unanswered."""

import threading
from contextlib import ExitStack, suppress

from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts.client import CONNECT_TIMEOUT, open_client, parse_jump
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.site.parts import Node

CLOSE_TIMEOUT = 5.0  # seconds for a thread to end
KEEPALIVE = 15.0  # seconds between two keepalive requests, and for the reply to one


class Connection:
    """Logged in, with a verified host key. Raises HostUnreachable, SiteError."""

    def __init__(self, name: str, node: Node):
        ssh, address, sock = node.ssh, node.ssh.host or str(node.address), None
        self._threads: list[threading.Thread] = []  # a transport is one, which its client's close() does not wait for
        with ExitStack() as clients:  # closes the jump host's if the host's cannot be opened
            if ssh.jump:
                jump_address, jump = parse_jump(ssh.jump, ssh)
                transport = clients.enter_context(open_client(f"jump host {jump_address}", jump, jump_address)).get_transport()
                self._threads.append(transport)
                try:
                    sock = transport.open_channel("direct-tcpip", (address, ssh.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT)
                except paramiko.SSHException as error:  # unreachable from the jump host, or forwarding is off
                    raise HostUnreachable(
                        "the jump host cannot reach the host",
                        where=f"host {name}, {address}:{ssh.port} through {jump.user}@{jump_address}:{jump.port}",
                        found=str(error),
                        remedy="check that the host is up, that ssh.host is its address as seen from the jump host, and that "
                        "the jump host's sshd has AllowTcpForwarding yes",
                    ) from None
            self.transport = clients.enter_context(open_client(f"host {name}", ssh, address, sock)).get_transport()
            self._clients = clients.pop_all()
        self._closed = threading.Event()
        watcher = threading.Thread(target=self._watch, name=f"keepalive of {name}", daemon=True)
        watcher.start()
        self._threads += [self.transport, watcher]

    @property
    def active(self) -> bool:
        return self.transport.is_active()

    def close(self) -> None:
        """Close it and the jump host's connection; their threads end."""
        self._closed.set()
        self._clients.close()
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
