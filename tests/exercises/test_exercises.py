"""Each exercise on a living lab: broken, found, mended by the written solution, and repaired by the runbook from any state."""

import os
import time
from dataclasses import replace

import pytest

from airavata_runbook.chapters import verify
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import StepFailed
from airavata_runbook.exercises import MODULES, Exercise
from airavata_runbook.kernel_env import SITE
from airavata_runbook.site import Site
from tests.full_picture import over_ssh

MENDED = 150  # seconds within which the cluster is whole after the solution's last command


@pytest.fixture(scope="module")
def lab(request, site: Site) -> Site:
    """A site that is up: the one that is named is, another one is brought up."""
    if SITE not in os.environ:
        request.getfixturevalue("first")
    return site


@pytest.fixture
def exercise(lab, request):
    one = Exercise.load(request.param, lab)
    yield one
    if marker(lab):  # the test failed: the others begin on a whole site all the same
        one.undo()


def marker(site: Site) -> str:
    return over_ssh(site, site.master.name, "cat /etc/airavata-runbook/exercise 2> /dev/null").partition(",")[0].strip()


def mend(exercise: Exercise, commands) -> None:
    for command in commands:
        done = exercise.lab.run(replace(command, script=f"set -e\n{command.script}"))
        assert done.status == 0, f"{command.script}: {done.last_lines}"


def wait_until_mended(exercise: Exercise) -> None:
    end = time.monotonic() + MENDED
    while not (found := exercise.check()).mended:
        assert time.monotonic() < end, found
        time.sleep(0.5)


@pytest.mark.parametrize("exercise", MODULES, indirect=True)
def test_an_exercise_is_broken_until_its_solution_mends_it(exercise, lab):
    exercise.start()
    assert marker(lab) == exercise.name
    broken = exercise.check()
    assert not broken.mended and "not mended yet" in str(broken), broken
    for command in exercise.look().commands:
        done = exercise.lab.run(command)
        wrong = [b"command not found", b": not found\n", b"yntax error", b"unknown flag", b"unknown command"]
        assert not any(word in done.stderr for word in wrong), f"{command.script}: {done.last_lines}"
    mend(exercise, exercise.solution().commands)
    wait_until_mended(exercise)
    assert exercise.undo().mended and marker(lab) == ""


@pytest.mark.parametrize("exercise", MODULES, indirect=True)
def test_the_runbook_repairs_an_exercise_that_nobody_has_mended(exercise, lab):
    exercise.start()
    assert not exercise.check().mended
    assert exercise.undo().mended and marker(lab) == ""


def test_calls_fail_under_load_only_while_the_exercise_is_not_mended(lab):
    exercise = Exercise.load("failing-calls", lab)
    exercise.start()
    with pytest.raises(StepFailed, match="calls failed"):
        verify.replica_killed(lab)
    assert exercise.undo().mended
    assert verify.replica_killed(lab).rows[-1] == ["failed calls", "none"]


def test_one_exercise_at_a_time_and_only_on_a_whole_site(lab):
    first, other = (Exercise.load(name, lab) for name in list(MODULES)[:2])
    first.start()
    assert "open already" in str(first.start())
    with pytest.raises(StepFailed, match=f"another exercise is open(?s:.*){first.name}"):
        other.start()
    over_ssh(lab, lab.master.name, "rm /etc/airavata-runbook/exercise")
    with pytest.raises(StepFailed, match="not whole(?s:.*)airavata-runbook run"):
        first.start()
    assert marker(lab) == ""
    assert first.undo().mended
    assert "Nothing was changed" in str(first.start(plan=True)) and marker(lab) == ""


def test_the_site_is_as_it_was(lab):
    """What the exercises put there is gone, and the runbook has nothing to change in what they have touched."""
    session_of(lab).forget()
    for name in MODULES:
        for step in Exercise.load(name, lab).task.steps:
            report = step(lab, plan=True)
            assert report.would_change == 0, report
