"""Report: what a step found and did, per host and resource. Data first; text and HTML are views of it.

In both views hosts are sorted, and nothing tells times, so that nbval can compare a notebook's outputs with those of another
run (times stand in report.json and report.html).
"""

import html
from dataclasses import asdict, dataclass, field, fields, replace

from airavata_runbook.errors import STOPPED_BY_USER, printable

OK, CHANGED, WOULD_CHANGE, FAILED, SKIPPED = "ok", "changed", "would change", "failed", "skipped"
STATUSES = (CHANGED, WOULD_CHANGE, FAILED, SKIPPED, OK)


@dataclass
class Item:
    """One resource on one host. detail: its difference. command: what was or would be run. seconds: its own time."""

    label: str
    status: str
    summary: str = ""
    detail: str = ""
    command: str = ""
    seconds: float = 0.0


@dataclass
class Failure:
    """Why a host did not get through a step, ready to be shown."""

    host: str
    message: str
    retryable: bool = False

    @property
    def stopped(self) -> bool:
        """Whether the user stopped the work on the host."""
        return self.message.startswith(STOPPED_BY_USER)


@dataclass
class Report:
    """hosts: name → its items in order. show: rows for a reader (a table of what a check saw), may be empty."""

    chapter: str
    step: str
    title: str
    plan: bool
    hosts: dict[str, list[Item]]
    failures: list[Failure] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    seconds: float = 0.0
    started: float = 0.0

    def count(self, status: str) -> int:
        """How many resources on all hosts have that status."""
        return sum(item.status == status for items in self.hosts.values() for item in items)

    @property
    def failed(self) -> int:
        """How many resources failed. A host that failed without one (it was lost) counts as one more.

        A host that the user stopped is no failure, nor is what was at work there.
        """
        stopped = {one.host for one in self.failures if one.stopped}
        found = {host: sum(item.status == FAILED for item in items) for host, items in self.hosts.items() if host not in stopped}
        return sum(found.values()) + sum(not found.get(one.host) for one in self.failures if not one.stopped)

    @property
    def stopped(self) -> int:
        """On how many hosts the user stopped the step."""
        return sum(one.stopped for one in self.failures)

    @property
    def verdict(self) -> str:
        """One line: "2 hosts: 6 changed, 3 ok"."""
        if not self.hosts and not self.failures:
            return "would be checked" if self.plan else "checked"
        found = {status: self.count(status) for status in STATUSES} | {FAILED: self.failed, "stopped": self.stopped}
        counts = [f"{number} {status}" for status, number in found.items() if number]
        hosts = f"{len(self.hosts)} host" + ("s" if len(self.hosts) != 1 else "")
        return f"{hosts}: {', '.join(counts) or 'nothing to do'}"

    def as_dict(self) -> dict:
        """The whole report as plain data, for report.json."""
        return {
            **asdict(self),
            "changed": self.count(CHANGED),
            "would_change": self.count(WOULD_CHANGE),
            "failed": self.failed,
            "stopped": self.stopped,
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Report":
        """The Report that `as_dict` told of."""
        own = {one.name: data[one.name] for one in fields(cls)}
        hosts = {host: [Item(**item) for item in items] for host, items in data["hosts"].items()}
        return cls(**own | {"hosts": hosts, "failures": [Failure(**one) for one in data["failures"]]})

    def without_ok(self) -> "Report":
        """The same report of those hosts and resources only that are not simply as they should be."""
        hosts = {host: [item for item in items if item.status != OK] for host, items in self.hosts.items()}
        return replace(self, hosts={host: items for host, items in hosts.items() if items})

    def __str__(self) -> str:
        return report_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return report_html(self)


MARKS = {OK: "=", CHANGED: "+", WOULD_CHANGE: "~", FAILED: "!", SKIPPED: "-"}
# Jupyter's own colours (elsewhere the ones named here), mixed with the text's: so they can be read on white and on black.
# A notebook that was not run here yet is shown with the first colour alone, for Jupyter takes all but plain ones out of it.
MIX = "color:{plain};color:color-mix(in srgb, var(--jp-{name}-color1, {own}) 50%, currentColor)"
QUIET = "opacity:.75"
STYLES = {
    OK: QUIET,
    CHANGED: MIX.format(plain="#238636", name="success", own="#2da44e"),
    WOULD_CHANGE: MIX.format(plain="#9a6700", name="warn", own="#bf8700"),
    FAILED: MIX.format(plain="#d83b46", name="error", own="#cf222e"),
    SKIPPED: QUIET,
}


def report_text(report: Report) -> str:
    """The report for a terminal: a line for each resource, its difference below it."""
    lines = [f"{'Plan: ' if report.plan else ''}{report.title} ({report.verdict})"]
    for host, items in sorted(report.hosts.items()):
        lines.append(f"  {host}")
        for item in items:
            lines.append(f"    {MARKS[item.status]} {item.label}" + (f": {item.summary}" if item.summary else ""))
            if item.status in (CHANGED, WOULD_CHANGE, FAILED):
                lines += [f"        {line}" for line in item.detail.splitlines()]
    lines += ["  " + "  ".join(row) for row in report.rows]
    lines += [f"  ! {one.host}: {one.message}" for one in report.failures]
    return printable("\n".join(lines))


def report_html(report: Report) -> str:
    """The report for a notebook: one table, a row for each resource; differences and commands fold out."""
    parts = [
        f"<div><b>{escape_html(('Plan: ' if report.plan else '') + report.title)}</b> "
        f"<span style='{QUIET}'>{escape_html(report.verdict)}</span></div>"
    ]
    for failure in report.failures:
        parts.append(
            f"<pre style='{STYLES[FAILED]};white-space:pre-wrap'>"
            f"{escape_html(failure.host)}: {escape_html(failure.message)}</pre>"
        )
    if report.rows:
        parts.append(table_html(report.rows))
    if any(report.hosts.values()):
        body = "".join(_host_rows(host, items) for host, items in sorted(report.hosts.items()))
        parts.append(f"<table style='text-align:left'>{body}</table>")
    return "".join(parts)


def table_html(rows: list[list[str]]) -> str:
    """A table whose first row is its head."""
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
        if text and item.status != OK
    )
    return f"<details><summary>{head}</summary>{inside}</details>" if inside else head


def escape_html(text: object) -> str:
    return html.escape(printable(str(text)))
