"""`python -m benchmarks.ready`: from bare hosts to Ready nodes, by this runbook and by kubeadm, in turn."""

import os
import statistics
import subprocess
import sys
import time

from airavata_runbook.cluster.session import session_of
from airavata_runbook.mirror.components import BY_NAME
from benchmarks import kubeadm, results
from benchmarks.lab import PROJECT, SITE, hosts, machine

REPETITIONS = 5
VERSIONS = {name: BY_NAME[name].version for name in ("kubernetes", "etcd", "containerd", "runc")}
PROGRAMS = ("/usr/bin/kubelet", "/usr/bin/containerd", "/usr/bin/runc")
LOOK = {
    "programs": f"sha256sum {' '.join(PROGRAMS)}",
    "packages": "dpkg-query -W",
    "services": "systemctl list-units --plain --no-legend --type=service --state=running | cut -d ' ' -f 1",
}
COMMAND = os.path.join(os.path.dirname(sys.executable), "airavata-runbook")


def by_runbook(site) -> None:
    """Chapters 02 and 03 of the notebooks, headless."""
    done = subprocess.run([COMMAND, "run", SITE, "--from", "02", "--to", "03"], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def look(site) -> dict[str, list[str]]:
    """What is on the hosts, taken together: the programs with their digests, the packages, the services that run."""
    return {
        what: sorted({line for host in session_of(site).hosts.values() for line in host.run(script).text.splitlines()})
        for what, script in LOOK.items()
    }


def difference(found: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """What only one side's hosts have, beside programs. found: side → what `look` told.

    Raises SystemExit when the programs that must be the same are not: then the figures tell nothing.
    """
    programs = {side: seen["programs"] for side, seen in found.items()}
    if any(len(seen) != len(PROGRAMS) or seen != programs["kubeadm"] for seen in programs.values()):
        raise SystemExit(f"the hosts of the two sides have not the same programs: {programs}")
    return {
        what: {
            side: sorted(set(found[side][what]) - set(found[other][what]))
            for side, other in (("airavata_runbook", "kubeadm"), ("kubeadm", "airavata_runbook"))
        }
        for what in LOOK
        if what != "programs"
    }


def measure() -> tuple[dict[str, list[float]], dict]:
    """Seconds of each repetition, every one on hosts that are made for it; and what else differs between the sides."""
    kubeadm.archives(), kubeadm.kubeadm()
    runs: dict[str, list[float]] = {"airavata_runbook": [], "kubeadm": []}
    found: dict[str, dict[str, list[str]]] = {}
    for _ in range(REPETITIONS):
        for name, bring_up in (("airavata_runbook", by_runbook), ("kubeadm", kubeadm.bring_up)):
            with hosts() as site:
                if name == "kubeadm":
                    kubeadm.prepare(site)
                started = time.monotonic()
                bring_up(site)
                runs[name].append(round(time.monotonic() - started, 2))
                nodes = session_of(site).hosts["one"].run(kubeadm.NODES).text
                if nodes.split().count("Ready") != len(site.nodes):
                    raise SystemExit(f"{name}: not all nodes are Ready:\n{nodes}")
                found[name] = look(site)
            print(f"{name}: {runs[name][-1]:.1f} s", flush=True)
    return runs, difference(found)


if __name__ == "__main__":
    measured, differs = measure()
    medians = {name: round(statistics.median(times), 2) for name, times in measured.items()}
    kept = {
        **machine(),
        "ready": medians,
        "ready_runs": measured,
        "ready_of": f"3 hosts, Kubernetes {kubeadm.KUBERNETES}",
        "ready_versions": VERSIONS,
        "ready_differs": differs,
    }
    results.keep(kept)
    print(results.table("ready", medians), results.conditions(kept | {"versions": VERSIONS}), sep="\n")
    print(f"the same on both sides' hosts, by digest: {', '.join(PROGRAMS)}; what else differs:")
    for what, sides in differs.items():
        for name, lines in sides.items():
            print(f"  {what} with {name} only: {', '.join(' '.join(line.split()) for line in lines) or 'none'}")
