"""What the plans of one site would alter on each host so far: a later step's service would then restart.

The notebooks of one plan run in kernels of their own; the runner gives them a file by which they tell each other.
"""

import json
import os
from pathlib import Path

from airavata_runbook.kernel_env import PLANNED

_altered: dict[tuple[str, str], set[str]] = {}  # (site, host) → paths, packages and units


def altered(site: str, host: str) -> set[str]:
    """What the plans before this one would alter on a host; plans of this process add to it."""
    if (site, host) not in _altered:
        _altered[site, host] = _told(host)
    return _altered[site, host]


def tell(host: str, touched: set[str]) -> None:
    """Let the chapters that follow know what the plan of a step would alter on a host."""
    if path := os.environ.get(PLANNED):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"host": host, "touched": sorted(touched)}) + "\n")


def done(site: str, host: str, touched: frozenset[str]) -> None:
    """A run has altered these: a later plan of this process finds them as they are."""
    _altered.get((site, host), set()).difference_update(touched)


def clear() -> None:
    """Forget everything, as a new process would."""
    _altered.clear()


def _told(host: str) -> set[str]:
    path = os.environ.get(PLANNED)
    lines = Path(path).read_text(encoding="utf-8").splitlines() if path and Path(path).is_file() else []
    return {what for line in map(json.loads, lines) if line["host"] == host for what in line["touched"]}
