"""Progress of long work: one line, rewritten in place, from one thread (nbval compares no more than its end)."""

import sys
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
