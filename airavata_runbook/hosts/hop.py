"""The machines that a connection goes through: jump hosts, if any, and the host itself."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from airavata_runbook.errors import SiteError
from airavata_runbook.site import ssh_config
from airavata_runbook.site.node import Node, Ssh

LONGEST = 8  # jump hosts; a longer chain goes in circles


@dataclass(frozen=True)
class Hop:
    """One machine to log in to. name: in a message. pin: the field of the site file that can pin its key, if any.

    through: its jump host.
    """

    name: str
    address: str
    ssh: Ssh
    pin: str = "ssh.fingerprint"
    through: "Hop | None" = None

    @property
    def login(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.ssh.user}@{address}:{self.ssh.port}"

    @property
    def where(self) -> str:
        return f"{self.name}, {self.login}"

    @property
    def command(self) -> str:
        """The command line with which an admin connects to it, and adds its key to the file that the runbook reads."""
        options = [f"-oUserKnownHostsFile={self.ssh.known_hosts}"] if self.ssh.known_hosts else []
        options += ["-p", str(self.ssh.port)] if self.ssh.port != 22 else []
        options += ["-J", ",".join(hop.login for hop in self.through.chain)] if self.through else []
        return shlex.join(["ssh", *options, f"{self.ssh.user}@{self.address}"])

    @property
    def chain(self) -> Sequence["Hop"]:
        """The machines from the first jump host to this one."""
        return [*(self.through.chain if self.through else ()), self]


def route(node: Node) -> Hop:
    """The hop to a node, through its jump hosts. Raises SiteError."""
    return Hop(f"host {node.name}", node.ssh.host or str(node.address), node.ssh, through=_jump(node.ssh, 0))


def _jump(ssh: Ssh, depth: int) -> Hop | None:
    """The last jump host before a machine; where ssh.config is true, each may be an alias with a jump host of its own."""
    if not ssh.jump:
        return None
    if depth == LONGEST:
        raise SiteError("too many jump hosts", where="~/.ssh/config", found=ssh.jump, needed=f"at most {LONGEST}, and no circle")
    before, _, last = ssh.jump.rpartition(",")
    host, settings = parse_jump(last, ssh)
    if before:
        settings["jump"] = before
    jump = Ssh(**settings)
    address = jump.host or host
    return Hop(f"jump host {address}", address, jump, "" if depth else "ssh.jump_fingerprint", _jump(jump, depth + 1))


def parse_jump(jump: str, ssh: Ssh) -> tuple[str, dict]:
    """The name of a jump host, `[user@]host[:port]`, and its settings: those of the host (ssh) where it has no others.

    Raises SiteError.
    """
    parts = re.fullmatch(r"(?:(.*)@)?(\[.*\]|[^:]*)(?::([0-9]+))?", jump)
    if not parts:  # the site's model admits no such text; ~/.ssh/config may have it
        raise SiteError("invalid jump host", found=jump, needed="[user@]host[:port]")
    user, host, port = parts[1], parts[2].strip("[]"), parts[3]
    given = {name: value for name, value in {"user": user, "port": int(port or 0)}.items() if value}
    found = ssh_config.settings(host, user) if ssh.config else {}
    shared = {name: getattr(ssh, name) for name in ("user", "key", "passphrase", "known_hosts", "legacy", "config")}
    own = {**found, **given, "host": found.get("host", host), "fingerprint": ssh.jump_fingerprint}
    return host, {**shared, **own}
