"""What is reported about the SSH connections themselves; failures to connect are errors of their own (hosts/client.py)."""

from collections.abc import Iterator

from airavata_runbook.checks.types import Problem
from airavata_runbook.hosts.host_key import files_of
from airavata_runbook.hosts.known_hosts import KnownHosts
from airavata_runbook.hosts.ssh_transport import Transport
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node


def check_algorithms(node: Node, connection: Transport) -> Iterator[Problem]:
    """A note for a host with ssh.legacy, with the algorithms negotiated; other hosts have only those of today."""
    if node.ssh.legacy:
        yield Problem(
            f"ssh.legacy is set; negotiated: {connection.negotiated}",
            "algorithms of today",
            "update the host's sshd, then leave out ssh.legacy",
            note=True,
        )


def check_known_hosts(site: Site, query: bool) -> Iterator[Problem]:
    """A note for each line that could not be parsed, in the files that decide about the key of a host or jump host."""
    used = [node.ssh for node in site.nodes if not node.ssh.fingerprint or (node.ssh.jump and not node.ssh.jump_fingerprint)]
    for line in KnownHosts.read(dict.fromkeys(file for ssh in used for file in files_of(ssh))).skipped:
        yield Problem(f"skipped: {line}", "the format of `ssh-keyscan`", "correct or remove that line", note=True)
