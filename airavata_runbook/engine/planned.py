"""What the plans so far would change on each host: a later step's service would then restart.

The notebooks of one plan run in kernels of their own; the runner gives them a file by which they tell each other.
"""

import json
import os
from pathlib import Path

from airavata_runbook.cluster.session import Session
from airavata_runbook.kernel_env import PLANNED


def planned_changes(session: Session, host: str) -> set[str]:
    """The paths, packages and units that the plans before this one would change on a host; plans of this process add to it."""
    if host not in session.planned:
        session.planned[host] = _of_other_kernels(host)
    return session.planned[host]


def share(host: str, touched: set[str]) -> None:
    """Let the kernels of the chapters that follow know what the plan of a step would change on a host."""
    if path := os.environ.get(PLANNED):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"host": host, "touched": sorted(touched)}) + "\n")


def forget(session: Session, host: str, touched: frozenset[str]) -> None:
    """A run has changed these: a later plan of this process finds them as they are."""
    session.planned.get(host, set()).difference_update(touched)


def _of_other_kernels(host: str) -> set[str]:
    path = os.environ.get(PLANNED)
    lines = Path(path).read_text(encoding="utf-8").splitlines() if path and Path(path).is_file() else []
    return {what for line in map(json.loads, lines) if line["host"] == host for what in line["touched"]}
