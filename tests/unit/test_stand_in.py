"""The stand-in as its clients see it: a process of its own, TLS on loopback, the SDK's generated client.

Gateways are kept in memory here: what the stand-in says to MariaDB is seen by the tests of a lab, not by these.
"""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from airavata.api import Airavata
from airavata.api.error.ttypes import AuthorizationException
from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

from airavata_runbook.cluster.airavata_api import connected, token
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Pair, Subject

FOLDER = Path(__file__).parents[2] / "airavata_runbook/stacks/stand_in"
TOKEN = "canary-api-token"
# The server itself, with another place for gateways; to ask for the gateway `slow` takes a second.
IN_MEMORY = """
import runpy, sys, time
sys.path.insert(0, sys.argv[1])
import api_server

class Memory(dict):
    def __init__(self, *_): pass
    def prepare(self): pass
    def add(self, gateway): self[gateway.gatewayId] = gateway
    def get(self, name, default=None):
        time.sleep(name == "slow")
        return dict.get(self, name, default)
    def all(self): return [self[name] for name in sorted(self)]
    def update(self, name, gateway): self[name] = gateway
    def delete(self, name): return self.pop(name, None) is not None

api_server.Store = Memory
api_server.run()
"""
PORTAL = "import sys; sys.path.insert(0, sys.argv[1]); import portal; portal.run()"


@dataclass
class StandIn:
    """A running stand-in. log: what it wrote so far."""

    process: subprocess.Popen
    port: int
    ca: Pair
    log: Path

    @contextmanager
    def client(self) -> Iterator[Airavata.Client]:
        with connected("127.0.0.1", self.port, self.ca.cert) as client:
            yield client

    def open(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=self.ca.cert.decode())
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 5), server_hostname="localhost")


@pytest.fixture(scope="module")
def ca() -> Pair:
    return pki.new_ca("Test CA")


@contextmanager
def started(ca: Pair, folder: Path, program: str, **settings: str) -> Iterator[StandIn]:
    """`program` with a certificate of `ca`, once it accepts connections; killed at the end if it still runs."""
    folder.mkdir()
    pair = pki.issue(ca, Subject("stand-in", dns=("localhost",), ips=("127.0.0.1",), usages=("server",)))
    for name, text in (("tls.crt", pair.cert), ("tls.key", pair.key), ("ca.crt", ca.cert)):
        (folder / name).write_bytes(text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(FOLDER)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "STAND_IN_TLS": str(folder),
                "STAND_IN_PORT": str(port),
                "API_TOKEN": TOKEN,
                "PYTHONDONTWRITEBYTECODE": "1",
                **settings,
            },
        )
    try:
        until(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield StandIn(process, port, ca, log)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def api(ca, tmp_path_factory) -> Iterator[StandIn]:
    with started(ca, tmp_path_factory.mktemp("api") / "tls", IN_MEMORY) as server:
        yield server


@pytest.fixture
def own_api(ca, tmp_path) -> Iterator[StandIn]:
    """A server that a test may end."""
    with started(ca, tmp_path / "tls", IN_MEMORY) as server:
        yield server


def gateway(name: str) -> Gateway:
    return Gateway(gatewayId=name, gatewayName=f"Gateway {name}", gatewayApprovalStatus=GatewayApprovalStatus.APPROVED)


def test_a_gateway_is_made_read_changed_and_deleted(api):
    with api.client() as client:
        assert client.getAPIVersion() == "0.18.0"
        assert client.addGateway(token(TOKEN), gateway("seismic")) == "seismic"
        read = client.getGateway(token(TOKEN), "seismic")
        assert (read.gatewayName, read.gatewayApprovalStatus) == ("Gateway seismic", GatewayApprovalStatus.APPROVED)
        read.gatewayName = "renamed"
        assert client.updateGateway(token(TOKEN), "seismic", read)
        assert [one.gatewayName for one in client.getAllGateways(token(TOKEN))] == ["renamed"]
        assert client.deleteGateway(token(TOKEN), "seismic")
        assert client.isGatewayExist(token(TOKEN), "seismic") is False


@pytest.mark.parametrize("wrong", ["", "canary-api-toke", "canary-api-tokens", "schlüssel"])
def test_a_wrong_token_is_refused_and_changes_nothing(api, wrong):
    with api.client() as client:
        with pytest.raises(AuthorizationException, match="STAND-IN"):
            client.addGateway(token(wrong), gateway("intruder"))
        assert client.isGatewayExist(token(TOKEN), "intruder") is False


def test_what_is_not_there_says_that_it_is_a_stand_in(api):
    with api.client() as client, pytest.raises(TException, match="STAND-IN: .*not implemented"):
        client.getUserProjects(token(TOKEN), "default", "someone", 10, 0)


def test_without_tls_there_is_no_answer(api):
    plain = TSocket("127.0.0.1", api.port)
    plain.setTimeout(3000)
    client = Airavata.Client(TBinaryProtocol(TBufferedTransport(plain)))
    plain.open()
    with pytest.raises((TTransportException, TException, EOFError)):
        client.getAPIVersion()
    plain.close()


def test_a_silent_connection_keeps_nobody_waiting(api):
    with socket.create_connection(("127.0.0.1", api.port)):
        began = time.monotonic()
        with api.client() as client:
            assert client.getAPIVersion() == "0.18.0"
        assert time.monotonic() - began < 2


def test_the_log_counts_calls_and_tells_no_secret(own_api):
    with own_api.client() as client:
        for _ in range(3):
            client.isGatewayExist(token(TOKEN), "default")
    log = own_api.log.read_text()
    assert log.count("isGatewayExist") == 3
    assert all("STAND-IN" in line and socket.gethostname() in line for line in log.splitlines())
    assert TOKEN not in log


def test_told_to_end_it_answers_what_was_asked_and_then_nobody(own_api):
    answered = []

    def ask():
        with own_api.client() as client:
            answered.append(client.isGatewayExist(token(TOKEN), "slow"))

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: "isGatewayExist" in own_api.log.read_text())
    began = time.monotonic()
    own_api.process.send_signal(signal.SIGTERM)
    assert own_api.process.wait(10) == 0
    assert time.monotonic() - began < 5
    asking.join()
    assert answered == [False]
    assert not answers(own_api.port)


