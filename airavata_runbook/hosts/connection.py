"""One SSH connection to a node, through its jump host if it has one, closed when keepalives stay unanswered."""

import threading
from contextlib import suppress

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
        self._jump: paramiko.SSHClient | None = None
        if ssh.jump:
            jump_address, jump = parse_jump(ssh.jump, ssh)
            self._jump = open_client(f"jump host {jump_address}", jump, jump_address)
            try:
                sock = self._jump.get_transport().open_channel(
                    "direct-tcpip", (address, ssh.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT
                )
            except paramiko.SSHException as error:  # unreachable from the jump host, or forwarding is off
                self._jump.close()
                raise HostUnreachable(
                    "the jump host cannot reach the host",
                    where=f"host {name}, {address}:{ssh.port} through {jump.user}@{jump_address}:{jump.port}",
                    found=str(error),
                    remedy="check that the host is up, that ssh.host is its address as seen from the jump host, and that "
                    "the jump host's sshd has AllowTcpForwarding yes",
                ) from None
        try:
            self._client = open_client(f"host {name}", ssh, address, sock)
        except BaseException:
            if self._jump:
                self._jump.close()
            raise
        self.transport: paramiko.Transport = self._client.get_transport()
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"keepalive of {name}", daemon=True)
        self._watcher.start()

    @property
    def active(self) -> bool:
        return self.transport.is_active()

    def close(self) -> None:
        """Close it and the jump host's connection; their threads end."""
        self._closed.set()
        clients = [client for client in (self._client, self._jump) if client]
        transports = [client.get_transport() for client in clients]
        for client in clients:
            client.close()
        for thread in (*transports, self._watcher):  # a transport is a thread of its own, which close() does not wait for
            if thread:
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
