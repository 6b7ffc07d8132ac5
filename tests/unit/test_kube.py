"""What is told when the cluster's API server does not answer, is not ready, is in trouble, or refuses an object."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, SSLError

from airavata_runbook.cluster import kube, readiness
from airavata_runbook.cluster.kube import ApiError, Kube
from airavata_runbook.cluster.objects import listed
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.probe import probe
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.pki import issue as pki
from airavata_runbook.resources import Context, KubeObject
from airavata_runbook.resources.kube_object import secret_manifest
from airavata_runbook.site import Site

AUTHORITY = pki.new_ca("some")


def client(port: int = 1) -> Kube:
    return Kube(port, AUTHORITY.cert, AUTHORITY, "head")


@pytest.fixture
def session(monkeypatch) -> Session:
    """Of a site whose API client is `client()`, until a test replaces it."""
    made = Session(Site.load({"name": "some", "nodes": [{"name": "head", "address": "192.0.2.11", "role": "master"}]}))
    kube = client()
    monkeypatch.setattr(made, "kube", lambda: kube)
    return made


def answering(session: Session, monkeypatch, group: str, **methods) -> None:
    """Let methods of the official client answer what the test wants, or raise it."""
    for name, answer in methods.items():

        def method(*_, answer=answer, **__):
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(type(getattr(session.kube(), group)._client), name, method)


def reported(error: Exception) -> ApiError:
    with pytest.raises(ApiError) as caught, client().errors():
        raise error
    return caught.value


def test_the_api_servers_own_error_is_explained():
    timeout = ApiException(status=504, reason="Gateway Timeout")
    timeout.body = '{"message": "Timeout: request did not complete within the allotted timeout"}'
    error = reported(timeout)
    assert isinstance(error, StepFailed) and error.retryable and "on head: systemctl status etcd" in error.remedy
    assert error.found == "Timeout: request did not complete within the allotted timeout" and error.status == 504
    cut = reported(ProtocolError("cut"))  # by the server, or by whatever cut the SSH connection that led to it
    assert cut.found == "no reply over the SSH connection to it (ProtocolError)" and cut.remedy.startswith("run again")
    nobody = reported(SSLError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:992)"))
    assert nobody.found == "no reply over the SSH connection to it (closed at once)"  # a forward to a port without a listener
    stream = reported(ApiException(status=0, reason="[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation"))
    assert stream.found == "no reply over the SSH connection to it (closed at once)" and stream.remedy.startswith("run again")
    with pytest.raises(KeyError), client().errors():
        raise KeyError("a defect of ours")


def test_an_api_server_that_does_not_answer_is_no_missing_workload(session, monkeypatch):
    def read(error):
        answering(session, monkeypatch, "core", read_node=error)
        answering(session, monkeypatch, "apps", read_namespaced_deployment=error)
        return (
            readiness.workload_missing(session, "Deployment", "airavata", "mariadb"),
            readiness.node_missing(session, "192.0.2.11"),
        )

    assert read(ApiException(status=404, reason="Not Found")) == ("no Deployment mariadb yet", "no node 192.0.2.11 yet")
    for missing in read(ProtocolError("cut")):
        assert missing == (
            "the request to the API server failed: no reply over the SSH connection to it (ProtocolError) (run again: "
            "it continues where it stopped; if the error stays, on head: systemctl status etcd kube-apiserver)"
        )


def test_an_api_server_that_never_answers_is_not_waited_for_without_end(session, monkeypatch):
    monkeypatch.setattr(kube, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes connections, and nobody says a word
        silent.setblocking(False)
        waiting = client(silent.getsockname()[1])
        monkeypatch.setattr(session, "kube", lambda: waiting)
        missing = [
            readiness.workload_missing(session, "Deployment", "airavata", "mariadb"),
            readiness.api_server_missing(session),
        ]
        assert [text.partition(": ")[2].partition(" (run")[0] for text in missing] == [
            "no reply over the SSH connection to it (nothing within 0.2 s)"
        ] * 2
        with pytest.raises(ApiError) as failed, waiting.errors():  # objects of any kind are asked for by a way of their own
            listed(waiting, "v1", "Service", "airavata")
        assert "nothing within 0.2 s" in failed.value.found
        for _ in range(3):
            silent.accept()
        with pytest.raises(BlockingIOError):
            silent.accept()  # who did not answer is not asked again


def test_an_api_server_whose_connection_breaks_is_asked_once_more(session, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as breaking:
        breaking.settimeout(10)
        asking = client(breaking.getsockname()[1])
        monkeypatch.setattr(session, "kube", lambda: asking)
        with ThreadPoolExecutor() as pool:
            missing = pool.submit(readiness.node_missing, session, "192.0.2.11")
            for _ in range(2):
                breaking.accept()[0].close()
            assert "no reply over the SSH connection to it" in missing.result()
        breaking.setblocking(False)
        with pytest.raises(BlockingIOError):
            breaking.accept()


def test_a_workload_is_waited_for_through_an_api_server_that_falls_silent_midway(session, monkeypatch):
    live = SimpleNamespace(
        metadata=SimpleNamespace(generation=1, namespace="airavata"),
        spec=SimpleNamespace(replicas=1, selector=SimpleNamespace(match_labels={"app": "some"})),
        status=SimpleNamespace(observed_generation=1, ready_replicas=0, updated_replicas=1),
    )
    live.status.to_dict = dict
    answering(session, monkeypatch, "apps", read_namespaced_deployment=live)
    answering(session, monkeypatch, "core", list_namespaced_pod=ProtocolError("cut"))
    missing = readiness.workload_trouble(session, "Deployment", "airavata", "mariadb")
    assert "no reply over the SSH connection to it" in missing


def test_an_api_server_that_is_not_ready_is_told_by_what_fails(session, monkeypatch):
    def missing(ready=(200, "ok"), read=None):
        def request(*_, **__):
            if isinstance(ready, Exception):
                raise ready
            return SimpleNamespace(status=ready[0], data=ready[1].encode())

        monkeypatch.setattr(session.kube().api.rest_client.pool_manager, "request", request)
        answering(session, monkeypatch, "core", read_namespaced_config_map=read)
        return readiness.api_server_missing(session)

    assert missing() == ""
    said = "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n[-]shutdown failed\nreadyz check failed"
    assert missing((500, said)) == "[-]etcd failed: reason withheld; [-]shutdown failed"
    assert missing((403, "Forbidden")) == "HTTP 403: Forbidden"
    assert "no reply over the SSH connection to it (NewConnectionError)" in missing(NewConnectionError(None, "refused"))
    assert missing(read=ApiException(status=404)) == "no ConfigMap extension-apiserver-authentication yet"
    assert "(NewConnectionError)" in missing(read=MaxRetryError(None, "/api", NewConnectionError(None, "refused")))


class ApiServer:
    """Answers requests for Services and Secrets as an API server. refusal: status and message for `refused` methods."""

    def __init__(self, *objects: dict, refused=(), refusal=(500, "")):
        self.objects, self.refused, self.refusal = objects, refused, refusal
        self.asked: list[str] = []
        self.page = 500

    def request(self, method: str, url: str, body=None, **_) -> SimpleNamespace:
        path = url.partition(":1/")[2]
        self.asked.append(f"{method} /{path}")
        if method in self.refused and (method == "PATCH" or "limit" in path):
            return self.answer(self.refusal[0], {"message": self.refusal[1]})
        path, _, query = path.partition("?")
        if path == "api/v1":
            names = {"services": "Service", "services/status": "Service", "secrets": "Secret"}
            return self.answer(200, {"resources": [{"name": name, "kind": kind} for name, kind in names.items()]})
        if method == "PATCH":
            return self.answer(200, json.loads(body))
        if not path.startswith("api/v1/"):
            return self.answer(404, {"message": "not found"})
        kind = {"services": "Service", "secrets": "Secret"}[path.rpartition("/")[2]]
        first = int(query.partition("continue=")[2] or 0)
        found = [one for one in self.objects if one["kind"] == kind]
        rest = {"continue": str(first + self.page)} if len(found) > first + self.page else {}
        items = [{"metadata": one["metadata"], "spec": one.get("spec")} for one in found[first : first + self.page]]
        return self.answer(200, {"metadata": rest, "items": items})

    def answer(self, status: int, content: dict) -> SimpleNamespace:
        return SimpleNamespace(status=status, reason="it is so", data=json.dumps(content).encode())


def behind(session: Session, monkeypatch, server: ApiServer) -> ApiServer:
    monkeypatch.setattr(session.kube().api.rest_client.pool_manager, "request", server.request)
    return server


def service(name: str, **spec) -> dict:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "some"}, "spec": spec}


def test_objects_of_a_kind_are_read_in_one_request(session, monkeypatch):
    server = behind(session, monkeypatch, ApiServer(service("one"), service("two", type="NodePort"), service("theirs")))
    resources = [KubeObject(service(name)) for name in ("one", "two", "three")]
    context = Context(session.master, session)
    changes = [one.change(found, context) for one, found in zip(resources, probe(resources, context), strict=True)]
    assert [change and change.summary for change in changes] == [None, "change", "create"]
    dry = "?fieldManager=airavata-runbook&force=true&dryRun=All"
    assert sorted(server.asked) == [
        "GET /api/v1/namespaces/some/services?limit=500",
        "GET /api/v1?",
        f"PATCH /api/v1/namespaces/some/services/one{dry}",
        f"PATCH /api/v1/namespaces/some/services/two{dry}",
    ]
    server.objects = [service("one", type="NodePort")]  # each probe asks anew
    assert resources[0].change(probe(resources[:1], context)[0], context).summary == "change"


class Binding(ApiServer):
    """One whose controller writes to an object after it was listed, a few times."""

    def __init__(self, one: dict, writes: int):
        super().__init__(one)
        self.live, self.writes, self.version = one, writes, 1
        self.write()

    def write(self) -> None:
        annotations = {"pv.kubernetes.io/written": str(self.version)}
        self.live = {**self.live, "metadata": {**self.live["metadata"], "annotations": annotations}}
        self.live["metadata"]["resourceVersion"] = str(self.version)
        self.objects = (self.live,)

    def request(self, method: str, url: str, body=None, **rest) -> SimpleNamespace:
        if method == "PATCH":
            if self.version <= self.writes:
                self.version += 1
                self.write()
            return self.answer(200, self.live)
        return (
            self.answer(200, self.live) if url.partition("?")[0].endswith("/one") else super().request(method, url, body, **rest)
        )


def test_an_object_that_a_controller_writes_to_meanwhile_is_not_one_that_differs(session, monkeypatch):
    for writes in (0, 1, 3):
        server = behind(session, monkeypatch, Binding(service("one"), writes))
        context = Context(session.master, session)
        (found,) = probe([KubeObject(service("one"))], context)
        assert KubeObject(service("one")).change(found, context) is None and server.version == writes + 1


def test_a_long_list_is_read_to_its_end(session, monkeypatch):
    server = behind(session, monkeypatch, ApiServer(*[service(f"s{number}") for number in range(5)]))
    server.page = 2
    assert list(listed(session.kube(), "v1", "Service", "some")) == ["s0", "s1", "s2", "s3", "s4"]


def test_a_kind_that_the_cluster_does_not_know_may_come_later(session, monkeypatch):
    behind(session, monkeypatch, ApiServer())
    for version in ("v1", "example.org/v1"):
        with pytest.raises(NotYet, match="the cluster knows the kind Telescope"):
            listed(session.kube(), version, "Telescope", None)
    session.kube().kinds["v1"] = {}  # as it was before the kind was there
    assert listed(session.kube(), "v1", "Service", None) == {}


@pytest.mark.parametrize(
    ("status", "reports", "not_reported"),
    [
        (500, "(?s)request to the API server failed.*etcdserver: request timed out.*systemctl status etcd", "refused"),
        (422, "(?s)refused the object.*Secret kube-system/login.*content is not shown", "canary"),
    ],
)
def test_an_api_server_in_trouble_is_told_from_one_that_refuses_a_secret(session, monkeypatch, status, reports, not_reported):
    said = "etcdserver: request timed out" if status == 500 else "data: Invalid value: canary"
    manifest = secret_manifest("login", "kube-system", {"password": b"canary"})
    for method in ("GET", "PATCH") if status == 500 else ("PATCH",):
        behind(session, monkeypatch, ApiServer(manifest, refused=[method], refusal=(status, said)))
        with pytest.raises(StepFailed, match=reports) as failed:
            KubeObject(manifest).ask(Context(session.master, session))
        assert not_reported not in str(failed.value)


def test_an_api_server_that_does_not_answer_is_told_in_a_run_and_foreseen_in_a_plan(session, monkeypatch):
    def cut(*_, **__):
        raise ProtocolError("cut")

    monkeypatch.setattr(session.kube().api.rest_client.pool_manager, "request", cut)
    some = KubeObject(service("mariadb"))
    with pytest.raises(NotYet, match="the API server answers"):
        some.ask(Context(session.master, session, planning=True))
    with pytest.raises(StepFailed, match="(?s)no reply over the SSH connection to it.*run again"):
        some.ask(Context(session.master, session))
