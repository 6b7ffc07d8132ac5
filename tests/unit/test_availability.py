"""The check that restarts the database: when it passes, when it does not, and what it leaves behind."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from airavata_runbook.chapters import availability


class Api:
    """The gateways of an API server. lost: whether they are gone after a restart of its database."""

    def __init__(self, lost: bool = False):
        self.gateways, self.lost = {}, lost

    def isGatewayExist(self, access, name):
        return name in self.gateways

    def addGateway(self, access, gateway):
        self.gateways[gateway.gatewayId] = gateway
        return gateway.gatewayId

    def deleteGateway(self, access, name):
        return self.gateways.pop(name, None) is not None


class Database:
    """The pod of a StatefulSet: deleted, it comes back under the same name, ready after some looks."""

    def __init__(self, api: Api, looks: int = 3):
        self.api, self.uid, self.looks, self.deleted = api, "one", looks, []

    def delete_namespaced_pod(self, name, namespace):
        self.deleted.append(name)
        if self.api.lost:
            self.api.gateways.clear()

    def list_namespaced_pod(self, namespace, label_selector):
        if self.deleted:
            self.looks -= 1
            self.uid = "two" if self.looks < 2 else self.uid
        return SimpleNamespace(items=[SimpleNamespace(metadata=SimpleNamespace(uid=self.uid, name="mariadb-0"))])

    def missing(self) -> str:
        return "0 of 1 pods ready" if self.looks > 0 else ""


@pytest.fixture
def restart(monkeypatch):
    """`restart(database, stand_in, answers)`: rows and problems. answers: problems of the servers, in turn; the last stays."""

    def run(database: Database, stand_in: bool = True, answers: tuple = ([],)) -> tuple[list, list]:
        answers = list(answers)
        stack = SimpleNamespace(
            components=[
                SimpleNamespace(name="mariadb", stand_in=False, waits_for=(("StatefulSet", "mariadb"),)),
                SimpleNamespace(name="api-server", stand_in=stand_in, waits_for=()),
            ]
        )

        @contextmanager
        def client(session):
            yield database.api

        def calls(session):
            assert database.uid == "two" and not database.missing(), "a server was called before the database was ready"
            return [], answers.pop(0) if len(answers) > 1 else answers[0]

        monkeypatch.setattr(availability, "stack_of", lambda site: stack)
        monkeypatch.setattr(availability, "api_client", client)
        monkeypatch.setattr(availability, "api_token", lambda session: "token")
        monkeypatch.setattr(availability, "server_calls", calls)
        monkeypatch.setattr(availability, "workload_missing", lambda session, kind, namespace, name: database.missing())
        monkeypatch.setattr(availability.time, "sleep", lambda seconds: None)
        session = SimpleNamespace(
            site=SimpleNamespace(airavata=SimpleNamespace(namespace="airavata")), kube=lambda: SimpleNamespace(core=database)
        )
        return availability.data_after_a_restart(session)

    return run


def test_it_passes_when_all_servers_answer_again_and_leaves_nothing(restart):
    database = Database(Api())
    rows, problems = restart(database, answers=(["api-server: it refused a call"], []))
    assert problems == [] and database.deleted == ["mariadb-0"] and database.api.gateways == {}
    assert rows[-1] == ["a gateway made before", "still there"]


def test_data_that_is_gone_is_a_problem(restart):
    _, problems = restart(Database(Api(lost=True)))
    assert problems == ["the gateway that was made before is gone"]


@pytest.mark.parametrize(
    ("looks", "answers", "said"),
    [(10**9, ([],), "the deleted pod still exists"), (3, (["api-server: no answer"],), "api-server: no answer")],
)
def test_what_does_not_come_back_in_time_is_said(restart, monkeypatch, looks, answers, said):
    monkeypatch.setattr(availability, "BACK", 0.3)
    _, problems = restart(Database(Api(), looks), answers=answers)
    assert problems == [said]


def test_a_site_with_its_own_servers_is_asked_for_no_token(restart, monkeypatch):
    database = Database(Api())
    rows, problems = restart(database, stand_in=False)
    assert problems == [] and len(rows) == 2 and database.api.gateways == {}


def test_a_replica_that_ends_already_is_not_the_one_that_is_deleted(monkeypatch):
    """Nothing would be lost with it, and the check would have tried nothing."""
    deleted = []

    @contextmanager
    def calling(session):
        yield [""] * availability.MIN_CALLS

    monkeypatch.setattr(availability, "calling_api", calling)
    monkeypatch.setattr(availability, "pods_of", lambda *_: {"api-server-1": True, "api-server-2": False})
    monkeypatch.setattr(availability, "await_replacement", lambda session, pod: "")
    core = SimpleNamespace(delete_namespaced_pod=lambda name, namespace: deleted.append(name))
    site = SimpleNamespace(airavata=SimpleNamespace(namespace="airavata"))
    _, problems = availability.calls_while_replaced(SimpleNamespace(site=site, kube=lambda: SimpleNamespace(core=core)))
    assert deleted == ["api-server-2"] and problems == []
