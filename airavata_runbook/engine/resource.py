"""The protocol of a resource: probe (look), change (compare), and what a change is made of."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import NotYet
from airavata_runbook.hosts.host import Host

__all__ = ["ABSENT", "ApiResource", "Awaited", "Change", "Context", "Found", "NotYet", "Resource", "quote"]

ABSENT = 44  # exit status of a probe that found nothing there; any other than 0 says that it could not look


@dataclass(frozen=True)
class Change:
    """One action that brings a resource to what it should be; the same in a plan and in a run.

    summary: a few words. detail: a difference to read, without secrets. script: POSIX shell run as root on the
    host, or call: a function that does it by an API; what it returns, if anything, says what went otherwise than
    shown. shown: the command as the reader shall see it (default: the script). touches: paths and units it alters,
    so that services that read them restart. waits: it only waits for a condition and changes nothing itself.
    """

    summary: str
    detail: str = ""
    script: str = ""
    call: Callable[[], str | None] | None = None
    shown: str = ""
    touches: frozenset[str] = frozenset()
    waits: bool = False

    @property
    def command(self) -> str:
        return self.shown or self.script


@dataclass
class Context:
    """Where a resource is compared. touched: what changes of this run (or plan) on this host alter so far."""

    host: Host
    session: Session
    planning: bool = False
    touched: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Found:
    """What a probe printed: bytes of standard output, and its exit status. Or answer: what an API said, or why it did not."""

    stdout: bytes = b""
    status: int = 0
    answer: object = None

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def absent(self) -> bool:
        """Whether the probe saw that there is nothing. Raises ValueError when it could not look: that is not the same."""
        if self.status not in (0, ABSENT):
            raise ValueError(f"exit status {self.status}")
        return self.status == ABSENT

    def answered(self) -> Any:
        """The API's answer; raises what kept it from answering."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Resource(Protocol):
    """One thing that should be true. label: its kind and name, unique within a step on a host."""

    @property
    def label(self) -> str: ...

    def probe(self) -> str:
        """A shell fragment that prints the present state and changes nothing; empty when an API is asked instead."""

    def change(self, found: Found, context: Context) -> Change | None:
        """What has to be done, or None when the resource is as it should be. Raises NotYet, StepFailed."""


@runtime_checkable
class ApiResource(Protocol):
    """A resource whose present state an API tells; those of a step are asked in parallel."""

    def ask(self, context: Context) -> object:
        """The present state; it, or the exception that is raised, comes back as Found.answer."""


@runtime_checkable
class Awaited(Protocol):
    """A resource that changes nothing and only waits. awaited: what for, in words; deadline: seconds."""

    awaited: str
    deadline: float


def quote(*words: object) -> str:
    """Words as one safe piece of a shell command."""
    return shlex.join(str(word) for word in words)
