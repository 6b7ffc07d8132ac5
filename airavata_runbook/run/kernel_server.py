"""A process that has loaded what notebooks need, and forks a kernel whenever it is asked for one (kernels.py starts it).

Each chapter has a kernel of its own, and loading takes more CPU than all the rest of a chapter that changes nothing. The process
starts no thread and opens no connection, so that a kernel is as if it had loaded everything itself.
"""

import gc
import json
import os
import select
import socket
import struct
import sys
from importlib import import_module

from airavata_runbook.chapters import MODULES
from airavata_runbook.local.imports import without

EARLY = 2  # kernels that are forked while this process still loads; later ones are asked for long before they are needed
NUMBER = struct.Struct("!Q")  # the size of a request, before it; and the answer to it: the kernel's process id
# In the order in which kernels and chapters need them; some are imported only where they are used.
LOADED = (
    "ipykernel.debugger",
    "ipykernel.kernelapp",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.extensions.storemagic",
    "psutil",
    "tornado.platform.asyncio",
    *(f"airavata_runbook.chapters.{module}" for module in MODULES.values()),
    "airavata_runbook.pki.issue",
    "etcd3",
    "kubernetes.client.api.core_v1_api",
    "kubernetes.client.api.apps_v1_api",
)


def main() -> None:
    """Load everything and fork kernels until the other end of the socket is closed.

    A kernel that is forked while this process loads, loads the rest itself when it needs it.
    """
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        early = EARLY
        for name in LOADED:
            with without("debugpy"):  # nobody attaches a debugger to these kernels
                import_module(name)
            if early and select.select([asked], [], [], 0)[0]:
                if not _serve(asked):
                    return
                early -= 1
        gc.freeze()  # the kernels' garbage collections would copy every page of it
        while _serve(asked):
            pass


def _serve(asked: socket.socket) -> bool:
    """Wait for a request and fork its kernel, which does not return from here. Returns whether there was a request."""
    header, logs, _, _ = socket.recv_fds(asked, NUMBER.size, 1)
    if len(header) < NUMBER.size:
        return False
    request = json.loads(_receive(asked, *NUMBER.unpack(header)))
    while _reap():
        pass
    parent = os.getpid()
    if kernel := os.fork():
        asked.sendall(NUMBER.pack(kernel))  # not by the kernel, which may be killed before it gets there
        os.close(logs[0])
    else:
        asked.close()
        _become_kernel(logs[0], parent, **request)
    return True


def _become_kernel(log: int, parent: int, arguments: list[str], environment: dict, folder: str) -> None:
    """Be a kernel as `python -m ipykernel_launcher ARGUMENTS` is, in a session of its own; ends this process."""
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    from ipykernel.kernelapp import launch_new_instance

    # It ends itself when its parent does; the option's default is read from the environment when ipykernel is loaded.
    launch_new_instance([*arguments, f"--IPKernelApp.parent_handle={parent}"])
    sys.exit()


def _reap() -> bool:
    """Let a kernel that has ended leave the process list. Returns whether there was one."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _receive(asked: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += (part := asked.recv(size - len(received)))
        if not part:
            raise EOFError("half a request")
    return received


if __name__ == "__main__":
    if sys.path[0] in ("", os.getcwd()):
        del sys.path[0]  # as ipykernel_launcher does; IPython adds the kernel's own folder
    main()
