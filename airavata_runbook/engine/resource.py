"""The protocol of a resource: probe its state, compare it with the desired one, and describe the change."""

import shlex
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol, TypeVar, runtime_checkable

from airavata_runbook.cluster.session import Session
from airavata_runbook.footprint import Footprint
from airavata_runbook.hosts.batch import Answer
from airavata_runbook.hosts.host import Host

T = TypeVar("T")
ABSENT = 44  # exit status of a probe that found nothing; any other than 0 means that the probe failed


@dataclass(frozen=True)
class Change:
    """One action that brings a resource to its desired state; the same in a plan and in a run.

    summary: a few words. detail: a readable diff, without secrets. script: POSIX shell run as root on the host; or call: a
    function that makes the change through an API; text that it returns is a remark, that it was made in another way than shown.
    shown: the command for the report (default: the script). touches: the paths and units that it modifies, so that services
    that read them restart. waits: it only waits for a condition and changes nothing. beside: its call may run side by side with
    those of the resources next to it. creates: nothing of the resource is there (as a probe says with ABSENT).
    """

    summary: str
    detail: str = ""
    script: str = ""
    call: Callable[[], object] | None = None
    shown: str = ""
    touches: frozenset[str] = frozenset()
    waits: bool = False
    beside: bool = False
    creates: bool = False

    @property
    def command(self) -> str:
        return self.shown or self.script


class Together:
    """What several resources want to know in one probe: `together(key, ask)` is what the first of them got from `ask`."""

    def __init__(self) -> None:
        self._asking = Lock()
        self._asked: dict[Hashable, Future] = {}

    def __call__(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Safe to use from several threads: the others wait. Where `ask` failed for the first, each asks by itself."""
        with self._asking:
            first = key not in self._asked
            answer: Future[T] = self._asked.setdefault(key, Future())
        if not first and not answer.exception():
            return answer.result()
        try:
            got = ask()
        except BaseException as error:
            if first:
                answer.set_exception(error)
            raise
        if first:
            answer.set_result(got)
        return got


def ignore(text: str) -> None:
    """Nobody watches."""


@dataclass
class Context:
    """Where a resource is compared. touched: paths and units modified on this host so far by this run or plan.

    together: of one probe. notify: shows a text to whoever watches the step, while it goes on. say: shows what the resource is
    doing now, in a few words, from any thread.
    """

    host: Host
    session: Session
    planning: bool = False
    touched: set[str] = field(default_factory=set)
    together: Together = field(default_factory=Together)
    notify: Callable[[str], None] = ignore
    say: Callable[[str], None] = ignore


@dataclass(frozen=True)
class Found(Answer):
    """A probe's standard output (bytes) and exit status; or answer: what `ask` returned, or the exception that it raised."""

    answer: object = None

    @property
    def absent(self) -> bool:
        """Whether the probe found nothing. Raises ValueError when the probe failed, which is not the same."""
        if self.status not in (0, ABSENT):
            raise ValueError(f"exit status {self.status}")
        return self.status == ABSENT

    def answered(self) -> Any:
        """What `ask` returned; raises the exception that it raised."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Resource(Protocol):
    """A part of a host's or the cluster's desired state. label: its kind and name, unique within a step on a host."""

    @property
    def label(self) -> str: ...

    def footprint(self) -> Footprint:
        """What it makes or changes on a host or in the cluster, as data; of a reset's resources, what they remove."""

    def probe(self) -> str:
        """A shell fragment that prints the current state and changes nothing; empty for an ApiResource."""

    def change(self, found: Found, context: Context) -> Change | None:
        """The change that is needed, or None. Raises NotYet, StepFailed, and ValueError for unexpected output."""


@runtime_checkable
class ApiResource(Protocol):
    """A resource whose state is read from an API, and from the host if it has a probe; those of a step in parallel."""

    def probe(self) -> str:
        return ""

    def ask(self, context: Context) -> object:
        """The current state; it, or the exception that is raised, becomes Found.answer."""


@runtime_checkable
class Awaited(Protocol):
    """A resource that changes nothing and only waits. awaited: for what, in words. deadline: seconds."""

    awaited: str
    deadline: float


def quote(*words: object) -> str:
    """The words quoted for a shell command."""
    return shlex.join(str(word) for word in words)
