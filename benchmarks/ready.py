"""`python -m benchmarks.ready`: from bare hosts to Ready nodes, by this runbook and by kubeadm, in turn."""

import os
import statistics
import subprocess
import sys
import time

from airavata_runbook.ssh import connect
from benchmarks import kubeadm, results
from benchmarks.lab import PROJECT, SITE, hosts, machine

REPETITIONS = 3
COMMAND = os.path.join(os.path.dirname(sys.executable), "airavata-runbook")


def by_runbook(site) -> None:
    """Chapters 02 and 03 of the notebooks, headless."""
    done = subprocess.run([COMMAND, "run", SITE, "--from", "02", "--to", "03"], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def measure() -> dict[str, list[float]]:
    """Seconds of each repetition, every one on hosts that are made for it."""
    kubeadm.archives(), kubeadm.kubeadm()
    runs: dict[str, list[float]] = {"airavata_runbook": [], "kubeadm": []}
    for _ in range(REPETITIONS):
        for name, bring_up in (("airavata_runbook", by_runbook), ("kubeadm", kubeadm.bring_up)):
            with hosts() as site:
                if name == "kubeadm":
                    kubeadm.prepare(site)
                started = time.monotonic()
                bring_up(site)
                runs[name].append(round(time.monotonic() - started, 2))
                nodes = connect(site)["one"].run(kubeadm.NODES).text
                if nodes.split().count("Ready") != len(site.nodes):
                    raise SystemExit(f"{name}: not all nodes are Ready:\n{nodes}")
            print(f"{name}: {runs[name][-1]:.1f} s", flush=True)
    return runs


if __name__ == "__main__":
    measured = measure()
    medians = {name: round(statistics.median(times), 2) for name, times in measured.items()}
    results.keep({**machine(), "ready": medians, "ready_runs": measured, "ready_of": f"3 hosts, Kubernetes {kubeadm.KUBERNETES}"})
    print(results.table("ready", medians))
