"""Headless runs: the notebooks of a site in order, executed into outputs/SITE/RUN/.

A run's folder has the executed notebooks, report.json for machines and report.html for people; outputs/SITE/latest
points to the newest run. No secret is written there: a site holds references only, and the kernels resolve them.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.report import Status, report_text
from airavata_runbook.errors import STOPPED_BY_USER, SiteError, StepFailed
from airavata_runbook.kernel_env import LOCK_HELD, PLAN, PLANNED, PROGRESS, REPORT_FILE, SITE
from airavata_runbook.local import paths
from airavata_runbook.local.colours import painted
from airavata_runbook.run import page, record
from airavata_runbook.run.kernels import KernelServer
from airavata_runbook.run.progress import ChapterProgress, doing_file
from airavata_runbook.run.report import ChapterError, ChapterReport, RunReport, read_steps
from airavata_runbook.site import Site
from airavata_runbook.wellknown import DATABASE_BACKUP

if TYPE_CHECKING:
    from airavata_runbook.run.kernel import Kernel, Start
    from airavata_runbook.run.notebook import NotebookFailed


def run(
    source: Site | Mapping[str, object] | str | os.PathLike[str],
    overrides: Mapping[str, object] | None = None,
    *,
    start: str | None = None,
    to: str | None = None,
    only: str | None = None,
    plan: bool = False,
    server: KernelServer | None = None,
    on_start: Callable[[Path], None] = lambda folder: None,
) -> RunReport:
    """Execute the site's notebooks in order and return the run's report, as in report.json.

    source, overrides: as Site.load takes them. start, to, only: a chapter, as "3", "03" or "03-etcd-flannel"; from there
    on, up to it, or that one alone. plan: show what would change, change nothing; such a run is kept as outputs/SITE/RUN-plan
    and `latest-plan`. server: forks the kernels (default: one of its own). on_start: called with the folder of the record. The
    project is found from the working directory.
    Raises SiteError before anything is executed; StepFailed, naming chapter and cell, when a chapter fails;
    KeyboardInterrupt when the user stops it, after printing how far each host got.
    """
    site = Site.load(source, overrides)
    project = paths.project_dir()
    chapters = choose(notebooks(project), start, to, only)
    names = [path.stem for path in chapters]
    with (
        nullcontext(server) if server else KernelServer() as kernel_server,
        nullcontext(False) if plan else session_of(site).lock.held("airavata-runbook run") as locked,
    ):
        run_record = record.RunRecord(site.name, project, "plan" if plan else "run", names, overrides)
        on_start(run_record.folder)
        try:
            return _Run(site, project, chapters, run_record, plan, locked, kernel_server).execute()
        finally:
            session_of(site).lock.note(f"{run_record.report.outcome}: {page.verdict(run_record.report)}")


def notebooks(project: Path) -> list[Path]:
    """Those of a project, in their order."""
    return sorted((project / "notebooks").glob("[0-9][0-9]-*.ipynb"))


def choose(notebooks: list[Path], start: str | None = None, to: str | None = None, only: str | None = None) -> list[Path]:
    """The notebooks to execute: all, those from `start` up to and with `to`, or `only` one. Raises SiteError."""
    if not notebooks:
        raise SiteError("no notebooks to run", needed="notebooks/01-….ipynb beside parameters/")
    if only is not None:
        start = to = only
    first = 0 if start is None else _position(notebooks, start)
    last = len(notebooks) - 1 if to is None else _position(notebooks, to)
    if last < first:
        raise SiteError("the first chapter is after the last", where=f"--from {start} --to {to}", remedy="swap them")
    return notebooks[first : last + 1]


@dataclass
class _Run:
    """One run: the chapters to execute in order, and its record. locked: this process holds the site's lock.

    server: of the kernels.
    """

    site: Site
    project: Path
    chapters: list[Path]
    record: record.RunRecord
    plan: bool
    locked: bool
    server: KernelServer

    @property
    def folder(self) -> Path:
        return self.record.folder

    def execute(self) -> RunReport:
        """All chapters, up to the first that fails."""
        try:
            what = "plan, nothing is changed" if self.plan else "run"
            print(f"site {self.site.name}: {what}, {self.record.short(self.folder)}", flush=True)
            from airavata_runbook.run.kernel import (
                Kernels,  # it takes a while to load: the kernels' libraries are loaded meanwhile
            )

            with Kernels(self.server) as kernels:
                for path, following in zip_longest(self.chapters, self.chapters[1:]):
                    later = self._start(following) if following else None
                    self._chapter(path, partial(kernels.take, self._start(path), later))
        except BaseException as end:
            failed = any(chapter.outcome == "failed" for chapter in self.record.report.chapters)
            self.record.write("failed" if failed else "stopped")
            if isinstance(end, KeyboardInterrupt):
                self._print_stopped()
            raise
        self.record.write("ok")
        print(self.record.verdict, flush=True)
        return self.record.report

    def _chapter(self, path: Path, kernel: Callable[[], "Kernel"]) -> None:
        from airavata_runbook.run import notebook  # so does papermill

        parameters: dict[str, object] = {"site": self.site.model_dump(mode="json", exclude_unset=True)}
        if self.plan:
            parameters["plan"] = True
        output, steps = self.folder / path.name, self._steps(path)
        chapter = self.record.begin(path.stem, path.name)
        started = time.time()
        try:
            so_far = partial(self._record_so_far, chapter, steps, started)
            with ChapterProgress(path.stem, steps, on_notice=so_far), record.write_errors(self.folder):
                notebook.execute(path, output, parameters, self.project, kernel())
        except notebook.NotebookFailed as failed:
            chapter.error = ChapterError(cell=failed.cell, source=failed.source, message=failed.message)
            raise self._step_failed(path, failed) from None
        except SiteError as error:
            chapter.error = ChapterError(message=str(error))
            raise
        except KeyboardInterrupt:
            cell, source = notebook.last_started(output)
            chapter.error = ChapterError(kind="stopped", cell=cell, source=source, message=STOPPED_BY_USER)
            raise
        except Exception as error:  # unexpected: the record says what it was
            chapter.error = ChapterError(message=f"{type(error).__name__}: {error}")
            raise
        finally:
            self.record.finish(chapter, read_steps(steps), time.time() - started)
            print(page.chapter_line(chapter), flush=True)
            if self.plan:
                _print_changes(chapter)

    def _record_so_far(self, chapter: ChapterReport, steps: Path, started: float) -> None:
        """Put into the report what a step that goes on has said; a full disk is reported at the end of the chapter."""
        with suppress(SiteError):
            self.record.finish(chapter, read_steps(steps), time.time() - started)

    def _steps(self, path: Path) -> Path:
        """Where the kernel of a chapter reports its steps."""
        return self.folder / f"{path.stem}.jsonl"

    def _start(self, path: Path) -> "Start":
        """Of a chapter's kernel. The site comes as a parameter only, never from the environment."""
        from airavata_runbook.run.kernel import Start

        environment = {name: value for name, value in os.environ.items() if name not in (SITE, PLAN, PLANNED)}
        environment[REPORT_FILE] = str(self._steps(path))
        environment[PROGRESS] = str(doing_file(self._steps(path)))
        if self.locked:
            environment[LOCK_HELD] = "1"
        if self.plan:
            environment |= {PLAN: "1", PLANNED: str(self.folder / "planned.jsonl")}
        return Start(self.folder / path.name, environment, self.project)

    def _step_failed(self, path: Path, failed: "NotebookFailed") -> StepFailed:
        executed = self.record.short(self.folder / path.name)
        unexpected = "" if failed.expected else f"\nThis error is unexpected; its traceback is in {executed}"
        code = "".join(f"\n    {line}" for line in failed.source.splitlines())
        where = f"in cell {failed.cell} of" if failed.cell else "before the first cell of"
        later = "" if path == self.chapters[-1] else "Later chapters were not run. "
        back = f"airavata-runbook rollback {self.site.name}"
        upgraded = f"This run upgraded Airavata; back to the release before: {back}\n" if self._upgraded(path) else ""
        return StepFailed(
            f"chapter {path.stem} failed {where} notebooks/{path.name}{code}\n{failed.message}{unexpected}\n"
            f"{later}Executed notebook: {executed}; report: report.html beside it\n{upgraded}"
            f"After fixing the cause, run again: what is done stays done (--from {path.stem[:2]} begins here)"
        )

    def _upgraded(self, path: Path) -> bool:
        """Whether this run, in a chapter before or in this one, has changed the images of Airavata's servers, or begun to."""
        done = [step for chapter in self.record.report.chapters for step in chapter.steps] + read_steps(self._steps(path))
        items = [item for step in done for item in chain.from_iterable(step.hosts.values())]
        return any(item.label == DATABASE_BACKUP and item.status == Status.CHANGED for item in items)

    def _print_stopped(self) -> None:
        """How far each host got in the step that was stopped, and where the report is."""
        chapters = self.record.report.chapters
        for step in chapters[-1].steps if chapters else []:
            if step.stopped:
                hosts = "".join(f"\n    {host}: {page.host_line(step, host)}" for host in sorted(step.hosts))
                print(f"  {step.title}{hosts}")
        print(self.record.verdict, flush=True)


def _print_changes(chapter: ChapterReport) -> None:
    """What a chapter would change, with the differences."""
    for step in chapter.steps:
        if step.would_change:
            print(report_text(step.without_ok(), painted), flush=True)


def _position(notebooks: list[Path], chapter: str) -> int:
    wanted = chapter.removesuffix(".ipynb").replace("_", "-")
    for position, path in enumerate(notebooks):
        number, _, name = path.stem.partition("-")
        if wanted in (path.stem, name, number, number.lstrip("0")):
            return position
    raise SiteError(f"no chapter {chapter!r}", needed="one of " + ", ".join(path.stem for path in notebooks))
