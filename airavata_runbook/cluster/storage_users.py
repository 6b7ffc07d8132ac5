"""The workloads whose pods use folders of a host, and their end: for data that moves."""

import time
from collections.abc import Collection
from typing import Any

from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed

DEADLINE = 180  # seconds for pods to end; the databases' grace period is 60
PAUSE = 0.5
ENDED = ("Succeeded", "Failed")  # phases of pods without a process; an evicted one stays listed


def stop(session: Session, namespace: str, folders: Collection[str]) -> list[str]:
    """Scale the namespace's workloads that use the folders to 0, and wait until none of their pods is left.

    Returns their names. Raises ApiError, and StepFailed when a pod does not end.
    """
    apps = session.kube().apps
    names, claims = [], _claims(session, folders)
    for kind in ("deployment", "stateful_set"):
        for one in getattr(apps, f"list_namespaced_{kind}")(namespace).items:
            if _uses(one.spec.template.spec, namespace, folders, claims):
                names.append(one.metadata.name)
                getattr(apps, f"patch_namespaced_{kind}_scale")(one.metadata.name, namespace, {"spec": {"replicas": 0}})
    end = time.monotonic() + DEADLINE
    while left := _pods(session, folders, claims):
        if time.monotonic() > end:
            raise StepFailed(
                f"pods that use the databases' folders did not end within {DEADLINE} s",
                found=", ".join(left),
                remedy="see why: kubectl describe pod; then run the command again",
            )
        session.master.pause(PAUSE)
    return sorted(names)


def _claims(session: Session, folders: Collection[str]) -> set[tuple[str, str]]:
    """(namespace, name) of the claims whose volumes are the folders."""
    specs = [volume.spec for volume in session.kube().core.list_persistent_volume().items]
    places = [(spec.local or spec.host_path, spec.claim_ref) for spec in specs if spec.claim_ref]
    return {(claim.namespace, claim.name) for place, claim in places if place and place.path in folders}


def _pods(session: Session, folders: Collection[str], claims: Collection[tuple[str, str]]) -> list[str]:
    pods = session.kube().core.list_pod_for_all_namespaces().items
    return [
        f"{pod.metadata.namespace}/{pod.metadata.name}"
        for pod in pods
        if pod.status.phase not in ENDED and _uses(pod.spec, pod.metadata.namespace, folders, claims)
    ]


def _uses(pod: Any, namespace: str, folders: Collection[str], claims: Collection[tuple[str, str]]) -> bool:
    for volume in pod.volumes or ():
        claim = volume.persistent_volume_claim
        if (claim and (namespace, claim.claim_name) in claims) or (volume.host_path and volume.host_path.path in folders):
            return True
    return False
