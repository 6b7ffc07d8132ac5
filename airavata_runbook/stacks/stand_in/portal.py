"""STAND-IN for Airavata's portal: one page that shows what the API server answers."""

import html
import os
import ssl
from http.server import BaseHTTPRequestHandler

from airavata.api import Airavata
from airavata.model.security.ttypes import AuthzToken
from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus
from common import POD, TLS, Server, api_token, log
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


def fetch() -> tuple[str, list[Gateway]]:
    """The API's version and its gateways; the site's own gateway is created when it is missing."""
    address = os.environ["API_SERVER_HOST"], int(os.environ["API_SERVER_PORT"])
    secure = TSSLSocket.TSSLSocket(*address, cert_reqs=ssl.CERT_REQUIRED, ca_certs=f"{TLS}/ca.crt")
    transport = TTransport.TBufferedTransport(secure)
    client = Airavata.Client(TBinaryProtocol.TBinaryProtocol(transport))
    token, gateway = AuthzToken(api_token(), {}), os.environ["GATEWAY_ID"]
    name, status = f"{gateway} (made by the STAND-IN)", GatewayApprovalStatus.APPROVED
    transport.open()
    try:
        if not client.isGatewayExist(token, gateway):
            client.addGateway(token, Gateway(gatewayId=gateway, gatewayName=name, gatewayApprovalStatus=status))
        return client.getAPIVersion(), client.getAllGateways(token)
    finally:
        transport.close()


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/":
            return self.reply(404, "STAND-IN: there is only one page: /")
        try:
            version, gateways = fetch()
        except Exception as error:
            log(f"the API server: {type(error).__name__}: {error}")
            return self.reply(503, "STAND-IN: the API server does not answer")
        cells = [(html.escape(one.gatewayId), html.escape(one.gatewayName or "")) for one in gateways]
        rows = "".join(f"<tr><td>{gateway}</td><td>{name}</td></tr>" for gateway, name in cells)
        self.reply(200, PAGE.format(version=html.escape(version), pod=html.escape(POD), rows=rows))

    def reply(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8" if text.startswith("<") else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: object) -> None:
        log("portal " + " ".join(map(str, words)))


def run(role: str) -> None:
    Server(("", int(os.environ.get("STAND_IN_PORT", "8443"))), Page, secure=True).run()
