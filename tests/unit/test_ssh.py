"""A connection that is lost, whatever was under way: one error that names the host. On real hosts: tests/lab, tests/chaos."""

import io
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import paramiko
import pytest

from airavata_runbook.errors import HostKeyRefused, HostUnreachable, SiteError
from airavata_runbook.hosts import client as ssh_client
from airavata_runbook.hosts.client import open_client
from airavata_runbook.hosts.host import SESSIONS, Host
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Ssh
from tests.unit.ssh_server import host_with

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOarEmxFbFIsYZQ9XOzF5G8Wyis4sGsySBlVNf0FBqRz"


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


@pytest.fixture
def offered(monkeypatch):
    """What was offered to hosts, none of which answers."""
    attempts = []

    def connect(client, address, **options):
        attempts.append(options)
        raise OSError("no route to host")

    monkeypatch.setattr(paramiko.SSHClient, "connect", connect)
    monkeypatch.setattr(ssh_client, "_prompt_socket", lambda address, port: None)
    return attempts


def unreachable(**ssh) -> str:
    with pytest.raises(HostUnreachable) as refused:
        open_client("host one", Ssh(**ssh), "one.example.org")
    return str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        b"one ssh-ed25519 AAA",
        b"one ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAA/IOarEmxF",
        b"\xff\xfe\x00\x01 binary",
        b"@cert-authority *.example.org " + KEY.encode(),
        b"|1|c2hvcnQ=|c2hvcnQ= " + KEY.encode(),
        b"|1| " + KEY.encode(),
    ],
)
def test_a_broken_line_of_known_hosts_is_named(tmp_path, offered, line):
    known = tmp_path / "known_hosts"
    known.write_bytes(b"# hosts\n\none.example.org " + KEY.encode() + b"\n" + line + b"\ntwo " + KEY.encode() + b"\n")
    with pytest.raises(HostKeyRefused) as refused:  # `check` calls it "host-key"
        open_client("host one", Ssh(known_hosts=str(known)), "one.example.org")
    message = str(refused.value)
    assert "the known_hosts file is invalid" in message and f"{known}, line 4:" in message and "host one" in message
    assert "ssh.known_hosts" in message and not offered


def test_a_file_of_known_hosts_that_may_not_be_read_is_named(tmp_path, offered, monkeypatch):
    known = tmp_path / "known_hosts"
    known.write_text(f"one {KEY}\n")

    def denied(client, path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(paramiko.SSHClient, "load_host_keys", denied)
    message = unreachable(known_hosts=str(known))
    assert f"{known}: PermissionError" in message and not offered


@pytest.mark.parametrize("line", ["", "# a comment of three words", "one", f"one,two {KEY}", "one ssh-unknown AAAA"])
def test_other_lines_of_known_hosts_are_in_nobody_s_way(tmp_path, offered, line):
    (tmp_path / "known_hosts").write_text(f"{line}\n")
    assert "the host does not answer" in unreachable(known_hosts=str(tmp_path / "known_hosts")) and len(offered) == 1


def test_paths_of_keys_and_known_hosts_start_at_the_project_s_folder(tmp_path, offered, monkeypatch):
    (tmp_path / "parameters").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "known").write_text("one ssh-ed25519 AAA\n")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert f"{tmp_path}/known, line 1" in unreachable(known_hosts="known")
    unreachable(key="keys/site", known_hosts="parameters")
    assert offered[0]["key_filename"] == str(tmp_path / "keys" / "site")
    with pytest.raises(SiteError, match="invalid path"):
        open_client("host one", Ssh(key="~nosuchuser/id"), "one.example.org")


@pytest.mark.parametrize(
    "error",
    [
        IsADirectoryError(21, "Is a directory", "/home/me/.ssh"),
        PermissionError(13, "denied", "/home/me/id"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
)
def test_a_private_key_that_cannot_be_read_is_no_silent_host(offered, monkeypatch, error):
    def connect(client, address, **options):
        raise error

    monkeypatch.setattr(paramiko.SSHClient, "connect", connect)
    message = unreachable(key="/home/me/id", known_hosts="/nowhere")
    assert "the private key file is invalid" in message and "/home/me" in message
