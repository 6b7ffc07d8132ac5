"""Keycloak as users outside the cluster reach it: by one address, which is in all tokens, and of it their realm alone."""

import base64
import http.server
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook.chapters import verify_unified
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.chapters.verified_calls import Calls
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from airavata_runbook.site import Site
from airavata_runbook.stacks import node_ports
from tests.unit.tls_server import TlsServer

LAB = Path(__file__).parents[2] / "parameters/lab-unified.yaml"
URL, PORT = "airavata.unified.keycloak_url", "airavata.unified.keycloak_node_port"


def site(overrides=None):
    return Site.load(LAB, overrides or {})


def text(own, secret, key):
    return stack_of(own).settings[secret][key].text(lambda *_: "a-password")


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, "https://10.96.0.11:30443"),
        ({PORT: 31000}, "https://10.96.0.11:31000"),
        ({URL: "https://login.example.org"}, "https://login.example.org"),
    ],
)
def test_one_address_is_the_issuer_for_users_pods_and_the_server(fields, address):
    own = site(fields)
    keycloak = text(own, "keycloak", "keycloak.conf").splitlines()
    assert f"hostname={address}" in keycloak and "hostname-backchannel-dynamic=true" in keycloak
    assert "hostname-admin=https://keycloak.airavata.svc.cluster.local:8443" in keycloak
    assert f"airavata.security.openid-url={address}/realms/default" in text(own, "airavata-server", "site.properties")


def test_the_front_alone_has_a_node_port_and_a_certificate_for_that_address():
    own = site({URL: "https://login.example.org:31000", PORT: 31000})
    assert node_ports(stack_of(own)) == {("tcp", 30930), ("tcp", 31000)}
    certificates = stack_of(own).certificates
    assert {"login.example.org", "master", "worker"} <= set(certificates["keycloak-front-tls"].dns)
    assert set(certificates["keycloak-front-tls"].ips) == {"10.96.0.11", "10.96.0.12"}
    assert not {"login.example.org", "master"} & set(certificates["keycloak-tls"].dns)
    assert "192.168.7.9" in stack_of(site({URL: "https://192.168.7.9"})).certificates["keycloak-front-tls"].ips


def test_the_front_passes_the_gateways_realm_and_nothing_beside_it():
    config = text(site({"airavata.gateway": "seismic", "airavata.unified.realm": str(LAB)}), "keycloak-front", "haproxy.cfg")
    assert re.findall(r"acl open (.*)", config) == ["path /realms/seismic", "path_beg /realms/seismic/ /resources/"]
    assert "http-request deny deny_status 404 if doubtful or !open" in config and "ssl verify required" in config


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({PORT: 30930}, "nodePort: found 30930; needed: one that"),
        ({PORT: 443}, "keycloak_node_port: needs"),
        ({URL: "http://login.example.org"}, "keycloak_url: needs https://HOST"),
        ({URL: "https://login.example.org/auth"}, "keycloak_url: needs https://HOST"),
        ({URL: "https://me:secret@login.example.org"}, "keycloak_url: needs https://HOST"),
        ({URL: "https://registry.lab"}, "keycloak_url: registry.lab is registry.name"),
        ({"airavata.components.keycloak-front.ports.https": 31000}, "needs airavata.unified.keycloak_node_port in its place"),
    ],
)
def test_a_port_or_address_that_cannot_be_is_refused(fields, words):
    with pytest.raises(SiteError) as caught:
        stack_of(site(fields))
    assert words in str(caught.value) and "secret" not in str(caught.value)


def test_a_stack_without_keycloak_has_no_address_of_it():
    with pytest.raises(SiteError, match=r"airavata.unified.keycloak_url: the stack classic does not use it"):
        Site.load(LAB.with_name("lab.yaml"), {URL: "https://login.example.org"})


class Keycloak(http.server.BaseHTTPRequestHandler):
    """The gateway's realm; all else is not there, but for what the test opens."""

    def answer(self):
        status = 200 if self.path in self.server.opened or self.path.startswith("/realms/default/") else 404
        claims = base64.urlsafe_b64encode(json.dumps({"iss": self.server.issuer}).encode()).rstrip(b"=").decode()
        token = {} if self.server.refused else {"access_token": f"head.{claims}.canary-signature"}
        body = json.dumps({"issuer": self.server.issuer, "error_description": "Invalid client", **token}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def keycloak():
    """(server, `look()`: the calls that 06-verify makes to it from outside)."""
    authority = pki.new_ca("Services of test")
    pair = pki.issue(authority, Subject("keycloak-front", dns=("login.example.org",), usages=("server",)))
    with TlsServer(Keycloak, pair) as server:
        server.issuer, server.opened, server.refused = "https://login.example.org/realms/default", (), False
        session = SimpleNamespace(
            site=site({URL: "https://login.example.org"}),
            master=SimpleNamespace(forward=lambda port, address: server.server_port),
            vault=SimpleNamespace(authority=lambda _: authority, secret=lambda _: "canary-client-secret"),
        )

        def look():
            calls = Calls()
            verify_unified._keycloak(session, calls)
            return calls

        yield server, look


def test_a_keycloak_of_which_only_the_realm_is_open_passes(keycloak):
    _, look = keycloak
    calls = look()
    assert calls.problems == [] and "canary" not in str(calls.rows)
    assert ["token from Keycloak, from outside", "issued"] in calls.rows


@pytest.mark.parametrize("path", ["/admin/realms", "/realms/master", "/metrics", "/resources/../admin/realms"])
def test_whatever_is_open_beside_it_is_a_problem(keycloak, path):
    server, look = keycloak
    server.opened = (path,)
    (problem,) = look().problems
    assert path in problem and "200" in problem


def test_a_token_of_another_issuer_is_a_problem(keycloak):
    server, look = keycloak
    server.issuer = "https://keycloak.airavata.svc.cluster.local:8443/realms/default"
    assert [one.partition(":")[0] for one in look().problems] == [
        "issuer of the realm, from outside",
        "token from Keycloak, from outside",
    ]


def test_a_keycloak_that_refuses_the_client_is_said_with_its_words(keycloak):
    server, look = keycloak
    server.refused = True
    with pytest.raises(StepFailed) as caught:
        look()
    assert "Invalid client" in caught.value.found and "canary" not in str(caught.value)
