"""Headless runs: the notebooks of a site in order, executed into outputs/SITE/RUN/.

A run's folder holds the executed notebooks, report.json for machines and report.html for people; outputs/SITE/latest
points to the newest run. Secrets never come here: a site holds references only, and the kernels resolve them.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.report import Report
from airavata_runbook.errors import STOPPED_BY_USER, SiteError, StepFailed
from airavata_runbook.kernel_env import LOCK_HELD, PLAN, PLANNED, REPORT_FILE
from airavata_runbook.kernel_env import SITE as SITE
from airavata_runbook.run import notebook
from airavata_runbook.run import page as report_page
from airavata_runbook.run import record as run_record
from airavata_runbook.run.progress import ChapterProgress
from airavata_runbook.run.record import RunRecord, written
from airavata_runbook.site import Site
from airavata_runbook.site.yaml_reader import parse


def run(
    source,
    overrides: Mapping[str, object] | None = None,
    *,
    start: str | None = None,
    to: str | None = None,
    only: str | None = None,
    plan: bool = False,
    project: Path | None = None,
) -> dict:
    """Execute the site's notebooks in order and return the run's report (what report.json holds).

    source, overrides: as Site.load takes them. start, to, only: a chapter, as "3", "03" or "03-etcd-flannel"; from there
    on, up to it, or that one alone. plan: show what would change, change nothing; such a run is kept as outputs/SITE/RUN-plan
    and `latest-plan`. project: the folder with notebooks/ and parameters/ (default: found from the working directory).
    Raises SiteError before anything is executed; StepFailed, naming chapter and cell, when a chapter fails;
    KeyboardInterrupt when the user stops it, and its report says then how far each host got.
    """
    site = Site.load(source, overrides)
    project = project or run_record.project()
    chapters = choose(sorted((project / "notebooks").glob("[0-9][0-9]-*.ipynb")), start, to, only)
    if plan:
        return _Run(site, project, chapters, overrides, plan).through()
    with session_of(site).lock.held("airavata-runbook run") as locked:
        return _Run(site, project, chapters, overrides, plan, locked).through()


def choose(notebooks: list[Path], start: str | None = None, to: str | None = None, only: str | None = None) -> list[Path]:
    """The notebooks to execute: all, those from `start` up to and with `to`, or `only` one. Raises SiteError."""
    if not notebooks:
        raise SiteError("there are no notebooks to run", needed="notebooks/01-….ipynb beside parameters/")
    if only is not None:
        start = to = only
    first = 0 if start is None else _position(notebooks, start)
    last = len(notebooks) - 1 if to is None else _position(notebooks, to)
    if last < first:
        raise SiteError("no chapter lies between the two", where=f"--from {start} --to {to}", remedy="exchange them")
    return notebooks[first : last + 1]


def parse_settings(settings: list[str]) -> dict[str, object]:
    """`a.b=c` words as Site.load's overrides; the value is YAML, so 3, true and [a, b] are what they look like."""
    overrides = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals or not all(field.split(".")):
            raise SiteError("--set needs FIELD=VALUE", found=field, remedy="for example --set airavata.api_replicas=3")
        overrides[field] = parse(value, f"--set {field}")
    return overrides


