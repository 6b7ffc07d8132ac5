"""`airavata-runbook reset SITE`: show what would be removed from the hosts, ask for confirmation, remove it."""

import sys
import time
from collections.abc import Mapping

from airavata_runbook.chapters.reset import DATA_STEPS, STEPS
from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.report import Report
from airavata_runbook.engine.step import Step
from airavata_runbook.errors import STOPPED_BY_USER, RunbookError, SiteError, StepFailed
from airavata_runbook.local import paths
from airavata_runbook.run.page import step_line
from airavata_runbook.run.record import RunRecord
from airavata_runbook.run.report import ChapterError
from airavata_runbook.site import Site

KEPT = "the registry's images, the databases' folders and their secrets (--data removes them too)"


def reset(site: Site, data: bool = False, yes: bool = False, settings: Mapping[str, object] | None = None) -> None:
    """Remove what the runbook made on the site's hosts.

    data: also images, databases and their secrets. yes: do not ask. settings: the site's fields that `--set` changed, for
    its record. What stays in any case: chapters/reset.py.
    A host that fails is left as it is, and the others continue. Raises SiteError when there is no terminal to ask on,
    StepFailed at the end when a host did not complete.
    """
    if not yes and not sys.stdin.isatty():
        raise SiteError("a reset asks for confirmation, and standard input is no terminal", needed="a terminal, or --yes")
    print(f"site {site.name}: what a reset removes")
    chosen = [*STEPS, *(DATA_STEPS if data else [])]
    planned = _Progress()
    for step in chosen:
        planned.run(step, site, plan=True)
    if len(planned.failed) == len(site.nodes):
        raise planned.error()
    count = sum(report.would_change for report in planned.reports)
    print(
        f"site {site.name}: {count} to remove"
        + ("" if data else f"; kept: {KEPT}")
        + (f"; left out, see above: {', '.join(sorted(planned.failed))}" if planned.failed else "")
    )
    if not count or not (yes or _confirmed(site)):
        print("nothing was changed")
        return
    with session_of(site).lock.held("airavata-runbook reset"):
        _remove(site, chosen, planned, RunRecord(site.name, paths.base_dir(), "reset", settings=settings))


class _Progress:
    """The reports of a reset's steps so far. failed: the hosts that failed in one, or in `plan`; later steps leave them out."""

    def __init__(self, plan: "_Progress | None" = None):
        self.reports: list[Report] = []
        self.failed: set[str] = set(plan.failed) if plan else set()
        self.messages: list[str] = list(plan.messages) if plan else []

    def run(self, step: Step, site: Site, plan: bool = False) -> None:
        """Run a step, or plan it. Raises KeyboardInterrupt when the user stopped it, after keeping its report."""
        try:
            report = step(site, plan=plan, leave_out=frozenset(self.failed))
        except StepFailed as error:  # the step has shown it
            if error.report is None:
                raise
            report = error.report
        self.reports.append(report)
        self.failed |= {failure.host for failure in report.failures}
        self.messages += [f"{step.title}: {failure.host}: {failure.message}" for failure in report.failures]
        if report.stopped:
            raise KeyboardInterrupt
        if plan and report.would_change and not report.failures:
            print(report.without_ok(), flush=True)

    def error(self) -> StepFailed:
        """Why hosts did not complete."""
        return StepFailed(
            f"the reset did not complete on {', '.join(sorted(self.failed))}",
            found="\n".join(self.messages),
            remedy="fix the cause and reset again: what was removed stays removed",
        )


def _remove(site: Site, chosen: list[Step], planned: _Progress, record: RunRecord) -> None:
    chapter, done, started = record.begin("reset"), _Progress(planned), time.time()
    chapter.error = ChapterError(kind="stopped", message=STOPPED_BY_USER)  # unless all steps run
    try:
        for step in chosen:
            done.run(step, site)
            print(step_line(done.reports[-1]), flush=True)
        chapter.error = ChapterError(message=str(done.error())) if done.failed else None
    except RunbookError as error:
        chapter.error = ChapterError(message=str(error))
        raise
    finally:
        record.finish(chapter, done.reports, time.time() - started)
        record.write(chapter.outcome)
        print(record.verdict)
    if done.failed:
        raise done.error()


def _confirmed(site: Site) -> bool:
    try:
        return input(f"Type the site's name ({site.name}) to continue: ").strip() == site.name
    except EOFError:
        return False
