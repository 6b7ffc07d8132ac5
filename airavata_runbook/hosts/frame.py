"""The frame around every script on a host: what the script prints, and nothing that a login shell prints beside it.

sshd gives each command to the user's login shell (`$SHELL -c COMMAND`, sshd(8)), and that shell reads its start-up files first:
bash ~/.bashrc, zsh ~/.zshenv, tcsh ~/.tcshrc, fish its config.fish. They may print, on both streams, before and after the
command. So the command has no character that one of these shells treats specially outside of single quotes, and the script
arrives on standard input, so that it is in no process list. A script's output stands between two marks with a nonce of this
call, which nothing on the host can know in advance; the exit status stands before the second. An output without the first mark
is not the script's, and one without the second is truncated.

Needs only a POSIX shell.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.batch import Answer

BLOCK = 1 << 16  # bytes received at a time
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # sshd's own has no sbin for most users
# The same for every script, whatever the user's shell has set: parsers expect untranslated output, a file's mode follows the
# umask, CDPATH makes `cd` print, BASH_ENV is read by each bash, and POSIXLY_CORRECT changes the output of df and ls.
ENVIRONMENT = f"umask 022; unset BASH_ENV CDPATH POSIXLY_CORRECT; export LC_ALL=C PATH={PATH}"


@dataclass(frozen=True)
class Result(Answer):
    """Exit status and complete output (bytes) of a script on a host."""

    stderr: bytes = b""

    @property
    def last_lines(self) -> str:
        """The last lines of standard error, or else of standard output, for a message."""
        return last_lines(self.stderr) or last_lines(self.stdout)


def last_lines(output: bytes) -> str:
    """The last lines of an output, for a message."""
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-6:])


def command(user: str, size: int | None = None) -> str:
    """The command for the login shell of `user`: a root shell that runs the script on its standard input.

    size: of the script, when data for it follows; only that many bytes are then read as script. Otherwise all is script.
    """
    # By paths, which no alias replaces; sudo, too, is found whatever the user's PATH is, and speaks English.
    shell = f"/usr/bin/env LC_ALL=C PATH={PATH} {'' if user == 'root' else 'sudo -n '}/bin/sh"
    # bs=1 reads no byte too many, as a shell that reads its script by blocks would.
    return shell if size is None else f"{shell} -c 'eval \"$(dd bs=1 count={size} 2>/dev/null)\"'"


def framed(script: str, nonce: str, reads: bool = False) -> bytes:
    """`script` within its frame. reads: it reads the data that follows it; otherwise it finds no input."""
    # One compound command, which the shell reads whole before it runs any of it: half a script is never run.
    return f"""{{
{ENVIRONMENT}
echo {nonce} >&2; echo; echo {nonce}
( eval {shlex.quote(script)}
){"" if reads else " </dev/null"}
set -- $?; echo; echo $1 {nonce}; echo {nonce} >&2
}}
""".encode()


def opened(script: str, nonce: str) -> bytes:
    """`script` after the first mark alone, for a dialogue: all that it prints, errors too, follows the mark at once."""
    return f"{{\n{ENVIRONMENT}\nexec 2>&1; echo; echo {nonce}\n{script}\n}}\n".encode()


def read_start(receive: Callable[[int], bytes], nonce: str) -> list[bytes]:
    """The parts of a stream before and after its first mark; one part when that did not come.

    receive: gives at most that many bytes, b"" at the end, as a channel's recv. Nothing after the mark is received.
    """
    mark, stream = _mark(nonce), bytearray()
    while (missing := _missing(stream, mark)) and (chunk := receive(missing)):
        stream += chunk
    return bytes(stream).split(mark)


def read_frame(receive: Callable[[int], bytes], nonce: str) -> list[bytes]:
    """The parts of a stream before, between and after the two marks of a frame; fewer than three when it is not whole.

    receive: as in `read_start`. The end of the stream is not awaited: a process that a shell left behind may keep it open.
    """
    mark, stream, marks, at = _mark(nonce), bytearray(), 0, 0
    while marks < 2 and (chunk := receive(BLOCK)):
        stream += chunk
        while (found := stream.find(mark, at)) >= 0:
            marks, at = marks + 1, found + len(mark)
        at = max(at, len(stream) - len(mark) + 1)
    return bytes(stream).split(mark)


def _mark(nonce: str) -> bytes:
    return f"{nonce}\n".encode()


def _missing(stream: bytearray, mark: bytes) -> int:
    """How many bytes of the mark have to follow the stream, which may end within it."""
    return next(len(mark) - size for size in range(len(mark), -1, -1) if stream.endswith(mark[:size]))


def unframed(stdout: Sequence[bytes], stderr: Sequence[bytes], where: str) -> Result | None:
    """The Result of a framed script, from the parts of its streams (`read_frame`); None when it did not start. where: the host.

    Raises StepFailed when its output is truncated.
    """
    if len(stdout) == 1:
        return None
    output, errors = stdout[1], stderr[1] if len(stderr) > 1 else b""
    if len(stdout) == 2:
        raise StepFailed(
            "the host's output is truncated",
            where=where,
            found=last_lines(errors) or last_lines(output) or "no output",
            needed="the script's exit status after its output",
            remedy="run again; if the error stays, check the host's free memory and disk space",
            retryable=True,
        )
    output, _, status = output.rpartition(b"\n")
    return Result(output, int(status), errors)
