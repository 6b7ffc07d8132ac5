"""What 06-verify reports of the portal: its page through the node port of every host."""

import socket
import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPException

from airavata_runbook.chapters.probes import stand_in_note
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.step import everywhere
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


def fetch_page(port: int, name: str, ca: bytes) -> tuple[int, str]:
    """Status and text of the page at a forward, from a server with a certificate for `name`. Raises OSError, HTTPException."""
    context = ssl.create_default_context(cadata=ca.decode())
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
        closing(HTTPConnection(name, port)) as connection,
    ):
        connection.sock = tls
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
