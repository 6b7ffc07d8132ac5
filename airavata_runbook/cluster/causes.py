"""Why something that is awaited has not come, and when such a cause ends the wait before its deadline.

Much heals by itself: a container exits until its database is up, an image is pulled again after the registry's restart. RULES
says of each kind of cause how long or how often it must be seen before nothing but somebody's act will help.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from airavata_runbook.errors import RunbookError

SETTLED = 5.0  # seconds that a cause must be seen before its next try, which comes after the deadline, ends the wait
NOTICED = 8.0  # seconds that a cause must be seen before it is noticed, while the wait goes on
LINES = 45  # of the details of one cause; the rest is counted


@dataclass(frozen=True)
class Rule:
    """When a cause ends the wait. Without seconds and tries it never does: it is reported at the deadline.

    needed: what has to become true. why: of the numbers. seconds: it was seen for so long, without a break if it has no tries.
    tries: it failed so often in all, `new` times of them while it was seen by this wait. Where both are set, both must hold.
    noticed: it was seen for so many seconds: somebody should know of it now, although the wait goes on; None: never.
    """

    needed: str
    why: str
    seconds: float | None = None
    tries: int = 0
    new: int = 1
    noticed: float | None = NOTICED


RULES = {
    # Services of systemd.
    "unit failed": Rule("a service that stays up", "systemd does not start it again by itself", seconds=0),
    "unit stopped": Rule("a service that runs", "a restart takes a moment; nothing starts what somebody stopped", seconds=10),
    "unit exits": Rule(
        "a service that stays up", "it is started again after 1 s; its first exits may precede etcd or a network", tries=3, new=3
    ),
    "unit logs errors": Rule(
        "a service without errors", "daemons log errors while they reconnect to each other, and go on", noticed=None
    ),
    # Nodes.
    "node not registered": Rule("a kubelet that registers", "4 s were measured; it tries again every 7 s at most", seconds=25),
    "node not ready": Rule(
        "a node that is Ready", "the first pod network takes seconds, the kubelet reports every 10 s", seconds=30
    ),
    # Pods.
    "pods not created": Rule("pods that the API server accepts", "its controller's cache may be seconds old", seconds=10),
    "no pods tried": Rule(
        "a controller that makes pods, and may",
        "told to, it tries within a second; after a restart it waits 15 s for its lease; some 25 refusals later it reports none",
        seconds=30,
    ),
    # Shown after NOTICED seconds, but not final then: each of the scheduler's reasons can pass. Memory and processors come back
    # when an old pod has ended (its grace period, 30 s by default), labels and taints of a node with the start of its kubelet.
    "pod not scheduled": Rule("a node that accepts the pod", "a node may be Ready in a moment, an old pod end", seconds=30),
    "pod without network": Rule("a pod network", "first pods race for the bridge; flannel may be restarting", seconds=30),
    "volume not mounted": Rule("the volumes of the pod", "the kubelet's cache of Secrets may be seconds old", seconds=20),
    "container refused": Rule("a container that can be created", "its Secret may have been made a moment ago", seconds=10),
    "image not pulled": Rule(
        "an image that the node can pull",
        "a restart of the registry takes 2 s; the kubelet tries again after 10, 20, 40 s",
        seconds=10,
        tries=2,
    ),
    "container exits": Rule(
        "a container that keeps running",
        "what it needs is ready before it starts; the kubelet starts it again at once, then after 10, 20, 40 s",
        seconds=10,
        tries=3,
        new=2,
    ),
    "pod failed": Rule("a pod that may stay on its node", "its controller makes another one, maybe elsewhere", tries=3),
    "node of the pod": Rule("the node of the pod", "a host may be booting; pods leave it after 30 s if they can", seconds=50),
    "container not ready": Rule("a probe that succeeds", "servers take their time to start, databases to recover", noticed=12),
    "pod ends": Rule("an end of the old pod", "it has its grace period", noticed=None),
    "pod not removed": Rule("a pod network, to take the old pod out of", "flannel may be restarting", seconds=30),
}


def no_details() -> str:
    return ""


@dataclass(frozen=True)
class Cause:
    """One cause. kind: of RULES. of: what it is about, with `kind` unique. text: the message whole. tries: failed ones so far.

    next_try: when the next one is due, in seconds from now, if known. details: gives more lines, a log for example; called once,
    when the cause is reported. command: shows them all. retry: makes whoever was refused try again now, not at its next try;
    called once in a wait, it returns the command that does the same.
    """

    kind: str
    of: str
    text: str
    tries: int = 0
    next_try: float = 0.0
    details: Callable[[], str] = no_details
    command: str = ""
    retry: Callable[[], str] | None = None

    @property
    def rule(self) -> Rule:
        return RULES[self.kind]

    @property
    def summary(self) -> str:
        """One cause in its own words, without details."""
        return f"{self.of}: {self.text}"

    def whole(self) -> str:
        """The cause with its details, no line of which is cut."""
        try:
            lines = self.details().rstrip().splitlines()
        except RunbookError as error:
            lines = [f"(no details: {error.summary})"]
        left = len(lines) - LINES
        shown = [f"  {line}" for line in lines[-LINES:]]
        return "\n".join([self.summary, *([f"  ({left} lines before: {self.command})"] if left > 0 else []), *shown])


class Patience:
    """Watches the causes of one wait, and says which of them end it, and which of them somebody should know of before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}
        self._tries: dict[tuple[str, str], int] = {}
        self._noticed: set[tuple[str, str]] = set()

    def final(self, causes: Iterable[Cause], left: float) -> list[Cause]:
        """Those of the causes seen now that end the wait. left: seconds until its deadline."""
        now, seen = self._clock(), {(cause.kind, cause.of): cause for cause in causes}
        # What fails again and again is not always seen: a container runs for a moment between two exits.
        kept = {key: since for key, since in self._since.items() if key in seen or RULES[key[0]].tries}
        self._since = dict.fromkeys(seen, now) | kept
        self._tries = {key: cause.tries for key, cause in seen.items()} | self._tries
        return [cause for key, cause in seen.items() if self._ends(cause, now - self._since[key], self._tries[key], left)]

    def lasting(self, causes: Iterable[Cause]) -> list[Cause]:
        """Those of the causes that `final` saw last which have lasted by now; each once in the wait."""
        now, found = self._clock(), []
        for cause in causes:
            key, noticed = (cause.kind, cause.of), cause.rule.noticed
            if noticed is not None and now - self._since[key] >= noticed and key not in self._noticed:
                self._noticed.add(key)
                found.append(cause)
        return found

    @staticmethod
    def _ends(cause: Cause, seen: float, tries_before: int, left: float) -> bool:
        rule = cause.rule
        if rule.tries and seen >= SETTLED and cause.next_try > left:
            return True
        if rule.seconds is None and not rule.tries:
            return False
        repeated = cause.tries >= max(rule.tries, tries_before + rule.new) if rule.tries else True
        return repeated and seen >= (rule.seconds or 0)


def report(causes: Sequence[Cause]) -> str:
    """The causes with their details, each once."""
    return "\n".join(cause.whole() for cause in causes)


def commands(causes: Sequence[Cause]) -> str:
    """The commands that show more of the causes, each once."""
    return "; ".join(dict.fromkeys(cause.command for cause in causes if cause.command))
