"""The session in which a person works, and what was chosen in it.

A session is the life of the process that started the kernel: a Jupyter server, or VS Code's extension host. Its notebooks share
what was chosen, each folder for itself, and what was chosen ends with it: a file of it names the process and the time at which
that started.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from airavata_runbook.local import once, paths
from airavata_runbook.local.files import write_file

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Choice:
    """site: the path of its file. plan: whether steps only plan. notebook: in which it was chosen. at: UTC, ISO 8601."""

    site: str
    plan: bool = False
    notebook: str = ""
    at: str = ""


def chosen(project: Path) -> Choice | None:
    """What was chosen in this session for the project's folder."""
    with suppress(OSError, ValueError, TypeError):  # TypeError: of another version
        return Choice(**json.loads(file_of(project, "choice").read_bytes()))
    return None


def choose(project: Path, choice: Choice) -> None:
    """Keep a choice for this session. Raises OSError."""
    _forget_ended_sessions()
    write_file(file_of(project, "choice"), json.dumps(asdict(choice)).encode())


def file_of(folder: Path, what: str) -> Path:
    """A file in which this session keeps something for a folder; it may not exist yet."""
    return _sessions() / _session() / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.{what}"


@cache
def _session() -> str:
    """The name of this session's folder. ipykernel's starter says which process it is (jupyter_client, LocalProvisioner)."""
    named = os.environ.get("JPY_PARENT_PID", "")
    for pid in (named, str(os.getppid())):
        if pid.isdecimal() and int(pid) > 1 and (name := _name(pid)):
            return name
    return _name(str(os.getpid())) or f"{os.getpid()}-{os.urandom(8).hex()}"  # this kernel alone


def _name(pid: str) -> str:
    """Its number, and what no other process of that number has: when it started, since which boot. "" when there is none."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): starttime
        return f"{pid}-{hashlib.sha256((BOOT.read_text() + started).encode()).hexdigest()[:16]}"
    except OSError:
        return ""


def _forget_ended_sessions() -> None:
    for folder in _sessions().glob("*-*"):
        if folder.name not in (_session(), _name(folder.name.partition("-")[0])):
            with suppress(OSError):
                once.remove(folder)


def _sessions() -> Path:
    return paths.state_dir() / "notebooks"
