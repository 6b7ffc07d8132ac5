"""The site picker of a live notebook (ipywidgets): a button for each site file, and a switch for plan. It decides nothing."""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
from IPython.display import display

from airavata_runbook.errors import printable
from airavata_runbook.local.bars import close_widgets

COLUMNS = "max-content minmax(8em, max-content) minmax(0, 1fr)"  # the button, the hosts, whether they answer
PLAN = "Plan: steps show what they would change, and change nothing"
WORDS = "Site files in parameters/. Choose the site that the steps of this folder's notebooks work on:"
TEXT = "A picker of the site: run this cell to see it."  # where widgets cannot be shown


class Picker:
    """names: of the site files. plan: whether the switch is on. fixed: whether it stays so.

    on_choose, on_plan: called with a name, and with the switch's new state; what they return is shown.
    """

    def __init__(
        self,
        names: list[str],
        plan: bool,
        on_choose: Callable[[str], str],
        on_plan: Callable[[bool], str],
        fixed: bool = False,
    ):
        self.buttons = {name: widgets.Button(description=name, tooltip=f"Choose the site {name}") for name in names}
        for button in self.buttons.values():
            button.layout.width = "auto"
        self.hosts = {name: widgets.HTML() for name in names}
        self.answers = {name: widgets.HTML("reading …") for name in names}
        cells = [cell for name in names for cell in (self.buttons[name], self.hosts[name], self.answers[name])]
        self.grid = widgets.GridBox(cells, layout=widgets.Layout(grid_template_columns=COLUMNS, grid_gap="0 1em"))
        self.plan = widgets.Checkbox(value=plan, description=PLAN, indent=False, disabled=fixed)
        self.plan.layout.width = "auto"
        self.heading, self.said = widgets.HTML(escape(WORDS)), widgets.HTML()
        self.box = widgets.VBox([self.heading, self.grid, self.plan, self.said])
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.say(on_choose(name)))
        self.plan.observe(lambda change: self.say(on_plan(change["new"])), "value")

    def show(self) -> None:
        """Show it in the cell that runs."""
        view = self.box._repr_mimebundle_() or {}
        display({**view, "text/plain": TEXT}, raw=True)

    def tell(self, name: str, hosts: str, answers: str) -> None:
        """Show the hosts of a site, and whether they answer. From any thread."""
        self.hosts[name].value, self.answers[name].value = (escape(printable(text)) for text in (hosts, answers))

    def mark(self, chosen: str) -> None:
        """Show which one is chosen; "" for none."""
        for name, button in self.buttons.items():
            button.description = f"{name} (chosen)" if name == chosen else name
            button.icon = "check" if name == chosen else ""

    def say(self, text: str) -> None:
        """Show a text below, which screen readers read out."""
        self.said.value = f"<div role='status'>{escape(printable(text))}</div>"

    def close(self) -> None:
        """Remove it, and its state in the kernel."""
        close_widgets((*self.grid.children, self.grid, self.plan, self.heading, self.said, self.box))
