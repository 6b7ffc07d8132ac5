"""Bringing the resources of one step about on one host: look once, compare, change in order, look again."""

import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from airavata_runbook.engine import planned
from airavata_runbook.engine.report import Item, Status
from airavata_runbook.engine.resource import ApiResource, Awaited, Change, Context, Found, Resource
from airavata_runbook.errors import NotYet, RunbookError, StepFailed, StoppedByUser
from airavata_runbook.hosts import round_trip
from airavata_runbook.hosts.batch import batch, split
from airavata_runbook.hosts.host import Host

CHANGED, WOULD_CHANGE, FAILED, SKIPPED, OK = Status
ASKING = 8  # requests to an API at a time


@dataclass
class Outcome:
    """A host's items in order, and the error that stopped it, if any."""

    items: list[Item] = field(default_factory=list)
    error: Exception | None = None


def bring_about(
    host: Host, resources: Callable[[], list[Resource]], planning: bool, progress: Callable[[str, str], None]
) -> Outcome:
    """The outcome of one step on one host. progress gets (host name, what is being done)."""
    progress(host.name, "look")
    try:
        wanted = resources()
    except NotYet as missing:
        if not planning:
            raise StepFailed(f"this step needs an earlier one: {missing}", remedy="run the notebooks in order") from None
        return Outcome([Item(label="resources", status=WOULD_CHANGE, summary=f"known after {missing}")])
    work = _Work(host, wanted, planning, progress)
    work.compare_all()
    if planning:
        planned.tell(host.name, work.context.touched)
    elif not work.outcome.error:
        work.apply_all()
    return work.outcome


class _Work:
    """One step on one host: its resources, the change that each needs, and the items so far."""

    def __init__(self, host: Host, resources: list[Resource], planning: bool, progress: Callable[[str, str], None]):
        self.host, self.resources, self.planning, self.progress = host, resources, planning, progress
        self.context = Context(host, planning, planned.altered(host.site.name, host.name) if planning else set())
        self.outcome = Outcome([Item(label=resource.label, status=OK) for resource in resources])
        self.changes: list[Change | None] = [None] * len(resources)
        self.later: set[int] = set()  # positions that cannot be compared before an earlier one is changed

    def compare_all(self) -> None:
        """One round trip to look, then a change (or none) for every resource."""
        found = probe(self.resources, self.context)
        for position, resource in enumerate(self.resources):
            if self.outcome.error and isinstance(resource, Awaited):  # nothing is done any more that it could wait for
                self.outcome.items[position].status = SKIPPED
                continue
            self._compare(position, found[position])
            if isinstance(resource, Awaited) and self.changes[position] is None and any(self.changes[:position]):
                self.later.add(position)  # it holds now; whether it does after the changes before it is another question

    def _compare(self, position: int, found: Found) -> None:
        item = self.outcome.items[position]
        try:
            change = understood(self.resources[position], found, self.context)
        except NotYet as missing:
            item.status, item.summary = WOULD_CHANGE, f"known after {missing}"
            self.later.add(position)
            return
        except RunbookError as error:
            item.status, item.summary = FAILED, error.message
            self.outcome.error = self.outcome.error or self._at(position, error)
            return
        self.changes[position] = change
        self.later.discard(position)
        if change:
            self.context.touched |= change.touches
            item.status = OK if change.waits and not self.planning else WOULD_CHANGE
            item.status = SKIPPED if change.waits and self.planning else item.status
            item.summary, item.detail, item.command = change.summary, change.detail, change.command

    def apply_all(self) -> None:
        """Change what differs, in order; the first failure stops this host and leaves the rest for the next run."""
        position = last = 0
        try:
            while position < len(self.resources):
                last = self._together(position)
                self._apply(range(position, last))
                position = last
        except Exception as error:
            self.outcome.error = error
            self._mark_left(range(position, last))

    def _mark_left(self, at_work: range) -> None:
        """What is not done after a failure: what was at work has failed, unless one of it was named, or the user stopped it."""
        items = self.outcome.items
        named = any(item.status == FAILED for item in items) or isinstance(self.outcome.error, StoppedByUser)
        for position, item in enumerate(items):
            if item.status == WOULD_CHANGE or (position in self.later and item.status != FAILED):
                item.status = FAILED if position in at_work and not named else SKIPPED

    def _together(self, start: int) -> int:
        """The end of the run of positions from `start` whose changes go to the host in one script."""
        end = start
        while end < len(self.resources) and end not in self.later and (self.changes[end] is None or self.changes[end].script):
            end += 1
        return max(end, start + 1)

    def _apply(self, positions: range) -> None:
        first = positions[0]
        if first in self.later:
            self._compare(first, probe([self.resources[first]], self.context)[0])
            if self.outcome.error:
                raise self.outcome.error
            if first in self.later:
                raise self._at(first, StepFailed(self.outcome.items[first].summary.replace("known after", "needs:")))
            if self.changes[first] is None:
                self.outcome.items[first].status, self.outcome.items[first].summary = OK, ""
        wanted = [position for position in positions if self.changes[position]]
        if not wanted:
            return
        started = time.monotonic()
        if self.changes[first] and self.changes[first].call:
            self._call(first)
        else:
            self._run_scripts(wanted)
        self._verify(wanted)
        for position in wanted:
            self.outcome.items[position].seconds = (time.monotonic() - started) / len(wanted)

    def _call(self, position: int) -> None:
        self.progress(self.host.name, self.resources[position].label)
        try:
            told = self.changes[position].call()
        except Exception as error:
            self.outcome.items[position].status = SKIPPED if isinstance(error, StoppedByUser) else FAILED
            raise self._at(position, error) from None
        if told:
            self.outcome.items[position].summary += f", {told}"

    def _run_scripts(self, positions: list[int]) -> None:
        self.progress(self.host.name, self.resources[positions[0]].label)
        nonce = secrets.token_hex(8)
        scripts = {str(position): "set -e\n" + self.changes[position].script for position in positions}
        answer = self.host.run(batch(scripts, nonce, stop=True))
        results = split(answer.stdout, nonce)
        for position in positions:
            result = results.get(str(position))
            if result is None or result.status:
                self.outcome.items[position].status = FAILED
                said = f"{result.stdout.decode(errors='replace').strip() if result else ''}\n{answer.complaint}".strip()
                what = f"{self.resources[position].label} could not be changed ({self.changes[position].summary})"
                raise self._at(
                    position,
                    StepFailed(
                        what,
                        found=said or "nothing was said",
                        needed="exit status 0" + (f", not {result.status}" if result else ""),
                    ),
                )
            self.outcome.items[position].status = CHANGED

    def _verify(self, positions: list[int]) -> None:
        """Look again: what was changed must now be as it should be."""
        context = Context(self.host)
        found = probe([self.resources[position] for position in positions], context)
        for position, seen in zip(positions, found, strict=True):
            item = self.outcome.items[position]
            try:
                still = understood(self.resources[position], seen, context)
            except NotYet as missing:
                item.status = FAILED
                raise self._at(position, missing) from None
            if still:
                item.status = FAILED
                raise self._at(
                    position, StepFailed(f"{item.label} was changed and still differs", found=still.summary, retryable=True)
                )
            item.status = OK if self.changes[position].waits else CHANGED
            planned.done(self.host.site.name, self.host.name, self.changes[position].touches)

    def _at(self, position: int, error: Exception) -> Exception:
        """The error, with the resource and its command where it does not name its own."""
        change = self.changes[position]
        if isinstance(error, NotYet):  # it was there when the step began
            error = error.failure()
        if isinstance(error, RunbookError):
            error.where = error.where or self.resources[position].label
            if change and not error.command:
                error.command = change.command.strip()
        return error


