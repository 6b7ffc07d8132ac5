"""Whether a host answers: its SSH server greets. Nobody logs in."""

import socket

from airavata_runbook.errors import SiteError
from airavata_runbook.hosts.hop import route
from airavata_runbook.site.node import Node

TIMEOUT = 3.0  # seconds to connect, and for the greeting


def why_silent(node: Node) -> str:
    """Why the SSH server of a host does not answer, or that of the first jump host on the way to it; "" when it does."""
    try:
        first = route(node).chain[0]
        with socket.create_connection((first.address, first.ssh.port), TIMEOUT) as connection:
            connection.settimeout(TIMEOUT)
            return "" if connection.recv(4) == b"SSH-" else "no SSH server"
    except SiteError as error:
        return error.message
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return (error.strerror or str(error)).lower()
