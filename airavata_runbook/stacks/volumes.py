"""Volumes in a stack's manifests: what they are made of is there, and no two pods share a folder of the storage node."""

from collections.abc import Iterator

from airavata_runbook.stacks.known import CLAIM, Known, listed
from airavata_runbook.stacks.render import ONCE

# The key of a volume that names an object, and that object's kind.
SOURCES = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "secretName")}


def volume_problems(field: str, volume: dict, workload: dict, known: Known) -> Iterator[str]:
    """What is wrong with a volume of a workload's pods, a line each."""
    for source, (kind, naming) in SOURCES.items():
        if source in volume:
            wanted = [item["key"] for item in volume[source].get("items", [])]
            name = volume[source].get(naming)
            if (kind, name) in known.sources or not volume[source].get("optional"):
                yield from known.missing(f"{field}.{source}", kind, name, wanted)
    if "hostPath" in volume:
        yield (
            f"{field}.hostPath: found {volume['hostPath']['path']}; needed: a persistentVolumeClaim of a PersistentVolume with "
            f"local.path {known.site.airavata.storage_path}/COMPONENT, as in stacks/classic/mariadb/deploy.yaml: with hostPath, "
            "two pods can write one folder"
        )
    if claim := volume.get("persistentVolumeClaim", {}).get("claimName"):
        if claim not in known.claims:
            yield f"{field}.persistentVolumeClaim: found {claim}; needed: a claim of the stack, one of {listed(known.claims)}"
        if workload["kind"] not in ("StatefulSet", ONCE) or workload["spec"].get("replicas", 1) > 1:
            yield f"{field}.persistentVolumeClaim: needed: a StatefulSet of one pod, two pods must not share the folder"


def files_in(volume: dict, known: Known) -> list[str] | None:
    """The names of the files in a volume made of a known Secret or ConfigMap, else None."""
    for source, (kind, naming) in SOURCES.items():
        if source in volume:
            items = volume[source].get("items")
            keys = known.sources.get((kind, volume[source].get(naming)))
            return [item["path"] for item in items] if items else list(keys) if keys is not None else None
    return None


def persistent_volume_problems(name: str, spec: dict, known: Known) -> Iterator[str]:
    """What is wrong with a PersistentVolume: it is a folder of the stack on one host, for one claim of one pod, and stays."""
    path, claim = spec.get("local", {}).get("path"), spec.get("claimRef", {})
    if "hostPath" in spec:
        yield f"spec.hostPath: found {spec['hostPath']['path']}; needed: local.path, {known.site.airavata.storage_path}/COMPONENT"
    elif path not in known.folders:
        yield f"spec.local.path: found {path}; needed: a folder of the stack, one of {listed(known.folders)}"
    elif others := [one for one, other in known.volumes.items() if one != name and other.get("local", {}).get("path") == path]:
        yield f"spec.local.path: found {path}, as in {listed(others)}; needed: a folder of its own, two pods must not share it"
    rules = spec.get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms", [])
    if not any(rule.get("key") == "kubernetes.io/hostname" for term in rules for rule in term.get("matchExpressions", [])):
        yield "spec.nodeAffinity: needed: kubernetes.io/hostname, the folder is on one host"
    if (claim.get("namespace"), known.claims.get(claim.get("name"))) != (known.namespace, name):
        yield f"spec.claimRef: found {claim}; needed: the claim in {known.namespace} whose volumeName is {name}"
    if spec.get("persistentVolumeReclaimPolicy") != "Retain":
        yield "spec.persistentVolumeReclaimPolicy: needed: Retain, the data outlives its claim"
    yield from _one_pod(spec)


def claim_problems(spec: dict, known: Known) -> Iterator[str]:
    """What is wrong with a PersistentVolumeClaim."""
    if spec.get("volumeName") not in known.volumes:
        found = spec.get("volumeName")
        yield f"spec.volumeName: found {found}; needed: a {CLAIM.removesuffix('Claim')}, one of {listed(known.volumes)}"
    yield from _one_pod(spec)


def _one_pod(spec: dict) -> Iterator[str]:
    if spec.get("accessModes") != ["ReadWriteOncePod"]:
        yield f"spec.accessModes: found {spec.get('accessModes')}; needed: ReadWriteOncePod, two pods must not share the folder"
