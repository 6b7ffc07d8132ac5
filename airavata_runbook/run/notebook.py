"""One notebook, executed headless by papermill in a kernel of this very Python."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill import execute_notebook
from papermill.exceptions import PapermillExecutionError

from airavata_runbook.local import interrupts

ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # tags of the cells that papermill adds
# frozen_modules and the history file: neither a debugger's warning nor a trace in the user's own history is wanted.
KERNEL = [
    sys.executable,
    "-Xfrozen_modules=off",
    "-m",
    "ipykernel_launcher",
    "-f",
    "{connection_file}",
    "--HistoryManager.enabled=False",
]
STOP = 20  # seconds for a kernel to end its step; a host that is just being connected to takes 15 (ssh_client.CONNECT_TIMEOUT)


@dataclass
class Failed(Exception):
    """A notebook that stopped. cell: its number in the notebook as committed, from 1, prose counted.

    source: the cell's code. message: a RunbookError's own text, or what Python said (then explained is False).
    """

    cell: int
    source: str
    message: str
    explained: bool

    def __str__(self) -> str:
        return self.message


def execute(notebook: Path, output: Path, parameters: dict, environment: dict[str, str], folder: Path) -> None:
    """Execute `notebook` into `output`, saved after every cell. Raises Failed at the first cell that fails.

    parameters: name → JSON value, injected after the cell tagged `parameters`. environment: all of the kernel's
    environment. folder: its working directory. Ctrl-C interrupts the cell, whose step then tells how far each host got,
    and KeyboardInterrupt leaves here; no kernel outlives this call. What the kernel itself complains of, outside the
    cells, is kept beside `output` as .log.
    """
    log, kernels = output.with_suffix(".log"), []
    # immediate: everything is saved by then, and a kernel that is asked to end sometimes takes 3 s.
    try:
        with log.open("wb") as complaints, interrupts.passed_on(lambda: _signal(kernels, signal.SIGINT), STOP) as stopped:
            execute_notebook(
                notebook,
                output,
                parameters,
                kernel_name="python3",
                language="python",
                cwd=folder,
                progress_bar=False,
                log_output=False,
                shutdown_kernel="immediate",
                on_cell_execute=stopped,
                kernel_manager_class=_kernel(environment, complaints, kernels),
            )
    except PapermillExecutionError as error:
        cell, source = reached(output)
        text = error.evalue.strip() or error.ename
        explained = error.traceback == [f"{error.ename}: {error.evalue}"]  # as RunbookError renders itself
        raise Failed(cell, source, text if explained else f"{error.ename}: {text}", explained) from None
    except RuntimeError as error:  # nbclient's DeadKernelError, and its word for a kernel that never answered
        raise Failed(
            *reached(output), f"the notebook's kernel ended ({error}): it was killed, or this machine's memory was used up", True
        ) from None
    finally:
        _signal(kernels, signal.SIGKILL)
        if log.is_file() and not log.stat().st_size:
            log.unlink()


def reached(output: Path) -> tuple[int, str]:
    """Number and source of the last cell that was started in an executed notebook; (0, "") when none was."""
    try:
        cells = [cell for cell in nbformat.read(output, as_version=4).cells if not ADDED & set(cell.metadata.get("tags", []))]
    except (FileNotFoundError, ValueError):  # not begun, or cut off while it was being saved
        return 0, ""
    started = [
        (number, cell.source)
        for number, cell in enumerate(cells, 1)
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("start_time")
    ]
    return started[-1] if started else (0, "")


def _signal(kernels: list[AsyncKernelManager], number: int) -> None:
    """Send a signal to the kernels that still run, and to what they have started."""
    for kernel in kernels:
        if kernel.has_kernel and kernel.provisioner.process.poll() is None:
            os.killpg(kernel.provisioner.process.pid, number)  # the kernel leads a group of its own


def _kernel(environment: dict[str, str], log: IO, kernels: list) -> type[AsyncKernelManager]:
    class Kernel(AsyncKernelManager):
        """Needs no installed kernelspec, and gets its environment without a change to this process's own."""

        transport_encryption = "auto"  # of the messages on loopback

        @property
        def kernel_spec(self) -> KernelSpec:
            metadata = get_kernel_dict().get("metadata", {})  # whether this ipykernel can encrypt
            return KernelSpec(argv=list(KERNEL), display_name="Python 3", language="python", metadata=metadata)

        def start_kernel(self, **options):
            kernels.append(self)
            return super().start_kernel(env=dict(environment), stdout=log, stderr=log, **options)

    return Kernel
