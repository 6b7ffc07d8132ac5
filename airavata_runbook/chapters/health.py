"""What 06-verify reports of nodes, hosts and pods that work, but need somebody's attention."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from airavata_runbook.chapters.reset import SERVICES
from airavata_runbook.cluster.session import Session
from airavata_runbook.hosts.parallel import run_parallel

FULL = 90  # percent of a disk; above it the kubelet evicts pods (its default: less than 10 % of nodefs available)
RESTARTS, RECENT = 3, 600  # so many restarts, the last within so many seconds, are no start-up problem any more
LOOK = """systemctl list-units --failed --plain --no-legend | awk '{print "unit", $1}'
df -Pl / /var/lib /var/lib/containerd | awk 'NR > 1 {print "disk", $5, $6}'"""


def undecided(node: Any, names: Mapping[str, str]) -> Iterator[str]:
    """What only the admin can decide about a node, with the command. names: node → host of the site file."""
    name = node.metadata.name
    if name not in names:
        yield f"node {name} is not in the site file: kubectl drain {name} --ignore-daemonsets; kubectl delete node {name}"
    elif node.spec.unschedulable:
        yield f"{names[name]}: cordoned, no pod is scheduled to it: kubectl uncordon {name}"


def hosts_health(session: Session) -> tuple[list[list[str]], list[str]]:
    """Rows of host, failed units and disks; and the problems: failed units of the runbook, and disks nearly full."""
    rows, problems = [], []
    for name, printed in sorted(run_parallel(session.hosts.values(), lambda host: host.run(LOOK).text).items()):
        if isinstance(printed, Exception):
            raise printed
        lines = [line.split() for line in printed.splitlines()]
        failed = [line[1] for line in lines if line[0] == "unit"]
        full = sorted({line[2]: line[1] for line in lines if line[0] == "disk" and int(line[1].rstrip("%")) >= FULL}.items())
        problems += [f"{name}: {unit}: systemctl status {unit}" for unit in failed if unit.removesuffix(".service") in SERVICES]
        problems += [f"{name}: {mount} is {share} full; above {FULL} % the kubelet evicts pods" for mount, share in full]
        rows.append([name, ", ".join(failed) or "none", f"below {FULL} % full"])
    return rows, problems


def restarting_pods(pods: Iterable[Any]) -> list[str]:
    """Containers that restart again and again, with the reason and the command to look at their last log."""
    found = []
    for pod in pods:
        for one in pod.status.container_statuses or ():
            waiting, last = one.state.waiting, one.last_state.terminated
            recent = last and last.finished_at and (datetime.now(UTC) - last.finished_at).total_seconds() < RECENT
            if (waiting and waiting.reason == "CrashLoopBackOff") or (one.restart_count >= RESTARTS and recent):
                why = f"exit status {last.exit_code} ({last.reason})" if last else waiting.reason
                found.append(
                    f"{pod.metadata.name}: {one.restart_count} restarts, last {why}: "
                    f"kubectl -n {pod.metadata.namespace} logs --previous {pod.metadata.name} -c {one.name}"
                )
    return found
