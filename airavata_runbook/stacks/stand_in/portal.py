"""STAND-IN for Airavata's portal: one page that shows what the API server answers."""

import html
import os
import signal
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import server as stand_in
from airavata.api import Airavata
from airavata.model.security.ttypes import AuthzToken
from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus
from thrift.protocol import TBinaryProtocol
from thrift.transport import TSSLSocket, TTransport

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Science gateway (STAND-IN)</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1f2328}}
.note{{background:#fff8c5;border:1px solid #d4a72c;padding:.6rem 1rem;border-radius:6px}}
table{{border-collapse:collapse}}td,th{{border-bottom:1px solid #d0d7de;padding:.3rem 1rem .3rem 0;text-align:left}}</style>
</head><body><h1>Science gateway</h1><p class="note"><strong>STAND-IN.</strong> This page and the API server behind it are not
Apache Airavata: they stand in its place where a site names no image of it.</p>
<p>API version <strong>{version}</strong>, page from pod {pod}.</p><h2>Gateways</h2>
<table><tr><th>Id</th><th>Name</th></tr>{rows}</table></body></html>"""


def ask() -> tuple[str, list]:
    """The API's version and its gateways; the site's own gateway is made when it is missing."""
    transport = TTransport.TBufferedTransport(
        TSSLSocket.TSSLSocket(
            os.environ["API_SERVER_HOST"],
            int(os.environ["API_SERVER_PORT"]),
            cert_reqs=ssl.CERT_REQUIRED,
            ca_certs=f"{stand_in.TLS}/ca.crt",
        )
    )
    client = Airavata.Client(TBinaryProtocol.TBinaryProtocol(transport))
    token, gateway = AuthzToken(os.environ["API_TOKEN"], {}), os.environ["GATEWAY_ID"]
    transport.open()
    try:
        if not client.isGatewayExist(token, gateway):
            client.addGateway(
                token,
                Gateway(
                    gatewayId=gateway,
                    gatewayName=f"{gateway} (made by the STAND-IN)",
                    gatewayApprovalStatus=GatewayApprovalStatus.APPROVED,
                ),
            )
        return client.getAPIVersion(), client.getAllGateways(token)
    finally:
        transport.close()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds; a silent client does not hold a thread

    def setup(self):
        self.request.do_handshake()
        super().setup()

    def do_GET(self):
        if self.path != "/":
            return self.reply(404, "STAND-IN: there is only one page: /")
        try:
            version, gateways = ask()
        except Exception as error:
            stand_in.log(f"the API server: {type(error).__name__}: {error}")
            return self.reply(503, "STAND-IN: the API server does not answer")
        rows = "".join(
            f"<tr><td>{html.escape(one.gatewayId)}</td><td>{html.escape(one.gatewayName or '')}</td></tr>" for one in gateways
        )
        self.reply(200, PAGE.format(version=html.escape(version), pod=html.escape(stand_in.POD), rows=rows))

    def reply(self, status: int, text: str):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8" if text.startswith("<") else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, _, *words):
        stand_in.log("portal " + " ".join(map(str, words)))


class Server(ThreadingHTTPServer):
    daemon_threads = False  # what is being answered is finished before the end

    def handle_error(self, request, client_address):
        """A connection that was only a probe, or a client that hung up."""


def run() -> None:
    server = Server(("", int(os.environ.get("STAND_IN_PORT", "8443"))), Answer)
    # The handshake is the handler's, so that a slow client does not keep others from being accepted.
    server.socket = stand_in.server_context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(0.2)
    server.server_close()
