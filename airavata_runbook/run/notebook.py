"""One notebook, executed headless by papermill in a kernel of this very Python."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airavata_runbook.errors import RunbookError
from airavata_runbook.local import interrupts
from airavata_runbook.local.imports import without
from airavata_runbook.run.kernel import Kernel

# jsonschema, which checks notebooks, has the grammar of RFC 3987 only for the format "iri", which they do not use; to compile
# it takes longer than everything else that a run imports.
with without("rfc3987_syntax"):
    import nbformat
    from papermill import execute_notebook
    from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
    from papermill.exceptions import PapermillExecutionError

PAPERMILL_TAGS = {"injected-parameters", "papermill-error-cell-tag"}  # tags of the cells that papermill adds
STOP = 20  # seconds for a kernel to end its step; connecting to a host takes up to 15 (hosts.client.TCP_TIMEOUT)


@dataclass
class NotebookFailed(Exception):
    """A cell raised an error. cell: its number in the notebook as committed, from 1, prose counted; 0 before the first.

    source: the cell's code. message: a RunbookError's own text, else type and text of the error (then expected is False).
    """

    cell: int
    source: str
    message: str
    expected: bool

    def __str__(self) -> str:
        return self.message


def execute(notebook: Path, output: Path, parameters: Mapping[str, object], folder: Path, kernel: Kernel) -> None:
    """Execute `notebook` into `output`, saved after every cell. Raises NotebookFailed at the first cell that fails.

    parameters: name → JSON value, injected after the cell tagged `parameters`. folder: the working directory. kernel: ends
    with this call. Ctrl-C interrupts the cell, whose step then reports how far each host got, and KeyboardInterrupt is raised.
    """
    try:
        with interrupts.graceful_stop(lambda: kernel.signal(signal.SIGINT), STOP) as raise_if_stopped:
            execute_notebook(
                notebook,
                output,
                parameters,
                engine_name=_Engine.__name__,
                kernel_name="python3",
                language="python",
                cwd=folder,
                progress_bar=False,
                on_cell_execute=raise_if_stopped,
                km=kernel.manager,
            )
    except PapermillExecutionError as error:
        text = error.evalue.strip() or error.ename
        expected = error.ename in _class_names(RunbookError)
        raise NotebookFailed(*last_started(output), text if expected else f"{error.ename}: {text}", expected) from None
    except RuntimeError as error:  # of nbclient: a dead kernel, or one that never replied
        message = f"the notebook's kernel died ({error}): it was killed, or this machine ran out of memory"
        raise NotebookFailed(*last_started(output), message, True) from None
    finally:
        kernel.end()


def last_started(output: Path) -> tuple[int, str]:
    """Number and source of the last cell that was started in an executed notebook; (0, "") when none was."""
    try:
        cells = nbformat.read(output, as_version=4).cells
    except (FileNotFoundError, ValueError):  # not begun, or truncated while it was being saved
        return 0, ""
    committed = [cell for cell in cells if PAPERMILL_TAGS.isdisjoint(cell.metadata.get("tags", []))]
    started = [
        (number, cell.source)
        for number, cell in enumerate(committed, 1)
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("start_time")
    ]
    return started[-1] if started else (0, "")


class _Manager(NotebookExecutionManager):
    """Saves the notebook once a cell, while the kernel executes it. Papermill's own lets the kernel wait for four writes from
    one cell to the next, which take longer than a cell that finds nothing to change.
    """

    changed = False

    def notebook_start(self, **options: Any) -> None:
        super().notebook_start(**options)
        self.autosave_cell()

    def save(self, **options: Any) -> None:
        self.changed = True

    def autosave_cell(self) -> None:
        """Called at each message of a cell; the first one says that the kernel is busy."""
        super().autosave_cell()  # every 30 s what the cell has printed so far
        if self.changed:
            self.changed = False
            super().save()

    def notebook_complete(self, **options: Any) -> None:
        super().notebook_complete(**options)
        self.autosave_cell()


class _Engine(NBClientEngine):
    """Papermill's engine, but for when a notebook is saved."""

    @classmethod
    def execute_notebook(
        cls, nb: nbformat.NotebookNode, kernel_name: str, output_path: Path, progress_bar: bool, **options: Any
    ) -> nbformat.NotebookNode:
        manager = _Manager(nb, output_path, progress_bar=progress_bar)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, **options)
        finally:
            manager.notebook_complete()
        return nb


papermill_engines.register(_Engine.__name__, _Engine)


def _class_names(error: type[RunbookError]) -> set[str]:
    """Its name and those of its subclasses: an exception's class name is what a kernel reports of its type."""
    return {error.__name__}.union(*map(_class_names, error.__subclasses__()))
