"""Jobs: done once, waited for, and done again where their manifest has changed."""

from types import SimpleNamespace

import pytest

from airavata_runbook.chapters import airavata
from airavata_runbook.cluster import readiness
from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.engine.probe import probe
from airavata_runbook.resources import Context, KubeObject
from airavata_runbook.stacks.render import REPEAT

JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "schema", "namespace": "airavata"},
    "spec": {"template": {"spec": {"containers": [{"name": "schema", "image": "one"}]}}},
}


class Cluster:
    """The API server, as far as Jobs go: it refuses to change one's pods."""

    def __init__(self, live=None, conditions=()):
        self.live, self.deleted, self.kinds = live, [], {"batch/v1": {"Job": "jobs"}}
        status = SimpleNamespace(
            conditions=[SimpleNamespace(type=kind, status="True", message=kind, reason=kind) for kind in conditions],
            ready=1,
            failed=2,
        )
        self.batch = SimpleNamespace(
            read_namespaced_job=lambda *_: SimpleNamespace(status=status), delete_namespaced_job=self.delete
        )
        self.finding = _Nothing()

    def delete(self, name, namespace, propagation_policy):
        self.deleted.append((name, propagation_policy))
        self.live = None

    def request(self, method, path, query, body=None):
        if method == "GET":
            return {"items": [self.live] if self.live else [], "metadata": {}}
        if self.live and self.live["spec"] != body["spec"]:
            raise ApiError(422, "field is immutable", "")
        if "dryRun" not in query:
            self.live = body
        return body


class _Nothing:
    __enter__ = __exit__ = lambda *_: None


def context(cluster):
    session = SimpleNamespace(kube=lambda: cluster, name="lab")
    return Context(SimpleNamespace(name="master"), session, False, set())


def changed(image):
    return {**JOB, "spec": {"template": {"spec": {"containers": [{"name": "schema", "image": image}]}}}}


def test_a_job_that_is_as_it_should_be_is_left():
    cluster, job = Cluster(JOB), KubeObject(JOB)
    (found,) = probe([job], context(cluster))
    assert job.change(found, context(cluster)) is None and not cluster.deleted


def test_a_changed_job_is_shown_and_done_again():
    cluster, job = Cluster(JOB), KubeObject(changed("two"))
    (found,) = probe([job], context(cluster))
    assert not cluster.deleted, "a plan deletes nothing"
    change = job.change(found, context(cluster))
    assert "image: one" in change.detail and "image: two" in change.detail
    change.call()
    assert cluster.deleted == [("schema", "Background")] and cluster.live == changed("two")


@pytest.mark.parametrize(
    ("conditions", "words"),
    [((), "not done yet: 1 pods at work, 2 failed"), (("Failed",), "failed: Failed"), (("Complete",), "")],
)
def test_a_job_is_ready_when_it_is_done(conditions, words):
    session = SimpleNamespace(kube=lambda: Cluster(JOB, conditions))
    assert readiness.workload_missing(session, "Job", "airavata", "schema") == words


def test_a_job_of_the_stack_unified_is_done_again_when_its_secrets_change():
    vault = SimpleNamespace(authority=lambda name: SimpleNamespace(key=b"a key"))

    def stamp(content: bytes, **annotations: str) -> dict:
        pod = {"metadata": {}, "spec": {"containers": [], "volumes": [{"name": "s", "secret": {"secretName": "schema"}}]}}
        job = {"kind": "Job", "metadata": {"name": "schema", "annotations": annotations}, "spec": {"template": pod}}
        return airavata._stamped(job, {"schema": {"schema.sql": content}}, vault)["spec"]["template"]["metadata"]

    assert stamp(b"one", **{REPEAT: "yes"}) != stamp(b"two", **{REPEAT: "yes"})
    assert stamp(b"one") == stamp(b"two") == {}  # another Job's work may not be done twice
