"""What a live notebook adds to sites and steps: airavata_runbook.notebook sets it, and headless nothing of it is there."""

from typing import Any, Protocol

from airavata_runbook.local.terminal import in_live_notebook


class LiveNotebook(Protocol):
    """sites and reports are the types of layers above this one."""

    def choice(self, source: Any) -> Any:
        """The path of the site file that a person chose, where `source` names no site (None), or is a Site loaded by such a
        choice; else `source`. Raises SiteError when none was chosen yet, after showing what there is to choose from."""

    def loaded(self, site: Any, path: Any) -> None:
        """`site` was loaded from the chosen file."""

    def begin(self, site: Any, plan: bool) -> bool:
        """Whether a step on `site` is to plan only. Raises SiteError when no site was chosen, or another one since."""

    def origin(self) -> Any:
        """Who runs a step now, and where: the engine's Origin."""

    def keep(self, report: Any) -> None:
        """Put the report of a step that has begun, goes on or ended into the record of what was done by hand."""

    def show(self, site: Any) -> None:
        """Show a site as the result of its cell."""


_notebook: LiveNotebook | None = None


def set_live_notebook(notebook: LiveNotebook) -> None:
    """From now on it serves this process."""
    global _notebook
    _notebook = notebook


def live_notebook() -> LiveNotebook | None:
    """That of this process, while a person steps through the notebook."""
    return _notebook if _notebook and in_live_notebook() else None
