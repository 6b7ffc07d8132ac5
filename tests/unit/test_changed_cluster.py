"""What a changed site file leaves behind in the cluster, and a run takes away: components, and labels of nodes."""

from types import SimpleNamespace

import pytest

from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.objects import FIELD_MANAGER
from airavata_runbook.configs import node
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import NotYet
from airavata_runbook.resources import LeftOut, NodeLabels
from airavata_runbook.site import Site


def made(name: str, manager: str = FIELD_MANAGER) -> SimpleNamespace:
    fields = [SimpleNamespace(manager=manager), SimpleNamespace(manager="kube-controller-manager")]
    return SimpleNamespace(metadata=SimpleNamespace(name=name, managed_fields=fields))


class Cluster:
    """Stands in for the API server's clients: lists of objects by kind; it records what is changed."""

    def __init__(self, error: ApiError | None = None, **listed):
        self.listed, self.error, self.done = listed, error, []
        self.core = self.apps = self

    def __getattr__(self, name):
        verb, _, kind = name.partition("_")

        def call(*words):
            if self.error:
                raise self.error
            if verb == "list":
                return SimpleNamespace(items=self.listed.get(kind.removeprefix("namespaced_"), []))
            if verb == "read":
                return SimpleNamespace(metadata=SimpleNamespace(labels=self.listed["labels"]))
            return self.done.append((name, *words))

        return call


def context(cluster: Cluster, planning: bool = False) -> Context:
    return Context(SimpleNamespace(name="master"), SimpleNamespace(kube=lambda: cluster), planning)


def change(resource, cluster: Cluster, planning: bool = False):
    here = context(cluster, planning)
    return resource.change(Found(answer=resource.ask(here)), here)


LEFT_OUT = LeftOut("airavata", ("portal", "api-server"))


def test_objects_of_a_component_that_is_left_out_are_deleted_and_no_others():
    cluster = Cluster(
        deployment=[made("portal"), made("mariadb"), made("api-server", "kubectl")], service=[made("portal"), made("gfac")]
    )
    found = change(LEFT_OUT, cluster)
    assert found.detail == "Deployment airavata/portal\nService airavata/portal\n"
    found.call()
    assert cluster.done == [
        ("delete_namespaced_deployment", "portal", "airavata"),
        ("delete_namespaced_service", "portal", "airavata"),
    ]


def test_a_site_that_leaves_nothing_behind_is_not_changed():
    assert change(LEFT_OUT, Cluster(deployment=[made("mariadb")])) is None


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


@pytest.mark.parametrize("resource", [LEFT_OUT, LABELS])
def test_a_plan_before_the_api_server_answers_waits_for_it(resource):
    gone = Cluster(error=ApiError(0, "no reply", ""))
    with pytest.raises(NotYet):
        change(resource, gone, planning=True)
    with pytest.raises(ApiError):
        change(resource, gone)
