"""The output of a script on a host as a stream, of any size, which nothing keeps."""

import secrets
import shlex
from collections.abc import Iterator

from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.hosts.frame import last_lines
from airavata_runbook.hosts.host import Host

BLOCK = 1 << 18  # bytes at a time
ERRORS = 2000  # bytes of standard error that are kept


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
        raise HostUnreachable("the output of a script is cut off", where=f"host {host.name}", remedy="run the command again")
    printed, _, status = printed.rpartition(b"\n")
    yield printed
    if status != b"0":
        raise StepFailed(
            "a command failed on the host",
            where=f"host {host.name}",
            found=last_lines(errors) or f"exit status {status.decode()}",
        )
