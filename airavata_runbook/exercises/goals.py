"""Goals of exercises: each looks at the living cluster, and changes nothing."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from airavata_runbook.chapters import etcd_flannel
from airavata_runbook.chapters.pod_network import answers_between_pods
from airavata_runbook.chapters.probes import SYSTEM
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.readiness import node_missing, workload_missing
from airavata_runbook.errors import NotYet, RunbookError
from airavata_runbook.exercises.task import Goal, Lab
from airavata_runbook.hosts.frame import last_lines
from airavata_runbook.site.node import Node


def look_at(goals: Iterable[Goal]) -> list[tuple[str, str]]:
    """Each goal's sentence and what is missing, all asked at once. What cannot be asked is missing, with the reason."""

    def ask(goal: Goal) -> str:
        try:
            return goal.missing()
        except RunbookError as error:
            return error.summary
        except NotYet as missing:
            return f"not before {missing}"

    asked = list(goals)
    with ThreadPoolExecutor(max(len(asked), 1)) as threads:
        return list(zip((goal.sentence for goal in asked), threads.map(ask, asked), strict=True))


def whole(lab: Lab) -> Iterator[Goal]:
    """What is true on every site that is whole: an exercise begins on no other."""
    yield from (node_ready(lab, node) for node in lab.site.nodes)
    yield pods_ready(lab)
    yield leases_match(lab)


def node_ready(lab: Lab, node: Node) -> Goal:
    def missing() -> str:
        if why := node_missing(lab.session, str(node.address)):
            return why
        cordoned = lab.session.kube().core.read_node(str(node.address)).spec.unschedulable
        return "Ready, but cordoned: no pod is scheduled to it" if cordoned else ""

    return Goal(f"the node {node.address} ({node.name}) is Ready and takes pods", missing)


def pods_ready(lab: Lab) -> Goal:
    """Of all workloads: those of the stack, cluster DNS and the network check."""

    def missing() -> str:
        stack = stack_of(lab.site)
        wanted = [(SYSTEM, "Deployment", "coredns"), (SYSTEM, "DaemonSet", "netcheck")]
        wanted += [(stack.namespace, kind, name) for component in stack.components for kind, name in component.waits_for]
        found = {name: workload_missing(lab.session, kind, namespace, name) for namespace, kind, name in wanted}
        return "; ".join(f"{name}: {why}" for name, why in found.items() if why)

    return Goal("every workload has its ready pods", missing)


def workload_ready(lab: Lab, kind: str, namespace: str, name: str) -> Goal:
    return Goal(f"the {kind} {name} has its ready pods", lambda: workload_missing(lab.session, kind, namespace, name))


def service_runs(lab: Lab, node: Node, name: str) -> Goal:
    def missing() -> str:
        state = lab.session.hosts[node.name].run(f"systemctl is-active {name}").text.strip()
        return "" if state == "active" else f"it is {state or 'unknown'}"

    return Goal(f"the service {name} runs on {node.name}", missing)


def pods_reach_each_other(lab: Lab) -> Goal:
    return Goal("pods of all hosts reach each other", lambda: "; ".join(answers_between_pods(lab.session)[1]))


def leases_match(lab: Lab) -> Goal:
    def missing() -> str:
        etcd_flannel.leases.look(lab.session)
        return ""

    return Goal("every host has a lease in etcd, and its pods have addresses of it", missing)


def true_on(lab: Lab, node: Node, sentence: str, script: str) -> Goal:
    """script: succeeds on the host when the sentence is true, else it prints what is wrong."""

    def missing() -> str:
        result = lab.session.hosts[node.name].run(f"{{ {script}\n}} 2>&1")
        return (last_lines(result.stdout) or f"exit status {result.status}") if result.status else ""

    return Goal(sentence, missing)