class _Run:
    """One run: its record so far, and the chapters one after the other."""

    def __init__(
        self,
        site: Site,
        project: Path,
        chapters: list[Path],
        overrides: Mapping[str, object] | None,
        plan: bool,
        locked: bool = False,
    ):
        self.site, self.project, self.chapters, self.plan, self.locked = site, project, chapters, plan, locked
        self.parameters = {"site": site.model_dump(mode="json", exclude_unset=True)} | ({"plan": True} if plan else {})
        self.record = RunRecord(site.name, project, "plan" if plan else "run", [path.stem for path in chapters], overrides)
        self.folder = self.record.folder

    def through(self) -> dict:
        """All chapters, up to the first that fails."""
        try:
            print(
                f"site {self.site.name}: {'plan, nothing is changed' if self.plan else 'run'}, {self.record.short(self.folder)}",
                flush=True,
            )
            for path in self.chapters:
                self._chapter(path)
        except BaseException as end:
            failed = any(report_page.chapter_state(chapter) == "failed" for chapter in self.record.report["chapters"])
            self.record.write("failed" if failed else "stopped")
            if isinstance(end, KeyboardInterrupt):
                _tell_stopped(self.record)
            raise
        self.record.write("ok")
        print(self.record.verdict, flush=True)
        return self.record.report

    def _chapter(self, path: Path) -> None:
        output, steps = self.folder / path.name, self.folder / f"{path.stem}.jsonl"
        chapter = self.record.begin(path.stem, path.name)
        started = time.time()
        try:
            with ChapterProgress(path.stem, steps), written(self.folder):
                notebook.execute(path, output, self.parameters, self._environment(steps), self.project)
        except notebook.Failed as failed:
            chapter["error"] = {"cell": failed.cell, "source": failed.source, "message": failed.message}
            raise self._explain(path, failed) from None
        except SiteError as unwritten:
            chapter["error"] = {"cell": 0, "source": "", "message": str(unwritten)}
            raise
        except KeyboardInterrupt:
            cell, source = notebook.reached(output)
            chapter["error"] = {"cell": cell, "source": source, "message": STOPPED_BY_USER}
            raise
        finally:
            self.record.fill(chapter, read_steps(steps), time.time() - started)
            print(report_page.chapter_line(chapter), flush=True)
            if self.plan:
                _tell(chapter)

    def _environment(self, steps: Path) -> dict[str, str]:
        """The kernel's environment: the site comes as a parameter and from nowhere else."""
        environment = {name: value for name, value in os.environ.items() if name not in (SITE, PLAN, PLANNED)}
        return (
            environment
            | {REPORT_FILE: str(steps)}
            | ({LOCK_HELD: "1"} if self.locked else {})
            | ({PLAN: "1", PLANNED: str(self.folder / "planned.jsonl")} if self.plan else {})
        )

    def _explain(self, path: Path, failed: notebook.Failed) -> StepFailed:
        executed = self.record.short(self.folder / path.name)
        kind = "" if failed.explained else f"\nThis was not foreseen; the traceback is in {executed}"
        code = "".join(f"\n    {line}" for line in failed.source.splitlines())
        where = f"in cell {failed.cell} of" if failed.cell else "before the first cell of"
        later = "" if path == self.chapters[-1] else "Later chapters were not run. "
        return StepFailed(
            f"chapter {path.stem} failed {where} notebooks/{path.name}{code}\n{failed.message}{kind}\n"
            f"{later}Executed notebook: {executed}; report: report.html beside it\n"
            f"When the cause is mended, run again: what is done stays done (--from {path.stem[:2]} begins here)"
        )


def read_steps(steps: Path) -> list[dict]:
    """The steps that a chapter recorded, in order; a line that was cut off by a kernel's death is left out."""
    lines = steps.read_text(encoding="utf-8").splitlines(keepends=True) if steps.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _tell(chapter: dict) -> None:
    """Print what a chapter would change, with the differences."""
    for step in chapter["steps"]:
        if step["would_change"]:
            print(Report.from_dict(step).without_ok(), flush=True)


def _tell_stopped(record: RunRecord) -> None:
    """Print how far each host got in the step that was stopped, and where the report is."""
    for step in record.report["chapters"][-1]["steps"] if record.report["chapters"] else []:
        if step["stopped"]:
            hosts = "".join(f"\n    {host}: {report_page.host_line(step, host)}" for host in sorted(step["hosts"]))
            print(f"  {step['title']}{hosts}")
    print(record.verdict, flush=True)


def _position(notebooks: list[Path], chapter: str) -> int:
    wanted = chapter.removesuffix(".ipynb").replace("_", "-")
    for position, path in enumerate(notebooks):
        number, _, name = path.stem.partition("-")
        if wanted in (path.stem, name, number, number.lstrip("0")):
            return position
    raise SiteError(f"there is no chapter {chapter!r}", needed="one of " + ", ".join(path.stem for path in notebooks))
