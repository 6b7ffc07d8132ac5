"""Signs of life to a script on a host, which ends when it hears none."""

import threading
from contextlib import suppress

from airavata_runbook.hosts.ssh_library import paramiko

BEAT = 15  # seconds between two signs of life
SILENCE = 60  # seconds without one, after which the lock is free
LISTEN = 'while [ "$(timeout %(silence)d dd bs=1 count=1 2>/dev/null 9>&-)" = . ]; do :; done'  # on the host, for `beat`


def beat(channel: paramiko.Channel, done: threading.Event) -> None:
    """Signs of life to a script that listens (LISTEN), until `done` or the connection's end."""
    with suppress(OSError):  # the connection is gone: the step at work on it tells
        while not done.wait(BEAT):
            channel.sendall(b".")
