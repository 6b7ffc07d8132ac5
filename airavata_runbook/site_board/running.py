"""The part of the board that shows what a step of it is doing, as its cell would."""

import ipywidgets as widgets

from airavata_runbook.engine.report import QUIET, escape_html


class Lines:
    """What each host is doing, a line each."""

    def __init__(self, html: widgets.HTML, names: list[str]):
        self.html = html
        self.lines = dict.fromkeys(names, "")

    def heading(self, text: str) -> None:
        """The grid shows which step it is."""

    def update(self, name: str, text: str, done: float = 0, total: float = 0, *words: str) -> None:
        self.lines[name] = " ".join(filter(None, (name, *words, text)))
        self.html.value = "".join(f"<div>{escape_html(line)}</div>" for line in self.lines.values() if line)

    def close(self) -> bool:
        self.html.value = ""
        return False


class Running:
    """A screen (local/screen.py). said: the texts that stay, until `begin`."""

    def __init__(self) -> None:
        self.lines, self.texts = widgets.HTML(), widgets.HTML()
        self.box = widgets.VBox([self.texts, self.lines])
        self.said: list[str] = []

    def begin(self) -> None:
        """Another work begins: what was said during the last one goes."""
        self.said.clear()
        self.texts.value = ""

    def bars(self, title: str, names: list[str]) -> Lines:
        return Lines(self.lines, names)

    def say(self, text: str) -> None:
        self.said.append(text)
        self.texts.value = "".join(f"<pre style='{QUIET};white-space:pre-wrap'>{escape_html(one)}</pre>" for one in self.said)

    def show(self, thing: object) -> None:
        """The grid shows reports, and pictures with them."""
