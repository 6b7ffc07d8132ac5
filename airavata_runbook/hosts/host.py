"""Host: run scripts as root on a node, send files and forward ports over one verified SSH connection."""

import hashlib
import secrets
import shlex
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from airavata_runbook.errors import STOPPED_BY_USER, HostUnreachable, NotRoot, StoppedByUser
from airavata_runbook.hosts.batch import Answer, batch, split
from airavata_runbook.hosts.client import CONNECT_TIMEOUT
from airavata_runbook.hosts.connection import Connection
from airavata_runbook.hosts.forward import Forward
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.site.parts import Node

TIMEOUT = 600.0  # seconds without any output of a command
SESSIONS = 7  # commands at a time; sshd takes 10 on a connection (MaxSessions), and the lock and a fan-out hold one each


@dataclass(frozen=True)
class Result(Answer):
    """Exit status and complete output (bytes) of a script on a host."""

    stderr: bytes = b""

    @property
    def last_lines(self) -> str:
        """The last lines of standard error, or else of standard output, for a message."""
        output = self.stderr.decode(errors="replace").strip() or self.text.strip()
        return "\n".join(output.splitlines()[-6:])


class Host:
    """A node and its SSH connection, opened at the first use. Safe to use from several threads."""

    def __init__(self, node: Node):
        self.node, self.name = node, node.name
        self._connection: Connection | None = None
        self._connecting: threading.Thread | None = None
        self._forwards: dict[tuple[str, int], Forward] = {}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._sessions = threading.BoundedSemaphore(SESSIONS)

    def run(self, script: str, timeout: float = TIMEOUT) -> Result:
        """Run a POSIX shell script as root; returns its Result whatever its exit status.

        The script is sent on standard input, so that nothing of it is in the host's process list. timeout: seconds without
        any output. Raises HostUnreachable when the connection fails.
        """
        # One compound command: the shell reads it whole before any command in it can read standard input.
        return self._exchange(self._shell(), BytesIO(("{\n" + script + "\n} </dev/null\n").encode()), timeout)

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
        nonce = secrets.token_hex(8)
        result = self.run(batch(fragments, nonce))
        if result.status > 0 and nonce.encode() not in result.stdout:  # which the script prints first
            user = self.node.ssh.user
            raise NotRoot(
                "the user cannot run commands as root",
                where=f"host {self.name}, user {user}",
                found=result.last_lines or f"no output (exit status {result.status})",
                needed="root, or sudo without a password",
                remedy="give root a shell: `chsh -s /bin/sh root`"
                if user == "root"
                else f"install sudo, and add the line `{user} ALL=(ALL) NOPASSWD: ALL` to /etc/sudoers.d/{user}",
            )
        return split(result.stdout, nonce, fragments)

    def start(self, script: str) -> paramiko.Channel:
        """Start a script (it must hold no secret) as root; returns its open channel, which the script can read from.

        What the script starts ends with the channel, if it reads to the end of its input. Raises HostUnreachable.
        """
        connection = self._open()
        try:
            channel = connection.transport.open_session(timeout=CONNECT_TIMEOUT)
            channel.exec_command(self._shell(script))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error, connection) from None
        return channel

    def send(self, source: Path, target: str) -> None:
        """Copy a local file to `target` on the host, as root, mode 644."""
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            quoted = shlex.quote(target)
            script = (
                f"set -e; umask 022; mkdir -p $(dirname {quoted}); cat > {quoted}.part; "
                f"echo {digest} {quoted}.part | sha256sum -c --quiet; mv -f {quoted}.part {quoted}"
            )
            result = self._exchange(self._shell(script), stream)
        if result.status:
            raise HostUnreachable(
                "a file was not copied completely",
                where=f"host {self.name}: {target}",
                found=result.last_lines,
                remedy="check the free space on the host's disk, then run again",
            )

    def forward(self, port: int, address: str = "127.0.0.1") -> int:
        """The local port (on 127.0.0.1) of a forward to address:port as the host sees it; open until `close`."""
        with self._lock:
            key = (address, port)
            if key not in self._forwards:
                self._forwards[key] = Forward(lambda: self._open().transport, address, port)
            return self._forwards[key].port

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

    def _shell(self, script: str | None = None) -> str:
        """The command of a root shell that runs `script`, or that reads a script from standard input."""
        shell = "sh" if self.node.ssh.user == "root" else "sudo -n sh"
        return shell if script is None else f"{shell} -c {shlex.quote(script)}"

    def _exchange(self, command: str, data: BinaryIO, timeout: float = TIMEOUT) -> Result:
        with self._sessions:
            connection = self._open()
            try:
                return _run_on(connection.transport, command, data, timeout)
            except TimeoutError:
                if self._stop.is_set():
                    raise self._stopped() from None
                raise HostUnreachable(
                    f"a command produced no output for {timeout:.0f} s",
                    where=f"host {self.name}",
                    remedy="it may still be running there (check with ps); run again after it ended",
                ) from None
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise self._lost(error, connection) from None

    def _open(self) -> Connection:
        with self._lock:
            if self._stop.is_set():
                raise self._stopped()
            if self._connection is None or not self._connection.active:
                self._connection = Connection(self.name, self.node)
            return self._connection


def _run_on(transport: paramiko.Transport, command: str, data: BinaryIO, timeout: float) -> Result:
    channel = transport.open_session(timeout=CONNECT_TIMEOUT)
    try:
        channel.settimeout(timeout)
        channel.exec_command(command)
        feeder = threading.Thread(target=_feed, args=(channel, data), daemon=True)
        errors: list[bytes] = []
        reader = threading.Thread(target=_read_errors, args=(channel, errors), daemon=True)
        feeder.start()
        reader.start()
        output = channel.makefile("rb").read()
        reader.join(timeout)
        feeder.join(timeout)
        status = channel.recv_exit_status()
        if status == -1 and not transport.is_active():
            raise EOFError("it was closed before the command ended")
        return Result(output, status, b"".join(errors))
    finally:
        channel.close()


def _read_errors(channel: paramiko.Channel, errors: list[bytes]) -> None:
    with suppress(OSError):  # timed out or lost: reading standard output reports it
        errors.append(channel.makefile_stderr("rb").read())


def _feed(channel: paramiko.Channel, data: BinaryIO) -> None:
    with suppress(OSError):  # the command ended without reading it all; its exit status says whether it failed
        while chunk := data.read(1 << 18):
            channel.sendall(chunk)
        channel.shutdown_write()
