"""Workloads that are scaled to 0 because something else needs what their pods use, and up again."""

import time
from collections.abc import Callable, Collection
from typing import Any

from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed

SCALED = {"Deployment": "deployment", "StatefulSet": "stateful_set"}  # kind → its name in the client's functions
DEADLINE = 180  # seconds for pods to end; the databases' grace period is 60
PAUSE = 0.5
_ENDED = ("Succeeded", "Failed")  # phases of pods without a process; an evicted one stays listed


def replicas(session: Session, kind: str, namespace: str, name: str) -> int:
    """How many replicas a workload shall have. Raises ApiError."""
    return getattr(session.kube().apps, f"read_namespaced_{SCALED[kind]}_scale")(name, namespace).spec.replicas or 0


def scale(session: Session, kind: str, namespace: str, name: str, count: int) -> None:
    """Have so many replicas of a workload. Raises ApiError."""
    getattr(session.kube().apps, f"patch_namespaced_{SCALED[kind]}_scale")(name, namespace, {"spec": {"replicas": count}})


def has_ended(pod: Any) -> bool:
    """Whether a pod has no process any more, and will have none."""
    return pod.status.phase in _ENDED


def wait_until_ended(session: Session, left: Callable[[], Collection[str]], what: str, remedy: str) -> None:
    """Wait until no pod is left. left: the names of those that are. what: the pods, in words. Raises StepFailed at DEADLINE."""
    end = time.monotonic() + DEADLINE
    while names := left():
        if time.monotonic() > end:
            raise StepFailed(
                f"{what} did not end within {DEADLINE} s",
                found=", ".join(sorted(names)),
                remedy=f"see why: kubectl describe pod; {remedy}",
            )
        session.master.pause(PAUSE)
