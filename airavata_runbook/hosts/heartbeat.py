"""Heartbeats to a script on a host, which ends when they stop."""

import threading
from contextlib import suppress

from airavata_runbook.hosts.ssh_library import paramiko

INTERVAL = 15  # seconds between two heartbeats
TIMEOUT = 60  # seconds without one, after which the script ends


def listener() -> str:
    """Shell that reads heartbeats from standard input until none arrives within TIMEOUT or the input is closed."""
    return f'while [ "$(timeout {TIMEOUT} dd bs=1 count=1 2>/dev/null 9>&-)" = . ]; do :; done'


def send_heartbeats(channel: paramiko.Channel, done: threading.Event) -> None:
    """Send heartbeats to the `listener` behind a channel, until `done` or the connection ends."""
    with suppress(OSError):  # a lost connection is reported by the step that uses it
        while not done.wait(INTERVAL):
            channel.sendall(b".")
