"""How reports look in a terminal and in a notebook. Hosts are sorted; nothing here tells times, so that nbval can
compare a notebook's outputs with those of another run (times stand in report.json and report.html)."""

import html
import sys
import threading
import urllib.parse
from dataclasses import dataclass

from airavata_runbook.errors import printable
from airavata_runbook.report import CHANGED, FAILED, OK, SKIPPED, WOULD_CHANGE, Item, Report

MARKS = {OK: "=", CHANGED: "+", WOULD_CHANGE: "~", FAILED: "!", SKIPPED: "-"}
# Jupyter's own colours (elsewhere the ones named here), mixed with the text's: so they can be read on white and on black.
# A notebook that was not run here yet is shown with the first colour alone, for Jupyter takes all but plain ones out of it.
MIX = "color:{plain};color:color-mix(in srgb, var(--jp-{name}-color1, {own}) 50%, currentColor)"
QUIET = "opacity:.75"
STYLES = {OK: QUIET, CHANGED: MIX.format(plain="#238636", name="success", own="#2da44e"),
          WOULD_CHANGE: MIX.format(plain="#9a6700", name="warn", own="#bf8700"),
          FAILED: MIX.format(plain="#d83b46", name="error", own="#cf222e"), SKIPPED: QUIET}
WIDTH = 110


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
    parts = [f"<div><b>{_e(('Plan: ' if report.plan else '') + report.title)}</b> "
             f"<span style='{QUIET}'>{_e(report.verdict)}</span></div>"]
    for failure in report.failures:
        parts.append(f"<pre style='{STYLES[FAILED]};white-space:pre-wrap'>{_e(failure.host)}: {_e(failure.message)}</pre>")
    if report.rows:
        parts.append(table_html(report.rows))
    if any(report.hosts.values()):
        body = "".join(_host_rows(host, items) for host, items in sorted(report.hosts.items()))
        parts.append(f"<table style='text-align:left'>{body}</table>")
    return "".join(parts)


def text_table(rows: list[list[str]]) -> str:
    """A table for a terminal, in columns; the first row is its head."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def table_html(rows: list[list[str]]) -> str:
    """A table whose first row is its head."""
    head, *body = rows
    cells = "".join(f"<th style='text-align:left'>{_e(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td style='text-align:left'>{_e(cell)}</td>" for cell in row) + "</tr>"
                    for row in body)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _host_rows(host: str, items: list[Item]) -> str:
    rows = []
    for position, item in enumerate(items):
        name = f"<td rowspan='{len(items)}' style='vertical-align:top'><b>{_e(host)}</b></td>" if not position else ""
        rows.append(f"<tr>{name}<td style='{STYLES[item.status]};text-align:left;vertical-align:top'>"
                    f"{_e(item.status)}</td><td style='text-align:left'>{_item(item)}</td></tr>")
    return "".join(rows)


def _item(item: Item) -> str:
    head = _e(item.label) + (f" <span style='{QUIET}'>{_e(item.summary)}</span>" if item.summary else "")
    inside = "".join(f"<pre style='margin:2px 0 2px 1em'>{_e(text)}</pre>"
                     for text in (item.detail.rstrip(), item.command.rstrip()) if text and item.status != OK)
    return f"<details><summary>{head}</summary>{inside}</details>" if inside else head


@dataclass(frozen=True)
class Picture:
    """A drawing: SVG for a notebook, the same in words for a terminal."""

    svg: str
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        # As an image: JupyterLab strips <svg> from a notebook that was opened and not run. Percent-encoded, it stays readable
        # for whoever compares two notebooks.
        return (f'<img alt="{_e(self.text)}" style="max-width:100%" '
                f'src="data:image/svg+xml,{urllib.parse.quote(self.svg, safe=" =:/.,()")}">')


def show(thing: object) -> None:
    """Show a report now: as HTML in a notebook, as text elsewhere."""
    if in_notebook():
        from IPython.display import display
        display(thing)
    else:
        print(thing)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return bool(ipython and ipython.get_ipython() and hasattr(ipython.get_ipython(), "kernel"))


class StepProgress:
    """One line, rewritten in place, that says what each host is doing; in the end it reads the same in every run."""

    def __init__(self, title: str, hosts: list[str]):
        self.title, self.doing = title, dict.fromkeys(sorted(hosts), "")
        self.lock = threading.Lock()
        self.live = in_notebook() or sys.stdout.isatty()

    def __enter__(self) -> "StepProgress":
        return self

    def __call__(self, host: str, what: str) -> None:
        with self.lock:
            self.doing[host] = what
            if self.live:
                self._line(f"{self.title}: " + "; ".join(f"{name}: {now}" for name, now in self.doing.items() if now))

    def __exit__(self, *exc) -> None:
        if self.live:
            self._line(self.title + (f": {', '.join(self.doing)}" if self.doing else ""))
            sys.stdout.write("\n")

    def _line(self, text: str) -> None:
        sys.stdout.write("\r" + (text if len(text) <= WIDTH else text[:WIDTH - 1] + "…").ljust(WIDTH))
        sys.stdout.flush()


def _e(text: object) -> str:
    return html.escape(printable(str(text)))
