"""What a run tells while a chapter is executed: on a terminal each step as it ends; in a log nothing in between."""

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from airavata_runbook.engine.report import Report
from airavata_runbook.run import page

INTERVAL = 0.2  # seconds between two looks at the chapter's record


class ChapterProgress:
    """`with ChapterProgress("02-install", record):` record: the JSON-lines file that the chapter's steps write."""

    def __init__(self, chapter: str, record: Path, stream=None):
        self.chapter, self.record, self.stream = chapter, record, stream or sys.stdout
        self.offset, self.width = 0, 0
        self.started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"progress of {chapter}", daemon=True)

    def __enter__(self) -> "ChapterProgress":
        if self.stream.isatty():
            self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
            self.look()
            self._rewrite("")

    def look(self) -> None:
        """Print a line for each step that has ended since the last look."""
        if not self.record.is_file():
            return
        with self.record.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written
                self.offset += len(line)
                self._rewrite("")
                self._write(f"  {page.step_line(Report.model_validate(json.loads(line)))}\n")

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.look()
            self._rewrite(f"{self.chapter} … {time.monotonic() - self.started:.0f} s")

    def _rewrite(self, text: str) -> None:
        self._write("\r" + text.ljust(self.width) + ("" if text else "\r"))
        self.width = len(text)

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the terminal was closed: that is no reason to lose the chapter, whose record tells all
            self.stream.write(text)
            self.stream.flush()
