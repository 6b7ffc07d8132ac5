"""`python -m benchmarks.ready`: from bare hosts to Ready nodes, by this runbook and by kubeadm, in turn."""

import os
import statistics
import subprocess
import sys
import time

from airavata_runbook.cluster.session import session_of
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.site import Site
from benchmarks import kubeadm, results
from benchmarks.lab import PROJECT, SITE, hosts, machine

REPETITIONS = 5
VERSIONS = {name: BY_NAME[name].version for name in ("kubernetes", "etcd", "containerd", "runc")}
PROGRAMS = ("/usr/bin/kubelet", "/usr/bin/containerd", "/usr/bin/runc")
INVENTORY = {
    "programs": f"sha256sum {' '.join(PROGRAMS)}",
    "packages": "dpkg-query -W",
    "services": "systemctl list-units --plain --no-legend --type=service --state=running | cut -d ' ' -f 1",
}
COMMAND = os.path.join(os.path.dirname(sys.executable), "airavata-runbook")


def run_runbook(site: Site) -> None:
    """Chapters 02 and 03 of the notebooks, headless."""
    done = subprocess.run([COMMAND, "run", SITE, "--from", "02", "--to", "03"], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def inventory(site: Site) -> dict[str, list[str]]:
    """What all hosts have: the programs with their digests, the packages, the running services."""
    return {
        what: sorted({line for host in session_of(site).hosts.values() for line in host.run(script).text.splitlines()})
        for what, script in INVENTORY.items()
    }


def difference(found: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """Packages and services that only one side's hosts have. found: side → its `inventory`.

    Raises SystemExit when the programs that must be the same are not, because the figures could not be compared then.
    """
    programs = {side: inventory["programs"] for side, inventory in found.items()}
    if any(len(lines) != len(PROGRAMS) or lines != programs["kubeadm"] for lines in programs.values()):
        raise SystemExit(f"the two sides' hosts do not have the same programs: {programs}")
    return {
        what: {
            side: sorted(set(found[side][what]) - set(found[other][what]))
            for side, other in (("airavata_runbook", "kubeadm"), ("kubeadm", "airavata_runbook"))
        }
        for what in INVENTORY
        if what != "programs"
    }


def measure() -> tuple[dict[str, list[float]], dict]:
    """Seconds of each repetition, each on new hosts; and the `difference` of the two sides."""
    kubeadm.archives(), kubeadm.kubeadm()
    runs: dict[str, list[float]] = {"airavata_runbook": [], "kubeadm": []}
    found: dict[str, dict[str, list[str]]] = {}
    for _ in range(REPETITIONS):
        for name, bring_up in (("airavata_runbook", run_runbook), ("kubeadm", kubeadm.bring_up)):
            with hosts() as site:
                if name == "kubeadm":
                    kubeadm.prepare(site)
                started = time.monotonic()
                bring_up(site)
                runs[name].append(round(time.monotonic() - started, 2))
                nodes = session_of(site).hosts["one"].run(kubeadm.NODES).text
                if nodes.split().count("Ready") != len(site.nodes):
                    raise SystemExit(f"{name}: not all nodes are Ready:\n{nodes}")
                found[name] = inventory(site)
            print(f"{name}: {runs[name][-1]:.1f} s", flush=True)
    return runs, difference(found)


if __name__ == "__main__":
    measured, differs = measure()
    medians = {name: round(statistics.median(times), 2) for name, times in measured.items()}
    saved = {
        **machine(),
        "ready": medians,
        "ready_runs": measured,
        "ready_of": f"3 hosts, Kubernetes {kubeadm.KUBERNETES}",
        "ready_versions": VERSIONS,
        "ready_differs": differs,
    }
    results.save(saved)
    print(results.table("ready", medians), results.conditions(saved | {"versions": VERSIONS}), sep="\n")
    print(f"the same on both sides' hosts, by digest: {', '.join(PROGRAMS)}; what else differs:")
    for what, sides in differs.items():
        for name, lines in sides.items():
            print(f"  {what} with {name} only: {', '.join(' '.join(line.split()) for line in lines) or 'none'}")
