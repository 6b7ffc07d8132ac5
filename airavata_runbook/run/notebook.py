"""One notebook, executed headless by papermill in a kernel of this very Python."""

import math
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import IO, Any

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from airavata_runbook.errors import RunbookError
from airavata_runbook.local import interrupts
from airavata_runbook.local.imports import without
from airavata_runbook.run.kernels import PYTHON, KernelServer

# jsonschema, which checks notebooks, has the grammar of RFC 3987 only for the format "iri", which they do not use; to compile
# it takes longer than everything else that a run imports.
with without("rfc3987_syntax"):
    import nbformat
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

PAPERMILL_TAGS = {"injected-parameters", "papermill-error-cell-tag"}  # tags of the cells that papermill adds
KERNEL = (*PYTHON, "ipykernel_launcher")
ARGUMENTS = ("-f", "{connection_file}", "--HistoryManager.enabled=False")  # without entries in the user's IPython history
END = 5  # seconds for a kernel that was killed to end
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


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, object],
    environment: Mapping[str, str],
    folder: Path,
    server: KernelServer,
) -> None:
    """Execute `notebook` into `output`, saved after every cell. Raises NotebookFailed at the first cell that fails.

    parameters: name → JSON value, injected after the cell tagged `parameters`. environment: all of the kernel's
    environment. folder: its working directory. server: forks the kernel; one that has died is done without. Ctrl-C interrupts
    the cell, whose step then reports how far each host got, and KeyboardInterrupt is raised; no kernel outlives this call. The
    kernel process's own output, outside the cells, is kept beside `output` as .log.
    """
    log = output.with_suffix(".log")
    kernels: list[AsyncKernelManager] = []
    try:
        with (
            log.open("wb") as kernel_log,
            interrupts.graceful_stop(lambda: _signal(kernels, signal.SIGINT), STOP) as raise_if_stopped,
        ):
            execute_notebook(
                notebook,
                output,
                parameters,
                kernel_name="python3",
                language="python",
                cwd=folder,
                progress_bar=False,
                log_output=False,
                shutdown_kernel="immediate",  # everything is saved by then; a graceful shutdown sometimes takes 3 s
                on_cell_execute=raise_if_stopped,
                kernel_manager_class=_kernel_manager(environment, kernel_log, kernels, server),
            )
    except PapermillExecutionError as error:
        text = error.evalue.strip() or error.ename
        expected = error.ename in _class_names(RunbookError)
        raise NotebookFailed(*last_started(output), text if expected else f"{error.ename}: {text}", expected) from None
    except RuntimeError as error:  # of nbclient: a dead kernel, or one that never replied
        message = f"the notebook's kernel died ({error}): it was killed, or this machine ran out of memory"
        raise NotebookFailed(*last_started(output), message, True) from None
    finally:
        _signal(kernels, signal.SIGKILL)
        if log.is_file() and not log.stat().st_size:
            log.unlink()


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


def _signal(kernels: list[AsyncKernelManager], number: int) -> None:
    """Send a signal to the kernels that still run, and to the processes that they have started."""
    for kernel in kernels:
        provisioner = kernel.provisioner
        if isinstance(provisioner, LocalProvisioner) and provisioner.process and provisioner.process.poll() is None:
            os.killpg(provisioner.process.pid, number)  # the kernel leads a process group of its own


def _kernel_manager(
    environment: Mapping[str, str], log: IO[bytes], kernels: list[AsyncKernelManager], server: KernelServer
) -> type[AsyncKernelManager]:
    class Provisioner(LocalProvisioner):
        """Has the kernel forked."""

        process: Any = None

        async def launch_kernel(self, cmd, **options):
            self.process = server.fork(
                cmd[len(KERNEL) :], options["env"], os.getcwd(), log
            )  # papermill has changed to its folder
            if self.process is None:
                return await super().launch_kernel(cmd, **options)
            self.pid = self.pgid = self.process.pid
            return self.connection_info

        async def kill(self, restart=False):
            await super().kill(restart)
            if self.process:  # jupyter_client would look for its end ten times a second only
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(END)

    class KernelManager(AsyncKernelManager):
        """Needs no installed kernelspec, and sets the kernel's environment without changing this process's own."""

        transport_encryption = "auto"  # of the messages on loopback
        client_factory = _Client

        @property
        def kernel_spec(self) -> KernelSpec:
            metadata = get_kernel_dict().get("metadata", {})  # whether this ipykernel can encrypt
            return KernelSpec(argv=[*KERNEL, *ARGUMENTS], display_name="Python 3", language="python", metadata=metadata)

        def start_kernel(self, **options):
            kernels.append(self)
            self.kernel_id = str(uuid.uuid4())
            self.provisioner = Provisioner(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
            return super().start_kernel(env=dict(environment), stdout=log, stderr=log, **options)

    return KernelManager


class _Client(AsyncKernelClient):
    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers and its outputs arrive. Raises RuntimeError when it dies or takes too long.

        jupyter_client's own method then waits until no message has come for 0.2 s; nbclient tells those of its cells apart.
        """
        end = time.monotonic() + (timeout or math.inf)
        while time.monotonic() < end:
            self.kernel_info()
            with suppress(Empty):
                if (await self.get_shell_msg(timeout=1))["msg_type"] == "kernel_info_reply":
                    await self.get_iopub_msg(timeout=0.2)  # none comes while it is not connected
                    return
            if not await self.is_alive():
                raise RuntimeError("it ended before it answered")
        raise RuntimeError(f"it did not answer within {timeout:.0f} s")
