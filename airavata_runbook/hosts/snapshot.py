"""What a fact of a host is, and a snapshot of many; the facts themselves are in facts.py."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from airavata_runbook.errors import ForwardForbidden, StepFailed
from airavata_runbook.hosts.host import Host
from airavata_runbook.site.node import Node

T = TypeVar("T")


class Fact(ABC, Generic[T]):
    """One fact: command (POSIX shell, run as root in the C locale), and the parser of its standard output.

    A fact that depends on the site sets `command` when it is made.
    """

    command: str

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def parse(self, text: str) -> T:
        """The value. Raises ValueError or LookupError for unexpected output."""


@dataclass(frozen=True)
class HostSnapshot:
    """Facts of one host at one moment; `snapshot[Cpus]` is the value of the fact Cpus.

    values: of each fact its value, or the StepFailed that says why it could not be parsed. started, finished: when the round
    trip began and ended by this machine's clock, in seconds since the epoch. forbidden: the error of a forward that the host's
    SSH server forbids, where one was tried.
    """

    node: Node
    values: Mapping[type[Fact[Any]], Any]
    started: float = -math.inf
    finished: float = math.inf
    forbidden: ForwardForbidden | None = None

    @classmethod
    def parse(
        cls,
        node: Node,
        facts: Iterable[Fact[Any]],
        texts: Mapping[str, str],
        started: float = -math.inf,
        finished: float = math.inf,
    ) -> "HostSnapshot":
        """The snapshot of a node from what the facts' commands printed (texts: the fact's name → its output)."""
        return cls(node, {type(fact): _value(fact, texts.get(fact.name, "")) for fact in facts}, started, finished)

    def __getitem__(self, fact: type[Fact[T]]) -> T:
        """Raises StepFailed when that fact could not be parsed, and KeyError when it was not gathered."""
        value = self.values[fact]
        if isinstance(value, StepFailed):
            raise value
        return value

    @property
    def complete(self) -> bool:
        """Whether all facts could be parsed."""
        return not any(isinstance(value, StepFailed) for value in self.values.values())

    def get(self, fact: type[Fact[T]]) -> T | None:
        """The value of a fact, None when it could not be parsed."""
        value = self.values[fact]
        return None if isinstance(value, StepFailed) else value


def gather(host: Host, facts: Sequence[Fact[Any]]) -> HostSnapshot:
    """The `facts` of a host as they are now, in one round trip.

    Raises HostUnreachable, NotRoot, and StepFailed when the output was cut short. A fact that could not be parsed raises when
    it is taken from the snapshot.
    """
    started = time.time()
    answers = host.run_batch({fact.name: fact.command for fact in facts})
    texts = {name: answer.text for name, answer in answers.items()}
    return HostSnapshot.parse(host.node, facts, texts, started, time.time())


def _value(fact: Fact[T], text: str) -> T | StepFailed:
    try:
        return fact.parse(text)
    except (ValueError, LookupError):
        iproute = fact.command.split()[0] in ("ip", "ss")
        return StepFailed(
            "unexpected probe output",
            where=f"fact {fact.name}",
            found=text[:200],
            needed=f"the output of: {fact.command}",
            remedy="install ip and ss: package iproute2, or iproute where packages are rpm"
            if iproute
            else "run that command on the host as root and fix what it reports",
        )
