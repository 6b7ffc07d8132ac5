"""The board in a live notebook: plain ipywidgets, buttons and texts. What they show and do is in model.py and work.py.

Widgets may be updated by threads: https://ipywidgets.readthedocs.io/en/stable/examples/Widget%20Asynchronous.html. Cells share
their layouts and styles, each of which is a model of its own in the browser.
"""

from collections.abc import Mapping
from functools import partial

import ipywidgets as widgets

from airavata_runbook.engine.report import escape_html
from airavata_runbook.site import Site
from airavata_runbook.site_board.detail import Detail, button, buttons
from airavata_runbook.site_board.model import COLOURS, SITE, Grid, Row, State
from airavata_runbook.site_board.page import legend
from airavata_runbook.site_board.running import Running
from airavata_runbook.site_board.work import CLOSED, Work

VIEW = "application/vnd.jupyter.widget-view+json"
FEW = 4  # hosts, of which each column has room for words; with more it has the mark and a number
BOARDS: dict[str, "BoardView"] = {}  # site's name → the board that was opened last: only that one goes on


class BoardView:
    """The widgets of one board. It begins to look as soon as it is made."""

    def __init__(self, site: Site, grid: Grid):
        self.site, self.grid = site, grid
        self.few = len(grid.hosts) <= FEW
        self.cells: dict[tuple[Row, str], widgets.Button] = {}
        self.columns: dict[str, widgets.Layout] = {}
        self.work: Work
        self.styles = {state: widgets.ButtonStyle(text_color=_colour(state)) for state in State}
        self.doing, self.status = widgets.HTML(), widgets.HTML()
        self.again = button("Look again", "Look at all steps anew; changes nothing")
        self.again.on_click(lambda _: self._look_again())
        self.stop = button("Stop", "End what goes on; what is done stays done")
        self.stop.on_click(lambda _: self.work.stop())
        self.screen = Running()
        self.slots = {chapter: widgets.VBox() for chapter in grid.chapters}
        self.details: dict[str, Detail] = {}
        self.opened: Detail | None = None
        self.box = widgets.VBox([self._head(), *self._chapters(), widgets.HTML(f"<div>{legend()}</div>")])
        self.work = Work(site, grid, self)
        if before := BOARDS.get(site.name):
            before.close()
        BOARDS[site.name] = self
        self.work.look()
        self.changed()

    def __repr__(self) -> str:
        return f"Board of site {self.site.name}: run this cell again to see it"

    def _repr_mimebundle_(self, **options: object) -> Mapping[str, object]:
        shown = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return {"text/plain": repr(self), VIEW: shown}

    def changed(self, *rows: Row) -> None:
        """Show the rows, and what is being done, anew; called by any thread."""
        for row in rows:
            for host in row.hosts:
                self._show_cell(row, host)
        self.doing.value, self.status.value = _doing_html(self.site, self.work, self.grid), _status_html(self.work)
        self.again.disabled = self.work.doing == CLOSED
        self.stop.disabled = self.work.doing in ("", CLOSED) or self.work.stopping
        for detail in self.details.values():
            detail.show()

    def close(self) -> None:
        """Another board of this site was opened: this one does nothing any more."""
        self.work.close()
        self.changed()

    def _look_again(self) -> None:
        if self.work.look():
            self.screen.clear()

    def _head(self) -> widgets.Widget:
        return widgets.VBox([self.doing, self.status, buttons(self.again, self.stop), self.screen.box])

    def _chapters(self) -> list[widgets.Widget]:
        columns = f"minmax(12em, 1.4fr) repeat({len(self.grid.hosts)}, minmax({10 if self.few else 6}em, 1fr))"
        layout = widgets.Layout(grid_template_columns=columns, grid_gap="2px 4px", overflow="auto", width="100%")
        shown: list[widgets.Widget] = []
        for chapter, rows in self.grid.chapters.items():
            titles = [
                _text(f"<b style='overflow-wrap:anywhere'>{escape_html(text)}</b>", self._column(str(at)))
                for at, text in enumerate((chapter, *self.grid.hosts), 1)
            ]
            steps = [one for row in rows for one in self._row(row)]
            shown += [widgets.GridBox([*titles, *steps], layout=layout), self.slots[chapter]]
        return shown

    def _column(self, place: str) -> widgets.Layout:
        if place not in self.columns:
            self.columns[place] = widgets.Layout(
                grid_area=f"auto / {place}", width="auto", height="auto", min_width="0", padding="0 2px"
            )
        return self.columns[place]

    def _row(self, row: Row) -> list[widgets.Widget]:
        found: list[widgets.Widget] = [_text(escape_html(row.title), self._column("1"))]
        if row.hosts == (SITE,):
            return [*found, self._cell(row, SITE, "2 / auto / -1")]
        return found + [
            self._cell(row, host, str(2 + self.grid.hosts.index(host))) for host in self.grid.hosts if host in row.hosts
        ]

    def _cell(self, row: Row, host: str, column: str) -> widgets.Button:
        cell = self.cells[row, host] = widgets.Button(layout=self._column(column))
        cell.on_click(partial(self._open, row, host))
        self._show_cell(row, host)
        return cell

    def _show_cell(self, row: Row, host: str) -> None:
        shown, cell = self.cells[row, host], self.grid.cells[row, host]
        with shown.hold_sync():
            shown.description = cell.text if self.few or host == SITE else cell.short
            shown.style = self.styles[cell.state]
            shown.tooltip = f"{row.chapter}, {row.title}, {host or 'the whole site'}: {cell.text}"

    def _open(self, row: Row, host: str, _: object) -> None:
        """Show a cell's details below its chapter."""
        detail = self.details.get(row.chapter)
        if not detail:
            detail = self.details[row.chapter] = Detail(self.grid, self.work, self.stop, self.screen.box)
            self.slots[row.chapter].children = (detail.box,)
        if self.opened and self.opened is not detail:
            self.opened.close()
        self.opened = detail
        detail.open(row, host)


def _text(html: str, layout: widgets.Layout) -> widgets.HTML:
    return widgets.HTML(html, layout=layout)


def _colour(state: State) -> str | None:
    """The colour of a state for a button: the last one of its declarations, for a page that may have any."""
    return COLOURS[state].rpartition("color:")[2] if "color:" in COLOURS[state] else None


def _doing_html(site: Site, work: Work, grid: Grid) -> str:
    """What the cells say together, and what goes on."""
    doing = f"<br>… {escape_html(work.doing)}{', stopping' if work.stopping else ''}" if work.doing not in ("", CLOSED) else ""
    return f"<b>Site {escape_html(site.name)}</b>: {escape_html(grid.summary())}{doing}"


def _status_html(work: Work) -> str:
    """Who else works on the site, and how the last work ended: what a screen reader tells as soon as it changes."""
    lines = []
    if work.other:
        lines.append(f"<span style='{COLOURS[State.DIFFERS]}'>~ A run is in progress: {escape_html(work.other)}</span>")
    if work.doing == CLOSED:
        lines.append("Another board of this site was opened: this one does nothing any more.")
    if work.said:
        lines.append(f"<span style='white-space:pre-wrap'>{escape_html(work.said)}</span>")
    return f"<div role='status' aria-live='polite'>{'<br>'.join(lines)}</div>"
