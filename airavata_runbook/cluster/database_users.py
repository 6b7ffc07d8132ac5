"""The workloads of a stack that use its databases: stopped while a dump is loaded, and started again."""

from collections.abc import Iterator, Mapping

from airavata_runbook.cluster.mariadb import COMPONENT
from airavata_runbook.cluster.scaling import SCALED, has_ended, replicas, scale, wait_until_ended
from airavata_runbook.cluster.session import Session
from airavata_runbook.stacks import Stack


def stop(session: Session, stack: Stack) -> dict[tuple[str, str], int]:
    """Scale them to 0 and wait until none of their pods is left; (kind, name) → how many replicas there were.

    Raises ApiError, and StepFailed when a pod does not end.
    """
    counts = {}
    for manifest in _users(stack):
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        counts[kind, name] = replicas(session, kind, stack.namespace, name)
        scale(session, kind, stack.namespace, name, 0)
    pods = "pods that use the databases"
    wait_until_ended(session, lambda: list(_pods(session, stack)), pods, "a run starts what was stopped")
    return counts


def start(session: Session, stack: Stack, counts: Mapping[tuple[str, str], int]) -> None:
    """Have as many replicas of them as `stop` found, but of Airavata's own servers, which their step starts. Raises ApiError."""
    own = {one["metadata"]["name"] for part in stack.components if part.airavata for one in part.objects}
    for (kind, name), count in counts.items():
        if name not in own:
            scale(session, kind, stack.namespace, name, count)


def _users(stack: Stack) -> Iterator[dict]:
    for component in stack.components:
        if component.name != COMPONENT and (component.airavata or COMPONENT in component.needs):
            yield from (one for one in component.objects if one["kind"] in SCALED)


def _pods(session: Session, stack: Stack) -> Iterator[str]:
    for manifest in _users(stack):
        selector = ",".join(f"{key}={value}" for key, value in manifest["spec"]["selector"]["matchLabels"].items())
        for pod in session.kube().core.list_namespaced_pod(stack.namespace, label_selector=selector).items:
            if not has_ended(pod):
                yield pod.metadata.name
