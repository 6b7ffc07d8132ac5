"""Another place than the cell or terminal for what a step shows while it runs: the board has one.

It is that of a thread, and of those that `carried` starts work in. So a step that a board plans shows nothing in the cell of
another step, which runs at the same time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Shown(Protocol):
    """Progress of several things by name, as local/bars.py shows it."""

    def heading(self, text: str) -> None:
        """Show another title."""

    def update(self, name: str, text: str, done: float = 0, total: float = 0, *words: str) -> None:
        """Show how much of `total` (0: not known) is done, also in words (count, elapsed), and what is being done now."""

    def close(self) -> bool:
        """Remove it. Whether texts that were shown beside it were removed too."""


class Screen(Protocol):
    """Where it is shown; used by any thread."""

    def bars(self, title: str, names: list[str]) -> Shown | None:
        """The progress of work that begins; None shows none."""

    def say(self, text: str) -> None:
        """Show a text that stays."""

    def show(self, thing: object) -> None:
        """Show a report or a picture."""


class Nowhere:
    """A screen that shows nothing, for whoever reads the reports."""

    def bars(self, title: str, names: list[str]) -> None:
        return None

    def say(self, text: str) -> None:
        pass

    def show(self, thing: object) -> None:
        pass


_screen: ContextVar[Screen | None] = ContextVar("screen", default=None)


def screen() -> Screen | None:
    """That of this thread; None: the cell or terminal."""
    return _screen.get()


@contextmanager
def shown_on(other: Screen) -> Iterator[None]:
    """Within the block, in this thread, steps show what they do on another screen."""
    before = _screen.set(other)
    try:
        yield
    finally:
        _screen.reset(before)


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """The function, to be called once by another thread, with the screen of this one."""
    return partial(copy_context().run, function)
