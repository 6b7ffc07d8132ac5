"""What 06-verify reports of the portal: its page through the node port of every host, and as a browser shows it."""

import base64
import hashlib
import html
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from airavata_runbook.chapters.probes import stand_in_note
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.report import Picture
from airavata_runbook.engine.target import everywhere
from airavata_runbook.errors import StepFailed
from airavata_runbook.local.browser import show_page
from airavata_runbook.wellknown import SERVICES_CA


def portal_pages(session: Session) -> tuple[list[list[str]], list[str]]:
    """(rows of host, node port, response and note; a line for each host whose node port does not answer with the page)."""
    rows, problems, note = [], [], stand_in_note(session, "portal")
    site, authority = session.site, session.vault.authority(SERVICES_CA).cert
    for node in everywhere(site):
        port = session.hosts[node.name].forward(site.airavata.portal_node_port, str(node.address))
        try:
            status, page = fetch_page(port, str(node.address), authority)
            right = status == 200 and site.airavata.gateway in page and note in page
            problems += [] if right else [f"{node.name}: HTTP {status}: {page[:200]}"]
        except (OSError, HTTPException) as error:
            problems.append(f"{node.name}: no page received: {error}")
        rows.append([node.name, str(site.airavata.portal_node_port), f"HTTP 200, names gateway {site.airavata.gateway}", note])
    return rows, problems


def page_in_browser(session: Session, program: str) -> tuple[list[list[str]], Picture]:
    """(rows of address, page and note; the screenshot of the portal through the master's node port). Raises StepFailed.

    program: the browser's path. It trusts the key whose certificate was verified here a moment before, for this host.
    """
    site, note = session.site, stand_in_note(session, "portal")
    address, port = str(site.master.address), site.airavata.portal_node_port
    forward = session.master.forward(port, address)
    try:
        key = served_key(forward, address, session.vault.authority(SERVICES_CA).cert)
    except OSError as error:
        raise StepFailed(
            "no page received from the portal", where=f"{address}:{port}", found=str(error), retryable=True
        ) from None
    shown = show_page(program, address, port, forward, key)
    text = html.unescape(re.sub(r"(?s)<(style|script)\b.*?</\1>|<[^>]*>", " ", shown.text))
    missing = [one for one in (site.airavata.gateway, note) if one not in text]
    if missing:
        raise StepFailed(
            "unexpected page of the portal in a browser",
            where=f"https://{address}:{port}/",
            found=" ".join(text.split())[:500] or "an empty page",
            needed=", ".join(missing),
            retryable=True,
        )
    row = [f"https://{address}:{port}/", f"shown by Chromium, names gateway {site.airavata.gateway}", note]
    picture = Picture(
        name="portal.png",
        text=f"Screenshot of the portal{f' ({note})' if note else ''}",
        png=base64.b64encode(shown.png).decode(),
    )
    return [["address", "page", "note"], row], picture


def fetch_page(port: int, name: str, ca: bytes) -> tuple[int, str]:
    """Status and text of the page at a forward, from a server with a certificate for `name`. Raises OSError, HTTPException."""
    with _tls(port, name, ca) as tls, closing(HTTPConnection(name, port)) as connection:
        connection.sock = tls
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def served_key(port: int, name: str, ca: bytes) -> str:
    """The digest (SHA-256, base64) of the server's public key, after its certificate was verified for `name`. Raises OSError."""
    with _tls(port, name, ca) as tls:
        public = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"").public_key()
    return base64.b64encode(
        hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    ).decode()


@contextmanager
def _tls(port: int, name: str, ca: bytes) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cadata=ca.decode())
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        yield tls
