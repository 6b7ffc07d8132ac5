"""Many shell fragments in one round trip, their outputs told apart whatever they print.

Each fragment runs in a subshell of its own with no standard input. Its output comes back between two lines that carry a nonce
made for this call, which nothing on a host can know; the second has its exit status and ends with a full stop. So no
output, hostile or cut short, is taken for another's or for a whole one.
Needs only a POSIX shell.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.errors import StepFailed


@dataclass(frozen=True)
class Answer:
    """What one fragment came to: its standard output, whole, and its exit status."""

    stdout: bytes
    status: int

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


def batch(fragments: Mapping[str, str], nonce: str, stop: bool = False) -> str:
    """One shell script that runs all `fragments` (name → script) in order.

    Names are words without blanks. stop: end after the first fragment that fails. Standard error is left alone.
    """
    pieces = ["export LC_ALL=C\n"]  # the parsers know no other language than that of the tools' manuals
    for name, script in fragments.items():
        pieces.append(f"echo {nonce} {name}; ( {script}\n) </dev/null; status=$?; echo; echo {nonce} {name} $status .\n")
        if stop:
            pieces.append("test $status = 0 || exit 0\n")
    return "".join(pieces)


def split(output: bytes, nonce: str, names: Mapping[str, str] | None = None) -> dict[str, Answer]:
    """The answers of `batch` by name. names: the fragments that must all be there.

    Raises StepFailed, which names the missing ones, when the output was cut short.
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
            "the host's answer was cut short",
            found=f"nothing of {', '.join(missing[:5])}",
            remedy="run again; if it stays, see that the host has memory and disk left",
            retryable=True,
        )
    return answers
