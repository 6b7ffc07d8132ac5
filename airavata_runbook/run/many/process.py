"""The process of one site (one.py), as the run of several sees it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from airavata_runbook.run.report import RunReport, read_reports

MODULE = "airavata_runbook.run.many.one"
STOPPED = 130  # the exit status of a process that was stopped by Ctrl-C


class SiteProcess:
    """One site of several. request: the arguments of runner.run, as JSON. log: what the process prints."""

    def __init__(self, name: str, request: Mapping[str, Any], log: Path):
        self.name, self.request, self.log = name, request, log
        self.folder: Path | None = None  # of the site's own record, once there is one
        self.error = ""
        self.started = self.ended = 0.0  # seconds since the epoch
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._stopping = False
        self._report: RunReport | None = None
        self._written = 0  # when the report was written that was read last
        self._read: dict[str, int] = {}  # chapter → how many reports of its steps were read
        self._last = ""  # title of the step that ended last

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C and a closed terminal are for the run of all to handle."""
        told, tells = os.pipe()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(tells)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[tells],
                start_new_session=True,
            )
        os.close(tells)
        self.started = time.time()
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended already, and says so by its exit status
            self._process.stdin.write(json.dumps(self.request).encode() + b"\n")
            self._process.stdin.flush()  # left open: it stops when this process has died
        self._listener = threading.Thread(target=self._listen, args=(told,), name=f"site {self.name}", daemon=True)
        self._listener.start()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        if self._process is None or self.ended:
            return False
        status = self._process.poll()
        if status is None:
            return True
        assert self._listener and self._process.stdin
        self._listener.join()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self.ended = time.time()
        if status not in (0, STOPPED) and not self.error:
            self.error = f"its process ended with status {status}; see {self.log}"
        return False

    @property
    def outcome(self) -> str:
        """waiting, running, ok, failed or stopped."""
        if self._process is None:
            return "stopped" if self._stopping else "waiting"
        if self.running:
            return "running"
        if self._process.returncode == STOPPED or (self._stopping and self._process.returncode < 0):
            return "stopped"
        return "failed" if self._process.returncode else "ok"

    def stop(self, kill: bool = False) -> None:
        """Ask it to stop, as Ctrl-C does; a second time, at once. kill: not even that."""
        self._stopping = True
        if self.running and self._process:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL if kill else signal.SIGINT)

    @property
    def report(self) -> RunReport | None:
        """The site's own report, once there is one."""
        if self.folder:
            file = self.folder / "report.json"
            with suppress(OSError, ValueError):
                if (written := file.stat().st_mtime_ns) != self._written:
                    self._report = RunReport.model_validate(json.loads(file.read_text(encoding="utf-8")))
                    self._written = written
        return self._report

    def doing(self) -> tuple[str, str]:
        """The chapter that is executed, and the title of the step in it that ended last; "" where there is none yet."""
        notebooks = sorted(self.folder.glob("[0-9]*.ipynb")) if self.folder else []
        if not notebooks:
            return "", ""
        chapter = notebooks[-1].stem
        if chapter not in self._read:
            self._read[chapter], self._last = 0, ""
        for step in read_reports(notebooks[-1].with_suffix(".jsonl"), after=self._read[chapter]):
            self._read[chapter] += 1
            self._last = step.title
        return chapter, self._last

    def _listen(self, told: int) -> None:
        with os.fdopen(told, encoding="utf-8") as lines:
            for line in lines:
                said = json.loads(line)
                self.folder = Path(said["folder"]) if "folder" in said else self.folder
                self.error = said.get("error", self.error)
