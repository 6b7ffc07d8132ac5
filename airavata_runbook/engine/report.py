"""Report: what a step found and did, per host and resource. Data first; text and HTML are views of it.

Both views sort the hosts and leave out times, so that nbval can compare a notebook's outputs with those of another run
(report.json and report.html have the times).
"""

import html
from base64 import b64decode
from collections.abc import Callable
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field, computed_field

from airavata_runbook.engine.by_hand import ByHand
from airavata_runbook.errors import counted, printable
from airavata_runbook.local.terminal import in_live_notebook
from airavata_runbook.pictures.svg import Drawn, as_image


class Status(StrEnum):
    """What became of a resource on a host, in the order in which a summary counts them."""

    CHANGED = "changed"
    WOULD_CHANGE = "would change"
    FAILED = "failed"
    SKIPPED = "skipped"
    OK = "ok"


class Item(BaseModel):
    """One resource on one host. detail: its difference. command: what was or would be run. seconds: its own time.

    absent: when it was compared, nothing of it was there. later: it can only be compared after an earlier step or resource.
    """

    label: str
    status: Status
    summary: str = ""
    detail: str = ""
    command: str = ""
    seconds: float = 0.0
    absent: bool = False
    later: bool = False


class Failure(BaseModel):
    """Why a host did not complete a step, ready to be shown. kind: it failed, or the user stopped it. unreachable: there was no
    SSH session to a host, so that nothing is known of it.
    """

    host: str
    message: str
    kind: Literal["failed", "stopped"] = "failed"
    retryable: bool = False
    unreachable: bool = False


class Picture(BaseModel):
    """An image that a check made. name: of its file beside the report. text: what it shows, in words.

    Either png, in base64, or svg, of the runbook's own writer.
    """

    name: str
    text: str
    png: str = ""
    svg: str = ""

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    @property
    def content(self) -> bytes:
        """Of its file."""
        return self.svg.encode() if self.svg else b64decode(self.png)

    def _repr_png_(self) -> bytes | None:
        return b64decode(self.png) if self.png else None

    def _repr_html_(self) -> str | None:
        # nbval compares HTML, and no two screenshots are equal; JupyterLab gives a PNG no text for those who cannot see it.
        return self.html if self.svg or in_live_notebook() else None

    @property
    def html(self) -> str:
        """The picture as an element of HTML, with its text."""
        if self.svg:
            return as_image(self.svg, self.text)
        return f"<img alt='{escape_html(self.text)}' style='max-width:100%' src='data:image/png;base64,{self.png}'>"


def picture_of(name: str, drawn: Drawn) -> Picture:
    """A drawing as the picture of a check. name: of its file, without the end."""
    return Picture(name=f"{name}.svg", text=drawn.text, svg=drawn.svg)


class Origin(BaseModel):
    """Who ran a step in a live notebook, and where. notebook: its file's name, where it is known. cell: its number there, from 1,
    prose counted, or 0. count: as the notebook shows it, "[7]"; 0 for a button.
    """

    who: str
    notebook: str = ""
    cell: int = 0
    count: int = 0

    def __str__(self) -> str:
        cell = [f"cell {self.cell}"] if self.cell else []
        count = [f"[{self.count}]"] if self.count else []
        return ", ".join([self.who, *([self.notebook] if self.notebook else []), " ".join(cell + count)]).removesuffix(", ")


class Report(BaseModel):
    """The result of one step.

    hosts: name → its items in order. rows: the table that a check found, its head first; may be empty.
    site: its name. started: seconds since the epoch. notices: what kept the step waiting, host first. running: the step goes on.
    by_hand: the commands of an admin without the runbook; a text of the site, no result, so report.json is without it.
    """

    chapter: str
    step: str
    title: str
    plan: bool
    hosts: dict[str, list[Item]]
    failures: list[Failure] = []
    rows: list[list[str]] = []
    seconds: float = 0.0
    started: float = 0.0
    notices: list[str] = []
    running: bool = False
    picture: Picture | None = None
    site: str = ""
    by_hand: ByHand | None = Field(default=None, exclude=True)
    origin: Origin | None = None

    def count(self, status: Status) -> int:
        """How many resources on all hosts have that status."""
        return sum(item.status == status for items in self.hosts.values() for item in items)

    @computed_field  # type: ignore[prop-decorator]  # report.json carries the counts too
    @property
    def changed(self) -> int:
        """How many resources were changed."""
        return self.count(Status.CHANGED)

    @computed_field  # type: ignore[prop-decorator]  # report.json carries the counts too
    @property
    def would_change(self) -> int:
        """How many resources a run would change."""
        return self.count(Status.WOULD_CHANGE)

    @computed_field  # type: ignore[prop-decorator]  # report.json carries the counts too
    @property
    def failed(self) -> int:
        """How many resources failed. A host that failed without one (its connection was lost) counts as one more.

        A host that the user stopped is no failure, nor is the resource that was being changed there.
        """
        stopped = {failure.host for failure in self.failures if failure.kind == "stopped"}
        found = {
            host: sum(item.status == Status.FAILED for item in items) for host, items in self.hosts.items() if host not in stopped
        }
        lost = sum(failure.kind == "failed" and not found.get(failure.host) for failure in self.failures)
        return sum(found.values()) + lost

    @computed_field  # type: ignore[prop-decorator]  # report.json carries the counts too
    @property
    def stopped(self) -> int:
        """On how many hosts the user stopped the step."""
        return sum(failure.kind == "stopped" for failure in self.failures)

    @property
    def verdict(self) -> str:
        """One line: "2 hosts: 6 changed, 3 ok"."""
        if not self.hosts and not self.failures:
            return "would be checked" if self.plan else "checked"
        found = {status: self.count(status) for status in Status} | {Status.FAILED: self.failed, "stopped": self.stopped}
        counts = [f"{number} {status}" for status, number in found.items() if number]
        return f"{counted(len(self.hosts), 'host')}: {', '.join(counts) or 'nothing to do'}"

    def without_ok(self) -> "Report":
        """The same report with only those hosts and resources that are not simply as they should be, without the commands."""
        hosts = {host: [item for item in items if item.status != Status.OK] for host, items in self.hosts.items()}
        return self.model_copy(update={"hosts": {host: items for host, items in hosts.items() if items}, "by_hand": None})

    def __str__(self) -> str:
        return report_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return report_html(self)


