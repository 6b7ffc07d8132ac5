"""A run's report for people: one self-contained page, and the short lines that a terminal or log shows."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from airavata_runbook.engine.report import Item, Report, Status
from airavata_runbook.errors import counted, printable
from airavata_runbook.local.colours import painted
from airavata_runbook.local.terminal import duration
from airavata_runbook.pictures import charts
from airavata_runbook.pictures.charts import Bar
from airavata_runbook.pictures.svg import inline
from airavata_runbook.run.report import ChapterReport, RunReport


def render(report: RunReport) -> str:
    """The page of a run: no scripts, no external files, every text escaped."""
    return template("airavata_runbook.run").render(
        report=report,
        longest=max((chapter.seconds for chapter in report.chapters), default=0) or 1,
        verdict=verdict(report),
        duration=duration,
        host_outcome=host_outcome,
        host_line=host_line,
        next_steps=next_steps(report),
        settings=settings(report.set),
        has_details=has_details,
        timeline=timeline(report),
        clock=clock,
        drawing=lambda svg: Markup(inline(svg)),
    )


def timeline(report: RunReport) -> str:
    """Every step as a bar, in order: when it began and how long it took. "" without steps."""
    steps = [(chapter.chapter, step) for chapter in report.chapters for step in chapter.steps]
    begin = min((step.started for _, step in steps), default=0)
    bars = [
        Bar(step.title, step.seconds, duration(step.seconds), step.started - begin, chapter, bool(step.failed))
        for chapter, step in steps
    ]
    return charts.bars("Time per step:", bars).svg if bars else ""


def verdict(report: RunReport) -> str:
    """One line: "6 chapters in 1 min 35 s: 120 changed, 0 failed"."""
    changed = f"{report.would_change} would change" if report.plan else f"{report.changed} changed"
    parts = counted(len(report.chapters), "chapter")
    if report.what == "by-hand":
        parts = counted(sum(len(chapter.steps) for chapter in report.chapters), "step") + " by hand"
    return f"{parts} in {duration(report.seconds)}: {changed}, {report.failed} failed"


def clock(seconds: float) -> str:
    """A time, in seconds since the epoch, as "14:03:05 UTC"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S UTC")


def chapter_line(chapter: ChapterReport) -> str:
    """One line of a log: the chapter, its duration and outcome."""
    outcome = painted(f"{'FAILED' if chapter.outcome == 'failed' else chapter.outcome:<6}", chapter.outcome)
    planned = f", {chapter.would_change} would change" if chapter.would_change else ""
    return (
        f"{chapter.chapter:<18} {chapter.seconds:7.1f} s  {outcome}  {counted(len(chapter.steps), 'step')}, "
        f"{chapter.changed} changed{planned}, {chapter.failed} failed"
    )


def step_line(step: Report) -> str:
    """One line of a terminal: the step, its outcome and duration."""
    items = [item for host in step.hosts.values() for item in host]
    outcome = painted("FAILED", "failed") if step.failed else painted("stopped", "stopped") if step.stopped else ""
    return f"{step.title}: {_summary(outcome, items) or 'checked'} ({step.seconds:.1f} s)"


def host_outcome(step: Report, host: str) -> str:
    """ "failed" or "stopped", or "" for a host that completed the step."""
    return next((failure.kind for failure in step.failures if failure.host == host), "")


def host_line(step: Report, host: str) -> str:
    """How far a host got in a step: "failed: 6 changed, 1 failed, 2 skipped"."""
    return _summary(host_outcome(step, host), step.hosts[host]) or "nothing to do"


def next_steps(report: RunReport) -> list[str]:
    """After a run that failed or was stopped: which of its chapters were not run, and how to continue."""
    if report.outcome not in ("failed", "stopped") or report.what == "by-hand":
        return []
    done = [chapter.chapter for chapter in report.chapters]
    left = [chapter for chapter in report.asked if chapter not in done]
    not_run = [f"Later chapters were not run: {', '.join(left)}."] if left else []
    again = {
        "run": "run again: what is done stays done",
        "reset": "reset again: what was removed stays removed",
        "plan": "plan again: nothing was changed",
    }[report.what]
    if report.what == "run" and done:
        again += f" (--from {done[-1].partition('-')[0]} begins at {done[-1]})"
    return [*not_run, f"After fixing the cause, {again}." if report.outcome == "failed" else f"To continue, {again}."]


def settings(values: Mapping[str, object]) -> str:
    """What `--set` changed for a run: "airavata.api_replicas=3, …"."""
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, default=str)}" for name, value in values.items()
    )


def has_details(item: Item) -> bool:
    """Whether there is a difference or command to unfold."""
    return item.status != Status.OK and bool(item.detail.strip() or item.command.strip())


def _summary(outcome: str, items: list[Item]) -> str:
    """ "failed: 6 changed, 3 ok" """
    found = [(sum(item.status == status for item in items), status) for status in Status]
    counts = ", ".join(f"{number} {status}" for number, status in found if number)
    return ": ".join(text for text in (outcome, counts) if text)


@cache
def template(package: str) -> Template:
    """The page.html.j2 of a package. Every text in a page is escaped; a name that the template misspells is an error."""
    environment = Environment(
        loader=PackageLoader(package, "."),
        undefined=StrictUndefined,
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    return environment.get_template("page.html.j2")
