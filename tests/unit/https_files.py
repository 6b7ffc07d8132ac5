"""A server of files in this process for tests: TLS, ranges, and what can go wrong on the way; a proxy before it."""

import base64
import re
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from tests.unit.tls_server import TlsServer


@dataclass
class HttpsFiles:
    """files: path → content. login: `user:password` that it wants. breaks: after how many bytes the next responses end.
    statuses: of the next responses, instead, with retry_after. redirect: path → URL. ranges: whether it heeds them. pace: seconds
    before each 10 kB. said: it says how long a file is. requests: (path, Range)."""

    folder: Path
    files: dict[str, bytes]
    login: str = ""
    breaks: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirect: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    retry_after: str = ""
    pace: float = 0
    said: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self):
        ca = pki.new_ca("Files test CA")
        pair = pki.issue(ca, Subject("files", ips=("127.0.0.1",), usages=("server",)))
        (self.folder / "ca.pem").write_bytes(ca.cert)
        self.ca = str(self.folder / "ca.pem")
        self.server = TlsServer(type("Handler", (_Handler,), {"files": self}), pair)
        self.url = self.server.url
        self.server.__enter__()
        return self

    def __exit__(self, *exc):
        self.server.__exit__(*exc)


class _Handler(BaseHTTPRequestHandler):
    files: HttpsFiles

    def log_message(self, *_):
        pass

    def do_GET(self):
        files, path = self.files, self.path.partition("?")[0]
        files.requests.append((path, self.headers.get("Range", "")))
        wanted = "Basic " + base64.b64encode(files.login.encode()).decode()
        if files.statuses:
            self.send_response(files.statuses.pop(0))
            if files.retry_after:
                self.send_header("Retry-After", files.retry_after)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if files.login and self.headers.get("Authorization") != wanted:
            return self.send_error(401)
        if path in files.redirect:
            self.send_response(302)
            self.send_header("Location", files.redirect[path])
            return self.end_headers()
        if path not in files.files:
            return self.send_error(404)
        return self._content(files.files[path])

    do_HEAD = do_GET

    def _content(self, content: bytes):
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.files.ranges else None
        start = int(found[1]) if found else 0
        if found and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if found else 200)
        if self.files.said:
            self.send_header("Content-Length", str(len(content) - start))
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            end = start + self.files.breaks.pop(0) if self.files.breaks else len(content)
            if not self.files.pace:
                return self.wfile.write(content[start:end])
            for at in range(start, end, 10_000):
                time.sleep(self.files.pace)
                self.wfile.write(content[at : min(at + 10_000, end)])


class Proxy(ThreadingHTTPServer):
    """`with Proxy() as proxy:` a proxy at proxy.url that opens tunnels (CONNECT), for `login` only where it is given.

    connected: the HOST:PORT of each.
    """

    daemon_threads = True

    def __init__(self, login: str = ""):
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.login, self.connected = login, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc) -> None:
        self.shutdown()
        self.server_close()


class _Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        wanted = "Basic " + base64.b64encode(self.server.login.encode()).decode()
        if self.server.login and self.headers.get("Proxy-Authorization") != wanted:
            return self.send_error(407)
        self.server.connected.append(self.path)
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            other = {self.connection: there, there: self.connection}
            while True:
                for one in select.select(list(other), [], [])[0]:
                    if not (data := one.recv(65536)):
                        return None
                    other[one].sendall(data)