def test_told_to_end_it_leaves_connections_on_which_nothing_is_asked(own_api):
    with own_api.open() as idle:
        own_api.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert own_api.process.wait(10) == 0
        assert time.monotonic() - began < 5
        assert idle.recv(1) == b""


def test_the_portal_shows_what_the_api_says(ca, api, tmp_path):
    with started(
        ca, tmp_path / "portal", PORTAL, API_SERVER_HOST="localhost", API_SERVER_PORT=str(api.port), GATEWAY_ID="default"
    ) as portal:
        context = ssl.create_default_context(cadata=ca.cert.decode())
        with urllib.request.urlopen(f"https://localhost:{portal.port}/", context=context, timeout=10) as answer:
            page = answer.read().decode()
            assert answer.status == 200
        assert all(words in page for words in ("STAND-IN", "0.18.0", "default", socket.gethostname()))
        assert TOKEN not in page + portal.log.read_text()


def test_a_portal_without_its_api_says_so(ca, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with started(
        ca, tmp_path / "portal", PORTAL, API_SERVER_HOST="localhost", API_SERVER_PORT=str(port), GATEWAY_ID="default"
    ) as portal:
        context = ssl.create_default_context(cadata=ca.cert.decode())
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.urlopen(f"https://localhost:{portal.port}/", context=context, timeout=10)
        assert "STAND-IN" in refused.value.read().decode()


def test_the_stand_in_stays_small():
    folder = Path(__file__).parents[2] / "airavata_runbook" / "stacks" / "stand_in"
    assert sum(len(path.read_text().splitlines()) for path in folder.glob("*.py")) <= 300


def test_its_entry_point_runs_the_role_that_it_is_given(ca, tmp_path):
    main = f"import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_path({str(FOLDER / 'main.py')!r}, run_name='__main__')"
    settings = {"STAND_IN_ROLE": "portal", "API_SERVER_HOST": "localhost", "API_SERVER_PORT": "1", "GATEWAY_ID": "default"}
    with started(ca, tmp_path / "tls", main, **settings) as portal:
        portal.process.send_signal(signal.SIGTERM)
        assert portal.process.wait(10) == 0


def test_who_connects_before_it_ends_is_still_answered(own_api):
    os.kill(own_api.process.pid, signal.SIGSTOP)
    own_api.process.send_signal(signal.SIGTERM)
    with socket.create_connection(("127.0.0.1", own_api.port), 5) as waiting:
        own_api.process.send_signal(signal.SIGCONT)
        context = ssl.create_default_context(cadata=own_api.ca.cert.decode())
        with context.wrap_socket(waiting, server_hostname="localhost") as secure:
            assert secure.version()
    assert own_api.process.wait(10) == 0
