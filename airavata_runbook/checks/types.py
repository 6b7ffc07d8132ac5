"""What a check is, by what it looks at, and what it finds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from airavata_runbook.hosts.snapshot import HostSnapshot
from airavata_runbook.hosts.ssh_transport import Transport
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node


class Problem(NamedTuple):
    """What a check's function finds: the present state, the required one, and what the admin can do.

    note: shown, and not counted as a failure.
    """

    found: str
    needed: str
    remedy: str
    note: bool = False


@dataclass(frozen=True)
class Finding:
    """A problem with the check's name and the host's, or "site". ignored: named in the site's ignore_checks.

    failed: a run ends with it.
    """

    check: str
    host: str
    found: str
    needed: str
    remedy: str
    note: bool = False
    ignored: bool = False

    @property
    def failed(self) -> bool:
        return not (self.note or self.ignored)

    @property
    def marked(self) -> str:
        """What was found, marked where it is not a failure."""
        return self.found + "  (ignored)" * self.ignored + "  (note)" * (self.note and not self.ignored)


@dataclass(frozen=True)
class Check:
    """name: as in ignore_checks. requirement: what has to be true, for the table of chapter 01."""

    name: str
    requirement: str


@dataclass(frozen=True)
class SessionCheck(Check):
    """A condition of the SSH session that all checks of hosts use. error: what is raised when it is not met."""

    error: type[Exception]


@dataclass(frozen=True)
class ConnectionCheck(Check):
    """A check of the SSH connection to one host. Its function takes the node and the connection."""

    find: Callable[[Node, Transport], Iterable[Problem]]


@dataclass(frozen=True)
class HostCheck(Check):
    """A check of one host. Its function takes the site and the host's facts."""

    find: Callable[[Site, HostSnapshot], Iterable[Problem]]


@dataclass(frozen=True)
class PeerCheck(Check):
    """A comparison of hosts. Its function takes one host's facts and those of all others."""

    find: Callable[[HostSnapshot, Sequence[HostSnapshot]], Iterable[Problem]]


@dataclass(frozen=True)
class SiteCheck(Check):
    """A check without any host. Its function takes the site, and whether it may query remote registries."""

    find: Callable[[Site, bool], Iterable[Problem]]
