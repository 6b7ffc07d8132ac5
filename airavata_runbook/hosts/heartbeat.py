"""Heartbeats to a script on a host, which ends when they stop."""

from contextlib import suppress

from airavata_runbook.hosts.ssh_library import paramiko

INTERVAL = 15  # seconds between two heartbeats
TIMEOUT = 60  # seconds without one, after which the script ends


def listener() -> str:
    """Shell that reads heartbeats from standard input until none arrives within TIMEOUT or the input is closed.

    $beat is then empty, or another character than that of a heartbeat, which came in its place.
    """
    return f'while beat=$(timeout {TIMEOUT} dd bs=1 count=1 2>/dev/null 9>&-); [ "$beat" = . ]; do :; done'


def send_heartbeats(channel: paramiko.Channel) -> None:
    """Send heartbeats to the `listener` behind a channel, until the channel is closed or the connection ends."""
    channel.settimeout(INTERVAL)
    with suppress(OSError):  # a lost connection is reported by the step that uses it
        while True:
            try:
                if not channel.recv(1):
                    return
            except TimeoutError:
                channel.sendall(b".")
