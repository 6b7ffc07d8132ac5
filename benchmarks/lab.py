"""Lab hosts for a benchmark, and a description of the machine that they run on."""

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
    """The bench site with its three bare hosts booted; they are removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="airavata-bench-") as folder, lab_hosts(SITE, Path(folder)) as site:
        yield site


def peers() -> Path:
    """The bin folder of the peers' own virtual environment, which is created when missing."""
    folder = paths.cache_dir() / "peers" / "-".join(pin.replace("==", "") for pin in PEERS.values())
    if not (folder / "ready").exists():
        subprocess.run(["python3", "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PEERS.values()], check=True)
        (folder / "ready").touch()
    return folder / "bin"


def machine() -> dict[str, object]:
    """The machine, commit and versions that the figures were measured with."""
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
    """The project's abbreviated commit hash."""
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
    except FileNotFoundError:  # git is not installed
        return "unknown"
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    """The processor in /proc/cpuinfo; family, model and stepping too, because a virtual machine's may have no real name."""
    pairs = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    numbers = [f"{name} {fields[name]}" for name in ("cpu family", "model", "stepping") if name in fields]
    return ", ".join([fields.get("model name", platform.machine()), *numbers])
