"""What unfolds below a chapter of the board when one of its cells is clicked: the cell's differences, and what can be done."""

import ipywidgets as widgets

from airavata_runbook.engine.report import escape_html
from airavata_runbook.site_board.model import SITE, Grid, Row, question
from airavata_runbook.site_board.page import cell_html
from airavata_runbook.site_board.work import Work

FRAME = "1px solid var(--jp-border-color1, #8888)"


class Detail:
    """The widgets; hidden until `open`. stop, progress: of the board, shown here too."""

    def __init__(self, grid: Grid, work: Work, stop: widgets.Button, progress: widgets.Widget):
        self.grid, self.work, self.stop = grid, work, stop
        self.row: Row | None = None
        self.host = SITE
        self.asked: list[Row] = []  # what is to be run, if the answer is yes
        self.title, self.content, self.question = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.plan = button("Plan this step", "Find what it would change now; changes nothing")
        self.run = button("Run this step …", "Asks first")
        self.run_from = button("Run from here …", "This step and all after it, up to the first that fails; asks first")
        self.hide = button("Close", "Hide these details")
        self.yes = button("Yes, run", "Begin now")
        self.yes.style.font_weight = "bold"
        self.no = button("Cancel", "Change nothing")
        actions = [self.plan, self.run, self.run_from, stop, self.hide]
        self.ask = widgets.VBox([self.question, buttons(self.yes, self.no)], layout=widgets.Layout(border=FRAME, padding="4px"))
        parts = [self.title, buttons(*actions), self.ask, progress, self.content]
        self.box = widgets.VBox(
            parts, layout=widgets.Layout(border=FRAME, padding="4px 8px", margin="4px 0 12px", display="none")
        )
        self.plan.on_click(lambda _: self.row and self.work.plan(self.row))
        self.run.on_click(lambda _: self.row and self._ask([self.row]))
        self.run_from.on_click(lambda _: self.row and self._ask(self.grid.rows_from(self.row)))
        self.hide.on_click(lambda _: self.close())
        self.yes.on_click(lambda _: self._answer(True))
        self.no.on_click(lambda _: self._answer(False))

    def open(self, row: Row, host: str) -> None:
        """Show the details of a cell, and move the keyboard's focus there."""
        self.row, self.host, self.asked = row, host, []
        self.box.layout.display = None
        self.show()
        self.plan.focus()

    def close(self) -> None:
        """Hide them."""
        self.row, self.asked = None, []
        self.box.layout.display = "none"

    def show(self) -> None:
        """Show the cell as it is now, and what can be done now."""
        if not self.row:
            return
        cell = self.grid.cells[self.row, self.host]
        where = self.row.places if self.host == SITE else f"on {self.host}"
        self.title.value = f"<b>{escape_html(self.row.title)}</b>, {escape_html(where)}: {escape_html(cell.text)}"
        self.content.value = f"<div style='overflow-x:auto'>{cell_html(cell)}</div>"
        # A button that is disabled loses the keyboard's focus; the plan's stays, and is refused while something goes on.
        for one in (self.run, self.run_from):
            one.disabled = bool(self.work.doing or self.asked)
        self.yes.disabled = bool(self.work.doing)
        self.ask.layout.display = None if self.asked else "none"

    def _ask(self, rows: list[Row]) -> None:
        if self.work.doing:  # a click from before it began
            return
        self.asked, plans = rows, self.work.plans()
        self.question.value = f"<b>{escape_html(question(self.grid, rows, self.work.site.name, plans))}</b>"
        self.yes.description = "Yes, plan" if plans else "Yes, run"
        self.show()
        self.no.focus()

    def _answer(self, yes: bool) -> None:
        rows, self.asked = self.asked, []
        began = yes and bool(rows) and self.work.run(rows)
        self.show()
        (self.stop if began else self.run).focus()


def button(text: str, tooltip: str) -> widgets.Button:
    """A button as wide as its text."""
    return widgets.Button(description=text, tooltip=tooltip, layout=widgets.Layout(width="auto"))


def buttons(*them: widgets.Button) -> widgets.HBox:
    """A row of buttons, which wraps where it is narrow."""
    return widgets.HBox(them, layout=widgets.Layout(flex_flow="row wrap"))
