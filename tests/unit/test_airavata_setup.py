"""airavata-setup, as the Jobs run it: what is there stays as it is, and what is missing is made once."""

import base64
import http.server
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from airavata_runbook.mirror.recipes import FILES
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from tests.unit.tls_server import TlsServer

SETUP = FILES / "airavata-setup/setup"
REALM = Path(__file__).parents[2] / "parameters/lab-unified-realm.json"


class Servers(http.server.BaseHTTPRequestHandler):
    """The parts of Keycloak and of Airavata's server that it calls; changes go to server.made."""

    def answer(self):
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        there, made = self.server.there, self.server.made
        if path.endswith("/token"):
            if "client_credentials" not in body and "password=admin-password" not in body:
                return 401, {"error": "invalid_grant"}
            return 200, {"access_token": self.server.token}
        if path == "/realms/default/protocol/openid-connect/certs":
            return 200, {"keys": []}
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return 401, {}
        if self.command != "GET":
            made.append((self.command, path, json.loads(body)))
            if path == "/admin/realms/master":
                self.server.attributes = json.loads(body)["attributes"]
            there.add(
                path if self.command == "PUT" else f"{path}/{json.loads(body)['realm']}" if path == "/admin/realms" else path
            )
            return 201, None
        if path == "/admin/realms/master":
            return 200, {"realm": "master", "attributes": self.server.attributes}
        if path == "/admin/realms/default":
            return (200, {}) if path in there else (404, {"error": "Realm not found."})
        if path == "/admin/realms/default/clients":
            (name,) = query["clientId"]
            known = name == "realm-management" or path in there
            return 200, [{"id": f"id-of-{name}", "clientId": name}] if known else []
        if path.endswith("/service-account-user"):
            return 200, {"id": "the-user"}
        if match := re.search("/roles/([a-z-]+)$", path):
            return (404, {}) if match[1] in self.server.missing else (200, {"id": match[1], "name": match[1]})
        if path == "/api/v1/gateways/default:exists":
            return 200, {"exists": "/api/v1/gateways" in there}
        return 500, {"error": f"unexpected: {path}"}

    def handle_any(self):
        status, content = self.answer()
        self.send_response(status)
        text = b"" if content is None else json.dumps(content).encode()
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = handle_any

    def log_message(self, *_):
        pass


def token_of(issuer):
    return f"head.{base64.urlsafe_b64encode(json.dumps({'iss': issuer}).encode()).rstrip(b'=').decode()}.signature"


@pytest.fixture
def servers(tmp_path):
    authority = pki.new_ca("Services of test")
    pair = pki.issue(authority, Subject("keycloak", dns=("localhost",), usages=("server",)))
    for name, content in {
        "tls/ca.crt": authority.cert.decode(),
        "secrets/admin-password": "admin-password\n",
        "secrets/client-secret": "canary-client-secret",
        "realm/realm.json": REALM.read_text(),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with TlsServer(Servers, pair) as server:
        server.root, server.there, server.made, server.missing = tmp_path, set(), [], set()
        server.attributes = {"kept": "as it is"}
        server.token = token_of(f"https://localhost:{server.server_port}/realms/default")
        yield server


def run(servers, what):
    url = f"https://localhost:{servers.server_port}"
    environment = {
        "SETUP_ROOT": str(servers.root),
        "GATEWAY": "default",
        "KEYCLOAK_URL": url,
        "SERVER_URL": url,
        "ADMIN_USER": "admin",
    }
    done = subprocess.run([sys.executable, SETUP, what], env=os.environ | environment, capture_output=True, text=True, timeout=60)
    assert "canary" not in done.stdout + done.stderr
    return done


def paths(servers):
    return [(method, path) for method, path, _ in servers.made]


def test_a_missing_realm_is_imported_once_and_the_client_is_seen_to_each_time(servers):
    done = run(servers, "realm")
    assert done.returncode == 0 and "realm default imported" in done.stdout, done.stderr
    assert servers.made[0] == ("POST", "/admin/realms", json.loads(REALM.read_text()))
    assert ("POST", "/admin/realms/default/clients") in paths(servers)
    client = servers.made[1][2]
    assert client["secret"] == "canary-client-secret" and client["serviceAccountsEnabled"]
    assert not client["standardFlowEnabled"] and not client["directAccessGrantsEnabled"] and not client["publicClient"]
    servers.made.clear()
    assert "left as it is" in run(servers, "realm").stdout
    assert ("POST", "/admin/realms") not in paths(servers)
    assert ("PUT", "/admin/realms/default/clients/id-of-airavata-runbook") in paths(servers)


def test_the_realm_of_administrators_has_its_own_address_and_keeps_its_other_settings(servers):
    """Its own is closed at the address of users, which is that of all realms without one."""
    run(servers, "realm")
    url = f"https://localhost:{servers.server_port}"
    change = ("PUT", "/admin/realms/master", {"attributes": {"kept": "as it is", "frontendUrl": url}})
    assert servers.made[-1] == change, "the last: tokens of the administrator end with it"
    servers.made.clear()
    run(servers, "realm")
    assert ("PUT", "/admin/realms/master") not in paths(servers)


def test_the_client_may_only_read_users(servers):
    run(servers, "realm")
    roles = {path: [one["name"] for one in body] for _, path, body in servers.made if "role-mappings" in path}
    assert roles == {
        "/admin/realms/default/users/the-user/role-mappings/realm": ["admin-ro"],
        "/admin/realms/default/users/the-user/role-mappings/clients/id-of-realm-management": ["view-users", "query-users"],
    }


def test_a_refused_administrator_is_explained(servers):
    (servers.root / "secrets/admin-password").write_text("canary-of-another")
    done = run(servers, "realm")
    assert done.returncode == 1 and "refuses its administrator's password" in done.stderr and not servers.made


def test_a_realm_without_the_servers_role_is_explained(servers):
    servers.missing = {"admin-ro"}
    done = run(servers, "realm")
    assert done.returncode == 1 and "no role admin-ro" in done.stderr


def test_a_gateway_is_created_where_there_is_none(servers):
    assert "gateway default created" in run(servers, "gateway").stdout
    assert paths(servers) == [("POST", "/api/v1/gateways")] and servers.made[0][2]["gatewayId"] == "default"
    servers.made.clear()
    assert "left as it is" in run(servers, "gateway").stdout and not servers.made


@pytest.mark.parametrize("issuer", ["https://localhost:1/realms/default", "https://localhost:{port}/realms/other"])
def test_an_issuer_that_pods_do_not_reach_is_named_and_not_left_to_a_401(servers, issuer):
    servers.token = token_of(issuer.format(port=servers.server_port))
    done = run(servers, "gateway")
    assert done.returncode == 1 and not servers.made
    assert f"pods do not reach {issuer.format(port=servers.server_port)}" in done.stderr and "keycloak_url" in done.stderr
