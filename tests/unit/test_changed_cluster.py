"""What a changed site file leaves behind in the cluster, and a run takes away: components, and labels of nodes."""

import copy
from collections.abc import Collection
from threading import Lock
from types import SimpleNamespace

import pytest

from airavata_runbook import stacks
from airavata_runbook.cluster import objects
from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.objects import FIELD_MANAGER
from airavata_runbook.configs import node
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.resources import EarlierStorage, KubeObject, NodeLabels, Obsolete
from airavata_runbook.resources.left_out import BESIDE, CLAIM, RUNNING, USED, VOLUME
from airavata_runbook.site import Site


def made(kind: str, name: str, manager: str = FIELD_MANAGER, **rest) -> dict:
    """An object in the cluster."""
    metadata = {"name": name, "uid": f"uid-{kind}-{name}", "managedFields": [{"manager": manager}, {"manager": "kubectl-edit"}]}
    if kind != "PersistentVolume":
        metadata["namespace"] = "airavata"
    return {"apiVersion": API[kind], "kind": kind, "metadata": metadata, **rest}


API = {kind: version for version, kind in (*RUNNING, *BESIDE, *USED, CLAIM, VOLUME)}


class Cluster:
    """Stands in for the API server's clients, with objects and a node's labels; it records what is changed.

    stays: names of objects that a deletion does not end.
    """

    def __init__(self, *objects: dict, error: ApiError | None = None, labels: dict | None = None, stays: Collection[str] = ()):
        self.objects, self.error, self.labels, self.stays = list(objects), error, labels, stays
        self.core, self.done, self.asked, self.finding = self, [], [], Lock()
        self.kinds = {version: {kind: kind for kind in API if API[kind] == version} for version in set(API.values())}

    def request(self, method: str, path: str, query: dict) -> dict:
        if self.error:
            raise self.error
        parts = path.split("/")
        if method == "GET":
            self.asked.append(parts[-1])
            items = [one for one in self.objects if one["kind"] == parts[-1]]
            assert ("/namespaces/airavata/" in path) == (parts[-1] != "PersistentVolume")
            return {"metadata": {}, "items": copy.deepcopy(items)}
        kind, name = parts[-2:]
        assert query == {"propagationPolicy": "Foreground"}, "a workload goes with its pods"
        self.done.append((method, kind, name))
        self.objects = [
            one for one in self.objects if (one["kind"], one["metadata"]["name"]) != (kind, name) or name in self.stays
        ]
        return {}

    def read_node(self, name: str) -> SimpleNamespace:
        if self.error:
            raise self.error
        return SimpleNamespace(metadata=SimpleNamespace(labels=self.labels))

    def patch_node(self, *words) -> None:
        self.done.append(("patch_node", *words))


def context(cluster: Cluster, planning: bool = False) -> Context:
    host = SimpleNamespace(name="master", pause=lambda seconds: None)
    return Context(host, SimpleNamespace(kube=lambda: cluster, master=host), planning)


def change(resource, cluster: Cluster, planning: bool = False):
    here = context(cluster, planning)
    return resource.change(Found(answer=resource.ask(here)), here)


OBSOLETE = Obsolete("airavata", frozenset({("Deployment", "gfac"), ("StatefulSet", "mariadb")}), RUNNING, BESIDE)


def test_objects_that_no_component_has_are_deleted_and_no_others_and_no_data():
    others = [
        made("Deployment", "gfac"),
        made("Deployment", "api-server", "kubectl"),
        made("PodDisruptionBudget", "x", "kubectl"),
    ]
    data = [
        made("PersistentVolumeClaim", "broker", spec={"volumeName": "airavata-broker"}),
        made("PersistentVolume", "airavata-broker"),
    ]
    ours = [made(kind, "broker") for kind in ("Service", "StatefulSet", "PodDisruptionBudget", "ServiceAccount", "Job")]
    cluster = Cluster(*others, *data, *ours, made("ConfigMap", "broker"))
    found = change(OBSOLETE, cluster)
    assert found.detail.splitlines() == [
        "PodDisruptionBudget airavata/broker",
        "ServiceAccount airavata/broker",
        "StatefulSet airavata/broker",
        "Job airavata/broker",
        "Service airavata/broker",
        "stays, with its data: PersistentVolumeClaim airavata/broker, volume airavata-broker",
    ]
    assert found.command.splitlines()[-1] == "kubectl -n airavata delete service broker"
    found.call()
    assert cluster.objects == [*others, *data, made("ConfigMap", "broker")] and change(OBSOLETE, cluster) is None


