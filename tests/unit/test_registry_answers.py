"""What registries and token services answer: several challenges, other hosts, and answers without end."""

import gzip
import json
import threading

import pytest

from airavata_runbook.images import answer
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.challenge import Challenge, challenges
from airavata_runbook.images.http import Connection, RegistryError
from airavata_runbook.images.registry import Registry
from tests.unit import image_samples as samples
from tests.unit.tls_registry import NAME, TlsRegistry

OTHER = 'Basic realm="Bearer realm=\\"http://evil\\", x"'


def client(server, **options):
    settings = {"name": NAME, "ca": server.ca.cert, "user": server.user, "password": server.password, **options}
    return Registry(Connection(server.url, **settings))


@pytest.mark.parametrize(
    "header, expected",
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a"', [("basic", {"realm": "a"})]),
        ('BASIC Realm = "a"', [("basic", {"realm": "a"})]),
        ("Bearer realm=a,service=b", [("bearer", {"realm": "a", "service": "b"})]),
        (
            'Basic realm="a", Bearer realm="https://b/token",service="c", scope="d e,f"',
            [("basic", {"realm": "a"}), ("bearer", {"realm": "https://b/token", "service": "c", "scope": "d e,f"})],
        ),
        (
            'Bearer realm="https://b/token" , service="c",Basic realm="a"',
            [("bearer", {"realm": "https://b/token", "service": "c"}), ("basic", {"realm": "a"})],
        ),
        # RFC 9110 section 11.6.1's own example.
        (
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [("basic", {"realm": "simple"}), ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'})],
        ),
        ('Negotiate, NTLM, Basic realm="a"', [("negotiate", {}), ("ntlm", {}), ("basic", {"realm": "a"})]),
        ('Negotiate YII+/a==, Bearer realm="a"', [("negotiate", {}), ("bearer", {"realm": "a"})]),
        (', ,Basic realm="a",, charset="UTF-8" ,', [("basic", {"realm": "a", "charset": "UTF-8"})]),
        (OTHER, [("basic", {"realm": 'Bearer realm="http://evil", x'})]),
        ('realm="a", Basic realm="b"', [("basic", {"realm": "b"})]),
        ('Basic realm="open', [("basic", {})]),
        ("\x01\x02;;, Basic", [("basic", {})]),
    ],
)
def test_challenges_are_read_as_the_rfc_says(header, expected):
    assert challenges(header) == [Challenge(scheme, parameters) for scheme, parameters in expected]


@pytest.mark.parametrize("header", ["a " * 100_000, "=" * 100_000, 'a="' * 50_000, "a=b," * 50_000, "\\" * 100_000])
def test_a_header_without_end_is_read_soon(header):
    challenges(header)


@pytest.mark.parametrize(
    "offered",
    [
        ("{bearer}, {basic}",),
        ("{basic}, {bearer}",),
        ("{basic}", "{bearer}"),
        ("{bearer}", "{basic}"),
        ("Negotiate, {basic}", 'NTLM, Digest realm="x", nonce="Bearer realm=y"', "{bearer}"),
        ('Bearer realm="http://evil/token"', "{bearer}"),
        ('Bearer error="invalid_token"', "{bearer}"),
    ],
)
def test_of_several_challenges_the_token_is_taken(offered):
    with TlsRegistry(auth="bearer", challenges=offered) as server:
        assert client(server).manifest_digest("a", "1") is None
        assert len(server.requests) == 3, "refused, a token, answered"


@pytest.mark.parametrize(
    "offered", [("Negotiate", "{basic}"), ('{basic}, Bearer realm="http://evil/token"',), ('bAsIc realm="x", charset="UTF-8"',)]
)
def test_without_a_usable_token_service_the_password_is_used(offered):
    with TlsRegistry(auth="basic", challenges=offered) as server:
        assert client(server).manifest_digest("a", "1") is None
        assert client(server, password="wrong").ping() == 401


def test_a_token_service_without_tls_gets_nothing():
    with TlsRegistry(auth="bearer", realm="http://127.0.0.1:1/token") as server:
        registry = client(server)
        with pytest.raises(RegistryError, match="without TLS"):
            registry.manifest_digest("a", "1")


@pytest.mark.parametrize("realm", ["https://[/token", "https://a:99999999/token", "https://a:b/"])
def test_an_invalid_address_of_a_token_service(realm):
    with TlsRegistry(auth="bearer", realm=realm) as server:
        registry = client(server)
        with pytest.raises(RegistryError, match="invalid URL"):
            registry.manifest_digest("a", "1")


# --- a token service on another host -------------------------------------------------------------------------


