"""Connecting with the SDK: whom it trusts, and what is said when it cannot."""

import socket
import time

import pytest
from thrift.Thrift import TException

from airavata_runbook.cluster.airavata_api import connected, token
from airavata_runbook.errors import StepFailed
from airavata_runbook.pki import issue as pki
from tests.unit.test_stand_in import lab_properties, started


def test_a_server_of_another_authority_is_not_trusted(tmp_path):
    ca = pki.new_ca("Test CA")
    with started(ca, tmp_path / "tls", "api-server", lab_properties()) as server:
        with connected("127.0.0.1", server.port, ca.cert) as client:
            assert client.getAPIVersion() == "0.18.0"
        with pytest.raises(StepFailed), connected("127.0.0.1", server.port, pki.new_ca("Another CA").cert):
            pass


def test_a_certificate_must_name_the_address_that_was_asked(tmp_path):
    ca = pki.new_ca("Test CA")
    with (
        started(ca, tmp_path / "tls", "api-server", lab_properties()) as server,
        pytest.raises(StepFailed),
        connected("127.0.0.2", server.port, ca.cert),
    ):
        pass


def test_nobody_there_is_one_clear_message():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    began = time.monotonic()
    with (
        pytest.raises(StepFailed, match=rf"(?s)does not answer.*127\.0\.0\.1:{port}.*api-server") as failed,
        connected("127.0.0.1", port, pki.new_ca("Test CA").cert),
    ):
        pass
    assert failed.value.retryable
    assert time.monotonic() - began < 5


def test_a_connection_that_is_lost_in_a_call_is_explained(tmp_path):
    ca = pki.new_ca("Test CA")
    with (
        started(ca, tmp_path / "tls", "api-server", lab_properties()) as server,
        pytest.raises(StepFailed, match="connection to api-server was lost"),
        connected("127.0.0.1", server.port, ca.cert) as client,
    ):
        server.process.kill()
        client.isGatewayExist(token("any"), "default")


def test_a_call_that_the_server_refuses_is_told_as_such(tmp_path):
    """Thrift's generated errors take no attribute, not even the traceback that contextlib sets."""
    ca = pki.new_ca("Test CA")
    with (
        started(ca, tmp_path / "tls", "api-server", lab_properties()) as server,
        pytest.raises(TException, match="AuthorizationException: .*token"),
        connected("127.0.0.1", server.port, ca.cert) as client,
    ):
        client.isGatewayExist(token("not-the-token"), "default")


def test_a_token_carries_the_claims_that_airavata_wants():
    made = token("value", gateway="default")
    assert (made.accessToken, made.claimsMap) == ("value", {"userName": "runbook", "gatewayID": "default"})
