"""Tasks side by side: some compute while others download, each as soon as what it needs is done.

A pool limits how many of its tasks run at a time, as in ninja (https://ninja-build.org/manual.html#ref_pool).
"""

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from airavata_runbook.local.process import kill_programs_of
from airavata_runbook.local.terminal import ProgressLine, about, duration, reported_to

TICK = 0.5  # seconds between two looks
INTERVAL = 15.0  # seconds between two lines in a log
GRACE = 20.0  # seconds for tasks to end when they are stopped
TRUSTED = 30.0  # seconds of work for which estimates count as much as what was measured


@dataclass(frozen=True)
class Task:
    """name: unique; it says what is done. seconds: an estimate, alone on 2 cores. needs: names of tasks that must be done before;
    a name that no task has is done already."""

    name: str
    seconds: float
    pool: str
    work: Callable[[], object]
    needs: frozenset[str] = frozenset()


def run(title: str, tasks: Sequence[Task], pools: Mapping[str, int], together: Collection[str] = ()) -> None:
    """Run all tasks; of those that can begin, the first in the list begins first. pools: name → how many run at a time.

    together: pools that share the processors, so that what is left of one takes longer while another has tasks.

    When one fails, or with Ctrl-C, no other begins, the programs of those that run are killed, and what was raised is raised
    when they have removed what they had half done. What was finished before stays.
    """
    work, started = _Work(title, list(tasks), pools, together), time.monotonic()
    try:
        while work.waiting or work.running:
            work.begin()
            work.look()
        if tasks:
            work.line.print(f"{title}: {len(tasks)} done in {duration(time.monotonic() - started)}")
    except BaseException:
        work.stop()
        raise
    finally:
        work.line.clear()


class TimeLeft:
    """What is left of tasks that share the processors or the network, from their estimates and how long those that ended took.

    Each of those that run side by side counts with its part of the time.
    """

    def __init__(self, tasks: Iterable[Task]):
        self._left = {task.name: task.seconds for task in tasks}
        self._spent: dict[str, float] = {}
        self._estimated = self._took = TRUSTED

    def spend(self, names: Sequence[str], seconds: float) -> None:
        """These tasks ran for so long."""
        for name in names:
            self._spent[name] = self._spent.get(name, 0) + seconds / len(names)

    def done(self, name: str) -> None:
        self._estimated += self._left.pop(name)
        self._took += self._spent.pop(name, 0)

    def seconds(self) -> float:
        """How long all that is left will take; of a task that takes longer than expected a twentieth is always left."""
        late = [name for name, spent in self._spent.items() if spent > self._left[name]]  # as if they ended now
        took = self._took + sum(self._spent[name] for name in late)
        scale = took / (self._estimated + sum(self._left[name] for name in late))
        return sum(max(scale * of - self._spent.get(name, 0), scale * of / 20) for name, of in self._left.items())


class _Stopped(Exception):
    """Raised in a task, where it reports its progress."""


@dataclass
class _Work:
    title: str
    waiting: list[Task]
    pools: Mapping[str, int]
    together: Collection[str]
    running: dict[str, tuple[Task, threading.Thread]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.line = ProgressLine(interval=INTERVAL)
        self.total, self.stopped = len(self.waiting), False
        self.ended: queue.SimpleQueue[tuple[Task, BaseException | None]] = queue.SimpleQueue()
        self.doing: dict[str, str] = {}  # what each running task says
        sharing = {frozenset(self.together)} | {frozenset([pool]) for pool in self.pools if pool not in self.together}
        self.left = {pools: TimeLeft(task for task in self.waiting if task.pool in pools) for pools in sharing}
        self.looked = time.monotonic()

    def begin(self) -> None:
        """Begin every task that can."""
        for task in list(self.waiting):
            unmet = {one.name for one in self.waiting} | set(self.running)
            if len(self._of([task.pool])) < self.pools[task.pool] and not task.needs & unmet:
                self.waiting.remove(task)
                # A daemon: one that waits for another process's lock cannot be stopped, and must not keep this one.
                thread = threading.Thread(target=self._work, args=(task,), name=task.name, daemon=True)
                self.doing[task.name] = task.name
                self.running[task.name] = task, thread
                thread.start()
        if not self.running and self.waiting:
            raise ValueError(f"tasks that wait for each other: {', '.join(task.name for task in self.waiting)}")

    def look(self) -> None:
        """Show what is being done, and wait a moment for a task to end. Raises what a task raised."""
        self.line.update(self._text())
        task, error = None, None
        with suppress(queue.Empty):
            task, error = self.ended.get(timeout=TICK)
        now = time.monotonic()
        for pools, left in self.left.items():
            left.spend(self._of(pools), now - self.looked)
        self.looked = now
        if error:
            raise error
        if task:
            del self.running[task.name], self.doing[task.name]
            next(left for pools, left in self.left.items() if task.pool in pools).done(task.name)

    def stop(self) -> None:
        """End what runs, within GRACE."""
        self.stopped, end = True, time.monotonic() + GRACE
        self.line.update(f"{self.title}: stopping: {'; '.join(self.running)}")
        threads = [thread for _, thread in self.running.values()]
        while (alive := [thread for thread in threads if thread.is_alive()]) and time.monotonic() < end:
            kill_programs_of(alive)
            alive[0].join(0.1)

    def _work(self, task: Task) -> None:
        def report(text: str) -> None:
            if self.stopped:
                raise _Stopped
            self.doing[task.name] = text

        error: BaseException | None = None
        try:
            with reported_to(report):
                task.work()
        except BaseException as raised:
            error = raised
        self.ended.put((task, error))

    def _of(self, pools: Collection[str]) -> list[str]:
        """The names of the running tasks of these pools."""
        return [task.name for task, _ in self.running.values() if task.pool in pools]

    def _text(self) -> str:
        left = max(one.seconds() for one in self.left.values())
        done = self.total - len(self.waiting) - len(self.running)
        return f"{self.title}: {about(left)} left, {done} of {self.total} done: {'; '.join(self.doing.values())}"