Paint = Callable[[str, str], str]  # (text, status) → the text as it is shown


def plain(text: str, status: str) -> str:
    """The text without a colour."""
    return text


MARKS = {Status.OK: "=", Status.CHANGED: "+", Status.WOULD_CHANGE: "~", Status.FAILED: "!", Status.SKIPPED: "-"}
# Jupyter's own colours (elsewhere those named here), mixed with the text's colour: readable on white and on black.
# From a notebook that is not trusted yet, Jupyter removes all but plain colours: then the first one alone is shown.
MIX = "color:{plain};color:color-mix(in srgb, var(--jp-{name}-color1, {own}) 50%, currentColor)"
QUIET = "opacity:.75"
STYLES = {
    Status.OK: QUIET,
    Status.CHANGED: MIX.format(plain="#238636", name="success", own="#2da44e"),
    Status.WOULD_CHANGE: MIX.format(plain="#9a6700", name="warn", own="#bf8700"),
    Status.FAILED: MIX.format(plain="#d83b46", name="error", own="#cf222e"),
    Status.SKIPPED: QUIET,
}


def report_text(report: Report, paint: Paint = plain) -> str:
    """The report for a terminal: a line for each resource, its difference below it.

    paint: gives a text the colour of a status (local.colours.painted).
    """
    lines = [printable(f"{'Plan: ' if report.plan else ''}{report.title} ({report.verdict})")]
    for host, items in sorted(report.hosts.items()):
        lines.append(printable(f"  {host}"))
        for item in items:
            line = printable(f"{MARKS[item.status]} {item.label}")
            lines.append(f"    {paint(line, item.status)}" + printable(f": {item.summary}" if item.summary else ""))
            if item.status in (Status.CHANGED, Status.WOULD_CHANGE, Status.FAILED):
                lines += [printable(f"        {line}") for line in item.detail.splitlines()]
    lines += [printable("  " + "  ".join(row)) for row in report.rows]
    lines += [f"  {paint('!', one.kind)} " + printable(f"{one.host}: {one.message}") for one in report.failures]
    for heading, commands in report.by_hand.blocks if report.by_hand else ():
        lines += [printable(line) for line in (f"  {heading}:", *(f"    {command}" for command in commands))]
    return "\n".join(lines)


def report_html(report: Report) -> str:
    """The report for a notebook: one table, a row for each resource; differences and commands unfold."""
    parts = [
        f"<div><b>{escape_html(('Plan: ' if report.plan else '') + report.title)}</b> "
        f"<span style='{QUIET}'>{escape_html(report.verdict + (f', site {report.site}' if report.site else ''))}</span></div>"
    ]
    for failure in report.failures:
        parts.append(
            f"<pre style='{STYLES[Status.FAILED]};white-space:pre-wrap'>"
            f"{escape_html(failure.host)}: {escape_html(failure.message)}</pre>"
        )
    if report.rows:
        parts.append(table_html(report.rows))
    if any(report.hosts.values()):
        body = "".join(_host_rows(host, items) for host, items in sorted(report.hosts.items()))
        parts.append(f"<table style='text-align:left'>{body}</table>")
    if report.by_hand:
        parts.append(_by_hand(report.by_hand))
    return "".join(parts)


def _by_hand(shown: ByHand) -> str:
    style = "margin:2px 0 2px 1em;white-space:pre-wrap;overflow-wrap:anywhere"
    blocks = "".join(
        f"<div style='margin:4px 0 0 1em'>{escape_html(heading)}:</div>"
        f"<pre style='{style}'>{escape_html(chr(10).join(commands))}</pre>"
        for heading, commands in shown.blocks
    )
    return f"<details><summary>By hand</summary>{blocks}</details>"


def table_html(rows: list[list[str]]) -> str:
    """A table; the first row is its head."""
    head, *body = rows
    cells = "".join(f"<th style='text-align:left'>{escape_html(cell)}</th>" for cell in head)
    lines = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape_html(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _host_rows(host: str, items: list[Item]) -> str:
    rows = []
    for position, item in enumerate(items):
        name = f"<td rowspan='{len(items)}' style='vertical-align:top'><b>{escape_html(host)}</b></td>" if not position else ""
        rows.append(
            f"<tr>{name}<td style='{STYLES[item.status]};text-align:left;vertical-align:top'>"
            f"{escape_html(item.status)}</td><td style='text-align:left'>{_item(item)}</td></tr>"
        )
    return "".join(rows)


def _item(item: Item) -> str:
    head = escape_html(item.label) + (f" <span style='{QUIET}'>{escape_html(item.summary)}</span>" if item.summary else "")
    inside = "".join(
        f"<pre style='margin:2px 0 2px 1em'>{escape_html(text)}</pre>"
        for text in (item.detail.rstrip(), item.command.rstrip())
        if text and item.status != Status.OK
    )
    return f"<details><summary>{head}</summary>{inside}</details>" if inside else head


def escape_html(text: object) -> str:
    return html.escape(printable(str(text)))
