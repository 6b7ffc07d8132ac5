"""Host: run scripts as root on a node, send files and forward ports over one verified SSH connection."""

import secrets
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from airavata_runbook.errors import STOPPED_BY_USER, ForwardForbidden, HostUnreachable, StoppedByUser
from airavata_runbook.hosts import frame
from airavata_runbook.hosts.batch import Answer, batch, split
from airavata_runbook.hosts.client import CONNECT_TIMEOUT
from airavata_runbook.hosts.command import exit_status, feed, run_command
from airavata_runbook.hosts.connection import Connection
from airavata_runbook.hosts.forward import Forward, open_channel
from airavata_runbook.hosts.frame import Result
from airavata_runbook.hosts.no_shell import not_root
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.local.files import AS_IT_IS, Head, Readable, Watched, digest
from airavata_runbook.site.node import Node

TIMEOUT = 600.0  # seconds without any output of a command
START_TIMEOUT = 60.0  # seconds for the user's shell, and sudo, to start: start-up files may ask a slow server
SESSIONS = 7  # commands at a time; sshd takes 10 on a connection (MaxSessions), and the lock and a fan-out hold one each


class Host:
    """A node and its SSH connection, opened at the first use. Safe to use from several threads."""

    def __init__(self, node: Node):
        self.node, self.name = node, node.name
        self._connection: Connection | None = None
        self._connecting: threading.Thread | None = None
        self._forwards: dict[tuple[str, int], Forward] = {}
        self._lock, self._forwarding = threading.RLock(), threading.Lock()
        self._stop = threading.Event()
        self._sessions = threading.BoundedSemaphore(SESSIONS)

    def run(self, script: str, timeout: float = TIMEOUT) -> Result:
        """Run a POSIX shell script as root; returns its Result whatever its exit status.

        The script is sent on standard input, so that nothing of it is in the host's process list. timeout: seconds without
        any output. Raises HostUnreachable when the connection fails, NotRoot when root's shell did not start, and StepFailed
        when the output is truncated.
        """
        nonce = _nonce()
        return self._exchange(self._command(), nonce, [BytesIO(frame.framed(script, nonce))], timeout)

    @property
    def transport(self) -> paramiko.Transport:
        """The open SSH connection, for what was negotiated. Raises HostUnreachable."""
        return self._open().transport

    def connect_in_background(self) -> None:
        """Start connecting and return; the next use of the host waits for it, and raises its error."""

        def connect() -> None:
            with suppress(HostUnreachable):
                self._open()

        self._connecting = threading.Thread(target=connect, name=f"connect to {self.name}", daemon=True)
        self._connecting.start()

    def run_batch(self, fragments: Mapping[str, str]) -> dict[str, Answer]:
        """The output and exit status of each shell fragment (name → script) by name, run as root in one round trip.

        Raises HostUnreachable, NotRoot when root's shell did not start, and StepFailed when the output is incomplete.
        """
        nonce = _nonce()
        return split(self.run(batch(fragments, nonce)).stdout, nonce, fragments)

    def start(self, script: str, data: bytes = b"") -> paramiko.Channel:
        """Start a script as root; returns its open channel, from which it can read, and which gives all that it prints.

        data: the beginning of its input, which is sent with the script. What it starts ends with the channel, if it reads to
        the end of its input. Raises HostUnreachable, and NotRoot when root's shell did not start.
        """
        nonce = _nonce()
        connection, opened = self._open(), frame.opened(script, nonce)
        try:
            channel = connection.transport.open_session(timeout=CONNECT_TIMEOUT)
            try:
                channel.settimeout(START_TIMEOUT)
                channel.exec_command(self._command(len(opened)))
                feed(channel, [BytesIO(opened + data)])
                printed = frame.read_start(channel.recv, nonce)
                if len(printed) == 1:
                    status = exit_status(channel, connection.transport)
                    raise not_root(self.name, self.node.ssh, printed[0] + channel.makefile_stderr("rb").read(), status)
            except BaseException:
                channel.close()
                raise
        except TimeoutError:
            raise self._silent(START_TIMEOUT) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error, connection) from None
        return channel

    def send(self, source: Path, target: str, head: Head = AS_IT_IS, done: Callable[[int], None] = lambda count: None) -> None:
        """Copy a local file to `target` on the host, as root, mode 644, with that head.

        done: called with numbers of bytes that were sent. Raises HostUnreachable when the connection fails or the file is not
        copied completely.
        """
        sha256 = digest(source, head)
        with source.open("rb") as stream:
            stream.seek(head.instead)
            quoted, nonce = shlex.quote(target), _nonce()
            script = (
                f"set -e; mkdir -p $(dirname {quoted}); cat > {quoted}.part; "
                f"echo {sha256} {quoted}.part | sha256sum -c --quiet; mv -f {quoted}.part {quoted}"
            )
            framed = frame.framed(script, nonce, reads=True)
            result = self._exchange(
                self._command(len(framed)), nonce, [BytesIO(framed), BytesIO(head.content), Watched(stream, done)]
            )
        if result.status:
            raise HostUnreachable(
                "a file was not copied completely",
                where=f"host {self.name}: {target}",
                found=result.last_lines,
                remedy="check the free space on the host's disk, then run again",
            )

    def forward(self, port: int, address: str = "127.0.0.1") -> int:
        """The local port (on 127.0.0.1) of a forward to address:port as the host sees it; open until `close`.

        Raises HostUnreachable, and ForwardForbidden when the host's SSH server forbids it.
        """
        key = (address, port)
        with self._forwarding:
            forward = self._forwards.get(key)
            if forward is None or forward.forbidden:
                if forward:
                    forward.close()
                with self._opening_forward(address, port):
                    forward = Forward(lambda: self._open().transport, address, port)
                with self._lock:
                    self._forwards[key] = forward
            return forward.port

    def check_forward(self, port: int, address: str = "127.0.0.1") -> None:
        """Try one forward to address:port, where nothing has to listen. Raises as `forward`."""
        with self._opening_forward(address, port) as connection:
            if channel := open_channel(connection.transport, (address, port)):
                channel.close()

    @contextmanager
    def _opening_forward(self, address: str, port: int) -> Iterator[Connection]:
        connection = self._open()
        try:
            yield connection
        except paramiko.ChannelException as error:
            raise ForwardForbidden(
                "the SSH server forbids port forwarding",
                where=f"host {self.name}, user {self.node.ssh.user}, to {address}:{port}",
                found=error.text,
                needed="AllowTcpForwarding yes or local, for this user",
                remedy="set it in the host's sshd_config and Match blocks, without DisableForwarding and PermitOpen, and remove "
                "restrict and no-port-forwarding from authorized_keys; `systemctl reload ssh` (Enterprise Linux: sshd); then run "
                "again, in a notebook after a restart of the kernel",
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error, connection) from None

    def stop(self) -> None:
        """Interrupt the commands on the host, and refuse new ones until `resume`."""
        self._stop.set()
        self.close()

    def resume(self) -> None:
        """Accept commands again after `stop`."""
        self._stop.clear()

    def pause(self, seconds: float) -> None:
        """Wait between two polls. Raises StoppedByUser as soon as the user stops the work."""
        if self._stop.wait(seconds):
            raise self._stopped()

    def close(self) -> None:
        """Close the connection and its forwards and end their threads; the next use connects again."""
        if self._connecting and self._connecting is not threading.current_thread():
            self._connecting.join()
        self._drop()

    def _drop(self, only: Connection | None = None) -> None:
        """Close the current connection. only: unless it is another one by now."""
        with self._lock:
            if only not in (None, self._connection):
                return
            connection, forwards = self._connection, list(self._forwards.values())
            self._connection = None
            self._forwards.clear()
        for forward in forwards:
            forward.close()
        if connection:
            connection.close()
        for forward in forwards:
            forward.join()

    def _lost(self, error: Exception, connection: Connection) -> HostUnreachable:
        """Close a connection that failed; returns the error to raise."""
        if isinstance(error, paramiko.ChannelException):  # the connection still works, and other threads may use it
            return HostUnreachable(
                "the host refused one more SSH session",
                where=f"host {self.name}",
                found=str(error),
                remedy="set MaxSessions in its sshd_config to 10, the default, or more",
            )
        self._drop(connection)
        if self._stop.is_set():
            return self._stopped()
        return HostUnreachable(
            "the SSH connection was lost",
            where=f"host {self.name}",
            found=str(error) or type(error).__name__,
            remedy="check that the host is up, then run again: it continues where it stopped",
        )

    def _stopped(self) -> StoppedByUser:
        remedy = "run the step again: it continues where it stopped"
        return StoppedByUser(STOPPED_BY_USER, where=f"host {self.name}", remedy=remedy)

    def _command(self, size: int | None = None) -> str:
        return frame.command(self.node.ssh.user, size)

    def _exchange(self, command: str, nonce: str, data: Sequence[Readable], timeout: float = TIMEOUT) -> Result:
        with self._sessions:
            connection = self._open()
            try:
                stdout, stderr, status = run_command(connection.transport, command, nonce, data, timeout)
            except TimeoutError:
                raise self._silent(timeout) from None
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise self._lost(error, connection) from None
        result = frame.unframed(stdout, stderr, f"host {self.name}")
        if result is None:
            raise not_root(self.name, self.node.ssh, stdout[0] + b"\n" + stderr[0], status)
        return result

    def _silent(self, timeout: float) -> HostUnreachable:
        if self._stop.is_set():
            return self._stopped()
        return HostUnreachable(
            f"a command produced no output for {timeout:.0f} s",
            where=f"host {self.name}",
            remedy="it may still be running there (check with ps); run again after it ended",
        )

    def _open(self) -> Connection:
        with self._lock:
            if self._stop.is_set():
                raise self._stopped()
            if self._connection is None or not self._connection.active:
                self._connection = Connection(self.name, self.node)
            return self._connection


def _nonce() -> str:
    return secrets.token_hex(8)
