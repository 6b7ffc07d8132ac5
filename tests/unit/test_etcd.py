"""What is told of an etcd that does not answer: by the real client, at a port where nobody listens."""

import socket

import pytest

from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources import Context, EtcdKey
from airavata_runbook.site import Site


@pytest.fixture
def session(monkeypatch):
    """A master whose etcd is down; it stands in for the SSH connection and the vault."""
    site = Site.load({"name": "some", "nodes": [{"name": "head", "address": "192.0.2.11", "role": "master"}]})
    authority = pki.new_ca("Test CA")
    client = pki.issue(authority, Subject("etcd-client", usages=("client",)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    opened = Session(site)
    monkeypatch.setattr(opened.master, "forward", lambda _: port)
    monkeypatch.setattr(opened.vault, "fetch", lambda _: None)
    monkeypatch.setattr(opened.vault, "pair", lambda *_: client)
    monkeypatch.setattr(opened.vault, "authority", lambda _: authority)
    return opened


def test_an_etcd_that_does_not_answer_is_told_in_a_run_and_foreseen_in_a_plan(session):
    key = EtcdKey("/gateway/network/config", {"Network": "10.244.0.0/16"})
    with pytest.raises(NotYet, match="etcd answers"):
        key.ask(Context(session.master, session, planning=True))
    with pytest.raises(StepFailed, match="(?s)etcd does not answer.*no answer over the SSH connection.*run again") as told:
        key.ask(Context(session.master, session))
    assert told.value.retryable and "on head: systemctl status etcd" in told.value.remedy
