"""An SSH server, at the other end of a socket pair, that gives commands to a login shell as sshd does: `$SHELL -c COMMAND`."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import paramiko

from airavata_runbook.hosts.host import Host
from airavata_runbook.site.node import Node, Ssh

KEY = paramiko.ECDSAKey.generate()


class LoginShell(paramiko.ServerInterface):
    """Lets everybody in. shell: argv of the login shell, "-c" included. refused: the code by which it refuses forwards, or 0.

    commands: those that came. forwards: where to. most: commands at a time.
    """

    def __init__(self, shell: Sequence[str], environment: Mapping[str, str], refused: int):
        self.shell, self.environment, self.refused = shell, environment, refused
        self.commands: list[str] = []
        self.forwards: list[tuple[str, int]] = []
        self.targets: dict[int, socket.socket] = {}  # channel → the open forward's target
        self.running = self.most = 0
        self.lock = threading.Lock()

    def check_auth_none(self, username: str) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "none"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]) -> int:
        self.forwards.append(destination)
        if self.refused:
            return self.refused
        try:
            self.targets[chanid] = socket.create_connection(destination, 5)
        except OSError:
            return paramiko.common.OPEN_FAILED_CONNECT_FAILED
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.commands.append(command.decode())
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        process = subprocess.Popen(
            [*self.shell, command],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        threading.Thread(target=_copy, args=(channel.recv, process.stdin), daemon=True).start()
        streams = ((process.stdout, channel.sendall), (process.stderr, channel.sendall_stderr))
        senders = [threading.Thread(target=_send, args=stream, daemon=True) for stream in streams]
        for one in senders:
            one.start()
        status = process.wait()
        with self.lock:
            self.running -= 1
        with suppress(OSError, EOFError):  # the connection is closed
            channel.send_exit_status(status if status >= 0 else 128 - status)
            for one in senders:
                one.join()
            channel.close()

    def serve_forwards(self, transport: paramiko.Transport) -> None:
        channels = []  # one that nobody refers to is closed
        while transport.is_active():
            channel = transport.accept(0.2)
            channels.append(channel)
            if channel and (target := self.targets.pop(channel.chanid, None)):
                threading.Thread(target=_copy, args=(channel.recv, target.makefile("wb", 0)), daemon=True).start()
                threading.Thread(target=_send_all, args=(target, channel), daemon=True).start()


def _send_all(target: socket.socket, channel: paramiko.Channel) -> None:
    with suppress(OSError), target:
        while data := target.recv(1 << 16):
            channel.sendall(data)
    with suppress(OSError, EOFError):
        channel.close()


def _copy(receive: Callable[[int], bytes], to) -> None:
    with suppress(OSError), to:
        while data := receive(1 << 16):
            to.write(data)
            to.flush()


def _send(stream, send: Callable[[bytes], object]) -> None:
    with suppress(OSError, EOFError):
        while data := os.read(stream.fileno(), 1 << 16):
            send(data)


class Connection:
    """Stands in for a host's Connection: without its keys and its login, which are another matter."""

    def __init__(self, server: LoginShell):
        ours, theirs = socket.socketpair()
        self.remote = paramiko.Transport(theirs)
        self.remote.add_server_key(KEY)
        self.remote.start_server(server=server, event=threading.Event())
        threading.Thread(target=server.serve_forwards, args=(self.remote,), daemon=True).start()
        self.transport = paramiko.Transport(ours)
        self.transport.start_client(timeout=10)
        self.transport.auth_none("user")

    @property
    def active(self) -> bool:
        return self.transport.is_active()

    def close(self) -> None:
        for one in (self.transport, self.remote):
            one.close()
            one.join(5)


@contextmanager
def host_with(
    shell: Sequence[str] = ("/bin/sh", "-c"), user: str = "root", environment: Mapping[str, str] | None = None, refused: int = 0
) -> Iterator[tuple[Host, LoginShell]]:
    """A Host whose user has this login shell, and its server."""
    server = LoginShell(shell, environment or {"PATH": "/usr/bin:/bin"}, refused)
    host = Host(Node(name="one", address="192.0.2.11", ssh=Ssh(user=user)))
    made: list[Connection] = []

    def connect() -> Connection:
        with host._lock:
            if host._connection is None or not host._connection.active:
                host._connection = Connection(server)
                made.append(host._connection)
            return host._connection

    host._open = connect
    try:
        yield host, server
    finally:
        host.close()
        for one in made:
            one.close()
