"""A step: the desired resources on some hosts. A plan and a run take the same path through the code."""

import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from functools import partial, update_wrapper
from itertools import chain
from textwrap import indent
from threading import Lock
from typing import Generic, Literal, TypeVar

from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.engine.by_hand import ByHand
from airavata_runbook.engine.host_run import converge
from airavata_runbook.engine.report import Failure, Picture, Report
from airavata_runbook.engine.resource import Resource, ignore
from airavata_runbook.engine.target import Target, everywhere
from airavata_runbook.errors import HostUnreachable, NotYet, RunbookError, SiteError, StepFailed, StoppedByUser
from airavata_runbook.hosts.fan_out import FanOut
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.kernel_env import PLAN, REPORT_FILE
from airavata_runbook.local.interrupts import without_traceback
from airavata_runbook.local.live import live_notebook
from airavata_runbook.local.step_progress import step_progress
from airavata_runbook.local.terminal import in_live_notebook, show
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node

Rows = list[list[str]]  # a table; the first row is its head
Typed = Callable[[Site], ByHand | None]  # what an admin would type; None where a site has no such thing
Seen = TypeVar("Seen", bound=Rows | tuple[Rows, Picture])  # by a check


class Step:
    """Callable: brings its resources to their desired state on a site and returns a Report; `plan=True` changes nothing."""

    def __init__(
        self,
        title: str,
        on: Callable[[Site], list[Node]],
        resources: Callable[[Target], Iterable[Resource]],
        by_hand: Typed | None = None,
    ):
        self.title, self.on, self.resources, self.by_hand = title, on, resources, by_hand
        self.name = resources.__name__
        self.chapter = resources.__module__.rpartition(".")[2]
        update_wrapper(self, resources)

    @without_traceback()
    def __call__(self, site: Site, plan: bool = False, leave_out: Collection[str] = ()) -> Report:
        """Probe, compare and (unless planning) change, on all hosts in parallel. leave_out: names of hosts to skip.

        Raises StepFailed when a host failed; the report of all hosts is shown first.
        """
        plan = begin(site, plan)
        session = session_of(site)
        session.forget()
        hosts = [session.hosts[node.name] for node in self.on(site) if node.name not in leave_out]
        if plan:
            return self._on_all_hosts(session, hosts, plan=True)
        for host in hosts:
            host.connect_in_background()  # while the lock is taken on the master
        with session.lock.held(f"step {self.title!r} of chapter {self.chapter}"):
            return self._on_all_hosts(session, hosts, plan=False)

    def _on_all_hosts(self, session: Session, hosts: list[Host], plan: bool) -> Report:
        report = begin_report(self, session.site, plan)
        notifying, port = Lock(), session.site.registry_pull_port
        # The registry's host begins: the others may wait for it, and there may be more hosts than threads.
        in_order = sorted(hosts, key=lambda host: host is not session.registry_host)
        with step_progress(self.title, [host.name for host in hosts]) as progress, ExitStack() as ends:
            fan_outs = {host.name: ends.enter_context(FanOut(host, hosts, port)) for host in in_order}

            def notify(host: Host, text: str) -> None:
                with notifying:
                    report.notices.append(session.vault.mask(f"{host.name}: {text}"))
                    record(report.model_copy(update={"running": True, "seconds": time.time() - report.started}))
                    progress.say(f"{self.title}: {report.notices[-1]}")

            def work(host: Host):
                target, tell = Target(session, host, fan_outs), partial(notify, host)
                try:
                    return fan_outs[host.name].watch(
                        host, lambda: converge(session, host, lambda: list(self.resources(target)), plan, progress, tell)
                    )
                finally:
                    progress.end(host.name)

            results = run_parallel(in_order, work)
        report.seconds = time.time() - report.started
        errors = {}
        for host in hosts:
            outcome = results[host.name]
            report.hosts[host.name] = [] if isinstance(outcome, Exception) else outcome.items
            if error := outcome if isinstance(outcome, Exception) else outcome.error:
                errors[host.name] = error
        return finish(report, errors, session.vault.mask, session.lock.note)


def step(
    title: str, on: Callable[[Site], list[Node]] = everywhere, by_hand: Typed | None = None
) -> Callable[[Callable[[Target], Iterable[Resource]]], Step]:
    """Decorator that makes a Step of a function which returns the desired resources of one host (usually a generator).

    by_hand: returns what an admin would type on a site, to be shown with the report.
    """
    return lambda resources: Step(title, on, resources, by_hand)


