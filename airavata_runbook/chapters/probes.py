"""What several checks of 06-verify ask of a running site, and of pods through the network check."""

import json

from kubernetes.stream import stream
from websocket import WebSocketException

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.readiness import READ
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.target import everywhere
from airavata_runbook.errors import StepFailed

SYSTEM = "kube-system"


def ready_pods(session: Session, kind: str, namespace: str, name: str) -> int:
    """The number of ready pods of a Deployment, StatefulSet or DaemonSet."""
    status = getattr(session.kube().apps, READ[kind])(name, namespace).status
    return (status.number_ready if kind == "DaemonSet" else status.ready_replicas) or 0


def pods_of(session: Session, component: str) -> dict[str, bool]:
    """Name of each pod of a component of Airavata's stack → whether it is terminating."""
    selector = f"app.kubernetes.io/name={component}"
    pods = session.kube().core.list_namespaced_pod(session.site.airavata.namespace, label_selector=selector).items
    return {pod.metadata.name: pod.metadata.deletion_timestamp is not None for pod in pods}


def netcheck_pods(session: Session) -> dict[str, tuple[str, str]]:
    """Host name → (pod, address) of the network check. Raises StepFailed when a host has none."""
    listed = session.kube().core.list_namespaced_pod(SYSTEM, label_selector="app.kubernetes.io/name=netcheck").items
    by_node = {
        pod.spec.node_name: (pod.metadata.name, pod.status.pod_ip) for pod in listed if pod.metadata.deletion_timestamp is None
    }
    nodes = everywhere(session.site)
    if without := [node.name for node in nodes if str(node.address) not in by_node]:
        raise StepFailed(
            "hosts have no pod of the network check",
            found=", ".join(without),
            retryable=True,
            remedy=f"kubectl -n {SYSTEM} describe daemonset netcheck",
        )
    return {node.name: by_node[str(node.address)] for node in nodes}


def probe_from_pod(session: Session, pod: str, targets: list[str]) -> list[dict]:
    """The results of `netcheck ask` in a pod, one per target. Raises StepFailed when there are none within a minute."""
    return parse_results(output_of(session, pod, SYSTEM, ["netcheck", "ask", *targets]), pod, len(targets))


def output_of(session: Session, pod: str, namespace: str, command: list[str], seconds: float = 60) -> str:
    """What a program in a pod printed, until its end or for so many seconds. Raises StepFailed."""
    try:
        answer = stream(
            session.kube().for_streams().connect_get_namespaced_pod_exec,
            pod,
            namespace,
            command=command,
            stderr=False,
            stdin=False,
            stdout=True,
            tty=False,
            _preload_content=False,
        )
        answer.run_forever(timeout=seconds)
    except (OSError, WebSocketException) as error:
        raise StepFailed(
            "the connection to a pod was lost",
            where=f"pod {pod}",
            found=str(error),
            retryable=True,
            remedy=f"check that {session.site.master.name} is up, then run again",
        ) from None
    return answer.read_all()


def parse_results(text: str, pod: str, count: int) -> list[dict]:
    """The output of `netcheck ask` for `count` targets: each has target, ok, and answer or error. Raises StepFailed."""
    try:
        found = json.loads(text)
        if len(found) == count and all(
            "target" in one and isinstance(one["answer"] if one["ok"] else one["error"], dict if one["ok"] else str)
            for one in found
        ):
            return found
    except (ValueError, LookupError, TypeError, RecursionError):
        pass  # raised below
    raise StepFailed("unexpected output of the network check", where=f"pod {pod}", found=text[:500] or "nothing", retryable=True)


def answering_node(result: dict) -> str:
    """The node whose network check answered, or what came instead of its answer."""
    answer = result["answer"].get("json") if result["ok"] else result["error"]
    return str(answer.get("node")) if isinstance(answer, dict) else str(answer)[:200]


def skipped_rows(session: Session, name: str, stand_in_only: bool = False) -> list[list[str]]:
    """Rows with the reason why a component is not verified; [] when it is. stand_in_only: the check works with the STAND-IN only.

    The site's own API server wants a token of its identity provider, which the runbook does not have, and its log does
    not name every call.
    """
    stack = stack_of(session.site)
    reason = next((f"left out: {one.reason}" for one in stack.left_out if one.name == name), "")
    if not reason and name not in [one.name for one in stack.components]:
        reason = f"the stack {session.site.airavata.stack} has no {name}"
    if not reason and stand_in_only and not stand_in_note(session, name):
        reason = "the site's own server: the runbook has no token for it and cannot read calls from its log"
    return [["not verified", "reason"], [name, reason]] if reason else []


def stand_in_note(session: Session, name: str) -> str:
    return "STAND-IN" if any(one.name == name and one.stand_in for one in stack_of(session.site).components) else ""
