"""Objects of any kind in the cluster: all of a kind are read in one request, and each is applied or deleted by itself."""

import time
from collections.abc import Sequence
from itertools import groupby
from urllib.parse import quote

from airavata_runbook.cluster.kube import ApiError, Kube
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import NotYet, StepFailed

FIELD_MANAGER = "airavata-runbook"
# In the metadata of an object, by the API server.
SERVER_MADE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
PAGE = 500  # objects in a response, as kubectl asks for them
DEADLINE = 180  # seconds for deleted objects to be gone; the grace period of a database's pod is 60
PAUSE = 0.5


def listed(kube: Kube, api_version: str, kind: str, namespace: str | None) -> dict[str, dict]:
    """The objects of a kind in a namespace, or in the cluster for None, by name.

    Raises ApiError, and NotYet while the cluster does not know the kind.
    """
    path, query = _path(kube, api_version, kind, namespace), {"limit": str(PAGE)}
    found: dict[str, dict] = {}
    while True:
        answer = kube.request("GET", path, query)
        # The items of a list leave out what all have in common.
        found |= {one["metadata"]["name"]: {"kind": kind, "apiVersion": api_version, **one} for one in answer["items"]}
        if not (position := answer["metadata"].get("continue")):
            return found
        query = query | {"continue": position}


def apply(kube: Kube, manifest: dict, dry_run: bool = False, manager: str = FIELD_MANAGER) -> dict:
    """Apply an object by server-side apply; returns it as it is then. Raises as `listed`. dry_run: nothing is changed."""
    query = {"fieldManager": manager, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
    return kube.request("PATCH", _object_path(kube, manifest), query, manifest)


def read(kube: Kube, manifest: dict) -> dict:
    """The object of a manifest, as it is in the cluster. Raises as `listed`."""
    return kube.request("GET", _object_path(kube, manifest), {})


def delete(session: Session, objects: Sequence[dict]) -> None:
    """Delete objects, kind by kind in the order given; those of a kind are gone before the next. A workload goes with its pods.

    Raises as `listed`, and StepFailed for objects that are still there after DEADLINE seconds.
    """
    for (api_version, kind, namespace), same in groupby(objects, _place):
        group = list(same)
        uids = {one["metadata"]["name"]: one["metadata"]["uid"] for one in group}
        for one in group:
            _delete(session.kube(), one)
        end = time.monotonic() + DEADLINE
        while left := _left(session.kube(), api_version, kind, namespace, uids):
            if time.monotonic() > end:
                raise StepFailed(
                    f"deleted objects were not gone within {DEADLINE} s",
                    found="\n".join(f"{label(one)}: {', '.join(one['metadata'].get('finalizers', []))}" for one in left),
                    remedy="see which pods do not end: kubectl get pods -A -o wide; then run again",
                )
            session.master.pause(PAUSE)


def _delete(kube: Kube, one: dict) -> None:
    try:
        kube.request("DELETE", _object_path(kube, one), {"propagationPolicy": "Foreground"})
    except ApiError as error:
        if error.status != 404:
            raise


def _left(kube: Kube, api_version: str, kind: str, namespace: str | None, uids: dict[str, str]) -> list[dict]:
    """The objects that are still there; one of the same name that was made since is another."""
    there = listed(kube, api_version, kind, namespace)
    return [there[name] for name, uid in uids.items() if name in there and there[name]["metadata"]["uid"] == uid]


def label(one: dict) -> str:
    """Kind, namespace and name of an object, for people."""
    metadata = one["metadata"]
    return f"{one['kind']} {metadata['namespace'] + '/' if metadata.get('namespace') else ''}{metadata['name']}"


def is_ours(one: dict) -> bool:
    """Whether the runbook made the object, or a part of it."""
    return any(entry["manager"] == FIELD_MANAGER for entry in one["metadata"].get("managedFields", ()))


def _place(one: dict) -> tuple[str, str, str | None]:
    return one["apiVersion"], one["kind"], one["metadata"].get("namespace")


def _object_path(kube: Kube, one: dict) -> str:
    return f"{_path(kube, *_place(one))}/{quote(one['metadata']['name'], safe='')}"


def _path(kube: Kube, api_version: str, kind: str, namespace: str | None) -> str:
    """The path of a kind: that of its group and version, and there the kind's own name."""
    group = f"/{'apis' if '/' in api_version else 'api'}/{api_version}"
    with kube.finding:
        if kind not in kube.kinds.get(api_version, ()):
            kube.kinds[api_version] = _kinds(kube, group)
    if kind not in kube.kinds[api_version]:
        raise NotYet(f"the cluster knows the kind {kind}")
    return f"{group}/{f'namespaces/{namespace}/' if namespace else ''}{kube.kinds[api_version][kind]}"


def _kinds(kube: Kube, group: str) -> dict[str, str]:
    """The kinds of a group and version with their names in paths; none where the cluster does not know the group."""
    try:
        resources = kube.request("GET", group, {})["resources"]
    except ApiError as error:
        if error.status == 404:
            return {}
        raise
    return {one["kind"]: one["name"] for one in resources if "/" not in one["name"]}  # pods/log is a part of a Pod
