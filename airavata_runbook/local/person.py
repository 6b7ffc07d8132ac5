"""Who works here, for people to read."""

import getpass
import os
import socket

from airavata_runbook.errors import printable


def person() -> str:
    """USER@MACHINE; on a JupyterHub the name that the user logged in with there."""
    try:
        user = os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = f"user {os.getuid()}"
    return printable(f"{user}@{socket.gethostname()}")
