"""Progress bars in a live notebook (ipywidgets). They leave nothing behind in the notebook that is saved."""

from typing import ClassVar

import ipywidgets as widgets
from IPython import get_ipython
from IPython.display import clear_output, display

COLUMNS = "max-content 14em max-content minmax(0, 1fr)"  # name, bar, count, what is being done now


class Bars:
    """A bar for each name, below a title if there is one. Threads may update bars, one at a time.

    Widgets may be updated by threads: https://ipywidgets.readthedocs.io/en/stable/examples/Widget%20Asynchronous.html.
    """

    shown: ClassVar[set["Bars"]] = set()
    cleared: ClassVar[str] = ""  # the last cell (ID of the request to execute it) whose output was cleared

    def __init__(self, title: str, names: list[str]):
        self.bars = {name: widgets.FloatProgress(max=1, layout=widgets.Layout(width="auto")) for name in names}
        self.counts = {name: widgets.Label() for name in names}
        self.texts = {name: widgets.Label() for name in names}
        cells = [cell for name in names for cell in (widgets.Label(name), self.bars[name], self.counts[name], self.texts[name])]
        grid = widgets.GridBox(cells, layout=widgets.Layout(grid_template_columns=COLUMNS, grid_gap="0 1em"))
        heading = [widgets.Label(title)] if title else []
        box = widgets.VBox([*heading, grid])
        self.widgets = [*cells, *heading, grid, box]
        self.cell = get_ipython().kernel.get_parent()["header"]["msg_id"]
        self.display = display(box, display_id=True)
        Bars.shown.add(self)

    def update(self, name: str, text: str, done: float = 0, total: float = 0, count: str = "") -> None:
        """Show how much of `total` (0: not known) is done, also in words (`count`), and what is being done now."""
        bar = self.bars[name]
        bar.max, bar.value = total or 1, done
        bar.bar_style = "success" if total and done == total else ""
        self.counts[name].value, self.texts[name].value = count, text

    def close(self) -> bool:
        """Remove the bars, their state, and the output of their cell so far. Whether that had to be removed, text included.

        A closed widget still leaves an output in the cell, which only clearing the cell removes. In a cell of several
        steps the first one clears, so that reports shown between them stay; the others leave an output without content.
        """
        for widget in self.widgets:
            for part in (widget, widget.layout, getattr(widget, "style", None)):
                if part is not None:
                    part.close()
        Bars.shown.discard(self)
        if self.cell == Bars.cleared or any(other.cell == self.cell for other in Bars.shown):
            self.display.update({}, raw=True)
            return False
        clear_output()
        Bars.cleared = self.cell
        return True
