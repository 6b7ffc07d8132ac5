"""`airavata-runbook reset SITE`: show what would be taken back from the hosts, ask, take it back."""

import sys
import time

from airavata_runbook import lock
from airavata_runbook.chapters.reset import steps
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.report import WOULD_CHANGE, Report
from airavata_runbook.report_page import step_line
from airavata_runbook.run_record import RunRecord
from airavata_runbook.site import Site
from airavata_runbook.site_images import folder
from airavata_runbook.step import Step

KEPT = "the registry's images, the databases' folders and the secrets that they were made with (--data takes them too)"


def reset(site: Site, data: bool = False, yes: bool = False) -> None:
    """Take back what the runbook did on the site's hosts.

    data: with images, databases and their secrets. yes: do not ask. What stays in any case: chapters/reset.py.
    Raises SiteError when there is nobody to ask, StepFailed when a host did not get through; the other hosts go on.
    """
    if not yes and not sys.stdin.isatty():
        raise SiteError("a reset asks before it begins, and nobody is there to answer", needed="a terminal, or --yes")
    print(f"site {site.name}: what a reset takes back")
    planned = [_run(step, site, plan=True) for step in steps(data)]
    if failed := [report for report in planned if report.failures]:
        raise _failure(failed)
    count = sum(report.count(WOULD_CHANGE) for report in planned)
    print(f"site {site.name}: {count} to take back" + ("" if data else f"; kept: {KEPT}"))
    if not count or not (yes or _agreed(site)):
        print("nothing was changed")
        return
    with lock.held(site, "airavata-runbook reset"):
        _take_back(site, data)


def _take_back(site: Site, data: bool) -> None:
    record = RunRecord(site.name, folder(), "reset")
    chapter, done, started = record.begin("reset"), [], time.time()
    outcome = "stopped"
    try:
        for step in steps(data):
            done.append(_run(step, site))
            print(step_line(done[-1].as_dict()), flush=True)
        outcome = "failed" if any(report.failures for report in done) else "ok"
    finally:
        record.fill(chapter, [report.as_dict() for report in done], time.time() - started)
        record.write(outcome)
    print(record.verdict)
    if failed := [report for report in done if report.failures]:
        raise _failure(failed)


def _run(step: Step, site: Site, plan: bool = False) -> Report:
    try:
        report = step(site, plan=plan)
    except StepFailed as error:  # shown already; the other hosts' next steps do not depend on the one that failed
        if error.report is None:
            raise
        return error.report
    if plan and report.count(WOULD_CHANGE):
        print(report.without_ok(), flush=True)
    return report


def _agreed(site: Site) -> bool:
    try:
        return input(f"Type the site's name ({site.name}) to go on: ").strip() == site.name
    except EOFError:
        return False


def _failure(reports: list[Report]) -> StepFailed:
    hosts = sorted({one.host for report in reports for one in report.failures})
    return StepFailed(f"the reset did not get through on {', '.join(hosts)}",
                      found="\n".join(f"{report.title}: {one.host}: {one.message}"
                                      for report in reports for one in report.failures),
                      remedy="mend the cause and reset again: what is taken back stays so")
