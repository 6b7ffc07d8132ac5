"""One look at a host: everything that is asked of it as root, in one round trip."""

import secrets
from collections.abc import Mapping

from airavata_runbook.errors import NotRoot
from airavata_runbook.hosts.batch import Answer, batch, split
from airavata_runbook.hosts.host import Host


def answers(host: Host, fragments: Mapping[str, str]) -> dict[str, Answer]:
    """What each of the shell fragments (name → script) came to, by name.

    Raises HostUnreachable, NotRoot when root's shell did not start, and StepFailed when the answer was cut short.
    """
    nonce = secrets.token_hex(8)
    result = host.run(batch(fragments, nonce))
    if result.status > 0 and nonce.encode() not in result.stdout:  # the first thing that the script says
        user = host.node.ssh.user
        raise NotRoot(
            "the user cannot work as root",
            where=f"host {host.name}, user {user}",
            found=result.complaint or f"nothing was said (exit status {result.status})",
            needed="root, or sudo without a password",
            remedy="give root a shell: `chsh -s /bin/sh root`"
            if user == "root"
            else f"install sudo, and put the line `{user} ALL=(ALL) NOPASSWD: ALL` into /etc/sudoers.d/{user}",
        )
    return split(result.stdout, nonce, fragments)
