"""A connection that is lost, whatever was under way: one error that names the host. On real hosts: tests/lab, tests/chaos."""

import io
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import paramiko
import pytest

from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts.host import SESSIONS, Host
from airavata_runbook.site import Site
from tests.unit.ssh_server import host_with


class CutChannel:
    """A channel of a connection that ends in the middle of a command."""

    def __init__(self):
        self.sent, self.answer, self.closed = b"", b"half an ans", False

    def settimeout(self, seconds):
        pass

    def exec_command(self, command):
        pass

    def sendall(self, chunk):
        self.sent += chunk

    def shutdown_write(self):
        pass

    def recv(self, size):
        answer, self.answer = self.answer[:size], self.answer[size:]
        return answer

    def recv_stderr(self, size):
        return b""

    def makefile_stderr(self, mode):
        return io.BytesIO()

    def recv_exit_status(self):
        return -1  # what paramiko says when there never was one

    def close(self):
        self.closed = True


def connection(open_session, active=True) -> SimpleNamespace:
    """Stands in for a Connection."""
    transport = SimpleNamespace(open_session=open_session, open_channel=refusing, is_active=lambda: active)
    return SimpleNamespace(transport=transport, active=active, close=lambda: None)


def test_no_more_commands_run_at_a_time_than_a_server_lets():
    with host_with() as (host, server), ThreadPoolExecutor(30) as pool:
        assert [result.status for result in pool.map(lambda _: host.run("sleep 0.2"), range(30))] == [0] * 30
    assert 1 < server.most <= SESSIONS < 10 and server.running == 0


def test_a_session_that_is_refused_leaves_the_connection_to_the_others(monkeypatch):
    host = Host(Site.load("lab").master)

    def refused(timeout):
        raise paramiko.ChannelException(1, "Administratively prohibited")

    host._connection = connection(refused)
    with pytest.raises(HostUnreachable, match="(?s)refused one more SSH session.*MaxSessions"):
        host.run("true")
    assert host._connection is not None


def test_a_connection_that_was_lost_earlier_takes_no_newer_one_with_it():
    with host_with() as (host, _):
        newer = host._open()

        def lost_meanwhile(timeout):
            host._connection = newer  # another thread has connected again
            raise EOFError

        connect, host._open = host._open, lambda: connection(lost_meanwhile)
        with pytest.raises(HostUnreachable, match="was lost"):
            host.run("true")
        host._open = connect
        assert host._connection is newer and host.run("true").status == 0


def refusing(*_, **__):
    raise paramiko.SSHException("the transport is dead")


@pytest.mark.parametrize("what", ["run", "send", "start", "forward", "run, no channel", "send, no channel", "start, no channel"])
def test_a_lost_connection_is_one_error_that_names_the_host(monkeypatch, tmp_path, what):
    host, channel = Host(Site.load("lab").master), CutChannel()
    opened = refusing if "no channel" in what else lambda timeout: channel
    monkeypatch.setattr(host, "_open", lambda: connection(opened, active=False))
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(HostUnreachable, match="the SSH connection was lost") as lost:
        if what.startswith("send"):
            host.send(tmp_path / "file", "/opt/file")
        elif what.startswith("start"):
            host.start("true")
        elif what == "forward":
            host.forward(1)
        else:
            host.run("true")
    assert lost.value.where == "host master" and lost.value.remedy
    assert channel.closed or "no channel" in what or what == "forward"
