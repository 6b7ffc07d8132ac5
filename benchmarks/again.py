"""`python -m benchmarks.again`: a run and a plan of a site that is as it should be, beside six kernels that do nothing."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import results
from benchmarks.lab import PROJECT, machine
from benchmarks.ready import COMMAND
from tests.labs import lab_hosts, site_like_lab

REPETITIONS = 5
UNCHANGED = {"again": ": 0 changed, 0 failed", "plan": ": 0 would change, 0 failed"}
# Papermill as everybody calls it, with one kernel after the other and no cell in the notebook.
BARE = """import sys; from papermill import execute_notebook
for _ in range(6): execute_notebook(sys.argv[1], None, progress_bar=False, kernel_name="python3")"""
EMPTY = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


def measure() -> dict[str, list[float]]:
    """Seconds of every repetition: a run of 01 to 05, a plan of all six chapters, and papermill alone."""
    with tempfile.TemporaryDirectory(prefix="airavata-bench-") as name:
        file, notebook = site_like_lab(Path(name), "again", "lab6", "10.90.0."), Path(name, "empty.ipynb")
        notebook.write_text(EMPTY)
        commands = {
            "again": [COMMAND, "run", str(file), "--to", "05"],
            "plan": [COMMAND, "plan", str(file)],
            "papermill": [sys.executable, "-c", BARE, str(notebook)],
        }
        with lab_hosts(file, Path(name)):
            output_of([COMMAND, "run", str(file)])  # brings the site up
            runs: dict[str, list[float]] = {what: [] for what in commands}
            for repetition in range(REPETITIONS):
                for what, command in commands.items():
                    started = time.monotonic()
                    output = output_of(command)
                    runs[what].append(round(time.monotonic() - started, 2))
                    require_unchanged(what, output)
                last = ", ".join(f"{what} {times[-1]:.1f} s" for what, times in runs.items())
                print(f"round {repetition + 1}: {last}", flush=True)
    return runs


def output_of(command: list[str]) -> str:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def require_unchanged(what: str, output: str) -> None:
    """Raises SystemExit when there was something to change: then the figures are not those of an unchanged site."""
    if UNCHANGED.get(what, "") not in output:
        raise SystemExit(f"{what}: the site was not as it should be:\n{output}")


if __name__ == "__main__":
    measured = measure()
    medians = {what: round(statistics.median(times), 2) for what, times in measured.items()}
    saved = {**machine(), "again": medians, "again_runs": measured, "again_of": "2 lab hosts, all six chapters applied"}
    results.save(saved)
    for what in UNCHANGED:
        rows = {"airavata_runbook": medians[what], "six kernels of papermill, no cells": medians["papermill"]}
        print(results.table(what, rows), end="\n\n")
    print(results.conditions(saved))
