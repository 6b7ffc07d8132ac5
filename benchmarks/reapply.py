"""`python -m benchmarks.reapply`: this engine and its peers apply a set of items in turn, with nothing to change."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from airavata_runbook.cluster.session import session_of
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.site import Site
from benchmarks import items, results
from benchmarks.lab import PROJECT, SITE, hosts, machine, peers
from benchmarks.peers import ansible_files

REPETITIONS = 7


def measure() -> dict[str, list[float]]:
    """Seconds of every run, by tool. Raises SystemExit when a tool changed something or reports so."""
    with hosts() as site, tempfile.TemporaryDirectory(prefix="airavata-bench-") as folder:
        tools = _tools(site, Path(folder))
        tools["airavata_runbook"]()  # applies the items; from here on there is nothing to change
        before = _state(site)
        for name, run in tools.items():  # a warm-up: files are cached, ansible's connections are open
            _require_unchanged(name, run(), site, before)
        runs: dict[str, list[float]] = {name: [] for name in tools}
        for repetition in range(REPETITIONS):
            for name, run in tools.items():
                started = time.monotonic()
                output = run()
                runs[name].append(round(time.monotonic() - started, 3))
                _require_unchanged(name, output, site, before)
            last = ", ".join(f"{name} {times[-1]:.2f} s" for name, times in runs.items())
            print(f"round {repetition + 1}: {last}", flush=True)
    return runs


def _tools(site: Site, folder: Path) -> dict[str, Callable[[], str]]:
    """Tool → a function that runs it once as a process and returns its output."""
    ssh, programs = site.master.ssh, peers()
    query = f"dpkg-query -W -f='${{Package}}=${{source:Upstream-Version}} ' {' '.join(items.PACKAGES)}"
    versions = session_of(site).hosts["one"].run(query).text
    inventory = folder / "inventory.py"
    connection = {
        "ssh_user": "root",
        "ssh_key": ssh.key,
        "ssh_known_hosts_file": ssh.known_hosts,
        "ssh_strict_host_key_checking": "yes",
    }
    addresses = [str(node.address) for node in site.nodes]
    inventory.write_text(f"hosts = {[(address, connection) for address in addresses]!r}\n", encoding="utf-8")
    playbook = ansible_files.write(folder, site)
    scripts = PROJECT / "benchmarks" / "peers"
    return {
        "airavata_runbook": _command([sys.executable, "-m", "benchmarks.peers.with_airavata_runbook", SITE, *versions.split()]),
        "ansible": _command(
            [programs / "ansible-playbook", playbook], ANSIBLE_CONFIG=str(folder / "ansible.cfg"), ANSIBLE_NOCOLOR="1"
        ),
        "pyinfra": _command([programs / "pyinfra", "-y", inventory, scripts / "with_pyinfra.py"], BENCH_PROJECT=str(PROJECT)),
        "fabric": _command([programs / "python", scripts / "with_fabric.py", PROJECT, ssh.key, ssh.known_hosts, *addresses]),
    }


def _command(words: list[object], **environment: str) -> Callable[[], str]:
    def run() -> str:
        done = subprocess.run(
            list(map(str, words)), cwd=PROJECT, env={**os.environ, **environment}, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{words[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout + done.stderr

    return run


def _state(site: Site) -> dict[str, str]:
    state = {}
    for name, result in run_parallel(session_of(site).hosts.values(), lambda host: host.run(items.STATE)).items():
        if isinstance(result, Exception):
            raise result
        state[name] = result.text
    return state


def _require_unchanged(name: str, output: str, site: Site, before: dict[str, str]) -> None:
    everything = str(items.COUNT * len(site.nodes))
    totals = output.rpartition("Grand total")[2].replace("|", " ").split()  # pyinfra's: hosts, success, error, no change
    unchanged = {
        "airavata_runbook": output.strip().splitlines()[-1:] == ["0"],
        "fabric": output.strip() == "0",
        "ansible": output.count("changed=0") == len(site.nodes),
        "pyinfra": totals[:4] == [everything, "-", "-", everything],
    }[name]
    if not unchanged or _state(site) != before:
        raise SystemExit(f"{name} changed something or reports so:\n{output[-3000:]}")


if __name__ == "__main__":
    measured = measure()
    medians = {name: round(statistics.median(times), 3) for name, times in measured.items()}
    saved = {**machine(), "reapply": medians, "reapply_runs": measured, "reapply_of": f"{items.COUNT} items on each of 3 hosts"}
    results.save(saved)
    print(results.table("reapply", medians), results.conditions(saved), sep="\n")
