"""A run's folder outputs/SITE/RUN with its report.json and report.html, both complete at any moment of the run."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from airavata_runbook.chapters import steps_of
from airavata_runbook.engine.report import Report
from airavata_runbook.errors import SiteError
from airavata_runbook.local.files import replace_link
from airavata_runbook.run import page
from airavata_runbook.run.report import ChapterReport, Outcome, RunKind, RunReport

IN_FILES = {"chapters": {"__all__": {"steps": {"__all__": {"picture": {"png", "svg"}}}}}}  # of report.json: they have their own


class RunRecord:
    """The record of one run, plan or reset of a site.

    what: the name of a plan's or reset's folder ends with it, and `latest-plan` or `latest-reset` points to the newest.
    asked: the chapters that it is to execute. settings: the site's fields that `--set` changed. folder: the run's own.
    Raises SiteError whenever it cannot be written.
    """

    def __init__(
        self,
        site: str,
        project: Path,
        what: RunKind = "run",
        asked: Sequence[str] = (),
        settings: Mapping[str, object] | None = None,
    ):
        self.project = project
        self.started = time.time()
        outputs, suffix = project / "outputs" / site, "" if what == "run" else f"-{what}"
        with write_errors(outputs):
            self.folder = new_folder(outputs, suffix)
        self.report = RunReport(
            site=site,
            run=self.folder.name,
            what=what,
            plan=what == "plan",
            started=datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            asked=list(asked),
            set=dict(settings or {}),
        )
        self.write()
        with write_errors(self.folder):
            replace_link(outputs / f"latest{suffix}", self.folder.name)

    def begin(self, chapter: str, notebook: str = "") -> ChapterReport:
        """Add a chapter to the report."""
        self.report.chapters.append(ChapterReport(chapter=chapter, notebook=notebook))
        return self.report.chapters[-1]

    def finish(self, chapter: ChapterReport, steps: list[Report], seconds: float) -> None:
        """Put the reports of a chapter's steps, and its duration in seconds, into the report."""
        chapter.steps, chapter.seconds = steps, round(seconds, 3)
        chapter.add_up(steps)
        if chapter.error and self.report.what != "reset":
            reported = {step.step for step in steps}
            chapter.not_run = [
                getattr(step, "title", step.__name__) for step in steps_of(chapter.chapter) if step.__name__ not in reported
            ]
        if chapter.outcome == "failed" and not chapter.failed:
            chapter.failed = 1  # a cell that failed outside any step is a failure as well
        with write_errors(self.folder):
            write_pictures(self.folder, steps)
        self.write()

    def write(self, outcome: Outcome = "running") -> None:
        """Write report.json and report.html."""
        self.report.outcome = outcome
        self.report.seconds = round(time.time() - self.started, 3)
        self.report.add_up(self.report.chapters)
        with write_errors(self.folder):
            write_files(self.folder, self.report)

    @property
    def verdict(self) -> str:
        """Two lines: the outcome of the run, and where its report is."""
        stopped = "stopped, " if self.report.outcome == "stopped" else ""
        return f"site {self.report.site}: {stopped}{page.verdict(self.report)}\n{self.short(self.folder)}/report.html"

    def short(self, path: Path) -> str:
        """A path relative to the project's folder."""
        return str(path.relative_to(self.project))


@contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Raises SiteError when a file of a run's record could not be written in `folder`."""
    try:
        yield
    except OSError as error:
        raise SiteError(
            "the run's record could not be written",
            where=str(folder),
            found=error.strerror or str(error),
            remedy="check that the disk has free space and that you own the folder, then run again",
        ) from None


def write_files(folder: Path, report: RunReport) -> None:
    """Write report.json and report.html. Raises OSError."""
    # Not model_dump_json: it refuses lone surrogates, which an error's text may hold.
    replace_file(folder / "report.json", json.dumps(report.model_dump(mode="json", exclude=IN_FILES), indent=1))
    replace_file(folder / "report.html", page.render(report))


def write_pictures(folder: Path, steps: Sequence[Report]) -> None:
    """Write the pictures of steps. Raises OSError."""
    for picture in (step.picture for step in steps if step.picture):
        (folder / picture.name).write_bytes(picture.content)


def new_folder(outputs: Path, suffix: str) -> Path:
    """Make the folder of a record in `outputs`, named by the time. suffix: what the name ends with. Raises OSError."""
    while True:
        folder = outputs / (datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") + suffix)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            time.sleep(0.2)  # another run or plan in the same second


def replace_file(path: Path, text: str) -> None:
    """Write atomically: a reader never sees half a report."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
