"""The processes of a host, found by PID files and cgroups, never by name, so that any later command can end them."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SIGPOWEROFF = signal.SIGRTMIN + 4  # systemd(1)


def write_pid_file(file: Path, pid: int) -> None:
    """Record a process with its start time, so that another process with the same id is not taken for it later."""
    file.write_text(f"{pid} {_start_time(pid) or ''}\n")


def read_pid_file(file: Path) -> int | None:
    """The process that was recorded in `file`, if it is still running."""
    with suppress(FileNotFoundError):
        pid, _, started = file.read_text().strip().partition(" ")
        if started and _start_time(int(pid)) == started:
            return int(pid)
    return None


def command_lines(argument: str) -> list[list[str]]:
    """The command lines of all processes that have this argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended since it was listed
            words = path.read_text(errors="replace").split("\0")
            found += [words] if argument in words else []
    return found


def first_child(pid: int) -> int | None:
    """The lowest child of a process: for systemd-nspawn, the host's init."""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None
    return None


def send_signal(pid: int, number: int) -> None:
    """Send a signal; nothing happens when the process has ended already."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(members: Callable[[], set[int]], deadline: float = 10.0) -> bool:
    """SIGKILL every process that `members` lists, until it lists none; False when the deadline (s) passes first."""
    end = time.monotonic() + deadline
    while pids := {pid for pid in members() if _start_time(pid)}:
        if time.monotonic() > end:
            return False
        for pid in pids:
            send_signal(pid, signal.SIGKILL)
        time.sleep(0.02)
    return True


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when `condition` is true, or after `seconds`."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


def _start_time(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; None when it has ended (a zombie has)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] not in "ZX":
        return fields[19]
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # reap a child of this process
    return None
