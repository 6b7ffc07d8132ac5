"""Programs of this machine."""

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from airavata_runbook.errors import CannotBuild


def run(
    *command: str, failure: str, where: str = "", needed: str = "", remedy: str = "", env: Mapping[str, str] | None = None
) -> str:
    """Run a program and return its output. Raises CannotBuild(failure) when it is missing or its exit status is not 0.

    env: its environment; None: this process's own.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env)
        if not done.returncode:
            return done.stdout
        found = (done.stdout + done.stderr).strip()[-1500:] or f"exit status {done.returncode}"
    except FileNotFoundError:
        found = f"{command[0]} is not installed"
    raise CannotBuild(failure, where=where, command=shlex.join(command), found=found, needed=needed, remedy=remedy)


def kill_programs_of(threads: Iterable[threading.Thread]) -> None:
    """Kill (SIGKILL) the programs that these threads of this process have started and what those have started.

    Source: proc(5), /proc/PID/task/TID/children: the children that a thread made, until it ends.
    """
    programs = [program for thread in threads for program in _children(os.getpid(), thread.native_id or 0)]
    for program in programs:  # grows: what a program has started ends with it
        with suppress(OSError):
            programs += [child for task in os.listdir(f"/proc/{program}/task") for child in _children(program, int(task))]
    for program in programs:
        with suppress(ProcessLookupError):
            os.kill(program, signal.SIGKILL)


def _children(process: int, thread: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{thread}/children").read_text().split()]
    except OSError:  # it has ended
        return []
