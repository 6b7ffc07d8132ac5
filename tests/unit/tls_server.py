"""HTTPS servers on 127.0.0.1 for tests, each in a thread."""

import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from airavata_runbook.pki.types import Pair


class TlsServer(ThreadingHTTPServer):
    """`with TlsServer(handler, pair) as server:` it serves at server.url. pair: its certificate and key, PEM."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], pair: Pair):
        super().__init__(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            Path(file.name).write_bytes(pair.cert + pair.key)
            context.load_cert_chain(file.name)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "TlsServer":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that refuses our certificate or breaks off is what some tests are about: nothing to print."""
