"""Waiting for a named condition with a deadline; the runbook never waits a fixed time instead."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.host import Host

PAUSE = 0.2  # seconds between two polls


@dataclass(frozen=True)
class Condition:
    """script: shell that succeeds when the condition holds; or check: a function that returns what is missing, "" if nothing.

    awaited: the condition, in words. deadline: seconds. remedy: what to check after the deadline.
    """

    awaited: str
    script: str = ""
    check: Callable[[], str] = lambda: ""
    deadline: float = 60.0
    remedy: str = ""

    @property
    def label(self) -> str:
        return f"wait for {self.awaited}"

    def probe(self) -> str:
        return f"( {self.script} ) >/dev/null 2>&1" if self.script else ""

    def change(self, found: Found, context: Context) -> Change | None:
        if self.script:
            poll, wait = self._poll_on, bool(found.status)
        else:  # its answer is outdated after a change
            poll, wait = self._poll, context.planning or bool(context.touched) or bool(self.check())
        return Change("wait", call=lambda: poll(context.host), shown=self.script, waits=True) if wait else None

    def _poll_on(self, host: Host) -> None:
        # The host polls, so that the latency of the connection does not add to the wait.
        loop = f"until {{ {self.script}\n}} >/dev/null 2>&1; do sleep {PAUSE}; done"
        result = host.run(f"timeout {self.deadline:.0f} sh -c {quote(loop)} || {{ {self.script}\n}}", timeout=self.deadline + 30)
        if result.status:
            self._give_up(result.last_lines)

    def _poll(self, host: Host) -> None:
        end = time.monotonic() + self.deadline
        while missing := self.check():
            if time.monotonic() > end:
                self._give_up(missing)
            host.pause(PAUSE)

    def _give_up(self, found: str) -> None:
        raise StepFailed(f"{self.awaited}: not within {self.deadline:.0f} s", found=found, remedy=self.remedy, retryable=True)
