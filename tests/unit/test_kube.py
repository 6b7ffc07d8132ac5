"""What is told when the cluster's API server does not answer, is not ready, is in trouble, or refuses an object."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, SSLError

from airavata_runbook.cluster import kube
from airavata_runbook.cluster import readiness as workloads
from airavata_runbook.cluster.kube import Kube, explained
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.pki import issue as pki
from airavata_runbook.resources import Context, KubeObject, kube_object
from airavata_runbook.resources.kube_object import secret_manifest
from airavata_runbook.site import Site


@pytest.fixture
def site() -> Site:
    return Site.load({"name": "some", "nodes": [{"name": "head", "address": "192.0.2.11", "role": "master"}]})


def test_the_api_servers_own_error_is_explained(site):
    timeout = ApiException(status=504, reason="Gateway Timeout")
    timeout.body = '{"message": "Timeout: request did not complete within the allotted timeout"}'
    told = explained(timeout, site)
    assert isinstance(told, StepFailed) and told.retryable and "on head: systemctl status etcd" in told.remedy
    assert told.found == "Timeout: request did not complete within the allotted timeout"
    cut = explained(ProtocolError("cut"), site)  # by the server, or by whatever cut the SSH connection that led to it
    assert cut.found == "no answer over the connection to it (ProtocolError)" and cut.remedy.startswith("run again")
    nobody = explained(SSLError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:992)"), site)
    assert nobody.found == "no answer over the connection to it (closed at once)"  # an SSH forward to a port without a listener
    stream = explained(ApiException(status=0, reason="[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation"), site)
    assert stream.found == "no answer over the connection to it (closed at once)" and stream.remedy.startswith("run again")
    other = KeyError("a defect of ours")
    assert explained(other, site) is other


def test_an_api_server_that_does_not_answer_is_no_missing_workload(site, monkeypatch):
    def read(error):
        def refuse(*_):
            raise error

        api = SimpleNamespace(read_node=refuse, read_namespaced_deployment=refuse)
        monkeypatch.setattr(workloads, "kube", lambda site: SimpleNamespace(core=api, apps=api))
        return workloads.workload_missing(site, "Deployment", "airavata", "mariadb"), workloads.node_missing(site, "192.0.2.11")

    assert read(ApiException(status=404, reason="Not Found")) == ("no Deployment mariadb yet", "no node 192.0.2.11 yet")
    for told in read(ProtocolError("cut")):
        assert told == (
            "the API server did not answer as it must: no answer over the connection to it (ProtocolError) "
            "(run again: it goes on where it stopped; if it stays so, on head: systemctl status etcd kube-apiserver)"
        )


def test_an_api_server_that_never_answers_is_not_waited_for_without_end(site, monkeypatch):
    monkeypatch.setattr(kube, "PATIENCE", 0.2)
    authority = pki.new_ca("some")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes connections, and nobody says a word
        silent.setblocking(False)
        client = Kube(kube._api(silent.getsockname()[1], authority.cert, authority))
        monkeypatch.setattr(workloads, "kube", lambda site: client)
        told = [workloads.workload_missing(site, "Deployment", "airavata", "mariadb"), workloads.api_server_missing(site)]
        assert [text.partition(": ")[2].partition(" (run")[0] for text in told] == [
            "no answer over the connection to it (nothing within 0.2 s)"
        ] * 2
        with pytest.raises(Exception) as failed:  # the client of any kind asks by a way of its own
            _ = client.dynamic
        assert "nothing within 0.2 s" in explained(failed.value, site).found
        for _ in range(3):
            silent.accept()
        with pytest.raises(BlockingIOError):
            silent.accept()  # who did not answer is not asked again


def test_an_api_server_whose_connection_breaks_is_asked_once_more(site, monkeypatch):
    authority = pki.new_ca("some")
    with socket.create_server(("127.0.0.1", 0)) as breaking:
        breaking.settimeout(10)
        client = Kube(kube._api(breaking.getsockname()[1], authority.cert, authority))
        monkeypatch.setattr(workloads, "kube", lambda site: client)
        with ThreadPoolExecutor() as pool:
            told = pool.submit(workloads.node_missing, site, "192.0.2.11")
            for _ in range(2):
                breaking.accept()[0].close()
            assert "no answer over the connection to it" in told.result()
        breaking.setblocking(False)
        with pytest.raises(BlockingIOError):
            breaking.accept()


def test_a_workload_is_waited_for_through_an_api_server_that_falls_silent_midway(site, monkeypatch):
    def cut(*_, **__):
        raise ProtocolError("cut")

    live = SimpleNamespace(
        metadata=SimpleNamespace(generation=1),
        spec=SimpleNamespace(replicas=1, selector=SimpleNamespace(match_labels={"app": "some"})),
        status=SimpleNamespace(observed_generation=1, ready_replicas=0, updated_replicas=1),
    )
    api = SimpleNamespace(read_namespaced_deployment=lambda *_: live, list_namespaced_pod=cut)
    monkeypatch.setattr(workloads, "kube", lambda site: SimpleNamespace(core=api, apps=api))
    assert "no answer over the connection to it" in workloads.workload_missing(site, "Deployment", "airavata", "mariadb")


def test_an_api_server_that_is_not_ready_is_told_by_what_fails(site, monkeypatch):
    def missing(ready=(200, "ok"), read=None):
        def answer(what):
            if isinstance(what, Exception):
                raise what
            return what

        api = SimpleNamespace(
            get=lambda path: answer(ready), core=SimpleNamespace(read_namespaced_config_map=lambda *_, **__: answer(read))
        )
        monkeypatch.setattr(workloads, "kube", lambda site: api)
        return workloads.api_server_missing(site)

    assert missing() == ""
    said = "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n[-]shutdown failed\nreadyz check failed"
    assert missing((500, said)) == "[-]etcd failed: reason withheld; [-]shutdown failed"
    assert missing((403, "Forbidden")) == "HTTP 403: Forbidden"
    assert "no answer over the connection to it (NewConnectionError)" in missing(NewConnectionError(None, "refused"))
    assert missing(read=ApiException(status=404)) == "no ConfigMap extension-apiserver-authentication yet"
    assert "(NewConnectionError)" in missing(read=MaxRetryError(None, "/api", NewConnectionError(None, "refused")))


@pytest.mark.parametrize(
    ("status", "told", "untold"),
    [
        (500, "(?s)did not answer as it must.*etcdserver: request timed out.*systemctl status etcd", "refused"),
        (422, "(?s)refused the object.*Secret kube-system/login.*content is not shown", "canary"),
    ],
)
def test_an_api_server_in_trouble_is_told_from_one_that_refuses_a_secret(monkeypatch, status, told, untold):
    said = "etcdserver: request timed out" if status == 500 else "data: Invalid value: canary"

    def answers(**_):
        error = ApiException(status=status, reason="it is so")
        error.body = json.dumps({"message": said})
        raise error

    api = SimpleNamespace(resource=lambda manifest: SimpleNamespace(get=answers, server_side_apply=answers))
    monkeypatch.setattr(kube_object, "kube", lambda site: api)
    secret = KubeObject(secret_manifest("login", "kube-system", {"password": b"canary"}))
    host = SimpleNamespace(site=SimpleNamespace(master=SimpleNamespace(name="head")))
    with pytest.raises(StepFailed, match=told) as failed:
        secret.ask(Context(host))
    assert untold not in str(failed.value)


def test_an_api_server_that_does_not_answer_is_told_in_a_run_and_foreseen_in_a_plan(site, monkeypatch):
    def cut(site):
        raise ProtocolError("cut")

    monkeypatch.setattr(kube_object, "kube", cut)
    some, host = KubeObject({"kind": "Service", "metadata": {"name": "mariadb"}}), SimpleNamespace(site=site)
    with pytest.raises(NotYet, match="the API server answers"):
        some.ask(Context(host, planning=True))
    with pytest.raises(StepFailed, match="(?s)no answer over the connection to it.*run again"):
        some.ask(Context(host))
