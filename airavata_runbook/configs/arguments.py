"""Argument files as CentOS 7 had them under /etc/kubernetes: one shell variable, read by a systemd unit."""

from collections.abc import Sequence
from textwrap import fill
from typing import NamedTuple

from airavata_runbook.serialise import quoted, shell_value


class Argument(NamedTuple):
    """One flag of a command line. why: the comment on it in the file."""

    flag: str
    value: object
    why: str


def argument_file(variable: str, intro: str, arguments: Sequence[Argument]) -> str:
    """A file that sets `variable` to the arguments, after a comment on each of them."""
    lines = [fill(intro, 100, initial_indent="# ", subsequent_indent="# "), "#"]
    for flag, _, why in arguments:
        lines.append(fill(why, 100, initial_indent=f"# --{flag}: ", subsequent_indent="#     "))
    words = [shell_value(f"--{flag}={value}") for flag, value, _ in arguments]
    return "\n".join([*lines, f"{variable}={quoted(words)}", ""])
