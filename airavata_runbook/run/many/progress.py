"""A line of progress for each site: on a terminal rewritten in place, in a log one for each chapter that ends."""

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from airavata_runbook.errors import printable
from airavata_runbook.local.colours import painted
from airavata_runbook.local.terminal import WIDTH
from airavata_runbook.run.many.process import SiteProcess
from airavata_runbook.run.page import chapter_line

UP, CLEAR_LINE, CLEAR_BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"  # control sequences (ECMA-48): CUU, EL, ED


class Lines:
    """The lines of all sites. stream: standard output by default."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty()
        self._shown = 0  # lines that are on the terminal now
        self._said: dict[str, int] = {}  # site → how many of its chapters are in the log

    def show(self, processes: Sequence[SiteProcess]) -> None:
        """Show how far each site is."""
        if not self.terminal:
            self._log(processes)
            return
        size = shutil.get_terminal_size((WIDTH, 24))
        wide = max(len(one.name) for one in processes)
        first = sorted(processes, key=lambda one: one.outcome != "running")[: size.lines - 2]
        shown = [one for one in processes if one in first]
        lines = [_line(one, wide, size.columns - 1) for one in shown]
        if len(shown) < len(processes):
            lines.append(f"… and {len(processes) - len(shown)} more")
        back = UP.format(self._shown) if self._shown else ""
        self._write("\r" + back + "".join(line + CLEAR_LINE + "\n" for line in lines) + CLEAR_BELOW)
        self._shown = len(lines)

    def say(self, text: str) -> None:
        """A line that stays, above the others."""
        self._clear()
        self._write(text + "\n")

    def close(self, processes: Sequence[SiteProcess]) -> None:
        """All processes have ended: remove the lines from a terminal; in a log say what is left to say."""
        self._clear()
        if not self.terminal:
            self._log(processes)

    def _clear(self) -> None:
        if self._shown:
            self._write("\r" + UP.format(self._shown) + CLEAR_BELOW)
            self._shown = 0

    def _log(self, processes: Sequence[SiteProcess]) -> None:
        wide = max(len(one.name) for one in processes)
        for one in processes:
            running = one.running  # asked before the report is read
            chapters = one.report.chapters if one.report else []
            ended = chapters if not running else chapters[:-1]  # the last one may go on
            for chapter in ended[self._said.get(one.name, 0) :]:
                self._write(f"{one.name:<{wide}}  {chapter_line(chapter)}\n")
            self._said[one.name] = len(ended)

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def _line(one: SiteProcess, wide: int, columns: int) -> str:
    """ "gateway  running  03-etcd-flannel, 41 s: etcd" """
    outcome = one.outcome
    chapter, step = one.doing() if outcome == "running" else ("", "")
    seconds = f"{(one.ended or time.time()) - one.started:.0f} s" if one.started else ""
    rest = ", ".join(part for part in (chapter, seconds) if part) + (f": {step}" if step else "")
    if outcome == "failed":
        rest += f": {one.error.partition(chr(10))[0]}"
    head = f"{one.name:<{wide}}  {outcome:<7}  "
    return head[: wide + 2] + painted(head[wide + 2 :], outcome, sys.stdout) + printable(rest)[: max(columns - len(head), 0)]
