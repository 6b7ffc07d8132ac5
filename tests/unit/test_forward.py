"""Forwards through an SSH server: a server that forbids them is told as that, and no client asks a proxy on the way to one."""

import contextlib
import socket
import threading
from types import SimpleNamespace

import pytest
from kubernetes.stream import stream

from airavata_runbook.chapters import portal_page
from airavata_runbook.checks import preflight
from airavata_runbook.cluster import airavata_api, etcd
from airavata_runbook.cluster.kube import Kube
from airavata_runbook.errors import ForwardForbidden
from airavata_runbook.hosts import forward
from airavata_runbook.hosts.host import Host
from airavata_runbook.images.http import Connection
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from airavata_runbook.site import Site
from tests.unit.ssh_server import host_with
from tests.unit.ssh_servers import accepting

PROHIBITED, CONNECT_FAILED, NO_RESOURCES = 1, 2, 4  # RFC 4254, section 5.1


class Listener:
    """Gives one answer on each connection. came: the first bytes of each."""

    def __init__(self, answer: bytes = b""):
        self.answer, self.came, self.seen = answer, [], threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.socket.accept()[0],), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            self.came.append(client.recv(1000))
            self.seen.set()
            client.sendall(self.answer)


@pytest.fixture
def target():
    listener = Listener()
    with listener.socket, accepting(listener.socket, listener.accept):
        yield listener


def asked(port: int, data: bytes = b"question") -> bytes:
    """The answer to a question on a connection of its own; b"" where it is closed without one."""
    with contextlib.suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(data)
        return client.recv(100)
    return b""


def test_every_client_of_a_forward_reaches_its_port(target):
    target.answer = b"hello"
    with host_with() as (host, server):
        port = host.forward(target.port)
        assert len(server.forwards) == 1, "it is known by now whether the server forbids it"
        assert [asked(port) for _ in range(3)] == [b"hello"] * 3 and host.forward(target.port) == port
        assert len(server.forwards) == 3, "the first client has the channel that was opened before it came"
    assert target.came == [b"question"] * 3


def test_a_channel_that_was_closed_before_a_client_came_is_not_given_to_it(target):
    with host_with() as (host, server):
        port = host.forward(target.port)
        (first,) = (one._first for one in host._forwards.values())
        target.answer = b"hello"
        first.close()
        assert asked(port) == b"hello" and len(server.forwards) == 2


@pytest.mark.parametrize("code", [CONNECT_FAILED, NO_RESOURCES])
def test_a_port_where_nothing_listens_yet_is_no_refusal(target, code):
    with host_with(refused=code) as (host, server):
        port = host.forward(target.port)
        assert asked(port) == b""
        host.check_forward(target.port)
        server.refused, target.answer = 0, b"hello"
        assert asked(port) == b"hello"


@pytest.mark.parametrize("way", ["forward", "check_forward"])
def test_a_server_that_forbids_forwards_is_told_with_the_remedy(way):
    with host_with(user="operator", refused=PROHIBITED) as (host, _):
        with pytest.raises(ForwardForbidden) as refused:
            getattr(host, way)(2379)
        assert (
            refused.value.where == "host one, user operator, to 127.0.0.1:2379" and "AllowTcpForwarding" in refused.value.needed
        )
        assert "sshd_config" in refused.value.remedy and host._open().active, "the connection is still good"
        assert not host._forwards


def test_a_lost_ssh_connection_ends_a_client_of_a_forward_without_a_traceback():
    """paramiko says EOFError, which is no OSError, for whatever is sent on a closed connection."""

    def lost(*_):
        raise EOFError

    data = iter([b"question", b""])
    forward._pump(lambda size: next(data), lost, lost)


