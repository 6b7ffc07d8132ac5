"""`airavata-runbook reset SITE`: show what would be removed from the hosts, ask for confirmation, remove it."""

import time
from collections.abc import Collection, Mapping

from airavata_runbook.chapters.reset import DATA_STEPS, STEPS
from airavata_runbook.cluster import node_removal
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.engine.report import Report, report_text
from airavata_runbook.engine.step import Step
from airavata_runbook.errors import STOPPED_BY_USER, RunbookError, SiteError, StepFailed
from airavata_runbook.local import paths
from airavata_runbook.local.colours import painted
from airavata_runbook.resources import File
from airavata_runbook.run.confirm import confirmed, require_terminal
from airavata_runbook.run.page import step_line
from airavata_runbook.run.record import RunRecord
from airavata_runbook.run.report import ChapterError
from airavata_runbook.site import Site
from airavata_runbook.site.life import LOOK, RECORD, kept_folders, parse_look, record, recorded_releases

KEPT = "the registry's images, the databases' folders and their secrets (--data removes them too)"


def reset(
    site: Site, data: bool = False, yes: bool = False, settings: Mapping[str, object] | None = None, leaving: str = ""
) -> None:
    """Remove what the runbook made on the site's hosts.

    data: also images, databases and their secrets. yes: do not ask. settings: the site's fields that `--set` changed, for
    its record. leaving: only from the host of this name, which is drained first and taken out of the cluster.
    What stays in any case: chapters/reset.py.
    A host that fails is left as it is, and the others continue. Raises SiteError when there is no terminal to ask on,
    StepFailed at the end when a host did not complete.
    """
    require_terminal("a reset", yes)
    hosts = [leaving] if leaving else [node.name for node in site.nodes]
    print(f"site {site.name}: what a reset removes" + (f" from {leaving}" if leaving else ""))
    chosen = [*STEPS, *(DATA_STEPS if data else [])]
    planned = _Progress(others={node.name for node in site.nodes} - set(hosts))
    for step in chosen:
        planned.run(step, site, plan=True)
    if len(planned.failed) == len(hosts):
        raise planned.error()
    count = sum(report.would_change for report in planned.reports)
    print(
        f"site {site.name}: {count} to remove"
        + ("" if data else f"; kept: {KEPT}")
        + (f"; left out, see above: {', '.join(sorted(planned.failed))}" if planned.failed else "")
    )
    if not (count or leaving) or not confirmed(site.name, yes):
        print("nothing was changed")
        return
    session = session_of(site)
    # A reset of the whole site removes its journal.
    with session.lock.held("airavata-runbook " + (f"remove of {leaving}" if leaving else "reset"), entry=bool(leaving)):
        if leaving:
            print(f"moving the pods of {leaving} to other hosts", flush=True)
            node_removal.drain(session, str(site.node(leaving).address))
        _remove(site, chosen, planned, RunRecord(site.name, paths.base_dir(), "reset", settings=settings))
        if leaving:
            node_removal.forget(session, str(site.node(leaving).address))
            session.master.run(File(RECORD, _record_without(session, leaving)).write_script())


def remove(site: Site, host: str, yes: bool = False, settings: Mapping[str, object] | None = None) -> None:
    """Take a host out of the site: drain its node, remove what the runbook made on it, forget its node and lease.

    Raises SiteError for a host that the others need, else as `reset`.
    """
    node = site.node(host)
    needed = {"the master": site.master, "the registry's host": site.registry_node, "the databases' host": site.storage_node}
    if roles := [role for role, one in needed.items() if one == node]:
        raise SiteError(
            "this host cannot be removed from the site",
            where=f"host {host}",
            found=", ".join(roles),
            needed="a worker without the registry and the databases",
            remedy=f"airavata-runbook reset {site.name} removes the runbook from all hosts",
        )
    reset(site, yes=yes, settings=settings, leaving=host)
    print(f"now delete {host} from the site file, and run again: the other hosts then forget its name")


def _record_without(session: Session, leaving: str) -> str:
    """The record of the site, without a host that left."""
    _, recorded = parse_look(session.master.run(LOOK).text)
    return record(session.site, without=leaving, kept=kept_folders(recorded), releases=recorded_releases(recorded))


class _Progress:
    """The reports of a reset's steps so far. failed: the hosts that failed in one, or in `plan`; later steps leave them out.

    others: hosts that are not reset.
    """

    def __init__(self, plan: "_Progress | None" = None, others: Collection[str] = ()):
        self.others: frozenset[str] = plan.others if plan else frozenset(others)
        self.reports: list[Report] = []
        self.failed: set[str] = set(plan.failed) if plan else set()
        self.messages: list[str] = list(plan.messages) if plan else []

    def run(self, step: Step, site: Site, plan: bool = False) -> None:
        """Run a step, or plan it. Raises KeyboardInterrupt when the user stopped it, after keeping its report."""
        try:
            report = step(site, plan=plan, leave_out=self.others | self.failed)
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
            print(report_text(report.without_ok(), painted), flush=True)

    def error(self) -> StepFailed:
        """Why hosts did not complete."""
        return StepFailed(
            f"the reset did not complete on {', '.join(sorted(self.failed))}",
            found="\n".join(self.messages),
            remedy="fix the cause and reset again: what was removed stays removed",
        )


def _remove(site: Site, chosen: list[Step], planned: _Progress, run: RunRecord) -> None:
    chapter, done, started = run.begin("reset"), _Progress(planned), time.time()
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
        run.finish(chapter, done.reports, time.time() - started)
        run.write(chapter.outcome)
        print(run.verdict)
    if done.failed:
        raise done.error()
