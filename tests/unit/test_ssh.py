"""A connection that is lost, whatever was under way: one error that names the host. On real hosts: tests/lab, tests/chaos."""

import io
from types import SimpleNamespace

import paramiko
import pytest

from airavata_runbook.errors import HostUnreachable
from airavata_runbook.site import Site
from airavata_runbook.ssh import Host


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

    def get_transport(self):
        return SimpleNamespace(is_active=lambda: False)

    def close(self):
        self.closed = True


def refusing(timeout):
    raise paramiko.SSHException("the transport is dead")


@pytest.mark.parametrize("what", ["run", "run with data", "send", "run, no channel", "send, no channel"])
def test_a_lost_connection_is_one_error_that_names_the_host(monkeypatch, tmp_path, what):
    site = Site.load("lab")
    host, channel = Host(site, site.master), CutChannel()
    opened = refusing if "no channel" in what else lambda timeout: channel
    monkeypatch.setattr(host, "_open", lambda: SimpleNamespace(get_transport=lambda: SimpleNamespace(open_session=opened)))
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(HostUnreachable, match="the connection to the host was lost") as lost:
        if what.startswith("send"):
            host.send(tmp_path / "file", "/opt/file")
        else:
            host.run("true", b"data" if "data" in what else None)
    assert lost.value.where == "host master" and lost.value.remedy
    assert channel.closed or "no channel" in what
