"""Progress of long work: one line, rewritten in place, from one thread (nbval compares no more than its end)."""

import sys
import threading
import time
from typing import Self


class Progress:
    """`with Progress("build", total=9) as progress: progress.update("etcd", done=3)`.

    total: units of work, or None when unknown. On a terminal the line is rewritten with `\r`; elsewhere a
    line is printed at most every `quiet` seconds, so that a log stays readable. Everything goes to `stream`
    (default: stderr).
    """

    def __init__(self, title: str, total: float | None = None, stream=None, quiet: float = 5.0):
        self.title, self.total, self.quiet = title, total, quiet
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.started = time.monotonic()
        self.printed = 0.0
        self.width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc) -> None:
        if self.terminal and self.width:
            self._write("\r" + " " * self.width + "\r")

    def update(self, text: str, done: float | None = None) -> None:
        """Show `text` and, when `done` of `total` units is known, the share done and the seconds left."""
        now = time.monotonic()
        line = f"{self.title}: {text}{self._estimate(now, done)}"
        if self.terminal:
            self._write("\r" + line.ljust(self.width))
            self.width = len(line)
        elif now - self.printed >= self.quiet or not self.printed:
            self._write(line + "\n")
            self.printed = now

    def _estimate(self, now: float, done: float | None) -> str:
        elapsed = now - self.started
        if not self.total or not done:
            return f" ({elapsed:.0f} s)"
        left = elapsed * (self.total - done) / done
        return f" ({100 * done / self.total:.0f} %, {elapsed:.0f} s, about {left:.0f} s left)"

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def about(seconds: float) -> str:
    """A duration that is only estimated: "about 40 s", "about 9 min"."""
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


WIDTH = 110


def text_table(rows: list[list[str]]) -> str:
    """A table for a terminal, in columns; the first row is its head."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def show(thing: object) -> None:
    """Show a report now: as HTML in a notebook, as text elsewhere."""
    if in_notebook():
        from IPython.display import display

        display(thing)
    else:
        print(thing)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return bool(ipython and ipython.get_ipython() and hasattr(ipython.get_ipython(), "kernel"))


class StepProgress:
    """One line, rewritten in place, that says what each host is doing; in the end it reads the same in every run."""

    def __init__(self, title: str, hosts: list[str]):
        self.title, self.doing = title, dict.fromkeys(sorted(hosts), "")
        self.lock = threading.Lock()
        self.live = in_notebook() or sys.stdout.isatty()

    def __enter__(self) -> "StepProgress":
        return self

    def __call__(self, host: str, what: str) -> None:
        with self.lock:
            self.doing[host] = what
            if self.live:
                self._line(f"{self.title}: " + "; ".join(f"{name}: {now}" for name, now in self.doing.items() if now))

    def __exit__(self, *exc) -> None:
        if self.live:
            self._line(self.title + (f": {', '.join(self.doing)}" if self.doing else ""))
            sys.stdout.write("\n")

    def _line(self, text: str) -> None:
        sys.stdout.write("\r" + (text if len(text) <= WIDTH else text[: WIDTH - 1] + "…").ljust(WIDTH))
        sys.stdout.flush()
