"""The part of the board that shows what a step of it is doing, as its cell would."""

import threading

import ipywidgets as widgets

from airavata_runbook.engine.report import QUIET, escape_html
from airavata_runbook.local.bars import Bars
from airavata_runbook.local.screen import Shown

_placing = threading.Lock()  # several hosts of a step may build or fetch something at the same time


class BoardBars(Bars):
    """The bars of a step, in a box of the board instead of a cell's output."""

    def __init__(self, place: widgets.Box, title: str, names: list[str]):
        self.place = place
        super().__init__(title, names)

    def open(self) -> None:
        with _placing:
            self.place.children = (*self.place.children, self.box)

    def close(self) -> bool:
        with _placing:
            self.place.children = tuple(one for one in self.place.children if one is not self.box)
        return super().close()

    def clear(self) -> bool:
        return False


class Running:
    """A screen (local/screen.py). said: the texts of a step, which stay until the next one begins, or `clear`."""

    def __init__(self) -> None:
        self.texts, self.place = widgets.HTML(), widgets.VBox()
        self.box = widgets.VBox([self.texts, self.place])
        self.said: list[str] = []

    def clear(self) -> None:
        """Remove what was said."""
        self.said.clear()
        self.texts.value = ""

    def bars(self, title: str, names: list[str]) -> Shown:
        if not self.place.children:
            self.clear()
        return BoardBars(self.place, title, names)

    def say(self, text: str) -> None:
        self.said.append(text)
        self.texts.value = "".join(f"<pre style='{QUIET};white-space:pre-wrap'>{escape_html(one)}</pre>" for one in self.said)

    def show(self, thing: object) -> None:
        """The grid shows reports, and pictures with them."""
