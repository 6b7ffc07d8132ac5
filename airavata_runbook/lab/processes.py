"""The processes of a host: found again by files and cgroups, never by name, so that any command can end them."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# systemd(1): SIGRTMIN+4 powers the machine off. glibc keeps the first two real-time signals for itself, and its
# SIGRTMIN is the one that systemd counts from.
POWEROFF = ctypes.CDLL(None).__libc_current_sigrtmin() + 4


def remember(file: Path, pid: int) -> None:
    """Write down a process so that its number, given to another process later, is not taken for it."""
    file.write_text(f"{pid} {_started(pid) or ''}\n")


def recall(file: Path) -> int | None:
    """The process that was remembered in `file`, if it still runs."""
    with suppress(FileNotFoundError):
        pid, _, started = file.read_text().strip().partition(" ")
        if started and _started(int(pid)) == started:
            return int(pid)
    return None


def with_argument(word: str) -> list[list[str]]:
    """The argument lists of all processes that have `word` as one of their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended since it was listed
            arguments = path.read_text(errors="replace").split("\0")
            found += [arguments] if word in arguments else []
    return found


def first_child(pid: int) -> int | None:
    """The lowest child of a process: for systemd-nspawn, the host's init."""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None
    return None


def send(pid: int, number: int) -> None:
    """Send a signal; a process that has already gone is what was wanted."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(members: Callable[[], set[int]], deadline: float = 10.0) -> bool:
    """SIGKILL every process that `members` lists, until it lists none; False when the deadline passes first."""
    end = time.monotonic() + deadline
    while pids := {pid for pid in members() if _started(pid)}:
        if time.monotonic() > end:
            return False
        for pid in pids:
            send(pid, signal.SIGKILL)
        time.sleep(0.02)
    return True


def wait(condition: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Whether `condition` came true within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def _started(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; None when it has ended (a zombie has)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] not in "ZX":
        return fields[19]
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours that has ended is not left behind as a zombie
    return None
