"""Progress of a run while a chapter is executed: what its step is doing, in one line, or without a terminal in a line now and
then; on a terminal each step as it ends; everywhere what keeps a step waiting."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Self, TextIO

from airavata_runbook.errors import printable
from airavata_runbook.local.terminal import ProgressLine, elapsed
from airavata_runbook.run import page
from airavata_runbook.run.report import read_reports

INTERVAL = 0.2  # seconds between two looks at the chapter's record


class ChapterProgress:
    """`with ChapterProgress("02-install", record):` record: the JSON-lines file that the chapter's steps write. What a step is
    doing is in the file beside it, `doing_file(record)`, which is removed at the end.

    on_notice: called in a thread when a step has said what keeps it waiting; never after the block.
    """

    def __init__(self, chapter: str, record: Path, stream: TextIO | None = None, on_notice: Callable[[], None] = lambda: None):
        self.chapter, self.record, self.on_notice = chapter, record, on_notice
        self.line = ProgressLine(stream or sys.stdout)
        self.read = self.notices = 0  # reports; of them, notices of the step that goes on
        self.started = self.line.printed = time.monotonic()  # a log gets the first line when an interval has passed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"progress of {chapter}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stop.set()
        self._thread.join()
        self._print_reports()
        self.line.clear()
        doing_file(self.record).unlink(missing_ok=True)

    def _print_reports(self) -> None:
        """Print what is new since the last call: notices, and on a terminal a line for each step that has ended."""
        for step in read_reports(self.record, after=self.read):
            self.read += 1
            for notice in step.notices[self.notices :]:
                self.line.print(printable(indent(f"{step.title}: {notice}", "  ")))
            self.notices = len(step.notices) if step.running else 0
            if step.running:
                self.on_notice()
            elif self.line.terminal:
                self.line.print(f"  {page.step_line(step)}")

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._print_reports()
            doing = self._doing()
            if doing or self.line.terminal:
                self.line.update(
                    f"  {self.chapter}, {elapsed(time.monotonic() - self.started)}" + (f": {doing}" if doing else "")
                )

    def _doing(self) -> str:
        """What the step is doing; "" between two steps, and for the moment in which the line is being written."""
        try:
            text = doing_file(self.record).read_text(encoding="utf-8")
        except (OSError, ValueError):  # no step yet, or the middle of a letter
            return ""
        return printable(text.strip()) if text.endswith("\n") else ""


def doing_file(record: Path) -> Path:
    """Where a chapter's kernel writes what its step is doing (kernel_env.PROGRESS)."""
    return record.with_suffix(".doing")
