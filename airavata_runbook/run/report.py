"""What report.json holds: a RunReport with a ChapterReport for each chapter and an engine Report for each step."""

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, FiniteFloat

from airavata_runbook.engine.report import Report

RunKind = Literal["run", "plan", "reset", "by-hand"]
Outcome = Literal["running", "ok", "failed", "stopped"]


class ChapterError(BaseModel):
    """Why a chapter did not complete: it failed, or the user stopped it.

    cell: its number in the notebook, from 1; 0 when none was started. source: the cell's code.
    """

    kind: Literal["failed", "stopped"] = "failed"  # absent from reports of earlier versions
    cell: int = 0
    source: str = ""
    message: str


class Counts(BaseModel):
    """How many resources were changed, would change and failed."""

    changed: int = 0
    would_change: int = 0
    failed: int = 0

    def add_up(self, parts: Sequence["Report | Counts"]) -> None:
        """Set the counts to the sums over the parts."""
        self.changed = sum(part.changed for part in parts)
        self.would_change = sum(part.would_change for part in parts)
        self.failed = sum(part.failed for part in parts)


class ChapterReport(Counts):
    """notebook: the executed notebook's file name; empty for a reset. seconds: its duration. not_run: the titles of the steps
    that a chapter which did not complete has not reached.
    """

    chapter: str
    notebook: str = ""
    seconds: FiniteFloat = 0.0
    steps: list[Report] = []
    error: ChapterError | None = None
    not_run: list[str] = []

    @property
    def outcome(self) -> Literal["ok", "failed", "stopped"]:
        return self.error.kind if self.error else "ok"


class RunReport(Counts):
    """One run, plan or reset of a site, or what was done on it by hand.

    run: its folder's name. started: UTC, ISO 8601. asked: the chapters that it is to execute. set: the fields of the site
    that `--set` changed, with their values. seconds: the duration so far.
    """

    site: str = ""
    run: str = ""
    what: RunKind = "run"
    plan: bool = False
    started: str
    asked: list[str] = []
    set: dict[str, Any] = {}
    outcome: Outcome = "running"
    seconds: FiniteFloat = 0.0
    chapters: list[ChapterReport] = []


def read_steps(steps: Path) -> list[Report]:
    """The reports of a chapter's steps in order, from the JSON-lines file that they write; of one that goes on, its newest."""
    found = read_reports(steps)
    return [one for one, following in zip_longest(found, found[1:]) if not (one.running and following)]


def read_reports(steps: Path, after: int = 0) -> list[Report]:
    """The reports in that file, several of a step that had notices. after: how many to skip.

    The last line is left out when it has no end yet: it is being written, or the kernel died.
    """
    lines = steps.read_text(encoding="utf-8").splitlines(keepends=True)[after:] if steps.is_file() else []
    # Not model_validate_json: it refuses lone surrogates, which an error's text may hold.
    return [Report.model_validate(json.loads(line)) for line in lines if line.endswith("\n")]