def test_a_stateful_set_that_would_take_its_claims_along_is_not_deleted():
    cluster = Cluster(made("StatefulSet", "x", spec={"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}))
    with pytest.raises(StepFailed, match="claims would be deleted") as caught:
        change(OBSOLETE, cluster)
    assert caught.value.where == "StatefulSet airavata/x" and "kubectl -n airavata patch statefulset x" in caught.value.remedy


def test_what_pods_use_is_deleted_by_itself():
    wanted = frozenset({("Secret", "registry"), ("ConfigMap", "mariadb")})
    kept = [
        made("Secret", "registry"),
        made("ConfigMap", "mariadb"),
        made("ConfigMap", "kube-root-ca.crt", "kube-controller-manager"),
    ]
    cluster = Cluster(*kept, made("Secret", "broker-tls"), made("Deployment", "gfac"))
    found = change(Obsolete("airavata", wanted, USED), cluster)
    assert found.detail == "Secret airavata/broker-tls\n"


def test_nothing_else_is_asked_for_where_nothing_is_obsolete():
    cluster = Cluster(made("Deployment", "gfac"), made("ServiceAccount", "gfac"))
    assert change(OBSOLETE, cluster) is None
    assert cluster.asked == [kind for _, kind in RUNNING]


def test_what_an_earlier_resource_of_the_step_deletes_is_not_deleted_again():
    cluster = Cluster(made("Deployment", "mariadb"))
    here = context(cluster, planning=True)
    here.touched |= {"no Deployment airavata/mariadb"}
    assert OBSOLETE.change(Found(answer=OBSOLETE.ask(here)), here) is None


def test_what_does_not_end_is_named_and_nothing_after_it_is_deleted(monkeypatch):
    monkeypatch.setattr(objects, "DEADLINE", 0)
    cluster = Cluster(made("StatefulSet", "portal"), made("Service", "portal"), stays=["portal"])
    with pytest.raises(StepFailed, match="(?s)not gone within.*StatefulSet airavata/portal"):
        change(OBSOLETE, cluster).call()
    assert cluster.done == [("DELETE", "StatefulSet", "portal")]


SITE = Site.load("lab")
STACK = stacks.load(SITE, dict.fromkeys(stacks.image_names(SITE) | {"stand-in"}, "registry.lab:5000/some:1"))
(MANIFESTS,) = [part.objects for part in STACK.components if part.name == "mariadb"]
EARLIER = EarlierStorage("airavata", MANIFESTS)


def live(kind: str, **spec) -> dict:
    """An object of MariaDB's manifests as it is in the cluster, with other fields of its spec."""
    (manifest,) = [one for one in MANIFESTS if one["kind"] == kind]
    spec = copy.deepcopy(manifest["spec"]) | spec
    if kind == "PersistentVolume":
        spec["claimRef"] |= {"uid": "uid-PersistentVolumeClaim-mariadb"} | spec["claimRef"]
    return made(kind, manifest["metadata"]["name"], spec=spec, status={"phase": "Bound"})


def cluster_with(**changed: dict | None) -> Cluster:
    """A cluster as a run leaves it, with other fields of specs, or without an object for None."""
    kinds = ("StatefulSet", "PersistentVolumeClaim", "PersistentVolume")
    return Cluster(*(live(kind, **changed.get(kind, {})) for kind in kinds if changed.get(kind, {}) is not None))


def test_databases_as_they_should_be_and_none_at_all_are_left_alone():
    assert change(EARLIER, cluster_with()) is None and change(EARLIER, Cluster()) is None
    assert change(EARLIER, cluster_with(StatefulSet={"replicas": 0})) is None
    other = made("Deployment", "portal", spec={"template": {"spec": {}}})
    assert change(EARLIER, Cluster(other)) is None


def test_a_deployment_ends_with_its_pods_before_the_stateful_set_is_made():
    pods = {"template": {"spec": {"volumes": [{"name": "data", "hostPath": {"path": "/var/lib/airavata/mariadb"}}]}}}
    cluster = Cluster(made("Deployment", "mariadb", spec=pods), made("Deployment", "api-server", spec=pods))
    found = change(EARLIER, cluster)
    assert found.detail == "Deployment airavata/mariadb\n"
    found.call()
    assert cluster.done == [("DELETE", "Deployment", "mariadb")]
    assert change(EARLIER, Cluster(made("Deployment", "mariadb", "kubectl", spec=pods))) is None, "somebody else's"


PLACES = [{"local": {"path": "/srv/mariadb"}}, {"nodeAffinity": {"required": {}}}, {"claimRef": {"uid": "of-a-deleted-claim"}}]


@pytest.mark.parametrize("changed", [*({"PersistentVolume": one} for one in PLACES), {"PersistentVolumeClaim": None},
                                     {"PersistentVolumeClaim": {"volumeName": "other"}}])  # fmt: skip
def test_a_volume_elsewhere_or_of_another_claim_is_replaced_with_its_claim_and_workload(changed):
    cluster = cluster_with(**changed)
    found = change(EARLIER, cluster)
    claims = () if None in changed.values() else ("PersistentVolumeClaim",)
    found.call()
    assert [kind for _, kind, _ in cluster.done] == ["StatefulSet", *claims, "PersistentVolume"]
    # What is applied later in the same step is planned as new: the API server would refuse its change.
    here = context(cluster, planning=True)
    here.touched |= found.touches
    refused = Found(answer=StepFailed("the API server refused the object"))
    for one in MANIFESTS:
        if one["kind"] in ("StatefulSet", "PersistentVolume", *claims):
            assert KubeObject(one).change(refused, here).summary == "create"
    with pytest.raises(NotYet):
        KubeObject(MANIFESTS[0]).change(Found(answer=NotYet("some")), here)


def test_a_lost_claim_and_one_that_is_being_deleted_are_replaced():
    cluster = cluster_with(PersistentVolume=None)
    cluster.objects[-1]["status"]["phase"] = "Lost"
    assert "PersistentVolumeClaim airavata/mariadb" in change(EARLIER, cluster).detail
    cluster = cluster_with()
    cluster.objects[-1]["metadata"]["deletionTimestamp"] = "2026-11-30T00:00:00Z"
    assert change(EARLIER, cluster).summary == "delete 3"


LABELS = NodeLabels("10.98.0.12", node.labels(Site.load("lab").node("worker")))


def test_a_node_gets_the_name_of_its_host_and_keeps_other_labels():
    cluster = Cluster(labels={"airavata-runbook/host": "old", "airavata-runbook/role": "worker", "of/somebody": "x"})
    found = change(LABELS, cluster)
    assert found.summary == "airavata-runbook/host=worker"
    found.call()
    assert cluster.done == [("patch_node", "10.98.0.12", {"metadata": {"labels": {"airavata-runbook/host": "worker"}}})]
    assert change(LABELS, Cluster(labels=dict(LABELS.labels))) is None


def test_a_node_that_is_not_registered_brings_its_labels_along():
    assert change(LABELS, Cluster(error=ApiError(404, "not found", ""))) is None


@pytest.mark.parametrize("resource", [OBSOLETE, EARLIER, LABELS])
def test_a_plan_before_the_api_server_answers_waits_for_it(resource):
    gone = Cluster(error=ApiError(0, "no reply", ""))
    with pytest.raises(NotYet):
        change(resource, gone, planning=True)
    with pytest.raises(ApiError):
        change(resource, gone)
