"""A step: the resources that a chapter wants on some hosts. Planning and running take one and the same path."""

import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from itertools import chain
from textwrap import indent
from typing import Literal

from airavata_runbook.cluster.kube import explained
from airavata_runbook.engine.host_run import bring_about
from airavata_runbook.engine.report import Failure, Report
from airavata_runbook.engine.resource import Resource
from airavata_runbook.errors import NotYet, RunbookError, StepFailed, StoppedByUser
from airavata_runbook.hosts import lock, round_trip
from airavata_runbook.hosts.facts import HostFacts, look
from airavata_runbook.hosts.fan_out import FanOut
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.node_settings import NodeSettings, derive
from airavata_runbook.hosts.pool import connect, side_by_side
from airavata_runbook.hosts.vault import Vault, vault_of
from airavata_runbook.kernel_env import PLAN, REPORT_FILE
from airavata_runbook.local.terminal import StepProgress, show
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Node


@dataclass
class Target:
    """What a step's function is told: the site, the node and its host. facts: what is true there now.

    fan_out: the way of files that several hosts of this step want.
    """

    site: Site
    host: Host
    fan_out: FanOut | None = None

    @property
    def node(self) -> Node:
        return self.host.node

    @property
    def vault(self) -> Vault:
        return vault_of(self.site)

    @cached_property
    def facts(self) -> HostFacts:
        """Facts of the host, looked up once in a process; chapter 01 looks anew."""
        if not hasattr(self.host, "facts"):
            self.host.facts = look(lambda fragments: round_trip.answers(self.host, fragments))
        return self.host.facts

    @cached_property
    def settings(self) -> NodeSettings:
        """What follows from the facts for this host's components, with the reasons."""
        return derive(self.facts)


def everywhere(site: Site) -> list[Node]:
    return sorted(site.nodes, key=lambda node: node.name)


def master(site: Site) -> list[Node]:
    return [site.master]


def registry_node(site: Site) -> list[Node]:
    return [site.registry_node]


class Step:
    """Called with a site it brings its resources about and returns a Report; `plan=True` changes nothing."""

    def __init__(self, title: str, on: Callable[[Site], list[Node]], resources: Callable[[Target], Iterable[Resource]]):
        self.title, self.on, self.resources = title, on, resources
        self.name = resources.__name__
        self.chapter = resources.__module__.rpartition(".")[2]
        update_wrapper(self, resources)

    def __call__(self, site: Site, plan: bool = False, leave_out: Collection[str] = ()) -> Report:
        """Look, compare and (unless planning) change, on all hosts side by side but those that are left out (names).

        Raises StepFailed when a host did not get through; the report of all hosts is shown first.
        """
        vault_of(site).forget()
        plan = plan or bool(os.environ.get(PLAN))
        if plan:
            return self._on_all_hosts(site, plan, leave_out)
        for host in self._hosts(site, leave_out):
            host.greet()  # while the lock is taken on the master
        with lock.held(site, f"step {self.title!r} of chapter {self.chapter}"):
            return self._on_all_hosts(site, plan, leave_out)

    def _on_all_hosts(self, site: Site, plan: bool, leave_out: Collection[str]) -> Report:
        started = time.time()
        hosts = self._hosts(site, leave_out)
        with (
            StepProgress(self.title, [host.name for host in hosts]) as progress,
            FanOut(connect(site)[site.registry_node.name], hosts) as fan_out,
        ):
            results = side_by_side(
                fan_out.first(hosts),
                lambda host: fan_out.watched(
                    host, lambda: bring_about(host, lambda: list(self.resources(Target(site, host, fan_out))), plan, progress)
                ),
            )
        report = Report(chapter=self.chapter, step=self.name, title=self.title, plan=plan, hosts={}, started=started)
        report.seconds = time.time() - started
        errors = {}
        for host in hosts:
            outcome = results[host.name]
            report.hosts[host.name] = [] if isinstance(outcome, Exception) else outcome.items
            if error := outcome if isinstance(outcome, Exception) else outcome.error:
                errors[host.name] = explained(error, site)
        return finish(report, errors, vault_of(site).mask)

    def _hosts(self, site: Site, leave_out: Collection[str] = ()) -> list[Host]:
        return [connect(site)[node.name] for node in self.on(site) if node.name not in leave_out]


