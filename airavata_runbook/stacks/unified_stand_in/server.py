"""STAND-IN: HTTP over TLS, a thread a connection; after SIGTERM whoever has asked is still answered."""

import json
import os
import signal
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

MARK = "STAND-IN: this is not Apache Airavata"


def log(text: str) -> None:
    print(f"STAND-IN {os.uname().nodename} {text}", flush=True)


class Server(ThreadingHTTPServer):
    """api: takes method, path, query, token and body; gives status and content (a dict, or text)."""

    daemon_threads, request_queue_size = False, 128

    def __init__(self, port: int, context: ssl.SSLContext, api):
        super().__init__(("", port), Handler)
        self.api = api
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=self.shutdown).start())
        self.serve_forever(0.2)
        self.server_close()

    def finish_request(self, request, client_address) -> None:
        request.settimeout(30)  # seconds; a silent client does not hold a thread
        request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address) -> None:
        pass  # a probe, or a client that hung up


class Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "STAND-IN"

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        status, content = self.server.api.answer(
            self.command, unquote(url.path), dict(parse_qsl(url.query)), token if kind == "Bearer" else "", body
        )
        text = content if isinstance(content, str) else json.dumps(content)
        if url.path.startswith("/api/"):
            log(f"{self.command} {url.path} {status}")
        self.send_response(status)
        self.send_header("X-Airavata-Runbook", MARK)
        self.send_header("Content-Type", "text/html; charset=utf-8" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def log_message(self, *_: object) -> None:
        """Probes would fill the log."""
