"""What every module of the lab does with this machine: run its programs, write files."""

import os
import shlex
import subprocess
from pathlib import Path

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


def write_file(file: Path, content: bytes, mode: int) -> None:
    """Create or replace `file` atomically with that content and mode, whatever the umask; its folder is made when missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
    partial.chmod(mode)
    partial.rename(file)
