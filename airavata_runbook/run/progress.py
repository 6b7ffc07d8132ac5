"""Progress of a run while a chapter is executed: on a terminal each step as it ends; in a log nothing in between."""

import sys
import threading
import time
from pathlib import Path
from typing import Self, TextIO

from airavata_runbook.local.terminal import ProgressLine
from airavata_runbook.run import page
from airavata_runbook.run.report import read_steps

INTERVAL = 0.2  # seconds between two looks at the chapter's record


class ChapterProgress:
    """`with ChapterProgress("02-install", record):` record: the JSON-lines file that the chapter's steps write."""

    def __init__(self, chapter: str, record: Path, stream: TextIO | None = None):
        self.chapter, self.record = chapter, record
        self.line = ProgressLine(stream or sys.stdout)
        self.shown = 0  # steps
        self.started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"progress of {chapter}", daemon=True)

    def __enter__(self) -> Self:
        if self.line.terminal:
            self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
            self._print_steps()
            self.line.clear()

    def _print_steps(self) -> None:
        """Print a line for each step that has ended since the last call."""
        for step in read_steps(self.record, after=self.shown):
            self.shown += 1
            self.line.print(f"  {page.step_line(step)}")

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._print_steps()
            self.line.update(f"{self.chapter} … {time.monotonic() - self.started:.0f} s")
