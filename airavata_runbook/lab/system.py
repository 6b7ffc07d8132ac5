"""What every module of the lab does with this machine: run its programs."""

import shlex
import subprocess

from airavata_runbook.errors import CannotBuild


def run(*command: str, failure: str, where: str = "", needed: str = "", remedy: str = "") -> str:
    """Run a program and return its output. Raises CannotBuild(failure) when it is missing or its exit status is not 0."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            return done.stdout
        found = done.stderr.strip() or f"exit status {done.returncode}"
    except FileNotFoundError:
        found = f"{command[0]} is not installed"
    raise CannotBuild(failure, where=where, command=shlex.join(command), found=found, needed=needed, remedy=remedy)
