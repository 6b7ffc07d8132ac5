"""What a board does: it looks, plans and runs with the steps that the notebooks' cells call, one thing at a time, in a thread."""

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from airavata_runbook.chapters import MODULES, steps_of
from airavata_runbook.engine.step import Check, Step, begin
from airavata_runbook.engine.watch import holder, look_anew, note, stoppable
from airavata_runbook.errors import RunbookError, SiteError, StepFailed, counted
from airavata_runbook.local.screen import Nowhere, Screen, shown_on
from airavata_runbook.site import Site
from airavata_runbook.site_board.model import CHECKED_IN_A_RUN, SITE, Cell, Grid, Ran, Row, State

CLOSED = "closed"
POLL = 5.0  # seconds between two looks at a lock that somebody else holds


def rows_of(site: Site) -> list[Row]:
    """The steps and checks of all chapters, in their order."""
    rows = []
    for chapter in MODULES:
        for step in steps_of(chapter):
            if isinstance(step, Step):
                hosts = tuple(node.name for node in step.on(site))
                rows.append(Row(chapter, step.name, step.title, step, hosts))
            elif isinstance(step, Check):
                rows.append(Row(chapter, step.name, step.title, step, (SITE,), in_a_run=not step.before))
    return rows


def grid_of(site: Site) -> Grid:
    """A grid of which nothing is known yet. Hosts: the master first."""
    nodes = sorted(site.nodes, key=lambda node: (node.role != "master", node.name))
    return Grid([node.name for node in nodes], rows_of(site))


def look(site: Site, grid: Grid, keep: Collection[Row] = ()) -> Iterator[Row]:
    """Plan every row; yields each as soon as it is known. keep: rows that stay as they are."""
    silent = look_anew(site)
    for row in grid.rows:
        if row not in keep:
            if site.master.name in silent:  # what the steps compare with is there
                grid.put(row, _no_answer(silent[site.master.name]))
            elif silent and row.hosts == (SITE,) and not row.in_a_run:
                grid.put(row, _no_answer(next(iter(silent.values()))))
            else:
                for host, reason in silent.items():
                    grid.put(row, _no_answer(reason), [host])
                plan(site, grid, row, silent)
        yield row


def plan(site: Site, grid: Grid, row: Row, leave_out: Collection[str] = ()) -> None:
    """Plan one row, and show what it says; a check of a run is not called. leave_out: hosts that do not answer."""
    if row.in_a_run:
        grid.put(row, CHECKED_IN_A_RUN)
        return
    if all(host in leave_out for host in row.hosts):
        return
    options = {"leave_out": leave_out} if leave_out and row.hosts != (SITE,) else {}
    try:
        grid.take(row, row.call(site, plan=True, **options))
    except RunbookError as error:
        _take_error(grid, row, error, [host for host in row.hosts if host not in leave_out])


def _take_error(grid: Grid, row: Row, error: RunbookError, hosts: Collection[str]) -> None:
    """Show what a step reported before it raised; an error without a report stands for all its hosts."""
    if report := getattr(error, "report", None):
        grid.take(row, report)
    else:
        grid.put(row, Cell(State.FAILED, error=str(error)), hosts)


def _no_answer(reason: str) -> Cell:
    return Cell(note="no answer", error=reason)


class Watcher(Protocol):
    """Who shows the work; called by any thread. screen: where a step that runs shows what it is doing."""

    @property
    def screen(self) -> Screen: ...

    def changed(self, *rows: Row) -> None:
        """Show the rows, and what is being done, anew."""


