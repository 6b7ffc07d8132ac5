"""What is shown to a person at a terminal or in a notebook: tables, reports, and the progress of long work."""

import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TextIO

from airavata_runbook.local.screen import Nowhere, Shown, screen

INTERVAL = 5.0  # seconds between two lines of progress in a log
ENOUGH = 1_000_000  # bytes of a transfer before which its rate says little
TRANSFER_INTERVAL = 0.5  # seconds between two looks at a transfer
WIDTH = 110  # columns, where the terminal does not say
SGR = re.compile("\x1b\\[[0-9;]*m")  # a colour (local/colours.py), which takes no column

_reported_to: ContextVar[Callable[[str], None] | None] = ContextVar("reported_to", default=None)


def about(seconds: float) -> str:
    """A duration that is only estimated: "about 40 s", "about 9 min"."""
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def duration(seconds: float) -> str:
    """A duration that was measured: "4.2 s", "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def elapsed(seconds: float) -> str:
    """How long something has been going on: "4 s", "1 min 35 s"."""
    return duration(seconds) if seconds >= 60 else f"{seconds:.0f} s"


def size_text(count: int) -> str:
    """A number of bytes, in MiB or GiB."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"


def text_table(rows: list[list[str]]) -> str:
    """A table for a terminal, in columns; the first row is its head."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    lines = ([cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes, whatever its colours."""
    return len(SGR.sub("", text))


def show(thing: object) -> None:
    """Show a report now: as HTML in a notebook, as text elsewhere."""
    if other := screen():
        other.show(thing)
    elif in_notebook():
        from IPython.display import display

        display(thing)
    else:
        print(thing)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    return _kernel() is not None


def in_live_notebook() -> bool:
    """Whether a person steps through the notebook: the front end that sent this cell can answer input requests. Not for work
    that nobody sees.

    The clients of headless runs (papermill, nbconvert, nbval) send `allow_stdin: false` with every cell
    (https://jupyter-client.readthedocs.io/en/stable/messaging.html#execute); ipykernel keeps it as `_allow_stdin`.
    """
    return not isinstance(screen(), Nowhere) and bool(getattr(_kernel(), "_allow_stdin", False))


def _kernel() -> object | None:
    ipython = sys.modules.get("IPython")
    return getattr(ipython.get_ipython(), "kernel", None) if ipython else None


class ProgressLine:
    """The one writer of progress as text: on a terminal a line that is rewritten in place, in a log a line now and then.

    stream: standard error by default; then nothing is written in a notebook, whose cells would keep it, and for work that is
    shown on another screen. interval: seconds between two lines in a log.
    """

    def __init__(self, stream: TextIO | None = None, interval: float = INTERVAL):
        self.muted = stream is None and (in_notebook() or screen() is not None)
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.interval, self.printed = interval, float("-inf")
        self.width = 0  # columns that the line has now

    def update(self, text: str) -> None:
        """Show `text` as the line; in a log only when the interval has passed."""
        if self.terminal:
            columns = shutil.get_terminal_size((WIDTH + 1, 24)).columns - 1  # the last one stays free, so that nothing wraps
            text = text if len(text) <= columns else text[: columns - 1] + "…"
            self._write("\r" + text.ljust(self.width))
            self.width = len(text)
        elif time.monotonic() - self.printed >= self.interval:
            self._write(text + "\n")
            self.printed = time.monotonic()

    def print(self, text: str) -> None:
        """Write a line that stays; what is updated next comes below it."""
        self.clear()
        self._write(text + "\n")

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self.width:
            self._write("\r" + " " * self.width + "\r")
            self.width = 0

    def _write(self, text: str) -> None:
        if not self.muted:
            with suppress(OSError):  # the terminal was closed: no reason to stop the work
                self.stream.write(text)
                self.stream.flush()


class ProgressFile:
    """A line of progress that a headless notebook's step writes into a file, with a newline, for the runner to show."""

    muted = terminal = False

    def __init__(self, path: str):
        self.path = path

    def update(self, text: str) -> None:
        with suppress(OSError), open(self.path, "w", encoding="utf-8") as file:  # a full disk: the work itself reports it
            file.write(text + "\n")

    def print(self, text: str) -> None:
        """Nothing: what stays is in the step's report, from which the runner prints it."""

    def clear(self) -> None:
        self.update("")


class Transfer:
    """Says how far a transfer is, "12 of 141 MB, 48 MB/s, about 3 s left", now and then; called with numbers of bytes, by any
    thread."""

    def __init__(self, total: int, say: Callable[[str], None]):
        self.total, self.say = total, say
        self.done, self.started = 0, time.monotonic()
        self.said = self.started
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self.done = min(self.done + count, self.total)
            now = time.monotonic()
            if now - self.said < TRANSFER_INTERVAL:
                return
            self.said = now
            self.say(self.text(now - self.started))

    def text(self, seconds: float) -> str:
        """What is said after so many seconds."""
        size = f"{self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB"
        if self.done < ENOUGH:
            return size
        rate = self.done / seconds
        return f"{size}, {rate / 1e6:.1f} MB/s, {about((self.total - self.done) / rate)} left"


@contextmanager
def reported_to(report: Callable[[str], None]) -> Iterator[None]:
    """Within the block, in this thread, `progress` calls `report` with its texts and shows nothing itself: for one of several
    works side by side. What `report` raises ends that work."""
    before = _reported_to.set(report)
    try:
        yield
    finally:
        _reported_to.reset(before)


@contextmanager
def progress(title: str, total: float = 0) -> Iterator[Callable[..., None]]:
    """`with progress("build", total=9) as update: update("etcd", done=3)`, for work in one thread.

    A bar in a live notebook, elsewhere a ProgressLine. total: units of work, or 0 when unknown. An update shows its text and,
    when `done` of `total` units is known, the share done and the seconds left.
    """
    if report := _reported_to.get():
        yield lambda text, done=0: report(f"{title}, {100 * done / total:.0f} %" if total and done else f"{title}: {text}")
        return
    bars, line, started = live_bars("", [title]), ProgressLine(), time.monotonic()

    def update(text: str, done: float = 0) -> None:
        elapsed = time.monotonic() - started
        estimate = f"{elapsed:.0f} s"
        if total and done:
            left = elapsed * (total - done) / done
            estimate = f"{100 * done / total:.0f} %, {elapsed:.0f} s, about {left:.0f} s left"
        if bars:
            bars.update(title, text, done, total, estimate)
        else:
            line.update(f"{title}: {text} ({estimate})")

    try:
        yield update
    finally:
        line.clear()
        if bars:
            bars.close()


def live_bars(title: str, names: list[str], stop: bool = False) -> Shown | None:
    """Progress bars, in a live notebook only; or those of the screen that this thread shows its work on. stop: with a button that
    ends the running cell."""
    if other := screen():
        return other.bars(title, names)
    if not in_live_notebook():
        return None
    from airavata_runbook.local.bars import Bars  # ipywidgets takes long to import

    return Bars(title, names, stop)
