"""Progress bars in a live notebook (ipywidgets). They leave nothing behind in the notebook that is saved."""

import time
from collections.abc import Iterable
from typing import ClassVar

import ipywidgets as widgets
from IPython import get_ipython
from IPython.display import clear_output, display

from airavata_runbook.local.interrupts import interrupt_kernel

COLUMNS = "max-content 14em max-content max-content minmax(0, 1fr)"  # name, bar, count, elapsed, what is being done now
SETTLED = 0.8  # seconds after which a front end has learned of the subshell that it asked for, and of the end of an older one
WORDS = 2  # labels of a row after its bar: count, elapsed


class Bars:
    """A bar for each name, below a title if there is one, maybe with a StopButton. Threads may update bars, one at a time.

    Widgets may be updated by threads: https://ipywidgets.readthedocs.io/en/stable/examples/Widget%20Asynchronous.html.
    """

    shown: ClassVar[set["Bars"]] = set()
    cleared: ClassVar[str] = ""  # the last cell (ID of the request to execute it) whose output was cleared

    def __init__(self, title: str, names: list[str], stop: bool = False):
        self.bars = {name: _bar(f"{title} {name}".strip()) for name in names}
        self.words = {name: [widgets.Label() for _ in range(WORDS)] for name in names}
        self.texts = {name: widgets.Label() for name in names}
        cells = [cell for name in names for cell in (widgets.Label(name), self.bars[name], *self.words[name], self.texts[name])]
        grid = widgets.GridBox(cells, layout=widgets.Layout(grid_template_columns=COLUMNS, grid_gap="0 1em"))
        self.title = widgets.Label(title)
        self.stop = StopButton() if stop else None
        heading = [widgets.HBox([self.title, *([self.stop.box] if self.stop else [])])] if title else []
        self.box = widgets.VBox([*heading, grid])
        self.widgets = [*cells, self.title, *heading, grid, self.box, *(self.stop.widgets if self.stop else [])]
        self.open()

    def open(self) -> None:
        """Show the bars below the cell that runs."""
        self.cell = get_ipython().kernel.get_parent()["header"]["msg_id"]
        self.display = display(self.box, display_id=True)
        Bars.shown.add(self)

    def heading(self, text: str) -> None:
        """Show another title."""
        self.title.value = text
        if self.stop:
            self.stop.look()

    def update(self, name: str, text: str, done: float = 0, total: float = 0, *words: str) -> None:
        """Show how much of `total` (0: not known) is done, also in words (count, elapsed), and what is being done now."""
        bar = self.bars[name]
        bar.max, bar.value = total or 1, done
        bar.bar_style = "success" if total and done == total else ""
        for label, word in zip(self.words[name], words, strict=False):
            label.value = word
        self.texts[name].value = text

    def close(self) -> bool:
        """Remove the bars and their state. Whether the output of their cell so far was removed, text included."""
        close_widgets(self.widgets)
        return self.clear()

    def clear(self) -> bool:
        """Remove the output of the bars' cell so far, where it has to be removed. Whether it was.

        A closed widget still leaves an output in the cell, which only clearing the cell removes. In a cell of several
        steps the first one clears, so that reports shown between them stay; the others leave an output without content.
        """
        Bars.shown.discard(self)
        if self.cell == Bars.cleared or any(other.cell == self.cell for other in Bars.shown):
            self.display.update({}, raw=True)
            return False
        clear_output()
        Bars.cleared = self.cell
        return True


class StopButton:
    """Ends the running cell as the notebook's ■ does, within the cell; where no button can do that, the words that ■ does.

    While a cell runs, a kernel takes a widget's messages only on a subshell, a thread beside the cell's, which the front end
    has it make for its widgets (JupyterLab 4.4, ipykernel 7; https://jupyter.org/enhancement-proposals/91-kernel-subshells).
    """

    def __init__(self) -> None:
        self.button = widgets.Button(
            description="Stop this step",
            tooltip="End this step now, as ■ does: what is done stays done",
            layout=widgets.Layout(display="none", width="auto"),
        )
        self.button.on_click(self._stop)
        # ipykernel 7.4 gives a widget's message to the shell that last sent the widget one, here the cell's, which is busy.
        self.button.comm._reply_subshell_for = lambda data, subshell: subshell
        self.words = widgets.Label("■ (interrupt the kernel) ends it")
        self.box = widgets.HBox([self.button, self.words], layout=widgets.Layout(margin="0 0 0 1em"))
        self.widgets = [self.button, self.words, self.box]
        self.seen: dict[str, float] = {}  # ID of a subshell → since when it has been there

    def look(self) -> None:
        """Show the button as soon as the front end can send its click; called now and then."""
        listed = _subshells()
        self.seen = {one: self.seen.get(one, time.monotonic()) for one in listed}
        if self.words.layout.display != "none" and any(time.monotonic() - since >= SETTLED for since in self.seen.values()):
            self.words.layout.display, self.button.layout.display = "none", None

    def _stop(self, _: object) -> None:
        self.button.disabled, self.button.description = True, "stopping …"
        interrupt_kernel()


def close_widgets(them: Iterable[widgets.Widget]) -> None:
    """Remove widgets with their layouts and styles, each of which is a model of its own."""
    for widget in them:
        for part in (widget, widget.layout, getattr(widget, "style", None)):
            if part is not None:
                part.close()


def _bar(name: str) -> widgets.FloatProgress:
    return widgets.FloatProgress(max=1, tooltip=name, layout=widgets.Layout(width="auto"))


def _subshells() -> list[str]:
    """The IDs of the subshells that the front end has made in this kernel."""
    manager = getattr(getattr(get_ipython().kernel, "shell_channel_thread", None), "manager", None)
    return manager.list_subshell() if manager else []
