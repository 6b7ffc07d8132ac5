"""Exercise: begin it, look, check, take a hint, read the solution, and have the runbook repair what is left.

Which one is open stands in a file on the master, so that another kernel, or another person, knows it too; everything else is
seen in the living cluster.
"""

import os
import time
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib import import_module
from shlex import quote

from airavata_runbook.chapters.probes import skipped_rows
from airavata_runbook.engine.report import Item, Report, Status
from airavata_runbook.engine.step import finish
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.exercises.goals import look_at, whole
from airavata_runbook.exercises.names import MODULES
from airavata_runbook.exercises.shown import Checked, Shown
from airavata_runbook.exercises.task import Command, Goal, Lab, Task
from airavata_runbook.kernel_env import PLAN
from airavata_runbook.local.step_progress import step_progress
from airavata_runbook.local.terminal import show
from airavata_runbook.site import Site
from airavata_runbook.wellknown import EXERCISE

SETTLED = 120.0  # seconds after a change: controllers, kube-proxy, the kubelets and probes follow it
PAUSE = 0.5


class Exercise:
    """One exercise on a lab, made by `load`. Every method returns what a notebook shows."""

    def __init__(self, name: str, task: Task, lab: Lab):
        self.name, self.task, self.lab = name, task, lab
        self._hints = 0

    @classmethod
    def load(cls, name: str, site: Site) -> "Exercise":
        """The exercise of that name, of MODULES; nothing is done yet. Raises SiteError: an unknown name, a site without a lab."""
        if name not in MODULES:
            near = get_close_matches(name, MODULES, 1)
            raise SiteError(
                "there is no such exercise", found=name, needed="one of " + ", ".join(near or MODULES), remedy="correct the name"
            )
        task = import_module(f"airavata_runbook.exercises.{MODULES[name]}").TASK
        return cls(name, task, Lab(Site.load(site)))

    def __repr__(self) -> str:
        return f"exercise {self.name} on site {self.lab.site.name}: {self.task.title}"

    def start(self, plan: bool = False) -> Shown:
        """Break it, on a site that is whole. plan: look only.

        Does nothing where this exercise is open already. Raises StepFailed where another one is, or the site is not whole.
        """
        session = self.lab.session
        session.forget()
        with session.lock.held(f"start of the exercise {self.name}"):
            if (found := self._open()).partition(",")[0] == self.name:
                return self._shown(f"This exercise is open already: {found}", "Go on with exercise.check().")
            self._require_whole(found)
            if plan or os.environ.get(PLAN):
                return self._shown("The site is whole: the exercise can begin", "Nothing was changed.")
            self._run(self.lab.on_master(f"umask 022; echo {quote(self.name)}, since $(date -u '+%F %T UTC') > {EXERCISE}"))
            self._record("broken", self.task.breaks(self.lab))
            self._await_broken()
        self._hints = 0
        return self._shown(
            f"{self.task.title}: something is broken now on site {self.lab.site.name}",
            "exercise.look() has commands to begin with, exercise.check() says what is still wrong, exercise.hint() helps, "
            "exercise.undo() has the runbook repair it at any time.",
        )

    def look(self) -> Shown:
        """Commands that lead to the cause, with this site's values, to copy."""
        return self._shown("Commands to look with", commands=self.task.look(self.lab))

    def check(self) -> Checked:
        """Look at the living cluster: each goal, and what is still wrong. Changes nothing, and needs no open exercise."""
        started = time.time()
        with step_progress("Looking at the cluster", []):
            found = self._look(self.task.goals(self.lab))
        return Checked(
            chapter="exercises",
            step=self.name,
            title=f"Exercise: {self.task.title}",
            plan=False,
            hosts={},
            rows=[["what should be true", "now"], *([sentence, missing or "true"] for sentence, missing in found)],
            missing=_missing(found),
            started=started,
            seconds=time.time() - started,
        )

    def hint(self) -> Shown:
        """The next hint, of three, below those before it."""
        self._hints = min(self._hints + 1, len(self.task.hints))
        given = self.task.hints[: self._hints]
        return self._shown(
            f"Hint {self._hints} of {len(self.task.hints)}", *(f"{number}. {text}" for number, text in enumerate(given, 1))
        )

    def solution(self) -> Shown:
        """What was broken, and the commands that mend it, with this site's values."""
        return self._shown("The solution", self.task.cause, commands=self.task.solution(self.lab))

    def undo(self, plan: bool = False) -> Checked:
        """Have the runbook repair it, from any state, by the steps of its chapters; then the exercise is closed.

        What the exercise has put there and no step may touch is taken away first. Then it waits for what follows the steps:
        workloads that were cut off become ready again. plan: show what would change. Raises StepFailed where something is
        still wrong afterwards; the exercise stays open.
        """
        planning = plan or bool(os.environ.get(PLAN))
        session = self.lab.session
        session.forget()
        with session.lock.held(f"undo of the exercise {self.name}"):
            if not planning:
                for command in self.task.foreign(self.lab):
                    self._run(command)
            for step in self.task.steps:
                show(step(self.lab.site, plan=plan))
            if planning:
                return self.check()
            found = self._await_whole()
            if self._open().partition(",")[0] == self.name:
                self._run(self.lab.on_master(f"rm -f {EXERCISE}"))
        return found

    def _open(self) -> str:
        """The open exercise: "NAME, since TIME"; "" for none."""
        return self._run(self.lab.on_master(f"test ! -e {EXERCISE} || cat {EXERCISE}")).strip()

    def _require_whole(self, found: str) -> None:
        """Raises StepFailed where another exercise is open, or something is wrong before this one begins."""
        where = f"site {self.lab.site.name}"
        if found:
            name = found.partition(",")[0]
            raise StepFailed(
                "another exercise is open",
                where=where,
                found=found,
                remedy=f"finish it, then close it: Exercise.load({name!r}, site).undo()",
            )
        if self.task.component and (rows := skipped_rows(self.lab.session, self.task.component)):
            raise StepFailed("the exercise needs a component that the site does not have", where=where, found=" ".join(rows[1]))
        with step_progress("Looking whether the site is whole", []):
            wrong = _missing(self._look(self._whole()))
        if wrong:
            raise StepFailed(
                "the site is not whole, so that nobody could tell the exercise's fault from another",
                where=where,
                found="\n".join(wrong),
                retryable=True,
                remedy=f"airavata-runbook run {self.lab.site.name}, then start the exercise again",
            )

    def _look(self, goals: Iterable[Goal]) -> list[tuple[str, str]]:
        """Each goal's sentence and what is missing now, masked."""
        self.lab.session.forget()
        mask = self.lab.session.vault.mask
        return [(sentence, mask(missing)) for sentence, missing in look_at(goals)]

    def _whole(self) -> Iterator[Goal]:
        """That the site is whole, and this exercise's goals."""
        yield from whole(self.lab)
        yield from self.task.goals(self.lab)

    def _await_broken(self) -> None:
        """Wait until the cluster shows what was broken: its controllers and probes take a moment. Raises StepFailed."""
        deadline = time.monotonic() + SETTLED
        with step_progress("Waiting until the cluster shows it", []):
            while not _missing(self._look(self.task.goals(self.lab))):
                if time.monotonic() > deadline:
                    raise StepFailed(
                        "the exercise has broken nothing",
                        where=f"site {self.lab.site.name}",
                        found=f"all is as it should be after {SETTLED:.0f} s",
                        remedy="exercise.undo(), then exercise.start() again",
                    )
                self.lab.session.master.pause(PAUSE)

    def _await_whole(self) -> Checked:
        """Wait until the exercise is repaired and the site is whole, so that the next exercise can begin. Raises StepFailed."""
        deadline = time.monotonic() + SETTLED
        with step_progress("Waiting until the site is whole", []):
            while (wrong := _missing(self._look(self._whole()))) or not (found := self.check()).mended:
                if time.monotonic() > deadline:
                    raise StepFailed(
                        "the runbook's steps have not repaired everything",
                        where=f"exercise {self.name} on site {self.lab.site.name}",
                        found="\n".join(wrong or found.missing),
                        remedy=f"airavata-runbook run {self.lab.site.name}, then exercise.undo() again",
                    )
                self.lab.session.master.pause(PAUSE)
        return found

    def _record(self, done: str, commands: Iterable[Command]) -> None:
        """Run commands, and give them to the runner's record; they are not shown."""
        report = Report(chapter="exercises", step=self.name, title=f"Exercise: {self.task.title}", plan=False, hosts={})
        report.started = time.time()
        for command in commands:
            self._run(command)
            item = Item(label=f"exercise {self.name}", status=Status.CHANGED, summary=done, command=command.script)
            report.hosts.setdefault(command.host or self.lab.master.name, []).append(item)
        report.seconds = time.time() - report.started
        finish(report, mask=self.lab.session.vault.mask)

    def _run(self, command: Command) -> str:
        """What it prints. Raises StepFailed."""
        result = self.lab.run(command)
        if result.status:
            raise StepFailed(
                "a command of the exercise failed",
                where=f"host {command.host or self.lab.master.name}",
                command=command.script,
                found=result.last_lines,
                remedy="exercise.undo() has the runbook repair what it began",
            )
        return result.text

    def _shown(self, title: str, *text: str, commands: Iterable[Command] = ()) -> Shown:
        return Shown(self.lab.site, title, text, tuple(commands))


def _missing(found: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each sentence that is not true; a site's goals and an exercise's may be the same."""
    return list(dict.fromkeys(f"{sentence}: {missing}" for sentence, missing in found if missing))
