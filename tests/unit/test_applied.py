"""What a manifest would change is told from the object alone, wherever that can be told; else the API server is asked."""

import copy

import pytest

from airavata_runbook.cluster.applied import is_applied

MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "portal", "namespace": "airavata", "labels": {"app": "portal"}},
    "spec": {
        "replicas": 1,
        "serviceName": "",
        "template": {
            "spec": {
                "nodeSelector": {"host": "one"},
                "containers": [
                    {
                        "name": "portal",
                        "image": "portal@sha256:1",
                        "args": ["--port", "8443"],
                        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                        "ports": [{"name": "https", "containerPort": 8443}],
                    }
                ],
            }
        },
    },
}
FIELDS = {
    "f:metadata": {"f:labels": {"f:app": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:serviceName": {},
        "f:template": {
            "f:spec": {
                "f:nodeSelector": {},
                "f:containers": {
                    'k:{"name":"portal"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:args": {},
                        "f:env": {'k:{"name":"NODE"}': {".": {}, "f:name": {}, "f:valueFrom": {"f:fieldRef": {}}}},
                        "f:ports": {'k:{"containerPort":8443,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:containerPort": {}}},
                    }
                },
            }
        },
    },
}


def live() -> dict:
    """The object as the API server has it: with its defaults, and what others have added."""
    one = copy.deepcopy(MANIFEST)
    one["metadata"] |= {
        "uid": "1",
        "annotations": {"deployment.kubernetes.io/revision": "2"},
        "managedFields": [
            {"manager": "airavata-runbook", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": copy.deepcopy(FIELDS)},
            {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1", "subresource": "status"},
        ],
    }
    del one["spec"]["serviceName"]  # an empty text is left out
    box = container(one)
    box["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    box["env"].insert(0, {"name": "ADDED"})
    box["ports"][0]["protocol"] = "TCP"
    box["terminationMessagePath"] = "/dev/termination-log"
    return one


def container(one: dict) -> dict:
    return one["spec"]["template"]["spec"]["containers"][0]


def test_an_object_with_all_values_of_its_manifest_and_defaults_is_as_applied():
    assert is_applied(MANIFEST, live(), "airavata-runbook")
    assert not is_applied(MANIFEST, live(), "kubectl")
    bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "airavata"}}
    assert is_applied(bare, {**bare, "status": {"phase": "Active"}}, "airavata-runbook")


CHANGES = {
    "another value": lambda one: one["spec"].update(replicas=2),
    "a value of another type": lambda one: one["spec"].update(replicas=True),
    "a value that is gone": lambda one: one["spec"].pop("replicas"),
    "another label": lambda one: one["metadata"]["labels"].update(app="other"),
    "another image": lambda one: container(one).update(image="portal@sha256:2"),
    "one argument less": lambda one: container(one)["args"].pop(),
    "a value within one that is owned as a whole": lambda one: container(one)["env"][-1]["valueFrom"]["fieldRef"].update(
        fieldPath="metadata.name"
    ),
    "an item that is gone": lambda one: container(one)["ports"].pop(),
    "another port": lambda one: container(one)["ports"][0].update(containerPort=8080),
    "no container": lambda one: one["spec"]["template"]["spec"].update(containers=[]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_somebody_changed_in_the_cluster_is_seen(change):
    one = live()
    CHANGES[change](one)
    assert not is_applied(MANIFEST, one, "airavata-runbook")


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "a value of another type"])
def test_what_changed_in_the_manifest_is_seen(change):
    manifest = copy.deepcopy(MANIFEST)
    CHANGES[change](manifest)
    assert not is_applied(manifest, live(), "airavata-runbook")


def test_what_the_manifest_has_no_longer_or_since_now_is_seen():
    without, more = copy.deepcopy(MANIFEST), copy.deepcopy(MANIFEST)
    del without["metadata"]["labels"]
    container(more)["env"].append({"name": "ADDED", "value": "ours"})
    assert not is_applied(without, live(), "airavata-runbook") and not is_applied(more, live(), "airavata-runbook")


def test_fields_of_another_version_or_that_somebody_took_over_are_asked_for():
    other, taken = live(), live()
    other["metadata"]["managedFields"][0]["apiVersion"] = "apps/v1beta1"
    del taken["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"]
    assert not is_applied(MANIFEST, other, "airavata-runbook") and not is_applied(MANIFEST, taken, "airavata-runbook")
