"""One SSH connection to a node, through its jump host where it has one, closed when the other end is gone."""

import threading
from contextlib import suppress

from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts.client import CONNECT_TIMEOUT, open_client, parse_jump
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.site.parts import Node

CLOSE_TIMEOUT = 5.0  # seconds for a thread to end
KEEPALIVE = 15.0  # seconds between two keepalive requests, and for the reply to one


class Connection:
    """Logged in and verified when it is made. Raises HostUnreachable, SiteError."""

    def __init__(self, name: str, node: Node):
        ssh, sock = node.ssh, None
        address: str = ssh.host or str(node.address)
        self._jump: paramiko.SSHClient | None = None
        if ssh.jump:
            jump = parse_jump(ssh)
            self._jump = open_client(f"jump host {jump.host}", jump, jump.host or "")
            try:
                sock = self._jump.get_transport().open_channel(
                    "direct-tcpip", (address, ssh.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT
                )
            except paramiko.SSHException as error:  # the jump host cannot reach it, or does not forward
                self._jump.close()
                raise HostUnreachable(
                    "the jump host cannot reach the host",
                    where=f"host {name}, {address}:{ssh.port} through {jump.user}@{jump.host}:{jump.port}",
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
        """End it, its jump host's and their threads."""
        self._closed.set()
        clients = [client for client in (self._client, self._jump) if client]
        transports = [client.get_transport() for client in clients]
        for client in clients:
            client.close()
        for thread in (*transports, self._watcher):  # a transport is a thread of its own, which close() does not wait for
            if thread:
                thread.join(CLOSE_TIMEOUT)

    def _watch(self) -> None:
        """Close the connection when the other end does not reply: a host that lost its power closes nothing."""
        while self.active and not self._closed.is_set():
            replied = threading.Event()
            request = threading.Thread(target=self._request, args=(replied,), daemon=True)
            request.start()
            if not replied.wait(KEEPALIVE):
                self.transport.close()
            request.join()
            self._closed.wait(KEEPALIVE)

    def _request(self, replied: threading.Event) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):  # the connection has ended: whoever uses it reports that
            self.transport.global_request("keepalive@openssh.com", wait=True)  # every server replies, be it with a refusal
        replied.set()
