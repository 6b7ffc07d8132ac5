"""The STAND-IN of Airavata's unified server as its clients see it: a process of its own with TLS, and a Keycloak beside it.

Rows are kept in memory here: what it says to MariaDB is seen by the tests of a lab.
"""

import base64
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from airavata_runbook.pki import issue as pki
from airavata_runbook.pki import keystore
from airavata_runbook.pki.types import Subject
from tests.unit.tls_server import TlsServer

FOLDER = Path(__file__).parents[2] / "airavata_runbook/stacks/unified_stand_in"
PASSWORD = "keystore-password"
# The server itself, with another place for rows.
IN_MEMORY = """
import sys
sys.path.insert(0, sys.argv[1])
import store

class Memory:
    def __init__(self, *_): self.rows = {}
    def validate(self): pass
    def query(self, *_): return []
    def put(self, kind, name, gateway, content): self.rows[kind, name] = gateway, content
    def get(self, kind, name): return self.rows.get((kind, name), (0, None))[1]
    def all(self, kind, gateway="%"): return [(name, row[1]) for (of, name), row in self.rows.items() if of == kind]
    def delete(self, kind, name): del self.rows[kind, name]

store.Store = Memory
import main
main.main()
"""


class Keycloak(http.server.BaseHTTPRequestHandler):
    """Its keys and its users, as the real one answers."""

    def do_GET(self):
        numbers = self.server.key.public_key().public_numbers()
        words = {
            name: base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()
            for name, value in (("n", numbers.n), ("e", numbers.e))
        }
        found = {"keys": [{"kid": "one", "kty": "RSA", "alg": "RS256", "use": "sig", **words}]}
        if self.path.startswith("/admin/realms/default/users"):
            found = [{"username": "ann"}]
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def authority():
    return pki.new_ca("Services of test")


@pytest.fixture(scope="module")
def keycloak(authority):
    pair = pki.issue(authority, Subject("keycloak", dns=("localhost",), usages=("server",)))
    with TlsServer(Keycloak, pair) as server:
        server.key = rsa.generate_private_key(65537, 2048)
        yield server


def settings(folder, port, url, **others):
    found = {
        "armeria.ports[0].port": port,
        "armeria.ssl.key-store": folder / "server.p12",
        "armeria.ssl.key-store-password": PASSWORD,
        "spring.datasource.url": "jdbc:mariadb://mariadb:3306/airavata",
        "spring.datasource.username": "airavata",
        "spring.datasource.password": "database-password",
        "iam.server.url": url,
        "airavata.security.openid-url": f"{url}/realms/default",
        "credential.store.keystore.url": "credentials.p12",
        "credential.store.keystore.alias": "airavata",
        "credential.store.keystore.password": PASSWORD,
        **others,
    }
    (folder / "site.properties").write_text("# a comment\n" + "".join(f"{key}={value}\n" for key, value in found.items()))
    options = f"-Xmx1g -Dairavata.config.dir={folder} -Dspring.config.additional-location=file:{folder}/site.properties"
    return {**os.environ, "JAVA_TOOL_OPTIONS": options, "STAND_IN_CA": str(folder / "ca.crt")}


class StandIn:
    def __init__(self, port, authority, keycloak, url):
        self.port, self.authority, self.keycloak, self.url = port, authority, keycloak, url

    def token(self, issuer="/realms/default", key=None, age=60, roles=("admin-ro",)):
        claims = {"iss": issuer if "://" in issuer else self.url + issuer, "exp": time.time() + age}
        claims |= {"preferred_username": "ann", "realm_access": {"roles": list(roles)}}
        return jwt.encode(claims, key or self.keycloak.key, "RS256", {"kid": "one"})

    def call(self, method, path, body=None, token=None):
        """(status, content, headers)"""
        request = urllib.request.Request(
            f"https://localhost:{self.port}{path}", json.dumps(body).encode() if body else None, method=method
        )
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        context = ssl.create_default_context(cadata=self.authority.cert.decode())
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as response:
                return response.status, json.load(response), response.headers
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers


