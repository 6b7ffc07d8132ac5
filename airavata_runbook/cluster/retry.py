"""A controller that was refused a pod, by a quota for example: it tries again later and later, after up to 1000 s.

It tries at once when its object is written to: an update puts the object into the controller's queue without the delay of its
failures (Kubernetes 1.36: `queue.Add` in replica_set.go, stateful_set.go, daemon_controller.go; job_controller.go after 1 s).
Of its refusals it reports no more than 25 at once, and one every 5 minutes (client-go, events_cache.go).
"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from airavata_runbook.cluster.kube import ApiError, Kube
from airavata_runbook.cluster.objects import apply

RETRY = "airavata-runbook/tried-again"  # annotation: when a controller was last told to try again, for people
MANAGER = "airavata-runbook-retry"  # not that of the manifests: what they say is applied as it was
VERSIONS = {"ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Job": "batch/v1"}


def try_again(client: Kube, kind: str, owner: Any) -> str:
    """Have the controller of `owner` make the pods that it lacks now; returns how kubectl does the same."""
    metadata = {
        "name": owner.metadata.name,
        "namespace": owner.metadata.namespace,
        "uid": owner.metadata.uid,  # this object: applying makes none anew that was deleted meanwhile
        "annotations": {RETRY: datetime.now(UTC).isoformat()},
    }
    with suppress(ApiError):  # the wait goes on, and ends with what is wrong
        apply(client, {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": metadata}, manager=MANAGER)
    return (
        f"kubectl -n {owner.metadata.namespace} annotate --overwrite {kind.lower()} {owner.metadata.name} "
        f'{RETRY}="$(date --iso-8601=ns)"'
    )


def told(owner: Any) -> datetime | None:
    """When its controller was last told to try again, by the API server's clock, which its events have too; to the second."""
    times = [entry.time for entry in owner.metadata.managed_fields or () if entry.manager == MANAGER]
    return max(times, default=None)
