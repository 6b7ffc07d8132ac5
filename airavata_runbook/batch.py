"""Many shell fragments in one round trip, their outputs told apart whatever they print.

Each fragment runs in a subshell of its own with no standard input. Its output comes back as base64 on one line
that starts with a nonce made for this call and ends with a full stop, so that no output, hostile or cut short,
is taken for another's or for a whole one.
Needs only a POSIX shell and base64 (coreutils, busybox).
"""

import base64
import binascii
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
    pieces = []
    for name, script in fragments.items():
        # The status is the last line inside the encoded text: nothing that a fragment prints can come after it.
        run = f"{{ ( {script}\n) </dev/null; printf '\\n%s' $?; }} | base64 -w0"
        if stop:
            pieces.append(f"out=$( {run} ); echo {nonce} {name} $out .\n"
                          "test \"$(echo $out | base64 -d | tail -n 1)\" = 0 || exit 0\n")
        else:
            pieces.append(f"printf '%s ' {nonce} {name}; {run}; echo ' .'\n")
    return "".join(pieces)


def split(output: bytes, nonce: str, names: Mapping[str, str] | None = None) -> dict[str, Answer]:
    """The answers of `batch` by name. names: the fragments that must all be there.

    Raises StepFailed, which names the missing ones, when the output was cut short.
    """
    answers = {}
    for line in output.splitlines():
        words = line.split(b" ")
        if len(words) == 4 and words[0] == nonce.encode() and words[3] == b".":
            answer = _decode(words[2])
            if answer:
                answers[words[1].decode(errors="replace")] = answer
    missing = [name for name in names or () if name not in answers]
    if missing:
        raise StepFailed("the host's answer was cut short", found=f"nothing of {', '.join(missing[:5])}",
                         remedy="run again; if it stays, see that the host has memory and disk left", retryable=True)
    return answers


def _decode(encoded: bytes) -> Answer | None:
    try:
        stdout, _, status = base64.b64decode(encoded, validate=True).rpartition(b"\n")
        return Answer(stdout, int(status))
    except (binascii.Error, ValueError):
        return None  # cut short
