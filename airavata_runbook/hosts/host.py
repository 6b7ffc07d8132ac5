"""Host: one verified SSH connection to a node: run a script as root, send bytes, forward a port."""

import hashlib
import shlex
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from airavata_runbook.errors import STOPPED_BY_USER, HostUnreachable, StoppedByUser
from airavata_runbook.hosts.client import CONNECT_TIMEOUT, open_client, parse_jump, watch
from airavata_runbook.hosts.forward import Forward
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Node

T = TypeVar("T")
TIMEOUT = 600.0  # seconds without any output of a command
SESSIONS = 7  # commands at a time; sshd takes 10 on a connection (MaxSessions), and the lock and a fan-out hold one each


@dataclass(frozen=True)
class Result:
    """What a script on a host came to. stdout, stderr: bytes, whole."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The last lines of what it said on stderr (or else stdout), for a message."""
        said = self.stderr.decode(errors="replace").strip() or self.text.strip()
        return "\n".join(said.splitlines()[-6:])


class Host:
    """A node with an open connection. Made by `connect`; safe to use from several threads."""

    def __init__(self, site: Site, node: Node):
        self.site, self.node, self.name = site, node, node.name
        self._client: paramiko.SSHClient | None = None
        self._jump: paramiko.SSHClient | None = None
        self._forwards: dict[tuple[str, int], Forward] = {}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._sessions = threading.BoundedSemaphore(SESSIONS)

    def run(self, script: str, data: bytes | None = None, timeout: float = TIMEOUT) -> Result:
        """Run a POSIX shell script as root; returns its Result whatever its exit status.

        Without `data` the script travels on standard input, so that nothing of it shows in the host's process
        list. With `data` the script is an argument (it must hold no secret) and reads `data` on its standard
        input. timeout: seconds without any output. Raises HostUnreachable when the connection fails.
        """
        if data is not None:
            return self._exchange(self._shell(script), data, timeout)
        # One compound command, so that the shell has read it all before anything in it reads standard input.
        return self._exchange(self._shell(), ("{\n" + script + "\n} </dev/null\n").encode(), timeout)

    def greet(self) -> None:
        """Begin to connect, without waiting for it; what is wrong is told to whoever uses the host."""

        def quietly() -> None:
            with suppress(HostUnreachable):
                self._open()

        threading.Thread(target=quietly, daemon=True).start()

    def start(self, script: str) -> paramiko.Channel:
        """Start a script (it must hold no secret) as root; returns its open channel, which the script can read from.

        What the script starts ends with the channel, if it reads to the end of its input. Raises HostUnreachable.
        """
        client = self._open()
        try:
            channel = client.get_transport().open_session(timeout=CONNECT_TIMEOUT)
            channel.exec_command(self._shell(script))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error, client) from None
        return channel

    def send(self, source: Path, target: str, progress: Callable[[int], None] = lambda sent: None) -> None:
        """Copy a local file to `target` on the host, as root, mode 644. progress gets the bytes sent so far."""
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            quoted = shlex.quote(target)
            script = (
                f"set -e; umask 022; mkdir -p $(dirname {quoted}); cat > {quoted}.part; "
                f"echo {digest} {quoted}.part | sha256sum -c --quiet; mv -f {quoted}.part {quoted}"
            )
            result = self._exchange(self._shell(script), stream, progress=progress)
        if result.status:
            raise HostUnreachable(
                "a file did not arrive whole",
                where=f"host {self.name}: {target}",
                found=result.complaint,
                remedy="see that the host's disk has room, then run again",
            )

    def forward(self, port: int, address: str = "127.0.0.1") -> int:
        """The local port (on 127.0.0.1) of a forward to address:port as the host sees it; kept until `close`."""
        with self._lock:
            key = (address, port)
            if key not in self._forwards:
                self._forwards[key] = Forward(lambda: self._open().get_transport(), address, port)
            return self._forwards[key].port

    def stop(self) -> None:
        """Let go of what is under way on the host, and refuse more until `resume`: the user stops the work."""
        self._stop.set()
        self.close()

    def resume(self) -> None:
        """Take work again after `stop`."""
        self._stop.clear()

    def pause(self, seconds: float) -> None:
        """Wait between two looks. Raises HostUnreachable as soon as the user stops the work."""
        if self._stop.wait(seconds):
            raise self._lost(None)

    def close(self) -> None:
        """End the connection and its forwards; the next use connects again."""
        with self._lock:
            for forward in self._forwards.values():
                forward.close()
            self._forwards.clear()
            for client in (self._client, self._jump):
                if client:
                    client.close()
            self._client = self._jump = None

    def _lost(self, error: Exception | None, client: paramiko.SSHClient | None = None) -> HostUnreachable:
        """What became of the connection `client`, or of whichever there is, as an error. It is closed, but no newer one."""
        if isinstance(error, paramiko.ChannelException):  # the connection is well; another thread may be at work on it
            return HostUnreachable(
                "the host refuses one more session",
                where=f"host {self.name}",
                found=str(error),
                remedy="raise MaxSessions in the configuration of its sshd to 10, its default, or more",
            )
        with self._lock:
            if client in (None, self._client):
                self.close()
        if self._stop.is_set():
            return StoppedByUser(
                STOPPED_BY_USER,
                where=f"host {self.name}",
                remedy="run the step again: what is done stays done, and it goes on where it stopped",
            )
        return HostUnreachable(
            "the connection to the host was lost",
            where=f"host {self.name}",
            found=str(error) or type(error).__name__,
            remedy="see that the host is up, then run again: it goes on where it stopped",
        )

    def _shell(self, script: str | None = None) -> str:
        """The command of root's shell: with a script as its argument, or one that reads it."""
        shell = "sh" if self.node.ssh.user == "root" else "sudo -n sh"
        return shell if script is None else f"{shell} -c {shlex.quote(script)}"

    def _exchange(self, command: str, data, timeout: float = TIMEOUT, progress=lambda sent: None) -> Result:
        with self._sessions:
            client = self._open()
            try:
                return _exchanged(client.get_transport(), command, data, timeout, progress)
            except TimeoutError:
                if self._stop.is_set():
                    raise self._lost(None, client) from None
                raise HostUnreachable(
                    "nothing was heard of a command on the host for a long time",
                    where=f"host {self.name}",
                    found=f"no output for {timeout:.0f} s",
                    needed="an answer",
                    remedy="it may still be at work there (see ps); run again when it has ended",
                ) from None
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise self._lost(error, client) from None

    def _open(self) -> paramiko.SSHClient:
        with self._lock:
            if self._stop.is_set():
                raise self._lost(None)
            if self._client is None or not (self._client.get_transport() and self._client.get_transport().is_active()):
                self._client = self._connect()
            return self._client

    def _connect(self) -> paramiko.SSHClient:
        ssh = self.node.ssh
        address, sock = ssh.host or str(self.node.address), None
        if ssh.jump:
            jump = parse_jump(ssh)
            self._jump = open_client(f"jump host {jump.host}", jump, jump.host, None)
            try:
                sock = self._jump.get_transport().open_channel(
                    "direct-tcpip", (address, ssh.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT
                )
            except paramiko.SSHException as error:  # the jump host cannot reach it, or does not forward
                raise HostUnreachable(
                    "the jump host does not reach the host",
                    found=str(error),
                    where=f"host {self.name}, {address}:{ssh.port} through {jump.user}@{jump.host}:{jump.port}",
                    remedy="see that the host is up, that ssh.host is its address as the jump host knows "
                    "it, and that the jump host's sshd has AllowTcpForwarding yes",
                ) from None
        client = open_client(f"host {self.name}", ssh, address, sock)
        threading.Thread(target=watch, args=(client.get_transport(),), daemon=True).start()
        return client


def _exchanged(transport: paramiko.Transport, command: str, data, timeout: float, progress: Callable[[int], None]) -> Result:
    channel = transport.open_session(timeout=CONNECT_TIMEOUT)
    try:
        channel.settimeout(timeout)
        channel.exec_command(command)
        feeder = threading.Thread(target=_feed, args=(channel, data, progress), daemon=True)
        errors: list[bytes] = []
        reader = threading.Thread(target=_read_errors, args=(channel, errors), daemon=True)
        feeder.start()
        reader.start()
        output = channel.makefile("rb").read()
        reader.join(timeout)
        feeder.join(timeout)
        status = channel.recv_exit_status()
        if status == -1 and not transport.is_active():
            raise EOFError("it ended before the command did")
        return Result(status, output, b"".join(errors))
    finally:
        channel.close()


def _read_errors(channel: paramiko.Channel, errors: list[bytes]) -> None:
    with suppress(OSError):  # silent for too long, or cut: what it prints on standard output tells
        errors.append(channel.makefile_stderr("rb").read())


def _feed(channel: paramiko.Channel, data, progress: Callable[[int], None]) -> None:
    sent = 0
    try:
        for chunk in [data] if isinstance(data, bytes) else iter(lambda: data.read(1 << 18), b""):
            channel.sendall(chunk)
            sent += len(chunk)
            progress(sent)
        channel.shutdown_write()
    except OSError:
        pass  # the command ended without reading it all; its exit status tells the story
