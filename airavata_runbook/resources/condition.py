"""Waiting for a named condition with a deadline; the runbook never waits a fixed time instead.

A wait ends earlier when a cause is seen that needs somebody's act: cluster/causes.py says which, and after how long.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from airavata_runbook.cluster.causes import Cause, Patience, commands, report
from airavata_runbook.engine.resource import Change, Context, Found, ignore, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint
from airavata_runbook.hosts.host import Host

PAUSE = 0.2  # seconds between two polls
LOOK = 2.0  # seconds between two looks for causes


@dataclass(frozen=True)
class Condition:
    """script: shell that succeeds when the condition holds; or check: a function that returns what is missing, "" if nothing.

    awaited: the condition, in words. causes: gives the causes, seen now, for which it does not hold. deadline: seconds. remedy:
    what to check after the deadline.
    """

    awaited: str
    script: str = ""
    check: Callable[[], str] = lambda: ""
    causes: Callable[[], Iterable[Cause]] = tuple
    deadline: float = 60.0
    remedy: str = ""

    @property
    def label(self) -> str:
        return f"wait for {self.awaited}"

    def footprint(self) -> Footprint:
        return ()

    def probe(self) -> str:
        return f"( {self.script} ) >/dev/null 2>&1" if self.script else ""

    def change(self, found: Found, context: Context) -> Change | None:
        # A check's answer is outdated after a change.
        wait = found.status if self.script else context.planning or context.touched or self.check()
        call = partial(self.wait, context.host, context.notify)
        return Change("wait", call=call, shown=self.script, waits=True) if wait else None

    def wait(self, host: Host, notify: Callable[[str], None] = ignore) -> None:
        """Return as soon as the condition holds. Raises StepFailed at the deadline, or when a cause needs somebody's act.

        notify: is given each cause that lasts, while the wait goes on.
        """
        poll = self._poll_on if self.script else self._poll
        start, patience = time.monotonic(), Patience()
        end = start + self.deadline
        retried: set[str] = set()
        while missing := poll(host, min(end, time.monotonic() + LOOK)):
            now = time.monotonic()
            causes = list(self.causes())
            if final := patience.final(causes, end - now):
                raise StepFailed(
                    f"{self.awaited}: not without a change, the wait ended after {now - start:.0f} s",
                    found=f"{missing}\n{report(final)}",
                    needed="; ".join(dict.fromkeys(cause.rule.needed for cause in final)),
                    remedy="; ".join(filter(None, (commands(final), self.remedy))),
                )
            if now >= end:
                found = "\n".join(filter(None, (missing, report(causes))))
                raise StepFailed(
                    f"{self.awaited}: not within {self.deadline:.0f} s", found=found, remedy=self.remedy, retryable=True
                )
            for cause in patience.lasting(causes):
                notify(f"{self.label}, for {now - start:.0f} s so far: {missing}\n{cause.whole()}")
            for cause in causes:
                if cause.retry and cause.of not in retried:  # once: if it is refused again, it is so now
                    retried.add(cause.of)
                    notify(f"{self.label}: tried again at once: {cause.retry()}\n{cause.summary}")

    def _poll_on(self, host: Host, until: float) -> str:
        """What the script printed when it failed last; "" as soon as it succeeds."""
        # The host polls, so that the latency of the connection does not add to the wait.
        loop = f"until {{ {self.script}\n}} >/dev/null 2>&1; do sleep {PAUSE}; done"
        seconds = max(until - time.monotonic(), 0.1)
        result = host.run(f"timeout {seconds:.1f} sh -c {quote(loop)} || {{ {self.script}\n}}", timeout=self.deadline + 30)
        return (result.last_lines or f"exit status {result.status}") if result.status else ""

    def _poll(self, host: Host, until: float) -> str:
        """What is still missing; "" as soon as nothing is."""
        while missing := self.check():
            if time.monotonic() > until:
                return missing
            host.pause(PAUSE)
        return ""