def understood(resource: Resource, found: Found, context: Context) -> Change | None:
    """What the resource makes of what was found. Raises StepFailed when that is nothing it can read, never ok by mistake."""
    try:
        return resource.change(found, context)
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # of a parser: the host said something else
        said = "(not shown: it may hold a secret)" if getattr(resource, "secret", False) else found.text[:200] or "nothing"
        raise StepFailed(
            "what the host says of it cannot be read",
            where=resource.label,
            found=said + (f" (exit status {found.status})" if found.status else ""),
            needed="the output of: " + resource.probe().strip()[:200],
            retryable=True,
        ) from error


def probe(resources: Iterable[Resource], context: Context) -> list[Found]:
    """What the resources' probes print, all in one round trip; those that ask an API do so side by side meanwhile."""
    resources = list(resources)
    asking = [position for position, resource in enumerate(resources) if isinstance(resource, ApiResource)]
    if not asking:
        return _printed(resources, context.host)
    with ThreadPoolExecutor(min(ASKING, len(asking))) as pool:
        answers = {position: pool.submit(_ask, resources[position], context) for position in asking}
        found = _printed(resources, context.host)
    return [Found(answer=answers[position].result()) if position in answers else seen for position, seen in enumerate(found)]


def _ask(resource: Resource, context: Context) -> object:
    try:
        return resource.ask(context)
    except Exception as error:  # raised where this resource is compared, so that it is told for this one
        return error


def _printed(resources: list[Resource], host: Host) -> list[Found]:
    fragments = {str(position): script for position, resource in enumerate(resources) if (script := resource.probe())}
    if not fragments:
        return [Found() for _ in resources]
    seen = round_trip.answers(host, fragments)
    return [
        Found(seen[str(position)].stdout, seen[str(position)].status) if str(position) in seen else Found()
        for position in range(len(resources))
    ]
