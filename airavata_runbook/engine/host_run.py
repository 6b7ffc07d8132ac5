"""One step on one host: probe once, compare, change in order, probe again."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from airavata_runbook.cluster.session import Session
from airavata_runbook.engine import planned
from airavata_runbook.engine.probe import compare, probe
from airavata_runbook.engine.report import Item, Status
from airavata_runbook.engine.resource import ABSENT, Awaited, Change, Context, Found, Resource, ignore
from airavata_runbook.errors import NotYet, RunbookError, StepFailed, StoppedByUser
from airavata_runbook.hosts.batch import batch, split
from airavata_runbook.hosts.host import Host
from airavata_runbook.local.screen import carried

CALLS = 3  # that change something, side by side
FORBIDDEN = 403  # of the API server (ApiError.status): expected in a plan that would give the admin its role
BINDING = "ClusterRoleBinding "  # how the label of one begins


OnProgress = Callable[[str, str, int, int], None]  # (host name, what is being done, resources done, all resources)


@dataclass
class Outcome:
    """A host's items in order, and the error that stopped it, if any."""

    items: list[Item] = field(default_factory=list)
    error: Exception | None = None


def converge(
    session: Session,
    host: Host,
    resources: Callable[[], list[Resource]],
    planning: bool,
    progress: OnProgress,
    notify: Callable[[str], None] = ignore,
) -> Outcome:
    """The outcome of one step on one host. notify: shows what keeps it waiting, while it goes on."""
    progress(host.name, "gathering facts", 0, 0)
    try:
        wanted = resources()
    except NotYet as missing:
        if not planning:
            raise StepFailed(f"this step depends on an earlier one: {missing}", remedy="run the notebooks in order") from None
        return Outcome([Item(label="resources", status=Status.WOULD_CHANGE, summary=f"known after {missing}", later=True)])
    run = HostRun(session, host, wanted, planning, progress, notify)
    run.compare_all()
    if planning:
        planned.share(host.name, run.context.touched)
    elif not run.error:
        run.apply_all()
    run.report_end()
    return Outcome([task.item for task in run.tasks], run.error)


@dataclass
class Task:
    """A resource in a run: its item in the report, and the change that it needs, if any.

    later: it can only be compared after the resources before it are changed. missing: why, if that is known.
    """

    resource: Resource
    item: Item
    change: Change | None = None
    later: bool = False
    missing: NotYet | None = None

    def postpone(self, missing: NotYet) -> None:
        """It can only be compared when what is missing is there."""
        self.item.status, self.item.summary, self.item.later = Status.WOULD_CHANGE, f"known after {missing}", True
        self.later, self.missing = True, missing

    def fail(self, error: Exception) -> Exception:
        """Mark the item as failed, or as skipped if the user stopped it; returns the error as `locate` does."""
        self.item.status = Status.SKIPPED if isinstance(error, StoppedByUser) else Status.FAILED
        return self.locate(error)

    def locate(self, error: Exception) -> Exception:
        """The error, with the resource as its place and the command, unless it has its own."""
        if isinstance(error, NotYet):  # it existed when the step began
            error = error.failure()
        if isinstance(error, RunbookError):
            error.where = error.where or self.resource.label
            if self.change and not error.command:
                error.command = self.change.command.strip()
        return error


