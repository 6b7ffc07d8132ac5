"""Heartbeats to a script on a host, which ends when it receives none."""

import threading
from contextlib import suppress

from airavata_runbook.hosts.ssh_library import paramiko

INTERVAL = 15  # seconds between two heartbeats
TIMEOUT = 60  # seconds without one, after which the script ends


def listener() -> str:
    """Shell that reads heartbeats from standard input, and ends when none arrives within TIMEOUT or the input is closed."""
    return f'while [ "$(timeout {TIMEOUT} dd bs=1 count=1 2>/dev/null 9>&-)" = . ]; do :; done'


def send_heartbeats(channel: paramiko.Channel, done: threading.Event) -> None:
    """Heartbeats to the `listener` behind a channel, until `done` or the connection's end."""
    with suppress(OSError):  # the connection is gone: the step that uses it reports that
        while not done.wait(INTERVAL):
            channel.sendall(b".")
