"""Objects of any kind in the cluster: all of a kind are read in one request, and each is applied by itself."""

from urllib.parse import quote

from airavata_runbook.cluster.kube import ApiError, Kube
from airavata_runbook.errors import NotYet

FIELD_MANAGER = "airavata-runbook"
PAGE = 500  # objects in a response, as kubectl asks for them


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


def apply(kube: Kube, manifest: dict, dry_run: bool = False) -> dict:
    """Apply an object by server-side apply; returns it as it is then. Raises as `listed`. dry_run: nothing is changed."""
    metadata = manifest["metadata"]
    path = _path(kube, manifest["apiVersion"], manifest["kind"], metadata.get("namespace"))
    query = {"fieldManager": FIELD_MANAGER, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
    return kube.request("PATCH", f"{path}/{quote(metadata['name'], safe='')}", query, manifest)


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
