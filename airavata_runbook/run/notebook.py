"""One notebook, executed headless by papermill in a kernel of this very Python."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.errors import RunbookError
from airavata_runbook.local import interrupts
from airavata_runbook.local.imports import without
from airavata_runbook.run.kernel import Kernel

# jsonschema, which checks notebooks, has the grammar of RFC 3987 only for the format "iri", which they do not use; to compile
# it takes longer than everything else that a run imports.
with without("rfc3987_syntax"):
    import nbformat
    from papermill import execute_notebook
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
                kernel_name="python3",
                language="python",
                cwd=folder,
                progress_bar=False,
                log_output=False,
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


def _class_names(error: type[RunbookError]) -> set[str]:
    """Its name and those of its subclasses: an exception's class name is what a kernel reports of its type."""
    return {error.__name__}.union(*map(_class_names, error.__subclasses__()))