def test_a_server_that_forbids_forwards_later_is_told_by_the_next_call(target):
    target.answer = b"hello"
    with host_with() as (host, server):
        port = host.forward(target.port)
        assert asked(port) == b"hello"
        server.refused = PROHIBITED
        assert asked(port) == b""
        with pytest.raises(ForwardForbidden):
            host.forward(target.port)
        server.refused = 0
        assert asked(host.forward(target.port)) == b"hello"


SITE = {
    "name": "forbidding",
    "nodes": [
        {"name": "head", "address": "192.0.2.11", "role": "master"},
        {"name": "store", "address": "192.0.2.12"},
        {"name": "third", "address": "192.0.2.13"},
    ],
    "registry": {"node": "store", "port": 5005},
}


@pytest.mark.parametrize(
    ("stand_in", "found"),
    [
        (False, {"head": "127.0.0.1:6443", "store": "127.0.0.1:5005"}),
        (True, {"head": "127.0.0.1:6443", "store": "127.0.0.1:5005", "third": "192.0.2.13:30080"}),
    ],
)
def test_hosts_through_which_no_forward_can_be_opened_are_found_at_the_first_look(monkeypatch, stand_in, found):
    site = Site.load(SITE, {"airavata.stand_in": stand_in})

    def forbid(host, port, address="127.0.0.1"):
        raise ForwardForbidden("forbidden", where=f"to {address}:{port}", needed="yes", remedy="allow it")

    monkeypatch.setattr(Host, "check_forward", forbid)
    monkeypatch.setattr(Host, "run_batch", lambda host, fragments: {})
    findings = [one for one in preflight.preflight(site) if one.check == "forwarding"]
    assert {one.host: one.found for one in findings} == {name: f"forbidden (to {to})" for name, to in found.items()}
    assert all(one.needed == "yes" and one.remedy == "allow it" for one in findings)


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that the environment names for every URL; nothing is exempt."""
    listener = Listener()
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{listener.port}")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with listener.socket, accepting(listener.socket, listener.accept):
        yield listener


AUTHORITY = pki.new_ca("test")
ADMIN = pki.issue(AUTHORITY, Subject("admin", usages=("client",)))


def with_etcd(port: int) -> None:
    vault = SimpleNamespace(pair=lambda *_: ADMIN, authority=lambda *_: AUTHORITY, fetch=lambda *_: None)
    session = SimpleNamespace(vault=vault, master=SimpleNamespace(forward=lambda _: port, name="one"))
    with etcd.client(session) as client:
        client.get("key")


def with_kube(port: int) -> None:
    Kube(port, AUTHORITY.cert, ADMIN, "one").core.list_namespace()


def with_raw_kube(port: int) -> None:
    Kube(port, AUTHORITY.cert, ADMIN, "one").get("/readyz")


def with_exec(port: int) -> None:
    kube = Kube(port, AUTHORITY.cert, ADMIN, "one")
    method = kube.for_streams().connect_get_namespaced_pod_exec
    stream(method, "pod", "namespace", command=["true"], stdout=True, _preload_content=False)


def with_registry(port: int) -> None:
    Connection(f"https://127.0.0.1:{port}", "registry.lab:5000", AUTHORITY.cert).send("GET", "/v2/", "the API", (200,))


def with_airavata(port: int) -> None:
    with airavata_api.connected("127.0.0.1", port, AUTHORITY.cert):
        pass


def with_portal(port: int) -> None:
    portal_page.fetch_page(port, "192.0.2.11", AUTHORITY.cert)


@pytest.mark.parametrize("client", [with_etcd, with_kube, with_raw_kube, with_exec, with_registry, with_airavata, with_portal])
def test_no_client_of_a_forward_asks_a_proxy(proxy, target, client, monkeypatch):
    monkeypatch.setattr(etcd, "TIMEOUT", 3)
    with contextlib.suppress(Exception):  # nothing answers there
        client(target.port)
    assert target.seen.wait(5) and proxy.came == []
    assert target.came[0][:1] == b"\x16", "a TLS handshake, not CONNECT"
