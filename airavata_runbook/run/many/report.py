"""The record of a run of several sites: outputs/_sites/RUN with report.json, report.html and what each site's process printed."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, FiniteFloat

from airavata_runbook.local.colours import painted
from airavata_runbook.local.files import replace_link
from airavata_runbook.local.terminal import duration, text_table
from airavata_runbook.run.many.process import SiteProcess
from airavata_runbook.run.page import template
from airavata_runbook.run.record import new_folder, replace_file, write_errors
from airavata_runbook.run.report import Counts, RunKind

FOLDER = "_sites"  # in outputs/; no site has such a name
HEAD = ["site", "outcome", "time", "chapters", "changed", "failed", "ended in", "report"]
ORDER = ("failed", "stopped", "running", "waiting")  # what the outcome of all is, the first of these that any site has


class SiteOutcome(Counts):
    """One of the sites. folder: of its own record, from outputs/; empty while it has none. ended_in: the chapter that failed or
    was stopped."""

    name: str
    outcome: str = "waiting"
    folder: str = ""
    seconds: FiniteFloat = 0.0
    chapters: int = 0
    ended_in: str = ""
    error: str = ""


class SitesReport(BaseModel):
    """What report.json holds."""

    run: str
    what: RunKind
    started: str
    outcome: str = "running"
    seconds: FiniteFloat = 0.0
    sites: list[SiteOutcome]

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.sites]


class Record:
    """The record of one run or plan of several sites. Raises SiteError whenever it cannot be written."""

    def __init__(self, project: Path, what: RunKind, names: Sequence[str]):
        self._project, self._started = project, time.time()
        outputs, suffix = project / "outputs" / FOLDER, "" if what == "run" else f"-{what}"
        with write_errors(outputs):
            self.folder = new_folder(outputs, suffix)
            replace_link(outputs / f"latest{suffix}", self.folder.name)
        self.report = SitesReport(
            run=self.folder.name,
            what=what,
            started=datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            sites=[SiteOutcome(name=name) for name in names],
        )
        self._written = ""

    @property
    def short(self) -> str:
        """The folder, from the project's."""
        return str(self.folder.relative_to(self._project))

    def write(self, processes: Sequence[SiteProcess], ended: bool = False) -> None:
        """Write both reports, where something has changed but the time."""
        self.report.sites = [self._outcome(one) for one in processes]
        found = {one.outcome for one in self.report.sites}
        self.report.outcome = next((one for one in ORDER if one in found), "ok") if ended else "running"
        self.report.seconds = 0.0
        if (text := self.report.model_dump_json()) == self._written:
            return
        self._written, self.report.seconds = text, round(time.time() - self._started, 3)
        with write_errors(self.folder):
            replace_file(self.folder / "report.json", self.report.model_dump_json(indent=1))
            replace_file(self.folder / "report.html", page(self.report))

    def table(self) -> str:
        """The outcome of each site, and where the report over all is."""
        plan = self.report.what == "plan"
        rows = [
            [
                one.name,
                painted(one.outcome, one.outcome),
                duration(one.seconds),
                str(one.chapters),
                str(one.would_change if plan else one.changed),
                str(one.failed),
                one.ended_in,
                f"outputs/{one.folder}/report.html" if one.folder else "",
            ]
            for one in self.report.sites
        ]
        head = [word.replace("changed", "would change") for word in HEAD] if plan else HEAD
        return f"{text_table([head, *rows])}\nall: {self.short}/report.html"

    def _outcome(self, one: SiteProcess) -> SiteOutcome:
        report = one.report
        found = SiteOutcome(name=one.name, outcome=one.outcome, error=one.error)
        if one.ended:
            found.seconds = round(one.ended - one.started, 1)
        if report and one.folder:
            found.folder = str(one.folder.relative_to(self._project / "outputs"))
            found.chapters = len(report.chapters)
            found.ended_in = next((chapter.chapter for chapter in report.chapters if chapter.error), "")
            found.changed, found.would_change, found.failed = report.changed, report.would_change, report.failed
        return found


def page(report: SitesReport) -> str:
    """The report for people: no scripts, no external files, every text escaped."""
    return template("airavata_runbook.run.many").render(report=report, duration=duration)
