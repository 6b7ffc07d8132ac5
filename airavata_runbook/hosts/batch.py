"""Many shell fragments in one script, and so in one round trip, their outputs separated whatever they print.

Each fragment runs in a subshell of its own with no standard input. Its output is enclosed in two lines with a nonce of this
call, which nothing on the host can know in advance; the second line has the exit status and ends with a full stop. So no
output, hostile or truncated, is taken for that of another fragment or for a complete one.
Needs only a POSIX shell.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.errors import StepFailed


@dataclass(frozen=True)
class Answer:
    """The complete standard output of a script (bytes), and its exit status."""

    stdout: bytes = b""
    status: int = 0

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


def batch(fragments: Mapping[str, str], nonce: str, stop: bool = False) -> str:
    """One shell script that runs all `fragments` (name → script) in order.

    Names have no blanks. stop: end after the first fragment that fails. Standard error is not redirected.
    """
    pieces = []
    for name, script in fragments.items():
        pieces.append(f"echo {nonce} {name}; ( {script}\n) </dev/null; status=$?; echo; echo {nonce} {name} $status .\n")
        if stop:
            pieces.append("test $status = 0 || exit 0\n")
    return "".join(pieces)


def split(output: bytes, nonce: str, names: Mapping[str, str] | None = None) -> dict[str, Answer]:
    """The answers of `batch` by name. names: the fragments that must all be in the output.

    Raises StepFailed, which names the missing ones, when the output is truncated.
    """
    mark = re.escape(nonce.encode())
    answers = {
        name.decode(errors="replace"): Answer(stdout, int(status))
        for name, stdout, status in re.findall(
            rb"^%b (\S+)\n(.*?)\n%b \1 (\d{1,3}) \.$" % (mark, mark), output, re.DOTALL | re.MULTILINE
        )
    }
    missing = [name for name in names or () if name not in answers]
    if missing:
        raise StepFailed(
            "the host's output is truncated",
            found=f"no output of {', '.join(missing[:5])}",
            remedy="run again; if the error stays, check the host's free memory and disk space",
            retryable=True,
        )
    return answers
