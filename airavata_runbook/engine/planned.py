"""The changes that the plans so far would make on each host: they decide whether a later step would restart a service.

Each notebook of a plan runs in its own kernel; they share these changes in a file that the runner sets up.
"""

import json
import os
from pathlib import Path

from airavata_runbook.cluster.session import Session
from airavata_runbook.kernel_env import PLANNED


def planned_changes(session: Session, host: str) -> set[str]:
    """The paths, packages and units that earlier plans would change on a host; plans of this process add to the set."""
    if host not in session.planned:
        session.planned[host] = _of_other_kernels(host)
    return session.planned[host]


def share(host: str, touched: set[str]) -> None:
    """Record for the kernels of later chapters what the plan of a step would change on a host."""
    if path := os.environ.get(PLANNED):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"host": host, "touched": sorted(touched)}) + "\n")


def _of_other_kernels(host: str) -> set[str]:
    path = os.environ.get(PLANNED)
    lines = Path(path).read_text(encoding="utf-8").splitlines() if path and Path(path).is_file() else []
    return {what for line in map(json.loads, lines) if line["host"] == host for what in line["touched"]}
