"""The progress of a step on its hosts: how far each is, what it is doing, and for how long."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from airavata_runbook.errors import counted, printable
from airavata_runbook.kernel_env import PROGRESS
from airavata_runbook.local.screen import screen
from airavata_runbook.local.terminal import ProgressFile, ProgressLine, elapsed, in_notebook, live_bars

TICK = 1.0  # seconds between two looks at the clock


@dataclass
class HostProgress:
    """What a host of a step is doing, and that `done` of its `total` resources (0: not known yet) are in order. started, ended:
    on the monotonic clock."""

    doing: str
    done: int
    total: int
    started: float
    ended: float | None = None

    @property
    def count(self) -> str:
        return f"{self.done}/{self.total}" if self.total else ""

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started


class StepProgress:
    """What each host of a step is doing: one bar per host in a live notebook, elsewhere a line. For any thread."""

    def __init__(self, title: str, hosts: list[str]):
        self.title, self.started = title, time.monotonic()
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._hosts: dict[str, HostProgress] = {}
        self._said: list[str] = []
        self._bars = live_bars(title, hosts, stop=True)
        path = os.environ.get(PROGRESS) if in_notebook() else None
        self._line = ProgressFile(path) if path else ProgressLine()
        self._clock = threading.Thread(target=self._tick, name=f"progress of {title}", daemon=True)
        if self._bars or not self._line.muted:
            self._clock.start()

    def __call__(self, host: str, what: str, done: int = 0, total: int = 0) -> None:
        """Say what a host is doing now, and that `done` of its `total` resources are in order."""
        with self._lock:
            before = self._hosts.get(host)
            self._hosts[host] = HostProgress(what, done, total, before.started if before else time.monotonic())
            self._show(host)

    def end(self, host: str) -> None:
        """Say that a host is through, or cannot go on."""
        with self._lock:
            if host in self._hosts:
                self._hosts[host].ended = time.monotonic()
                self._show(host)

    def say(self, text: str) -> None:
        """Show a text that stays. In a headless notebook it is left to the runner: the cell's output is compared."""
        with self._lock:
            self._said.append(printable(text))
            if other := screen():
                other.say(self._said[-1])
            elif self._bars:
                print(self._said[-1], flush=True)
            else:
                self._line.print(self._said[-1])

    def close(self, last: str) -> None:
        """Remove what is shown; on a terminal the line `last` remains."""
        self._closed.set()
        if self._clock.ident:
            self._clock.join()
        if self._bars:
            if self._bars.close():
                print(*self._said, sep="\n", end="\n" * bool(self._said), flush=True)
        elif self._line.terminal:
            self._line.print(last)
        else:
            self._line.clear()

    @property
    def text(self) -> str:
        """One line: "Files, 12 s: 1 of 3 hosts done; one 3/9 file /etc/a; two 1/9 file /etc/b"."""
        running = {name: host for name, host in sorted(self._hosts.items()) if host.ended is None}
        ended = len(self._hosts) - len(running)
        parts = [f"{ended} of {counted(len(self._hosts), 'host')} done"] if ended else []
        parts += [" ".join(filter(None, (name, host.count, host.doing))) for name, host in running.items()]
        return f"{self.title}, {elapsed(time.monotonic() - self.started)}: {'; '.join(parts)}".removesuffix(": ")

    def _show(self, *names: str) -> None:
        if not self._bars:
            self._line.update(self.text)
            return
        for name in names:
            host = self._hosts[name]
            self._bars.update(name, host.doing, host.done, host.total, host.count, elapsed(host.seconds))
        self._bars.heading(f"{self.title}, {elapsed(time.monotonic() - self.started)}")

    def _tick(self) -> None:
        """The clocks go on while nothing else is said."""
        while not self._closed.wait(TICK):
            with self._lock:
                self._show(*(name for name, host in self._hosts.items() if host.ended is None))


@contextmanager
def step_progress(title: str, hosts: list[str]) -> Iterator[StepProgress]:
    """The progress of a step on these hosts. Nothing of it remains in a notebook's outputs, but for what it says.

    On a terminal the title and the hosts remain.
    """
    hosts = sorted(hosts)
    shown = StepProgress(title, hosts)
    try:
        yield shown
    finally:
        shown.close(title + (f": {', '.join(hosts)}" if hosts else ""))
