"""One command on an open SSH connection: its input, both its outputs, and the exit status of the user's shell."""

import threading
from collections.abc import Sequence
from contextlib import suppress

from airavata_runbook.hosts import frame
from airavata_runbook.hosts.client import CONNECT_TIMEOUT
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.local.files import Readable


def run_command(
    transport: paramiko.Transport, command: str, nonce: str, data: Sequence[Readable], timeout: float
) -> tuple[list[bytes], list[bytes], int]:
    """The parts of standard output and of standard error (frame.read_frame), and the exit status of the user's shell."""
    channel = transport.open_session(timeout=CONNECT_TIMEOUT)
    try:
        channel.settimeout(timeout)
        channel.exec_command(command)
        errors = [b""]
        feeder = threading.Thread(target=feed, args=(channel, data, True), daemon=True)
        reader = threading.Thread(target=_read_errors, args=(channel, nonce, errors), daemon=True)
        feeder.start()
        reader.start()
        output = frame.read_frame(channel.recv, nonce)
        reader.join(timeout)
        feeder.join(timeout)
        return output, errors, exit_status(channel, transport)
    finally:
        channel.close()


def exit_status(channel: paramiko.Channel, transport: paramiko.Transport) -> int:
    """Waits for the end of the user's shell: until then the server counts its session. Raises EOFError."""
    status = channel.recv_exit_status()
    if status == -1 and not transport.is_active():
        raise EOFError("it was closed before the command ended")
    return status


def _read_errors(channel: paramiko.Channel, nonce: str, errors: list[bytes]) -> None:
    with suppress(OSError):  # timed out or lost: reading standard output reports it
        errors[:] = frame.read_frame(channel.recv_stderr, nonce)


def feed(channel: paramiko.Channel, data: Sequence[Readable], whole: bool = False) -> None:
    """Send data to a command. whole: nothing follows it."""
    with suppress(OSError):  # the command ended without reading it all; its exit status says whether it failed
        for stream in data:
            while chunk := stream.read(1 << 18):
                channel.sendall(chunk)
        if whole:
            channel.shutdown_write()
