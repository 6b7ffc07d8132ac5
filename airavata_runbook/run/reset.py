"""`airavata-runbook reset SITE`: show what would be taken back from the hosts, ask, take it back."""

import sys
import time
from collections.abc import Mapping

from airavata_runbook.chapters.reset import steps
from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.report import WOULD_CHANGE, Report
from airavata_runbook.engine.step import Step
from airavata_runbook.errors import STOPPED_BY_USER, SiteError, StepFailed
from airavata_runbook.local import paths
from airavata_runbook.run.page import step_line
from airavata_runbook.run.record import RunRecord
from airavata_runbook.site import Site

KEPT = "the registry's images, the databases' folders and the secrets that they were made with (--data takes them too)"


def reset(site: Site, data: bool = False, yes: bool = False, settings: Mapping[str, object] | None = None) -> None:
    """Take back what the runbook did on the site's hosts.

    data: with images, databases and their secrets. yes: do not ask. settings: the site's fields that were set for it alone,
    for its record. What stays in any case: chapters/reset.py.
    A host that fails is left as it is from there on, and the others go on. Raises SiteError when there is nobody to ask,
    StepFailed in the end when a host did not get through.
    """
    if not yes and not sys.stdin.isatty():
        raise SiteError("a reset asks before it begins, and nobody is there to answer", needed="a terminal, or --yes")
    print(f"site {site.name}: what a reset takes back")
    planned = _Reports()
    for step in steps(data):
        planned.add(step, site, plan=True)
    if len(planned.lost) == len(site.nodes):
        raise planned.failure()
    count = sum(report.count(WOULD_CHANGE) for report in planned.reports)
    print(
        f"site {site.name}: {count} to take back"
        + ("" if data else f"; kept: {KEPT}")
        + (f"; left out, see above: {', '.join(sorted(planned.lost))}" if planned.lost else "")
    )
    if not count or not (yes or _agreed(site)):
        print("nothing was changed")
        return
    with session_of(site).lock.held("airavata-runbook reset"):
        _take_back(site, data, planned, RunRecord(site.name, paths.base_dir(), "reset", settings=settings))


class _Reports:
    """The reports of a reset's steps so far. lost: the hosts that failed in one, or in the plan before; they are left out."""

    def __init__(self, before: "_Reports | None" = None):
        self.reports: list[Report] = []
        self.lost: set[str] = set(before.lost) if before else set()
        self.failures: list[str] = list(before.failures) if before else []

    def add(self, step: Step, site: Site, plan: bool = False) -> None:
        """Run a step, or plan it. Raises KeyboardInterrupt when the user stops it, with its report kept."""
        try:
            report = step(site, plan=plan, leave_out=frozenset(self.lost))
        except StepFailed as error:  # shown already
            if error.report is None:
                raise
            self.reports.append(error.report)
            self.lost |= {one.host for one in error.report.failures}
            self.failures += [f"{step.title}: {one.host}: {one.message}" for one in error.report.failures]
            if error.report.stopped:
                raise KeyboardInterrupt from None
            return
        self.reports.append(report)
        if plan and report.count(WOULD_CHANGE):
            print(report.without_ok(), flush=True)

    def failure(self) -> StepFailed | None:
        """What kept hosts from getting through, None when nothing did."""
        if not self.failures:
            return None
        return StepFailed(
            f"the reset did not get through on {', '.join(sorted(self.lost))}",
            found="\n".join(self.failures),
            remedy="mend the cause and reset again: what is taken back stays so",
        )


def _take_back(site: Site, data: bool, planned: _Reports, record: RunRecord) -> None:
    chapter, done, started = record.begin("reset"), _Reports(planned), time.time()
    outcome, message = "stopped", STOPPED_BY_USER
    try:
        for step in steps(data):
            done.add(step, site)
            print(step_line(done.reports[-1].as_dict()), flush=True)
        failed = done.failure()
        outcome, message = ("failed", str(failed)) if failed else ("ok", "")
    finally:
        chapter["error"] = {"cell": 0, "source": "", "message": message} if message else None
        record.fill(chapter, [report.as_dict() for report in done.reports], time.time() - started)
        record.write(outcome)
        print(record.verdict)
    if failed:
        raise failed


def _agreed(site: Site) -> bool:
    try:
        return input(f"Type the site's name ({site.name}) to go on: ").strip() == site.name
    except EOFError:
        return False