def test_a_token_service_on_another_host_is_verified_by_its_own_name(monkeypatch):
    with TlsRegistry(dns=("localhost",)) as service, TlsRegistry(auth="bearer") as server:
        server.realm = f"https://localhost:{service.server.server_port}/token"
        both = server.ca.cert + service.ca.cert
        assert client(server, ca=both).manifest_digest("a", "1") is None
        assert [path.partition("?")[0] for _, path, _ in service.requests] == ["/token"]
        assert service.requests[0][2]["Host"] == f"localhost:{service.server.server_port}"


def test_one_with_the_registrys_name_is_not_it():
    with TlsRegistry() as service, TlsRegistry(auth="bearer") as server:  # both certificates are for registry.lab
        server.realm = f"https://localhost:{service.server.server_port}/token"
        with pytest.raises(RegistryError, match="certificate is not trusted") as raised:
            client(server, ca=server.ca.cert + service.ca.cert).manifest_digest("a", "1")
        assert "localhost" in str(raised.value) and "Hostname mismatch" in str(raised.value)
        assert not service.requests, "no password is sent"


def test_one_of_another_authority_is_refused():
    with TlsRegistry(dns=("localhost",)) as service, TlsRegistry(auth="bearer") as server:
        server.realm = f"https://localhost:{service.server.server_port}/token"
        with pytest.raises(RegistryError, match="certificate is not trusted"):
            client(server).manifest_digest("a", "1")
        assert not service.requests


# --- answers without end -------------------------------------------------------------------------------------

HUGE = b'{"token": "' + b"x" * (5 << 20) + b'"}'


@pytest.mark.parametrize("body, headers", [(HUGE, {}), (gzip.compress(bytes(50 << 20)), {"Content-Encoding": "gzip"})])
def test_an_answer_is_read_only_so_far(monkeypatch, body, headers):
    with TlsRegistry(auth="bearer") as server:
        monkeypatch.setattr("tests.unit.tls_registry._Handler._token", lambda self, query: self._answer(200, body, headers))
        with pytest.raises(RegistryError, match="answer is too large"):
            client(server).manifest_digest("a", "1")
    with TlsRegistry() as server:
        for status in (200, 401, 500):
            monkeypatch.setattr(
                "tests.unit.tls_registry._Handler._serve", lambda self, parts, status=status: self._answer(status, body, headers)
            )
            with pytest.raises(RegistryError, match="answer is too large"):
                client(server).ping()


def test_a_manifest_is_read_only_so_far(tmp_path):
    with TlsRegistry(tamper=b" " * (5 << 20)) as server:
        server.manifests["a"] = {"1": (samples.OCI + "manifest.v1+json", samples.image(samples.layer("x"))[0])}
        with pytest.raises(BadImage, match="manifest is too large"):
            client(server).pull("a", "1", tmp_path / "pulled")


def test_an_answer_that_trickles_ends(monkeypatch):
    monkeypatch.setattr(answer, "WHOLE", 0.2)

    def trickle(self, parts):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            threading.Event().wait(0.05)

    with TlsRegistry() as server:
        monkeypatch.setattr("tests.unit.tls_registry._Handler._serve", trickle)
        with pytest.raises(RegistryError, match="no end after"):
            client(server).ping()


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "ä", "", 5, "[" * 9])
def test_a_token_that_is_no_header_is_not_sent(monkeypatch, token):
    body = json.dumps({"token": token}).encode() if token != "[" * 9 else b"[" * 100_000
    with TlsRegistry(auth="bearer") as server:
        monkeypatch.setattr("tests.unit.tls_registry._Handler._token", lambda self, query: self._answer(200, body))
        with pytest.raises(RegistryError, match="sent no token"):
            client(server).manifest_digest("a", "1")


def test_an_image_larger_than_the_disk_is_not_begun(tmp_path):
    manifest, blobs = samples.image(samples.layer("x"))
    announced = json.loads(manifest)
    announced["layers"][0]["size"] = 1 << 60
    body = json.dumps(announced).encode()
    with TlsRegistry() as server:
        server.manifests["a"] = {"1": (samples.OCI + "manifest.v1+json", body)}
        with pytest.raises(BadImage, match="does not fit on this machine's disk"):
            client(server).pull("a", "1", tmp_path / "pulled")
        assert not [path for path in server.methods("GET") if "/blobs/" in path]


def test_a_chart_is_told_as_such_before_its_blobs_are_pulled(tmp_path):
    manifest, blobs = samples.image(samples.layer("x"))
    chart = json.loads(manifest)
    chart["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    body = json.dumps(chart).encode()
    with TlsRegistry() as server:
        server.blobs["a"] = blobs
        server.manifests["a"] = {"1": (samples.OCI + "manifest.v1+json", body)}
        with pytest.raises(BadImage, match="a Helm chart"):
            client(server).pull("a", "1", tmp_path / "pulled")
        assert not [path for path in server.methods("GET") if "/blobs/" in path]
