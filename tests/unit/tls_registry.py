"""A registry in this process for tests: TLS, the parts of the distribution API that a client uses, and its quirks."""

import base64
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from tests.unit.image_samples import sha
from tests.unit.tls_server import TlsServer

NAME = "registry.lab:5000"


@dataclass
class TlsRegistry:
    """auth: none, basic or bearer. redirect: URL prefix that blobs are redirected to. absolute: Location with NAME.

    challenges: of a 401, a WWW-Authenticate header each, where {bearer} and {basic} stand for its own. realm: of its tokens,
    where that is not its own. requests: what was asked, as (method, path, headers). broken: number of uploads to break off first.
    """

    auth: str = "none"
    user: str = "admin"
    password: str = "canary-password"
    redirect: str = ""
    absolute: bool = True
    broken: int = 0
    challenges: tuple[str, ...] = ()
    realm: str = ""
    quiet: bool = False  # no Docker-Content-Digest
    dns: tuple[str, ...] = ("registry.lab",)
    ips: tuple[str, ...] = ()
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    manifests: dict[str, dict[str, tuple[str, bytes]]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict]] = field(default_factory=list)
    tamper: bytes = b""

    def __enter__(self):
        self.ca = pki.new_ca("Test CA")
        pair = pki.issue(self.ca, Subject("registry", dns=self.dns, ips=self.ips, usages=("server",)))
        self.server = TlsServer(type("Handler", (_Handler,), {"registry": self}), pair)
        self.url = self.server.url
        self.server.__enter__()
        return self

    def __exit__(self, *exc):
        self.server.__exit__(*exc)

    def methods(self, method: str) -> list[str]:
        return [path for name, path, _ in self.requests if name == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: TlsRegistry
    timeout = 10
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.request.settimeout(10)

    def do_GET(self):
        registry, parts = self.registry, urlsplit(self.path)
        registry.requests.append((self.command, self.path, dict(self.headers)))
        if parts.path == "/token":
            return self._token(parse_qs(parts.query))
        if not self._allowed():
            return None
        return self._serve(parts)

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self, parts):
        if parts.path == "/v2/":
            return self._answer(200, b"{}")
        repository, _, rest = parts.path.removeprefix("/v2/").rpartition("/")
        repository, _, kind = repository.rpartition("/")
        if self.command in ("POST", "PUT") and "/blobs/uploads/" in parts.path:
            return self._upload(parts)
        if kind == "manifests":
            return self._manifest(repository, rest)
        return self._blob(repository, rest)

    def _manifest(self, repository, reference):
        known = self.registry.manifests.setdefault(repository, {})
        if self.command == "PUT":
            body = self._body()
            missing = [
                entry["digest"]
                for entry in [json.loads(body)["config"], *json.loads(body)["layers"]]
                if entry["digest"] not in self.registry.blobs.get(repository, {})
            ]
            if missing:
                return self._error(400, "MANIFEST_BLOB_UNKNOWN", missing[0])
            known[reference] = known[sha(body)] = (self.headers["Content-Type"], body)
            return self._answer(201, b"", {"Docker-Content-Digest": sha(body)})
        if reference not in known:
            return self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        kind, body = known[reference]
        digest = {} if self.registry.quiet else {"Docker-Content-Digest": sha(body)}
        return self._answer(200, body + self.registry.tamper, {"Content-Type": kind, **digest})

    def _blob(self, repository, digest):
        body = self.registry.blobs.get(repository, {}).get(digest)
        if body is None:
            return self._error(404, "BLOB_UNKNOWN", "blob unknown")
        if self.registry.redirect and self.command == "GET":
            return self._answer(307, b"", {"Location": f"{self.registry.redirect}/{digest}?signature=canary-signature"})
        return self._answer(200, body)

    def _upload(self, parts):
        repository, query = parts.path.split("/blobs/uploads/")[0].removeprefix("/v2/"), parse_qs(parts.query)
        held = self.registry.blobs.setdefault(repository, {})
        if self.command == "POST":
            [source], [digest] = query.get("from", [""]), query.get("mount", [""])
            if digest in self.registry.blobs.get(source, {}):
                held[digest] = self.registry.blobs[source][digest]
                return self._answer(201, b"")
            prefix = f"https://{self.headers['Host']}" if self.registry.absolute else ""
            return self._answer(202, b"", {"Location": f"{prefix}/v2/{repository}/blobs/uploads/7?_state=x"})
        if self.registry.broken:
            self.registry.broken -= 1
            self.close_connection = True
            return self.connection.close()
        body, digest = self._body(), query["digest"][0]
        if sha(body) != digest:
            return self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        held[digest] = body
        return self._answer(201, b"", {"Docker-Content-Digest": digest})

    def _allowed(self):
        registry, given = self.registry, self.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
        challenge = {
            "basic": 'Basic realm="lab"',
            "bearer": f'Bearer realm="{registry.realm or registry.url + "/token"}",service="lab",scope="{self._scope()}"',
        }
        offered = [text.format(**challenge) for text in registry.challenges] or challenge.get(registry.auth)
        good = {"none": given, "basic": basic, "bearer": f"Bearer token-for {self._scope()}"}[registry.auth]
        if given in (good, f"{good},push" if registry.auth == "bearer" and self._scope() else good):
            return True
        self._error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": offered})
        return False

    def _scope(self):
        parts = urlsplit(self.path).path.split("/")
        if len(parts) < 5:
            return ""
        return f"repository:{'/'.join(parts[2:-2]).removesuffix('/blobs')}:" + (
            "pull" if self.command in ("GET", "HEAD") else "pull,push"
        )

    def _token(self, query):
        basic = "Basic " + base64.b64encode(f"{self.registry.user}:{self.registry.password}".encode()).decode()
        if self.headers.get("Authorization", basic) != basic:
            return self._error(401, "UNAUTHORIZED", "incorrect username or password")
        return self._answer(200, json.dumps({"token": f"token-for {query['scope'][0]}"}).encode())

    def _body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _error(self, status, code, message, headers=None):
        self._answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers)

    def _answer(self, status, body, headers=None):
        if self.command in ("POST", "PUT") and status == 401:
            self.close_connection = True
        self.send_response(status)
        for name, values in {"Content-Length": str(len(body)), **(headers or {})}.items():
            for value in [values] if isinstance(values, str) else values:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
