"""The process that the kernels of a run are forked from (kernel_server.py), as the run sees it, and such a kernel's process."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Self

from airavata_runbook.run import kernel_server

PYTHON = (sys.executable, "-Xfrozen_modules=off", "-m")  # the option spares a debugger's warning
ENDED = 0  # of a process that somebody else has started only this is known


class KernelServer:
    """`with KernelServer() as server:` it loads libraries in the background. When it ends, by whatever end, so do its kernels."""

    def __init__(self) -> None:
        self._asked, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*PYTHON, kernel_server.__name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a kernel that cannot load a library either says so in its cell
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C and a closed terminal are the run's to handle
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._asked.close()
        self._process.kill()
        self._process.wait()

    def fork(self, arguments: list[str], environment: Mapping[str, str], folder: str, log: IO[bytes]) -> "Forked | None":
        """A new kernel with that environment, working directory and output; None when the server has died.

        arguments: of ipykernel_launcher.
        """
        request = json.dumps({"arguments": arguments, "environment": dict(environment), "folder": folder}).encode()
        try:
            socket.send_fds(self._asked, [kernel_server.NUMBER.pack(len(request))], [log.fileno()])
            self._asked.sendall(request)
            answer = self._asked.recv(kernel_server.NUMBER.size, socket.MSG_WAITALL)
        except OSError:
            return None
        return Forked(*kernel_server.NUMBER.unpack(answer)) if answer else None


class Forked:
    """A process that another one has started, with what jupyter_client uses of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)  # readable when the process has ended

    def __del__(self) -> None:
        os.close(self._descriptor)

    def poll(self) -> int | None:
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> int | None:
        """ENDED, or None when it still runs after that many seconds."""
        return ENDED if select.select([self._descriptor], [], [], timeout)[0] else None

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