class Check(Generic[Seen]):
    """Callable: inspects a site, changes nothing, and returns a Report with a table of what it found, maybe with a picture.

    before: it does not depend on earlier steps; only then it runs in a plan, and it takes no lock.
    """

    def __init__(self, title: str, look: Callable[[Session], Seen], before: bool, by_hand: Typed | None = None):
        self.title, self.look, self.before, self.by_hand = title, look, before, by_hand
        self.name, self.chapter = look.__name__, look.__module__.rpartition(".")[2]
        update_wrapper(self, look)

    @without_traceback()
    def __call__(self, site: Site, plan: bool = False) -> Report:
        """Raises StepFailed when the check failed."""
        plan = begin(site, plan)
        session = session_of(site)
        session.forget()
        report = begin_report(self, site, plan)
        errors: dict[str, Exception] = {}
        if plan and not self.before:
            report.rows = [["in a run"], ["checked after the steps before it"]]
            return finish(report)
        lock = nullcontext() if self.before else session.lock.held(f"check {self.title!r} of chapter {self.chapter}")
        with lock, step_progress(self.title, []):
            try:
                found = self.look(session)
                report.rows, report.picture = found if isinstance(found, tuple) else (found, None)
            except StepFailed as error:
                report.rows, report.picture, errors[site.name] = error.rows, error.picture, error
            except (RunbookError, NotYet) as error:
                errors[site.name] = error
            session.lock.note("failed" if errors else "checked")
        report.seconds = time.time() - report.started
        return finish(report, errors, session.vault.mask)


def check(title: str, before: bool = False, by_hand: Typed | None = None) -> Callable[[Callable[[Session], Seen]], Check[Seen]]:
    """Decorator that makes a Check of a function which returns a table, or a table and a picture, or raises."""
    return lambda look: Check(title, look, before, by_hand)


def begin(site: Site | None, plan: bool) -> bool:
    """Whether a step is to plan only. Raises SiteError when its notebook has no site yet, or another one was chosen since."""
    if live := live_notebook():
        plan = live.begin(site, plan)
    if site is None:
        raise SiteError("no site is loaded", remedy="run the cell with `Site.load(site)` first")
    return plan or bool(os.environ.get(PLAN))


def begin_report(work: Step | Check, site: Site, plan: bool) -> Report:
    """The report of a step that begins; in a live notebook its beginning is recorded, too.

    What is invalid in the site is told of by the step itself.
    """
    live, now, by_hand = live_notebook(), time.time(), None
    if work.by_hand:
        with suppress(RunbookError):
            by_hand = work.by_hand(site)
    report = Report(
        site=site.name,
        chapter=work.chapter,
        step=work.name,
        title=work.title,
        plan=plan,
        hosts={},
        started=now,
        by_hand=by_hand,
        origin=live.origin() if live else None,
    )
    if live:
        record(report.model_copy(update={"running": True}))
    return report


def finish(
    report: Report,
    errors: Mapping[str, Exception] = {},
    mask: Callable[[str], str] = lambda text: text,
    note: Callable[[str], None] = ignore,
) -> Report:
    """Record the report for the runner and show its picture; with errors (host → its error), show it and raise StepFailed.

    mask: removes known secrets from a text before it is recorded or shown. note: takes the verdict for the site's journal.
    """
    report.failures += [_failure(host, error, mask) for host, error in errors.items()]
    note(report.verdict)
    for item in chain.from_iterable(report.hosts.values()):
        item.summary, item.detail, item.command = map(mask, (item.summary, item.detail, item.command))
    report.rows = [[mask(cell) for cell in row] for row in report.rows]
    if picture := report.picture:
        picture.text, picture.svg = mask(picture.text), mask(picture.svg)
    record(report)
    if report.picture:
        show(report.picture)
    if report.failures:
        show(report)
        raise _failed(report)
    return report


def record(report: Report) -> None:
    """Give the report to the runner, if there is one, or to the record of what is done by hand."""
    if path := os.environ.get(REPORT_FILE):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(report.model_dump(mode="json")) + "\n")
    elif report.origin and (live := live_notebook()):
        live.keep(report)


def _failure(host: str, error: Exception, mask: Callable[[str], str]) -> Failure:
    """The Failure for an exception. An unexpected one is shown with the name of its type."""
    if isinstance(error, NotYet):
        error = error.failure()
    message = str(error) if isinstance(error, RunbookError) else f"{type(error).__name__}: {error}"
    kind: Literal["failed", "stopped"] = "stopped" if isinstance(error, StoppedByUser) else "failed"
    unreachable = isinstance(error, HostUnreachable) and kind == "failed"
    retryable = getattr(error, "retryable", False)
    return Failure(host=host, message=mask(message), kind=kind, retryable=retryable, unreachable=unreachable)


def _failed(report: Report) -> StepFailed:
    hosts = ", ".join(one.host for one in report.failures)
    place = f"(chapter {report.chapter}, step {report.step})"
    heading = f"{report.title} did not succeed on {hosts}" if report.hosts else f"Check failed: {report.title}"
    failures = "".join("\n" + indent(f"{one.host}: {one.message}", "  ") for one in report.failures)
    # The runner prints how to continue, with the chapter to start from.
    remedy = "" if os.environ.get(REPORT_FILE) else "fix the cause and run the step again: completed changes are kept"
    error = StepFailed(
        f"{heading} {place}{failures}",
        remedy=remedy,
        report=report,
        retryable=all(one.retryable for one in report.failures),
    )
    if in_live_notebook():
        if all(one.kind == "stopped" for one in report.failures):
            heading = f"{report.title} was stopped on {hosts}"
            remedy = "run the step again: completed changes are kept"
        error.brief = f"{heading} {place}, see the report above" + f"\n  remedy: {remedy}" * bool(remedy)
    return error
