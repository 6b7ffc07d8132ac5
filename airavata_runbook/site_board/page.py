"""The board as text and as HTML: the whole table where there is no live notebook, and the details of a cell everywhere."""

from airavata_runbook.engine.report import QUIET, escape_html, report_html
from airavata_runbook.errors import printable
from airavata_runbook.local.terminal import text_table
from airavata_runbook.site_board.model import COLOURS, MARKS, SITE, Cell, Grid, Row, State

LEFT = "text-align:left"
NOT_KNOWN = "Nothing is known of it yet: look again."
CHECKED = "This check needs the steps before it, so a plan does not make it. Run it to see its result."


class StillBoard:
    """The table of a site's board as it was found, as text and as HTML; without times, so that two can be compared."""

    def __init__(self, name: str, grid: Grid):
        self.name, self.grid = name, grid

    def __str__(self) -> str:
        return printable(f"Board of site {self.name} ({self.grid.summary()})\n{text_table(list(self.grid.table()))}")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        summary = f"<span style='{QUIET}'>{escape_html(self.grid.summary())}</span>"
        head = f"<div><b>Board of site {escape_html(self.name)}</b> {summary}</div>"
        return head + _table(self.grid) + "".join(_folded(self.grid))


def legend() -> str:
    """The marks and their meaning, as HTML."""
    return "&ensp;".join(f"<span style='{COLOURS[state]}'>{MARKS[state]} {escape_html(state)}</span>" for state in State)


def cell_html(cell: Cell) -> str:
    """Why a cell is as it is: its differences and commands, or the error."""
    if cell.error:
        return f"<pre style='{COLOURS[cell.state]};white-space:pre-wrap'>{escape_html(cell.error)}</pre>"
    if cell.report:
        return report_html(cell.report) + (cell.report.picture.html if cell.report.picture else "")
    return f"<div>{CHECKED if cell.note else NOT_KNOWN}</div>"


def _table(grid: Grid) -> str:
    hosts = "".join(f"<th scope='col' style='{LEFT}'>{escape_html(host)}</th>" for host in grid.hosts)
    parts = []
    for chapter, rows in grid.chapters.items():
        parts.append(f"<tr><th scope='rowgroup' colspan='{1 + len(grid.hosts)}' style='{LEFT}'>{escape_html(chapter)}</th></tr>")
        parts += [_row(grid, row) for row in rows]
    head = f"<thead><tr><th scope='col' style='{LEFT}'>step</th>{hosts}</tr></thead>"
    return f"<table style='{LEFT}'>{head}<tbody>{''.join(parts)}</tbody></table>"


def _row(grid: Grid, row: Row) -> str:
    step = f"<th scope='row' style='{LEFT};font-weight:normal'>{escape_html(row.title)}</th>"
    if row.hosts == (SITE,):
        return f"<tr>{step}{_cell(grid.cells[row, SITE], len(grid.hosts))}</tr>"
    cells = (_cell(grid.cells[row, host]) if host in row.hosts else "<td></td>" for host in grid.hosts)
    return f"<tr>{step}{''.join(cells)}</tr>"


def _cell(cell: Cell, columns: int = 1) -> str:
    return f"<td colspan='{columns}' style='{LEFT};{COLOURS[cell.state]}'>{escape_html(cell.text)}</td>"


def _folded(grid: Grid) -> list[str]:
    """The details of each cell that somebody has to look at."""
    return [
        f"<details><summary>{escape_html(' · '.join(filter(None, (row.chapter, row.title, host, cell.text))))}</summary>"
        f"{cell_html(cell)}</details>"
        for (row, host), cell in grid.cells.items()
        if cell.state in (State.DIFFERS, State.FAILED) or cell.error
    ]
