"""The workloads whose pods use folders of a host, and their end: for data that moves."""

from collections.abc import Collection
from typing import Any

from airavata_runbook.cluster.scaling import SCALED, has_ended, scale, wait_until_ended
from airavata_runbook.cluster.session import Session


def stop(session: Session, namespace: str, folders: Collection[str]) -> list[str]:
    """Scale the namespace's workloads that use the folders to 0, and wait until none of their pods is left.

    Returns their names. Raises ApiError, and StepFailed when a pod does not end.
    """
    names, claims = [], _claims(session, folders)
    for kind, listed in SCALED.items():
        for one in getattr(session.kube().apps, f"list_namespaced_{listed}")(namespace).items:
            if _uses(one.spec.template.spec, namespace, folders, claims):
                names.append(one.metadata.name)
                scale(session, kind, namespace, one.metadata.name, 0)
    pods = "pods that use the databases' folders"
    wait_until_ended(session, lambda: _pods(session, folders, claims), pods, "then run the command again")
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
        if not has_ended(pod) and _uses(pod.spec, pod.metadata.namespace, folders, claims)
    ]


def _uses(pod: Any, namespace: str, folders: Collection[str], claims: Collection[tuple[str, str]]) -> bool:
    for volume in pod.volumes or ():
        claim = volume.persistent_volume_claim
        if (claim and (namespace, claim.claim_name) in claims) or (volume.host_path and volume.host_path.path in folders):
            return True
    return False