@pytest.fixture(scope="module")
def stand_in(authority, keycloak, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand-in")
    pair = pki.issue(authority, Subject("airavata-server", dns=("localhost",), usages=("server",)))
    (folder / "server.p12").write_bytes(keystore.server_store(pair.cert, pair.key, "server", PASSWORD))
    (folder / "credentials.p12").write_bytes(keystore.secret_key_store(bytes(range(32)), "airavata", PASSWORD))
    (folder / "ca.crt").write_bytes(authority.cert)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"https://localhost:{keycloak.server_port}"
    process = subprocess.Popen(
        [sys.executable, "-c", IN_MEMORY, FOLDER], env=settings(folder, port, url), stdout=subprocess.DEVNULL
    )
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    found = StandIn(port, authority, keycloak, url)
    found.folder = folder
    yield found
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_every_response_says_that_it_is_none_of_airavata(stand_in):
    for path in ("/actuator/health", "/api/v1/gateways", "/nothing"):
        _, _, headers = stand_in.call("GET", path)
        assert "STAND-IN" in headers["X-Airavata-Runbook"], path


def test_health_needs_no_token_and_the_api_does(stand_in):
    assert stand_in.call("GET", "/actuator/health")[:2] == (200, {"status": "UP"})
    status, content, _ = stand_in.call("GET", "/api/v1/gateways")
    assert status == 401 and "Missing authorization metadata" in content["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"age": -60},
        {"issuer": "https://elsewhere.example/realms/default"},
        {"key": rsa.generate_private_key(65537, 2048)},
        {"issuer": "/realms/default/../other"},
    ],
    ids=["expired", "another issuer", "another key", "a path in the realm"],
)
def test_a_token_that_keycloak_did_not_issue_is_refused(stand_in, wrong):
    assert stand_in.call("GET", "/api/v1/gateways", token=stand_in.token(**wrong))[0] == 401


def test_a_project_lives_in_a_gateway(stand_in):
    token = stand_in.token()
    assert stand_in.call("GET", "/api/v1/gateways/default:exists", token=token)[1] == {"exists": False}
    assert stand_in.call("POST", "/api/v1/projects?gateway_id=default", {"name": "one"}, token)[0] == 400
    stand_in.call("POST", "/api/v1/gateways", {"gatewayId": "default"}, token)
    assert stand_in.call("GET", "/api/v1/gateways/default:exists", token=token)[1] == {"exists": True}
    assert stand_in.call("GET", "/api/v1/gateways", token=token)[1]["gateways"][0]["gatewayId"] == "default"
    name = stand_in.call("POST", "/api/v1/projects?gateway_id=default", {"name": "one"}, token)[1]["projectId"]
    assert stand_in.call("GET", f"/api/v1/projects/{name}", token=token)[1]["name"] == "one"
    assert stand_in.call("DELETE", f"/api/v1/projects/{name}", token=token)[0] == 200
    assert stand_in.call("GET", f"/api/v1/projects/{name}", token=token)[0] == 404


def test_a_credential_needs_the_keystore(stand_in):
    token, path = stand_in.token(), "/api/v1/credentials/passwords"
    body = {"gatewayId": "default", "passwordCredential": {"password": "canary", "description": "mine"}}
    name = stand_in.call("POST", path, body, token)[1]["token"]
    assert stand_in.call("GET", f"/api/v1/credentials/{name}?gateway_id=default", token=token)[1]["description"] == "mine"
    store = stand_in.folder / "credentials.p12"
    content = store.read_bytes()
    store.write_bytes(keystore.secret_key_store(bytes(32), "airavata", PASSWORD))
    assert stand_in.call("GET", f"/api/v1/credentials/{name}?gateway_id=default", token=token)[0] == 500
    store.unlink()
    assert stand_in.call("POST", path, body, token)[0] == 500
    assert stand_in.call("GET", "/actuator/health")[0] == 200  # as the real server
    store.write_bytes(content)
    assert stand_in.call("DELETE", f"{path}/{name}", token=token)[0] == 200


def test_users_are_shown_to_administrators(stand_in):
    assert stand_in.call("GET", "/api/v1/iam/users?offset=0&limit=5", token=stand_in.token())[1]["users"][0]["userId"] == "ann"
    assert stand_in.call("GET", "/api/v1/iam/users", token=stand_in.token(roles=()))[0] == 403


def test_it_ends_when_a_setting_is_missing(tmp_path):
    environment = settings(tmp_path, 1, "https://localhost", **{"spring.datasource.password": ""})
    done = subprocess.run([sys.executable, FOLDER / "main.py"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "STAND-IN" in done.stderr and "spring.datasource.password" in done.stderr, done.stderr
