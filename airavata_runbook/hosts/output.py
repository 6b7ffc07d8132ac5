"""The output of a script on a host, or its input, as a stream of any size, which nothing keeps."""

import secrets
import shlex
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.hosts.frame import last_lines
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.ssh_library import paramiko

BLOCK = 1 << 18  # bytes at a time
ERRORS = 2000  # bytes of standard error that are kept


def succeed(host: Host, script: str) -> str:
    """What a script printed that has to succeed. Raises StepFailed with the last that it printed, and HostUnreachable."""
    result = host.run(script)
    if result.status:
        raise StepFailed("a command failed on the host", where=f"host {host.name}", found=result.last_lines)
    return result.text


def output(host: Host, script: str) -> Iterator[bytes]:
    """What a script prints that root runs on the host, block by block. It ends with the connection.

    Raises, at the end, StepFailed with its last errors when the script failed, and HostUnreachable when the connection was lost.
    """
    mark = f" {secrets.token_hex(8)}\n".encode()
    framed = f"""errors=$(mktemp) && trap 'rm -f "$errors"' EXIT || exit
( eval {shlex.quote(script)} ) 2> "$errors" < /dev/null
printf '\\n%s%s\\n' $? {shlex.quote(mark.decode().rstrip())}; tail -c {ERRORS} "$errors"
"""
    held = b""  # the end of the stream so far: it may be the script's status
    with host.start(framed) as channel:
        channel.settimeout(None)
        while block := channel.recv(BLOCK):
            held += block
            if len(held) > BLOCK:
                keep = len(held) - 2 * ERRORS
                yield held[:keep]
                held = held[keep:]
    printed, found, errors = held.rpartition(mark)
    if not found:
        raise _cut(host)
    printed, _, status = printed.rpartition(b"\n")
    yield printed
    _refuse(host, status, errors)


def feed(host: Host, script: str, blocks: Iterable[bytes]) -> None:
    """Run a script as root with these blocks as its input. It ends with the connection.

    Raises StepFailed with the last that it printed when it failed, which it may before it has read everything; HostUnreachable
    when the connection was lost; and what `blocks` raises: the script's input then ends there.
    """
    mark = f" {secrets.token_hex(8)}\n".encode()
    framed = f"( eval {shlex.quote(script)} )\nprintf '\\n%s%s\\n' $? {shlex.quote(mark.decode().rstrip())}"
    said = bytearray()
    with host.start(framed) as channel:
        channel.settimeout(None)
        reader = threading.Thread(target=_keep_end, args=(channel, said), daemon=True)
        reader.start()
        _send(channel, blocks)
        reader.join()
    printed, found, _ = bytes(said).rpartition(mark)
    if not found:
        raise _cut(host)
    printed, _, status = printed.rpartition(b"\n")
    _refuse(host, status, printed)


def _send(channel: paramiko.Channel, blocks: Iterable[bytes]) -> None:
    for block in blocks:
        try:
            channel.sendall(block)
        except OSError:  # the script ended: what it printed tells why
            return
    with suppress(OSError):
        channel.shutdown_write()


def _keep_end(channel: paramiko.Channel, said: bytearray) -> None:
    with suppress(OSError):
        while chunk := channel.recv(BLOCK):
            said += chunk
            del said[: -2 * ERRORS]


def _cut(host: Host) -> HostUnreachable:
    return HostUnreachable("the output of a script is cut off", where=f"host {host.name}", remedy="run the command again")


def _refuse(host: Host, status: bytes, errors: bytes) -> None:
    if status != b"0":
        raise StepFailed(
            "a command failed on the host",
            where=f"host {host.name}",
            found=last_lines(errors) or f"exit status {status.decode()}",
        )