def step(title: str, on: Callable[[Site], list[Node]] = everywhere):
    """Makes a Step of a function that gives the resources wanted on one host (a generator reads best)."""
    return lambda resources: Step(title, on, resources)


class Check:
    """Called with a site it looks, changes nothing, and returns a Report whose rows show what it saw.

    In a plan it looks only where `before` says that it does not need what earlier steps make.
    """

    def __init__(self, title: str, look: Callable[[Site], list[list[str]]], before: bool):
        self.title, self.look, self.before = title, look, before
        self.name, self.chapter = look.__name__, look.__module__.rpartition(".")[2]
        update_wrapper(self, look)

    def __call__(self, site: Site, plan: bool = False) -> Report:
        """Raises StepFailed when something is not as it must be."""
        vault_of(site).forget()
        plan = plan or bool(os.environ.get(PLAN))
        report = Report(chapter=self.chapter, step=self.name, title=self.title, plan=plan, hosts={}, started=time.time())
        errors = {}
        if plan and not self.before:
            report.rows = [["in a run"], ["looked at when the steps before it have run"]]
            return finish(report)
        with (
            nullcontext() if self.before else lock.held(site, f"check {self.title!r} of chapter {self.chapter}"),
            StepProgress(self.title, []),
        ):
            try:
                report.rows = self.look(site)
            except Exception as unexplained:
                error = explained(unexplained, site)
                if not isinstance(error, (RunbookError, NotYet)):
                    raise
                report.rows = getattr(error, "rows", [])
                errors[site.name] = error
        report.seconds = time.time() - report.started
        return finish(report, errors, vault_of(site).mask)


def check(title: str, before: bool = False):
    """Makes a Check of a function that gives a table (the first row is its head) or raises."""
    return lambda look_at: Check(title, look_at, before)


def finish(
    report: Report, errors: Mapping[str, Exception] | None = None, mask: Callable[[str], str] = lambda text: text
) -> Report:
    """Record the report for the runner; with errors (host → why it did not get through) show it, and raise StepFailed.

    mask: takes the secrets that are known out of a text, before it is kept or shown.
    """
    errors = errors or {}
    report.failures += [_failure(host, error, mask) for host, error in errors.items()]
    for item in chain.from_iterable(report.hosts.values()):
        item.summary, item.detail, item.command = map(mask, (item.summary, item.detail, item.command))
    report.rows = [[mask(cell) for cell in row] for row in report.rows]
    if path := os.environ.get(REPORT_FILE):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(report.model_dump(mode="json")) + "\n")
    if report.failures:
        show(report)
        raise _failed(report)
    return report


def _failure(host: str, error: Exception, mask: Callable[[str], str]) -> Failure:
    """The Failure for an exception. One that the runbook did not foresee keeps its type's name."""
    if isinstance(error, NotYet):
        error = error.failure()
    message = str(error) if isinstance(error, RunbookError) else f"{type(error).__name__}: {error}"
    kind: Literal["failed", "stopped"] = "stopped" if isinstance(error, StoppedByUser) else "failed"
    return Failure(host=host, message=mask(message), kind=kind, retryable=getattr(error, "retryable", False))


def _failed(report: Report) -> StepFailed:
    hosts = ", ".join(one.host for one in report.failures)
    heading = f"{report.title} did not succeed on {hosts}" if report.hosts else f"Check failed: {report.title}"
    told = "".join("\n" + indent(f"{one.host}: {one.message}", "  ") for one in report.failures)
    # The runner tells how to go on, with the chapter to begin at.
    remedy = "" if os.environ.get(REPORT_FILE) else "mend the cause and run the step again: what is done stays done"
    return StepFailed(
        f"{heading} (chapter {report.chapter}, step {report.step}){told}",
        remedy=remedy,
        report=report,
        retryable=all(one.retryable for one in report.failures),
    )