class HostRun:
    """One step on one host. error: what stopped it, if anything."""

    def __init__(
        self,
        session: Session,
        host: Host,
        resources: list[Resource],
        planning: bool,
        progress: OnProgress,
        notify: Callable[[str], None] = ignore,
    ):
        self.session, self.host, self.planning, self.progress = session, host, planning, progress
        touched = planned.planned_changes(session, host.name) if planning else set()
        self.context = Context(host, session, planning, touched, notify=notify)
        self.tasks = [Task(resource, Item(label=resource.label, status=Status.OK)) for resource in resources]
        self.error: Exception | None = None
        self.done = 0  # tasks before those that are being applied
        self._doing: dict[str, str] = {}  # label → what is shown of it
        self._lock = threading.Lock()

    def compare_all(self) -> None:
        """Probe all resources in one round trip, then determine the change that each needs, if any."""
        changes = False
        for task, found in zip(self.tasks, probe([task.resource for task in self.tasks], self.context), strict=True):
            condition = isinstance(task.resource, Awaited)
            if self.error and condition:  # the changes that it waits for will not be made
                task.item.status = Status.SKIPPED
                continue
            self._compare(task, found)
            if condition and task.change is None and changes:
                task.later = True  # it holds now, but the changes before it may break it
            changes = changes or task.change is not None

    def _compare(self, task: Task, found: Found) -> None:
        item = task.item
        try:
            task.change = compare(task.resource, found, replace(self.context, say=partial(self._say, task)))
        except NotYet as missing:
            return task.postpone(missing)
        except RunbookError as error:
            if self.planning and self._awaits_role(error):
                return task.postpone(NotYet("the admin has its role"))
            item.summary = error.message
            located = task.fail(error)
            self.error = self.error or located
            return
        task.later, task.missing = False, None
        if change := task.change:
            self.context.touched |= change.touches
            item.status = Status.WOULD_CHANGE
            if change.waits:
                item.status = Status.SKIPPED if self.planning else Status.OK
            item.summary, item.detail, item.command = change.summary, change.detail, change.command
            item.later, item.absent = False, change.creates or found.status == ABSENT

    def _awaits_role(self, error: RunbookError) -> bool:
        """Whether the API server refused the admin, who gets its role in this plan."""
        bindings = any(one.startswith(BINDING) for one in self.context.touched)
        return bindings and getattr(error, "status", 0) == FORBIDDEN

    def apply_all(self) -> None:
        """Change what differs, in order; the first failure stops this host and leaves the rest for the next run."""
        position = 0
        running: Sequence[Task] = ()
        try:
            while position < len(self.tasks):
                running = self._next(position)
                self._apply(running, position)
                position += len(running)
        except Exception as error:
            self.error = error
            self._mark_rest(running)

    def _next(self, start: int) -> Sequence[Task]:
        """The tasks from `start` on whose changes can be made together: run as one script, or called side by side; else the one
        at `start`."""
        end, together = start, ""
        while end < len(self.tasks) and not self.tasks[end].later:
            if change := self.tasks[end].change:
                way = "script" if change.script else "calls" if change.beside else ""
                if not way or together not in ("", way):
                    break
                together = way
            end += 1
        return self.tasks[start : max(end, start + 1)]

    def _mark_rest(self, running: Sequence[Task]) -> None:
        """Mark all remaining tasks as skipped; those running as failed, unless the failed one is known or the user stopped it."""
        named = any(task.item.status == Status.FAILED for task in self.tasks) or isinstance(self.error, StoppedByUser)
        for task in self.tasks:
            if task.item.status == Status.WOULD_CHANGE or (task.later and task.item.status != Status.FAILED):
                task.item.status = Status.SKIPPED if named or task not in running else Status.FAILED

    def report_end(self) -> None:
        total = len(self.tasks)
        done = sum(task.item.status in (Status.OK, Status.CHANGED) for task in self.tasks) if self.error else total
        self.progress(self.host.name, "failed" if self.error else "done", done, total)

    def _apply(self, tasks: Sequence[Task], done: int) -> None:
        """Change what differs in these tasks, after the `done` ones before them."""
        first = tasks[0]
        if first.later:
            self._compare(first, probe([first.resource], self.context)[0])
            if self.error:
                raise self.error
            if first.missing:
                raise first.locate(first.missing)
            if first.change is None:
                first.item.status, first.item.summary = Status.OK, ""
        changing = [task for task in tasks if task.change]
        if not changing:
            return
        started = time.monotonic()
        self.done, self._doing = done, {}
        self._say(changing[0], changing[0].resource.label)
        if changing[0].change and changing[0].change.call:
            self._call(changing)
        else:
            self._run_scripts(changing)
        self._verify(changing)
        for task in changing:
            task.item.seconds = (time.monotonic() - started) / len(changing)

    def _call(self, tasks: Sequence[Task]) -> None:
        """Make the calls side by side. After a failure no other one begins; those that succeeded count as changed."""
        made: list[Task] = []
        errors: list[Exception] = []

        def make(task: Task) -> None:
            if not errors:
                try:
                    self._call_one(task)
                    made.append(task)
                except Exception as error:
                    errors.append(task.fail(error))

        if len(tasks) == 1:
            make(tasks[0])
        else:
            with ThreadPoolExecutor(CALLS) as threads:
                list(threads.map(lambda carry: carry(), [carried(partial(make, task)) for task in tasks]))
        if errors:
            self._verify(made)
            raise errors[0] from None

    def _call_one(self, task: Task) -> None:
        assert task.change and task.change.call
        self._say(task, task.resource.label)
        try:
            remark = task.change.call()
        finally:
            self._say(task, "")
        if isinstance(remark, str) and remark:
            task.item.summary += f", {remark}"

    def _say(self, task: Task, text: str) -> None:
        """Show what is being done for a task, beside what is being done for others; "" when it is done."""
        with self._lock:
            self._doing[task.resource.label] = text
            if shown := "; ".join(filter(None, self._doing.values())):
                self.progress(self.host.name, shown, self.done, len(self.tasks))

    def _run_scripts(self, tasks: Sequence[Task]) -> None:
        nonce = secrets.token_hex(8)
        scripts = {str(number): "set -e\n" + task.change.script for number, task in enumerate(tasks) if task.change}
        result = self.host.run(batch(scripts, nonce, stop=True))
        answers = split(result.stdout, nonce)
        for number, task in enumerate(tasks):
            answer = answers.get(str(number))
            if answer is None or answer.status:
                output = f"{answer.text.strip() if answer else ''}\n{result.last_lines}".strip()
                needed = "exit status 0" + (f", not {answer.status}" if answer else "")
                message = f"{task.resource.label} could not be changed ({task.item.summary})"
                raise task.fail(StepFailed(message, found=output or "no output", needed=needed))
            task.item.status = Status.CHANGED

    def _verify(self, tasks: Sequence[Task]) -> None:
        """Probe again: a changed resource must need no further change."""
        context = Context(self.host, self.session)
        for task, found in zip(tasks, probe([task.resource for task in tasks], context), strict=True):
            try:
                still = compare(task.resource, found, context)
            except NotYet as missing:
                raise task.fail(missing) from None
            if still:
                message = f"{task.item.label} was changed and still differs"
                raise task.fail(StepFailed(message, found=still.summary, retryable=True))
            if task.change:
                task.item.status = Status.OK if task.change.waits else Status.CHANGED
                # A later plan of this process finds it unchanged.
                self.session.planned.get(self.host.name, set()).difference_update(task.change.touches)
