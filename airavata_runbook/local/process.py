"""Programs of this machine."""

import shlex
import subprocess
from collections.abc import Mapping

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
