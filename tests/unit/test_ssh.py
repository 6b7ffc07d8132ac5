"""A connection that is lost, whatever was under way: one error that names the host. On real hosts: tests/lab, tests/chaos."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import paramiko
import pytest

from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts.host import SESSIONS, Host
from airavata_runbook.site import Site


class CutChannel:
    """A channel of a connection that ends in the middle of a command."""

    def __init__(self):
        self.sent, self.closed = b"", False

    def settimeout(self, seconds):
        pass

    def exec_command(self, command):
        pass

    def sendall(self, chunk):
        self.sent += chunk

    def shutdown_write(self):
        pass

    def makefile(self, mode):
        return io.BytesIO(b"half an ans")

    makefile_stderr = makefile

    def recv_exit_status(self):
        return -1  # what paramiko says when there never was one

    def close(self):
        self.closed = True


def connection(open_session, active=True) -> SimpleNamespace:
    """Stands in for a Connection."""
    transport = SimpleNamespace(open_session=open_session, is_active=lambda: active)
    return SimpleNamespace(transport=transport, active=active, close=lambda: None)


class Working(CutChannel):
    """A channel of a command that takes a moment. most: how many were open at a time."""

    open, most, lock = 0, 0, threading.Lock()

    def __init__(self):
        super().__init__()
        with Working.lock:
            Working.open += 1
            Working.most = max(Working.most, Working.open)

    def recv_exit_status(self):
        time.sleep(0.05)
        return 0

    def close(self):
        with Working.lock:
            Working.open -= 1


def test_no_more_commands_run_at_a_time_than_a_server_lets(monkeypatch):
    host = Host(Site.load("lab").master)
    monkeypatch.setattr(host, "_open", lambda: connection(lambda timeout: Working()))
    with ThreadPoolExecutor(30) as pool:
        assert [result.status for result in pool.map(lambda _: host.run("true"), range(30))] == [0] * 30
    assert 1 < Working.most <= SESSIONS < 10 and Working.open == 0


def test_a_session_that_is_refused_leaves_the_connection_to_the_others(monkeypatch):
    host = Host(Site.load("lab").master)

    def refused(timeout):
        raise paramiko.ChannelException(1, "Administratively prohibited")

    host._connection = connection(refused)
    with pytest.raises(HostUnreachable, match="(?s)refused one more SSH session.*MaxSessions"):
        host.run("true")
    assert host._connection is not None


def test_a_connection_that_was_lost_earlier_takes_no_newer_one_with_it(monkeypatch):
    host = Host(Site.load("lab").master)
    newer = connection(lambda timeout: Working())

    def lost_meanwhile(timeout):
        host._connection = newer  # another thread has connected again
        raise EOFError

    host._connection = connection(lost_meanwhile)
    with pytest.raises(HostUnreachable, match="was lost"):
        host.run("true")
    assert host._connection is newer and host.run("true").status == 0


def refusing(timeout):
    raise paramiko.SSHException("the transport is dead")


@pytest.mark.parametrize("what", ["run", "send", "run, no channel", "send, no channel"])
def test_a_lost_connection_is_one_error_that_names_the_host(monkeypatch, tmp_path, what):
    host, channel = Host(Site.load("lab").master), CutChannel()
    opened = refusing if "no channel" in what else lambda timeout: channel
    monkeypatch.setattr(host, "_open", lambda: connection(opened, active=False))
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(HostUnreachable, match="the SSH connection was lost") as lost:
        if what.startswith("send"):
            host.send(tmp_path / "file", "/opt/file")
        else:
            host.run("true")
    assert lost.value.where == "host master" and lost.value.remedy
    assert channel.closed or "no channel" in what
