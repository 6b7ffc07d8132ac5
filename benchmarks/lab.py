"""Lab hosts for a benchmark, and what the machine is that they run on."""

import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from airavata_runbook.local import paths
from airavata_runbook.site import Site
from tests.labs import PROJECT, lab_hosts

SITE = PROJECT / "benchmarks" / "hosts.yaml"
PEERS = {
    "ansible": "ansible-core==2.19.14",
    "pyinfra": "pyinfra==3.10.0",
    "fabric": "fabric==3.2.3",
    "paramiko": "paramiko==4.0.0",
}


@contextmanager
def hosts() -> Iterator[Site]:
    """The bench site with its three hosts up and bare; they are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="airavata-bench-") as folder, lab_hosts(SITE, Path(folder)) as site:
        yield site


def peers() -> Path:
    """The bin folder of the peers' own virtual environment, made when it is not there."""
    folder = paths.cache_dir() / "peers" / "-".join(pin.replace("==", "") for pin in PEERS.values())
    if not (folder / "ready").exists():
        subprocess.run(["python3", "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PEERS.values()], check=True)
        (folder / "ready").touch()
    return folder / "bin"


def machine() -> dict[str, object]:
    """What the figures were measured on, and with which versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _commit(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "processor": _processor(),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "versions": {
            "airavata_runbook": version("airavata-runbook"),
            "paramiko": version("paramiko"),
            **{f"peers: {name}": pin.partition("==")[2] for name, pin in PEERS.items()},
        },
    }


def _commit() -> str:
    """The project's commit, in short."""
    try:
        said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True).stdout
    except FileNotFoundError:  # a machine without git
        said = ""
    return said.strip() or "unknown"


def _processor() -> str:
    """The model as /proc/cpuinfo tells it: a virtual machine's name alone may say little, its numbers tell the rest."""
    told = dict(map(str.strip, line.split(":", 1)) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    numbers = [f"{name} {told[name]}" for name in ("cpu family", "model", "stepping") if name in told]
    return ", ".join([told.get("model name", platform.machine()), *numbers])
