"""A run's report for people: one self-contained page, and the short lines that a terminal or log shows."""

import json
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from airavata_runbook.engine.report import OK, STATUSES, Failure
from airavata_runbook.errors import printable


def render(report: dict) -> str:
    """The page for what report.json holds: no scripts, no outside files, every text escaped."""
    longest = max((chapter["seconds"] for chapter in report["chapters"]), default=0) or 1
    return _template().render(
        report=report,
        longest=longest,
        verdict=verdict(report),
        duration=duration,
        host_state=host_state,
        host_line=host_line,
        chapter_state=chapter_state,
        go_on=go_on(report),
        settings=settings(report),
        interesting=interesting,
        timeline=timeline(report),
    )


def timeline(report: dict) -> list[dict]:
    """Every step as a bar: chapter, title, seconds, failed, and its left end and width as parts of 100 of the whole time."""
    steps = [(chapter["chapter"], step) for chapter in report["chapters"] for step in chapter["steps"]]
    if not steps:
        return []
    begin = min(step["started"] for _, step in steps)
    whole = max(step["started"] + step["seconds"] for _, step in steps) - begin or 1
    return [
        {
            "chapter": chapter,
            "title": step["title"],
            "seconds": step["seconds"],
            "failed": step["failed"],
            "left": 100 * (step["started"] - begin) / whole,
            "width": 100 * step["seconds"] / whole,
        }
        for chapter, step in steps
    ]


def verdict(report: dict) -> str:
    """One line: "6 chapters in 1 min 35 s: 120 changed, 0 failed"."""
    changed = f"{report['would_change']} would change" if report["plan"] else f"{report['changed']} changed"
    return f"{_number(len(report['chapters']), 'chapter')} in {duration(report['seconds'])}: {changed}, {report['failed']} failed"


def chapter_state(chapter: dict) -> str:
    """ok, failed, or stopped (by the user)."""
    error = chapter["error"]
    return "ok" if not error else "stopped" if Failure("", error["message"]).stopped else "failed"


def chapter_line(chapter: dict) -> str:
    """One line of a log: the chapter, its time and what came of it."""
    planned = f", {chapter['would_change']} would change" if chapter["would_change"] else ""
    state = chapter_state(chapter).replace("failed", "FAILED")
    return (
        f"{chapter['chapter']:<18} {chapter['seconds']:7.1f} s  {state:<6}  {_number(len(chapter['steps']), 'step')}, "
        f"{chapter['changed']} changed{planned}, {chapter['failed']} failed"
    )


def step_line(step: dict) -> str:
    """One line of a terminal: the step, what came of it and its time."""
    items = [item for host in step["hosts"].values() for item in host]
    state = "FAILED" if step["failed"] else "stopped" if step["stopped"] else ""
    return f"{step['title']}: {_told(state, items) or 'checked'} ({step['seconds']:.1f} s)"


def host_state(step: dict, host: str) -> str:
    """failed or stopped, or nothing for a host that got through the step."""
    failure = next((Failure(**one) for one in step["failures"] if one["host"] == host), None)
    return "" if failure is None else "stopped" if failure.stopped else "failed"


def host_line(step: dict, host: str) -> str:
    """How far a host got in a step: "failed: 6 changed, 1 failed, 2 skipped"."""
    return _told(host_state(step, host), step["hosts"][host]) or "nothing to do"


def go_on(report: dict) -> list[str]:
    """What to do after a run that failed or was stopped, and which of its chapters were not run."""
    if report["outcome"] not in ("failed", "stopped"):
        return []
    done = [chapter["chapter"] for chapter in report["chapters"]]
    left = [chapter for chapter in report["asked"] if chapter not in done]
    told = [f"Later chapters were not run: {', '.join(left)}."] if left else []
    again = {
        "run": "run again: what is done stays done",
        "reset": "reset again: what is taken back stays so",
        "plan": "plan again: nothing was changed",
    }[report["what"]]
    if report["what"] == "run" and done:
        again += f" (--from {done[-1].partition('-')[0]} begins at {done[-1]})"
    return [*told, f"When the cause is mended, {again}." if report["outcome"] == "failed" else f"To go on, {again}."]


def settings(report: dict) -> str:
    """What `--set` changed for this run: "airavata.api_replicas=3, …"."""
    values = {name: value if isinstance(value, str) else json.dumps(value, default=str) for name, value in report["set"].items()}
    return ", ".join(f"{name}={value}" for name, value in values.items())


def counts(items: list[dict]) -> str:
    """ "6 changed, 3 ok" of a step's resources."""
    found = [(sum(item["status"] == status for item in items), status) for status in STATUSES]
    return ", ".join(f"{number} {status}" for number, status in found if number)


def interesting(items: list[dict]) -> list[dict]:
    """The items that have something to unfold: those that are not simply as they should be."""
    return [item for item in items if item["status"] != OK and (item["detail"].strip() or item["command"].strip())]


def duration(seconds: float) -> str:
    """ "4.2 s" or "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _told(state: str, items: list[dict]) -> str:
    return ": ".join(text for text in (state, counts(items)) if text)


def _number(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("s" if number != 1 else "")


@cache
def _template():
    environment = Environment(
        loader=PackageLoader("airavata_runbook.run", "."),
        undefined=StrictUndefined,
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if isinstance(value, str) else value,
    )
    return environment.get_template("page.html.j2")
