"""What an exercise shows: text, and commands to copy; plain in a terminal, HTML in a notebook."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from airavata_runbook.engine.report import Report, escape_html
from airavata_runbook.exercises.task import Command
from airavata_runbook.site import Site

# Jupyter gives text in outputs the font of prose.
CODE = "white-space:pre-wrap;font-family:var(--jp-code-font-family, monospace);margin:2px 0 12px 1em"


@dataclass(frozen=True)
class Shown:
    """title: one line. text: a paragraph each. commands: below it."""

    site: Site
    title: str
    text: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()

    def __str__(self) -> str:
        parts = [self.title, *self.text]
        for where, script in self._places():
            parts.append(f"{where}\n" + "\n".join(f"    {line}" for line in script.splitlines()))
        return "\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        text = "".join(f"<p>{escape_html(line)}</p>" for line in self.text)
        scripts = "".join(
            f"<p>{escape_html(where)}</p><pre style='{CODE}'>{escape_html(script)}</pre>" for where, script in self._places()
        )
        return f"<div><b>{escape_html(self.title)}</b>{text}{scripts}</div>"

    def _places(self) -> Iterable[tuple[str, str]]:
        """Where to type the commands, and those that follow each other there."""
        option = "" if self.site.name == "lab" else f" --site {self.site.name}"
        for host, commands in groupby(self.commands, lambda one: one.host):
            where = (
                f"On {host}, as root (airavata-runbook lab ssh{option} {host}):"
                if host
                else f"With kubectl (export KUBECONFIG=$(airavata-runbook kubeconfig {self.site.name})):"
            )
            yield where, "\n".join(one.script for one in commands)


class Checked(Report):
    """What `check` found. missing: for each goal that is not reached, what is wrong."""

    missing: list[str]

    @property
    def mended(self) -> bool:
        return not self.missing

    @property
    def verdict(self) -> str:
        return "mended" if self.mended else "not mended yet"
