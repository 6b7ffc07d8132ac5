"""How reports look in a terminal and in a notebook. Hosts are sorted; nothing here tells times, so that nbval can
compare a notebook's outputs with those of another run (times stand in report.json and report.html)."""

import html

from airavata_runbook.engine.report import CHANGED, FAILED, OK, SKIPPED, WOULD_CHANGE, Item, Report
from airavata_runbook.errors import printable

MARKS = {OK: "=", CHANGED: "+", WOULD_CHANGE: "~", FAILED: "!", SKIPPED: "-"}
# Jupyter's own colours (elsewhere the ones named here), mixed with the text's: so they can be read on white and on black.
# A notebook that was not run here yet is shown with the first colour alone, for Jupyter takes all but plain ones out of it.
MIX = "color:{plain};color:color-mix(in srgb, var(--jp-{name}-color1, {own}) 50%, currentColor)"
QUIET = "opacity:.75"
STYLES = {OK: QUIET, CHANGED: MIX.format(plain="#238636", name="success", own="#2da44e"),
          WOULD_CHANGE: MIX.format(plain="#9a6700", name="warn", own="#bf8700"),
          FAILED: MIX.format(plain="#d83b46", name="error", own="#cf222e"), SKIPPED: QUIET}


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
    parts = [f"<div><b>{escape_html(('Plan: ' if report.plan else '') + report.title)}</b> "
             f"<span style='{QUIET}'>{escape_html(report.verdict)}</span></div>"]
    for failure in report.failures:
        parts.append(f"<pre style='{STYLES[FAILED]};white-space:pre-wrap'>{escape_html(failure.host)}: {escape_html(failure.message)}</pre>")
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
    lines = "".join("<tr>" + "".join(f"<td style='text-align:left'>{escape_html(cell)}</td>" for cell in row) + "</tr>"
                    for row in body)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _host_rows(host: str, items: list[Item]) -> str:
    rows = []
    for position, item in enumerate(items):
        name = f"<td rowspan='{len(items)}' style='vertical-align:top'><b>{escape_html(host)}</b></td>" if not position else ""
        rows.append(f"<tr>{name}<td style='{STYLES[item.status]};text-align:left;vertical-align:top'>"
                    f"{escape_html(item.status)}</td><td style='text-align:left'>{_item(item)}</td></tr>")
    return "".join(rows)


def _item(item: Item) -> str:
    head = escape_html(item.label) + (f" <span style='{QUIET}'>{escape_html(item.summary)}</span>" if item.summary else "")
    inside = "".join(f"<pre style='margin:2px 0 2px 1em'>{escape_html(text)}</pre>"
                     for text in (item.detail.rstrip(), item.command.rstrip()) if text and item.status != OK)
    return f"<details><summary>{head}</summary>{inside}</details>" if inside else head










def escape_html(text: object) -> str:
    return html.escape(printable(str(text)))
