"""A run's folder outputs/SITE/RUN with its report.json and report.html, both whole at any moment of the run."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from airavata_runbook.errors import SiteError
from airavata_runbook.local import paths
from airavata_runbook.run import page as report_page


class RunRecord:
    """The record of one run, plan or reset of a site.

    what: "run", "plan" or "reset"; plans and resets bear it in their folder's name, and `latest-plan` or `latest-reset`
    points to the newest. asked: the chapters that it is to go through. settings: the site's fields that were set for it
    alone. folder: the run's own. report: what report.json holds. Raises SiteError whenever it cannot be written.
    """

    def __init__(
        self, site: str, project: Path, what: str = "run", asked: Sequence[str] = (), settings: Mapping[str, object] | None = None
    ):
        self.project, self.outputs = project, project / "outputs" / site
        self.end = "" if what == "run" else f"-{what}"
        self.started = time.time()
        with written(self.outputs):
            self.folder = self._new_folder()
        started = datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds")
        self.report = {
            "site": site,
            "run": self.folder.name,
            "what": what,
            "plan": what == "plan",
            "started": started,
            "asked": list(asked),
            "set": dict(settings or {}),
            "outcome": "running",
            "seconds": 0.0,
            "changed": 0,
            "would_change": 0,
            "failed": 0,
            "chapters": [],
        }
        self.write()
        with written(self.folder):
            _point(self.outputs / f"latest{self.end}", self.folder.name)

    def begin(self, chapter: str, notebook: str = "") -> dict:
        """A new chapter in the report."""
        self.report["chapters"].append(
            {
                "chapter": chapter,
                "notebook": notebook,
                "seconds": 0.0,
                "changed": 0,
                "would_change": 0,
                "failed": 0,
                "steps": [],
                "error": None,
            }
        )
        return self.report["chapters"][-1]

    def fill(self, chapter: dict, steps: list[dict], seconds: float) -> None:
        """Put what a chapter's steps reported (Report.as_dict), and its time in seconds, into the report."""
        chapter["steps"], chapter["seconds"] = steps, round(seconds, 3)
        for name in ("changed", "would_change", "failed"):
            chapter[name] = sum(step[name] for step in steps)
        if report_page.chapter_state(chapter) == "failed" and not chapter["failed"]:
            chapter["failed"] = 1  # a cell that failed outside any step is a failure as well
        self.write()

    def write(self, outcome: str = "running") -> None:
        """Write report.json and report.html. outcome: running, ok, failed or stopped."""
        report = self.report
        report["outcome"] = outcome
        report["seconds"] = round(time.time() - self.started, 3)
        for name in ("changed", "would_change", "failed"):
            report[name] = sum(chapter[name] for chapter in report["chapters"])
        with written(self.folder):
            _replace(self.folder / "report.json", json.dumps(report, indent=1, default=str))
            _replace(self.folder / "report.html", report_page.render(report))

    @property
    def verdict(self) -> str:
        """Two lines: what came of the run, and where its report is."""
        stopped = "stopped, " if self.report["outcome"] == "stopped" else ""
        return f"site {self.report['site']}: {stopped}{report_page.verdict(self.report)}\n{self.short(self.folder)}/report.html"

    def short(self, path: Path) -> str:
        """A path as seen from the project's folder."""
        return str(path.relative_to(self.project))

    def _new_folder(self) -> Path:
        while True:
            folder = self.outputs / (datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") + self.end)
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                time.sleep(0.2)  # another run or plan of this very second


def project() -> Path:
    """The project's folder, in which the runs are kept. Raises SiteError outside a project."""
    try:
        return paths.project_dir()
    except FileNotFoundError as error:
        raise SiteError("the project is not here", found=str(error), remedy="start in the folder that holds notebooks/") from None


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Raises SiteError when what is kept of a run in `folder` cannot be written there."""
    try:
        yield
    except OSError as error:
        raise SiteError(
            "the run's record cannot be written",
            where=str(folder),
            found=error.strerror or str(error),
            remedy="see that the disk has room and that the folder is yours, then run again",
        ) from None


def _replace(path: Path, text: str) -> None:
    """Write whole or not at all: a reader never sees half a report."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _point(link: Path, target: str) -> None:
    part = link.with_name(f".{link.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    os.replace(part, link)
