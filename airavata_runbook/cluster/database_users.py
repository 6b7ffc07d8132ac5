"""The workloads of a stack that use its databases: stopped while a dump is loaded, and started again."""

import time
from collections.abc import Iterator, Mapping

from airavata_runbook.cluster.mariadb import COMPONENT
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed
from airavata_runbook.stacks import Stack

DEADLINE = 180  # seconds for pods to end
PAUSE = 0.5
SCALED = {"Deployment": "deployment", "StatefulSet": "stateful_set"}  # kind → its name in the client's functions
ENDED = ("Succeeded", "Failed")  # phases of pods without a process


def stop(session: Session, stack: Stack) -> dict[tuple[str, str], int]:
    """Scale them to 0 and wait until none of their pods is left; (kind, name) → how many replicas there were.

    Raises ApiError, and StepFailed when a pod does not end.
    """
    apps, counts = session.kube().apps, {}
    for manifest in _users(stack):
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        counts[kind, name] = getattr(apps, f"read_namespaced_{SCALED[kind]}_scale")(name, stack.namespace).spec.replicas or 0
        _scale(session, stack, kind, name, 0)
    end = time.monotonic() + DEADLINE
    while left := sorted(_pods(session, stack)):
        if time.monotonic() > end:
            raise StepFailed(
                f"pods that use the databases did not end within {DEADLINE} s",
                found=", ".join(left),
                remedy="see why: kubectl describe pod; a run starts what was stopped",
            )
        session.master.pause(PAUSE)
    return counts


def start(session: Session, stack: Stack, counts: Mapping[tuple[str, str], int]) -> None:
    """Have as many replicas of them as `stop` found, but of Airavata's own servers, which their step starts. Raises ApiError."""
    own = {one["metadata"]["name"] for part in stack.components if part.airavata for one in part.objects}
    for (kind, name), count in counts.items():
        if name not in own:
            _scale(session, stack, kind, name, count)


def _users(stack: Stack) -> Iterator[dict]:
    for component in stack.components:
        if component.name != COMPONENT and (component.airavata or COMPONENT in component.needs):
            yield from (one for one in component.objects if one["kind"] in SCALED)


def _scale(session: Session, stack: Stack, kind: str, name: str, count: int) -> None:
    patch = getattr(session.kube().apps, f"patch_namespaced_{SCALED[kind]}_scale")
    patch(name, stack.namespace, {"spec": {"replicas": count}})


def _pods(session: Session, stack: Stack) -> Iterator[str]:
    for manifest in _users(stack):
        selector = ",".join(f"{key}={value}" for key, value in manifest["spec"]["selector"]["matchLabels"].items())
        for pod in session.kube().core.list_namespaced_pod(stack.namespace, label_selector=selector).items:
            if pod.status.phase not in ENDED:
                yield pod.metadata.name
