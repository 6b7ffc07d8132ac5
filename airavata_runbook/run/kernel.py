"""The kernels of a run: one for each notebook, which starts while the notebook before it is executed."""

import math
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any, Self

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import run_sync

from airavata_runbook.run.kernels import PYTHON, KernelServer

KERNEL = (*PYTHON, "ipykernel_launcher")
ARGUMENTS = ("-f", "{connection_file}", "--HistoryManager.enabled=False")  # without entries in the user's IPython history
END = 5  # seconds for a kernel that was killed to end


@dataclass(frozen=True)
class Start:
    """How the kernel of a notebook is started. output: the executed notebook; the kernel process's own output is kept beside it
    as .log. environment: all of the kernel's environment. folder: its working directory.
    """

    output: Path
    environment: Mapping[str, str]
    folder: Path


class Kernel:
    """A kernel of this very Python, which starts at once. server: forks it; one that has died is done without."""

    def __init__(self, start: Start, server: KernelServer):
        self._log_file = start.output.with_suffix(".log")
        self._log = self._log_file.open("wb")
        self.manager = _Manager(kernel_id=str(uuid.uuid4()))
        self._provisioner = _Provisioner(
            kernel_id=self.manager.kernel_id, kernel_spec=self.manager.kernel_spec, parent=self.manager
        )
        self._provisioner.server = server
        self.manager.provisioner = self._provisioner
        run_sync(self.manager.start_kernel)(
            env=dict(start.environment), stdout=self._log, stderr=self._log, cwd=str(start.folder)
        )

    @property
    def is_running(self) -> bool:
        return bool(self._provisioner.process) and self._provisioner.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to the kernel and to the processes that it has started; to one that has ended, nothing."""
        if self.is_running:
            try:
                os.killpg(self._provisioner.process.pid, number)  # the kernel leads a process group of its own
            except ProcessLookupError:  # not yet, as it was only just forked
                self._provisioner.process.send_signal(number)

    def end(self) -> None:
        """Kill it, and remove what is left of it: its connection, and the log when it is empty."""
        self.signal(signal.SIGKILL)
        if self._provisioner.process:
            with suppress(subprocess.TimeoutExpired):
                self._provisioner.process.wait(END)
        if self.manager.connected:
            self.manager.connected.stop_channels()
        run_sync(self.manager.cleanup_resources)()
        self._log.close()
        if self._log_file.is_file() and not self._log_file.stat().st_size:
            self._log_file.unlink()


class Kernels:
    """`with Kernels(server) as kernels:` starts one kernel after the other, the next one ahead. None outlives the block."""

    def __init__(self, server: KernelServer):
        self._server = server
        self._thread = ThreadPoolExecutor(1)
        self._ahead: Future[Kernel] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if kernel := self._started_ahead():
            kernel.end()
        self._thread.shutdown()

    def take(self, start: Start, following: Start | None) -> Kernel:
        """The kernel of a notebook. following: how the next notebook's is started, from now on in the background."""
        kernel = self._started_ahead()
        if kernel and not kernel.is_running:
            kernel.end()
            kernel = None
        kernel = kernel or Kernel(start, self._server)
        if following:
            self._ahead = self._thread.submit(Kernel, following, self._server)
        return kernel

    def _started_ahead(self) -> Kernel | None:
        """The kernel that was started ahead, once; None where none was, or where that failed: then its notebook starts one."""
        ahead, self._ahead = self._ahead, None
        return ahead.result() if ahead and not ahead.exception() else None


class _Provisioner(LocalProvisioner):
    """Has the kernel forked."""

    server: KernelServer
    process: Any = None

    async def launch_kernel(self, cmd, **options):
        self.process = self.server.fork(cmd[len(KERNEL) :], options["env"], options["cwd"], options["stdout"])
        if self.process is None:
            return await super().launch_kernel(cmd, **options)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


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


class _Manager(AsyncKernelManager):
    """Needs no installed kernelspec. connected: the client that was made last."""

    transport_encryption = "auto"  # of the messages on loopback
    client_factory = _Client
    connected: AsyncKernelClient | None = None

    def __init__(self, kernel_id: str):
        super().__init__()
        self.kernel_id = kernel_id

    @property
    def kernel_spec(self) -> KernelSpec:
        metadata = get_kernel_dict().get("metadata", {})  # whether this ipykernel can encrypt
        return KernelSpec(argv=[*KERNEL, *ARGUMENTS], display_name="Python 3", language="python", metadata=metadata)

    def client(self, **options: Any) -> Any:
        self.connected = super().client(**options)
        return self.connected