class Work:
    """The work of one board. doing: what goes on now, "" for nothing. said: how the last work ended. other: who else works on the
    site, as its lock says. What is asked for while something goes on is refused, with False: clicks do not queue up.
    """

    def __init__(self, site: Site, grid: Grid, watcher: Watcher):
        self.site, self.grid, self.watcher = site, grid, watcher
        self.doing = self.said = self.other = ""
        self._named_file = _loaded(site.name) == site  # else it came from another file, or with changed fields
        self._lock = threading.Lock()
        self._stopping = False
        self._interrupt: Callable[[], None] | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"board of {site.name}", daemon=True)
        self._thread.start()

    def look(self) -> bool:
        """Look again at all steps."""
        return self._begin("look", self._look)

    def plan(self, row: Row) -> bool:
        """Plan one step."""
        return self._begin(f"plan {row.title}", lambda: self._plan(row))

    def run(self, rows: list[Row]) -> bool:
        """Run steps one after the other, up to the first that fails; then look again."""
        return self._begin(f"run {rows[0].title}", lambda: self._run(rows))

    def plans(self) -> bool:
        """Whether steps on the site only plan now, as a switch or the environment says."""
        try:
            return begin(self.site, plan=False)
        except SiteError:
            return False  # a step that is asked for says why it does not begin

    def stop(self) -> None:
        """End what goes on: a look after the present step, a run at once."""
        with self._lock:
            if self.doing and not self._stopping:
                self._stopping = True
                if self._interrupt:
                    self._interrupt()
        self.watcher.changed()

    def close(self) -> None:
        """End the thread when its present work is done; nothing can be asked for any more."""
        with self._lock:
            self.doing = self.doing or CLOSED
        self._jobs.put(None)

    @property
    def stopping(self) -> bool:
        return self._stopping

    def _begin(self, doing: str, job: Callable[[], None]) -> bool:
        with self._lock:
            if self.doing:
                return False
            self.doing, self.said, self._stopping = doing, "", False
        self._jobs.put(job)
        return True

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=POLL if self.other else None)
            except queue.Empty:
                job = self._follow_other
            if job is None:
                return
            try:
                if changed := self._changed_file():
                    self.said = changed
                else:
                    job()
            except RunbookError as error:
                self.said = str(error)
            except Exception as error:  # a bug; the board stays usable
                self.said = f"unexpected: {type(error).__name__}: {error}"
            with self._lock:
                self.doing = CLOSED if self.doing == CLOSED else ""
            self.watcher.changed()

    def _look(self, keep: Collection[Row] = ()) -> None:
        total = len(self.grid.rows)
        self._show(f"looking at {counted(total, 'step')}")
        self.other = holder(self.site)
        with shown_on(Nowhere()):
            for known, row in enumerate(look(self.site, self.grid, keep), 1):
                self._show(f"looking: {known} of {counted(total, 'step')} known", row)
                if self._stopping and known < total:
                    self.said = f"the look was stopped: {known} of {counted(total, 'step')} known anew"
                    break

    def _plan(self, row: Row) -> None:
        self._show(f"planning {row.title}")
        with shown_on(Nowhere()):
            plan(self.site, self.grid, row)
        self.watcher.changed(row)

    def _run(self, rows: list[Row]) -> None:
        first, ran = rows[0], Ran(len(rows))
        purpose = f"step {first.title!r} of chapter {first.chapter}{' and those after it' * (len(rows) > 1)}, from the board"
        try:
            with stoppable(self.site, purpose) as interrupt, self._interruptible(interrupt):
                self._run_each(rows, ran)
                note(self.site, ran.text)
        except StepFailed as error:  # of the lock
            self.other = holder(self.site)
            self.said = str(error)
            return
        if not ran.stopped:
            self._look(keep=[row for row in rows if row.in_a_run or row is ran.failed])
        self.said = ran.text

    def _run_each(self, rows: list[Row], ran: Ran) -> None:
        for number, row in enumerate(rows, 1):
            if self._stopping:
                ran.stopped = True
                return
            self._show(f"running step {number} of {len(rows)}: {row.chapter}, {row.title}")
            if not self._run_one(row, ran):
                ran.failed, ran.stopped = row, self._stopping
                return
            ran.done += 1

    def _run_one(self, row: Row, ran: Ran) -> bool:
        """Run one step. Whether it succeeded."""
        try:
            with shown_on(self.watcher.screen):
                report = row.call(self.site)
        except SiteError:  # it was refused before it began
            raise
        except RunbookError as error:
            _take_error(self.grid, row, error, row.hosts)
            return False
        else:
            ran.planned = ran.planned or report.plan
            self.grid.take(row, report, f"checked at {time.strftime('%H:%M')}" if row.in_a_run else "")
            return True
        finally:
            self.watcher.changed(row)

    def _show(self, doing: str, *rows: Row) -> None:
        with self._lock:
            self.doing = doing if self.doing != CLOSED else CLOSED
        self.watcher.changed(*rows)

    @contextmanager
    def _interruptible(self, interrupt: Callable[[], None]) -> Iterator[None]:
        with self._lock:
            self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None

    def _follow_other(self) -> None:
        """Another run goes on, or has just ended: then look again."""
        before, self.other = self.other, holder(self.site)
        if before and not self.other:
            self._begin("look", self._look)

    def _changed_file(self) -> str:
        """Why the site of this board is not that of its file any more; "" while it is."""
        if not self._named_file:
            return ""
        now = _loaded(self.site.name)
        if now == self.site:
            return ""
        why = f"it is invalid now: {now}" if isinstance(now, SiteError) else "it has changed since this board was opened"
        return (
            f"nothing was done: this board shows the site as parameters/{self.site.name}.yaml had it, and {why}\n"
            "Run the cells site = Site.load(…) and board(site) again."
        )


def _loaded(name: str) -> Site | SiteError:
    """The site of that name as its file is now."""
    try:
        return Site.load(name)
    except SiteError as error:
        return error
