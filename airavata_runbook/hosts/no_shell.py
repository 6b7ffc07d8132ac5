"""Why a root shell did not start on a host: what the host printed instead, and the remedy for it."""

import re

from airavata_runbook.errors import NotRoot
from airavata_runbook.hosts.frame import last_lines
from airavata_runbook.site.node import Ssh

NO_PASSWORD = "install sudo, and add the line `{user} ALL=(ALL) NOPASSWD: ALL` to /etc/sudoers.d/{user}"
SHELL = "give {user} a shell: `usermod --shell /bin/bash {user}`"
# What sudo, sshd, PAM, the shell nologin and the images of clouds print, each with its remedy. sudo speaks English here
# (frame.command). Sources: sudo 1.9, plugins/sudoers; OpenSSH 9.2, session.c; shadow 4.13, nologin.c; cloud-init 22.4,
# config/cc_ssh.py.
REMEDIES = (
    (r"must have a tty", "add the line `Defaults:{user} !requiretty` to /etc/sudoers.d/{user}"),
    (r"login as the user \W?(?P<other>[\w.-]+)", "set ssh.user to {other} in the site file"),
    (
        r"password (has |is )?expired|change your password|Password change required",
        "set a new password: `passwd {user}`, as root",
    ),
    (r"account is currently not available|restricted", SHELL),
    (r"sftp connections only", "remove ForceCommand for {user} from the host's sshd_config, or set ssh.user to another user"),
)


def not_root(name: str, ssh: Ssh, printed: bytes, status: int) -> NotRoot:
    """The error when a command of the user did not reach root's shell. name: the host's. printed: by the host instead."""
    return NotRoot(
        "the user cannot run commands as root",
        where=f"host {name}, user {ssh.user}",
        found=last_lines(printed) or f"no output (exit status {status})",
        needed="root, or sudo without a password",
        remedy=_remedy(ssh.user, printed.decode(errors="replace")),
    )


def _remedy(user: str, printed: str) -> str:
    for pattern, remedy in REMEDIES:
        if found := re.search(pattern, printed, re.IGNORECASE):
            return remedy.format(user=user, **found.groupdict())
    without_a_word = not printed.strip()  # as /bin/false; sudo always says why
    return (SHELL if user == "root" or without_a_word else NO_PASSWORD).format(user=user)
