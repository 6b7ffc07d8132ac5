"""A run's report for people: one self-contained page, and the short lines that a terminal or log shows."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from airavata_runbook.errors import printable
from airavata_runbook.report import OK, STATUSES


def render(report: dict) -> str:
    """The page for what report.json holds: no scripts, no outside files, every text escaped."""
    longest = max((chapter["seconds"] for chapter in report["chapters"]), default=0) or 1
    return _template().render(report=report, longest=longest, verdict=verdict(report), duration=duration,
                              counts=counts, interesting=interesting, timeline=timeline(report))


def timeline(report: dict) -> list[dict]:
    """Every step as a bar: chapter, title, seconds, failed, and its left end and width as parts of 100 of the whole time."""
    steps = [(chapter["chapter"], step) for chapter in report["chapters"] for step in chapter["steps"]]
    if not steps:
        return []
    begin = min(step["started"] for _, step in steps)
    whole = max(step["started"] + step["seconds"] for _, step in steps) - begin or 1
    return [{"chapter": chapter, "title": step["title"], "seconds": step["seconds"], "failed": step["failed"],
             "left": 100 * (step["started"] - begin) / whole, "width": 100 * step["seconds"] / whole}
            for chapter, step in steps]


def verdict(report: dict) -> str:
    """One line: "6 chapters in 1 min 35 s: 120 changed, 0 failed"."""
    changed = f"{report['would_change']} would change" if report["plan"] else f"{report['changed']} changed"
    return (f"{_number(len(report['chapters']), 'chapter')} in {duration(report['seconds'])}: "
            f"{changed}, {report['failed']} failed")


def chapter_line(chapter: dict) -> str:
    """One line of a log: the chapter, its time and what came of it."""
    planned = f", {chapter['would_change']} would change" if chapter["would_change"] else ""
    state = "FAILED" if chapter["error"] else "ok"
    return (f"{chapter['chapter']:<18} {chapter['seconds']:7.1f} s  {state:<6}  {_number(len(chapter['steps']), 'step')}, "
            f"{chapter['changed']} changed{planned}, {chapter['failed']} failed")


def step_line(step: dict) -> str:
    """One line of a terminal: the step, what came of it and its time."""
    items = [item for host in step["hosts"].values() for item in host]
    return f"{step['title']}: {'FAILED: ' if step['failed'] else ''}{counts(items) or 'checked'} ({step['seconds']:.1f} s)"


def counts(items: list[dict]) -> str:
    """"6 changed, 3 ok" of a step's resources."""
    found = [(sum(item["status"] == status for item in items), status) for status in STATUSES]
    return ", ".join(f"{number} {status}" for number, status in found if number)


def interesting(items: list[dict]) -> list[dict]:
    """The items that have something to unfold: those that are not simply as they should be."""
    return [item for item in items if item["status"] != OK and (item["detail"].strip() or item["command"].strip())]


def duration(seconds: float) -> str:
    """"4.2 s" or "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _number(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("s" if number != 1 else "")


@cache
def _template():
    environment = Environment(loader=PackageLoader("airavata_runbook", "."), undefined=StrictUndefined,
                              autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True,
                              finalize=lambda value: printable(value) if isinstance(value, str) else value)
    return environment.get_template("report_page.html.j2")
