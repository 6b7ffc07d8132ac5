"""A kubeconfig that works from this machine; a TLS server takes the API server's place, because the connection is tested."""

import os
import signal
import time
from pathlib import Path

import pytest
from kubernetes.client import VersionApi
from kubernetes.config import new_client_from_config

from airavata_runbook import cli, lab
from airavata_runbook.cluster import access as kubeconfig
from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.step import step
from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources import Authority, Certificate, Condition, File, Service
from airavata_runbook.site import Site
from airavata_runbook.wellknown import PKI

SERVER = f"""
import http.server, json, ssl
class Version(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        names = "major minor gitVersion gitCommit gitTreeState buildDate goVersion compiler platform"
        body = json.dumps(dict.fromkeys(names.split(), "of the test")).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="{PKI}/ca.crt")
context.load_cert_chain("{PKI}/server.crt", "{PKI}/server.key")
context.verify_mode = ssl.CERT_OPTIONAL
server = http.server.ThreadingHTTPServer(("", 6443), Version)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""
UNIT = "[Service]\nExecStart=/usr/bin/python3 /opt/server.py\n[Install]\nWantedBy=multi-user.target\n"


@step("A TLS server on the API server's port")
def api_server(target):
    yield Authority("ca", "lab-authority")
    yield Certificate(f"{PKI}/admin", Subject("admin", "system:masters", usages=("client",)))
    yield Certificate(f"{PKI}/server", Subject("server", ips=("127.0.0.1", str(target.node.address))))
    yield File("/opt/server.py", SERVER)
    yield File("/etc/systemd/system/api.service", UNIT)
    yield Service("api")
    yield Condition("the server listens", script="ss -tln | grep -q :6443")


def site_with(firewall: str, port: int = 22) -> Site:
    return Site.load(
        {
            "name": "access",
            "ssh": {"user": "operator", "port": port},
            "nodes": [{"name": "one", "address": "10.83.0.11", "interface": "host0", "role": "master"}],
            "lab": {"bridge": "lab3", "network": "10.83.0.0/24", "firewall": firewall},
        }
    )


@pytest.fixture(params=["open", "closed"])
def site(request, tmp_path, monkeypatch):
    """A host with that server and a user with sudo; its firewall is open, or closed for all but SSH."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path))
    site = site_with(request.param)
    try:
        lab.up(site)
        yield site
    finally:
        kubeconfig.stop(site)
        session_of(site).close()
        lab.down(site)


def version(path: Path) -> str:
    return VersionApi(new_client_from_config(str(path))).get_code().git_version


def test_kubeconfig_works_from_here(site, tmp_path, capsys):
    with pytest.raises(StepFailed, match="(?s)no cluster yet.*airavata-runbook run access"):
        kubeconfig.kubeconfig(site)
    api_server(site)
    path = kubeconfig.kubeconfig(site)
    assert version(path) == "of the test"
    assert path.stat().st_mode & 0o777 == 0o600
    if site.lab.firewall == "open":
        assert "server: https://10.83.0.11:6443" in path.read_text()
        assert not kubeconfig.stop(site)
        return
    forward = tmp_path / "sites" / "access" / "forward.json"
    record = forward.read_text()
    kubeconfig.kubeconfig(site)
    assert forward.read_text() == record  # the same process serves again
    pid = int(record.split('"pid": ')[1].split(",")[0])

    # The connection is lost, as by a restart of sshd: the forward reconnects.
    with pytest.raises(HostUnreachable, match="SSH connection was lost"):
        session_of(site).hosts["one"].run("systemctl restart ssh; pkill -u operator sshd; sleep 5")
    session_of(site).close()
    time.sleep(1)
    assert version(path) == "of the test"

    with pytest.raises(StepFailed, match="another site with the same name"):
        kubeconfig._forward(site_with("closed", port=2222))

    os.kill(pid, signal.SIGKILL)  # after a crash the record that is left is recognised as stale
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
    assert version(kubeconfig.kubeconfig(site)) == "of the test"
    assert forward.read_text() != record

    site_file = tmp_path / "access.yaml"
    site_file.write_text('site: {"name": "access", "nodes": [{"name": "one", "address": "10.83.0.11", "role": "master"}]}')
    assert cli.main(["kubeconfig", str(site_file), "--stop"]) == 0
    assert cli.main(["kubeconfig", str(site_file), "--stop"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["SSH forward stopped", "no SSH forward was open"]

    session_of(site).hosts["one"].run("systemctl stop api")
    with pytest.raises(StepFailed, match="API server does not answer"):
        kubeconfig.kubeconfig(site)
    assert not kubeconfig.stop(site)  # no forward was left open


def wait_for(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 10 s"
        time.sleep(0.05)
