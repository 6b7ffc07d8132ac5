"""Exercises without a host: what each consists of, whom they refuse, and the notebooks in which they are done."""

import json
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import MODULES as CHAPTERS
from airavata_runbook.chapters import steps_of
from airavata_runbook.cluster import session
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.exercises import MODULES, Exercise, exercise
from airavata_runbook.exercises.expired_certificate import expired
from airavata_runbook.exercises.task import Goal
from airavata_runbook.hosts.frame import Result
from airavata_runbook.pki.issue import end_of, issue, new_ca, problems
from airavata_runbook.pki.types import Subject
from tests.unit.sessions import FakeHost, open_session
from tests.unit.test_notebooks import LINES, LOAD, PARAMETERS

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks" / "exercises").glob("*.ipynb"))


@pytest.fixture
def site() -> Site:
    return Site.load("lab")


@pytest.mark.parametrize("name", MODULES)
def test_an_exercise_has_hints_a_solution_and_steps_of_the_chapters(name, site):
    exercise = Exercise.load(name, site)
    steps = [step for chapter in CHAPTERS for step in steps_of(chapter)]
    assert exercise.task.steps and all(step in steps for step in exercise.task.steps)
    assert len(set(exercise.task.hints)) == 3 and name in repr(exercise) and exercise.task.title in repr(exercise)
    for shown in (exercise.look(), exercise.solution()):
        assert shown.commands and all(one.script in str(shown).replace("\n    ", "\n") for one in shown.commands)
        assert all(one.host in ("", *(node.name for node in site.nodes)) for one in shown.commands)


def test_commands_have_the_values_of_their_site():
    three = Site.load("lab-three")
    texts = "".join(f"{one.look()}{one.solution()}" for one in (Exercise.load(name, three) for name in MODULES))
    assert "10.94.0.22" in texts and "/gateway/network" in texts and "lab ssh --site lab-three node-a" in texts
    assert not re.search(r"10\.98\.|kube-centos|\bairavata get|\bon worker\b", texts)


def test_hints_come_one_by_one_and_stay(site):
    exercise = Exercise.load("silent-portal", site)
    shown = [str(exercise.hint()) for _ in range(4)]
    assert [text.count("\n") for text in shown] == [1, 2, 3, 3] and shown[2].startswith(shown[0].replace("1 of 3", "3 of 3"))
    assert "Hint 3 of 3" in shown[3]


def test_what_is_shown_is_text_and_html(site):
    shown = Exercise.load("separated-pods", site).solution()
    assert "On worker, as root (airavata-runbook lab ssh worker):\n    systemctl start flanneld" in str(shown)
    assert re.search("<pre style='[^']*'>systemctl start flanneld</pre>", shown._repr_html_())


@pytest.mark.parametrize(
    ("name", "site", "message"),
    [
        ("silent-portal", "poc-2017", "on a lab of two hosts(?s:.*)no section lab:"),
        ("silent-portal", {"nodes": [{"name": "one", "address": "10.98.0.11", "role": "master"}]}, "found:  one host"),
        ("silent-porta", "lab", "no such exercise(?s:.*)one of silent-portal\n"),
        ("nothing", "lab", "no such exercise(?s:.*)silent-portal, separated-pods"),
    ],
)
def test_only_a_lab_with_a_worker_is_broken_and_only_by_an_exercise_that_there_is(name, site, message):
    lab = {"name": "x", "registry": {"name": "registry.lab"}, "lab": {"bridge": "lab9", "network": "10.98.0.0/24"}}
    with pytest.raises(SiteError, match=message):
        Exercise.load(name, Site.load(lab | site if isinstance(site, dict) else site))


class Master(FakeHost):
    """Answers which exercise is open, and notes what else it is told to do."""

    name = "master"

    def __init__(self, marker: str):
        self.marker, self.told = marker, []

    def run(self, script: str, timeout: float = 0) -> Result:
        if "cat /etc/airavata-runbook/exercise" in script:
            return Result(self.marker.encode())
        self.told.append(script)
        return Result()

    def pause(self, seconds: float) -> None:
        pass


@pytest.fixture
def opened(monkeypatch, site):
    """A function that makes the lab's session, with an exercise open: the host, which has not been told anything yet."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_LOCK", "1")

    def make(marker: str) -> Master:
        master = Master(marker)
        open_session(monkeypatch, site, {"master": master, "worker": FakeHost()})
        return master

    yield make
    monkeypatch.setattr(session, "_open", [])


def test_an_open_exercise_is_not_begun_again(opened, site):
    master = opened("silent-portal, since 2026-11-30 14:00:00 UTC\n")
    shown = str(Exercise.load("silent-portal", site).start())
    assert "open already: silent-portal, since 2026-11-30" in shown and master.told == []


def test_another_exercise_is_closed_first(opened, site):
    master = opened("lost-node, since 2026-11-30 14:00:00 UTC\n")
    with pytest.raises(StepFailed, match=r"another exercise is open(?s:.*)Exercise.load\('lost-node', site\).undo\(\)"):
        Exercise.load("silent-portal", site).start()
    assert master.told == []


@pytest.fixture
def undone(opened, monkeypatch, site):
    """A function that makes an open exercise whose steps have repaired it, on a site that is whole after so many looks, and the
    host that keeps its file."""

    def make(looks: int) -> tuple[Exercise, Master]:
        master = opened("silent-portal, since 2026-11-30 14:00:00 UTC\n")
        answers = iter(["portal: 0 of 1 pods ready"] * looks)
        monkeypatch.setattr(exercise, "whole", lambda lab: [Goal("every workload has its ready pods", lambda: next(answers, ""))])
        one = Exercise.load("silent-portal", site)
        one.task = replace(one.task, steps=(), goals=lambda lab: [Goal("the portal answers", lambda: "")])
        return one, master

    return make


def test_an_exercise_is_closed_when_what_it_had_cut_off_is_ready_again(undone):
    one, master = undone(looks=3)
    assert one.undo().mended and master.told == ["rm -f /etc/airavata-runbook/exercise"]


def test_an_exercise_stays_open_on_a_site_that_does_not_become_whole(undone, monkeypatch):
    monkeypatch.setattr(exercise, "SETTLED", 0.0)
    one, master = undone(looks=1)
    with pytest.raises(StepFailed, match=r"every workload has its ready pods: portal: 0 of 1(?s:.*)then exercise.undo\(\) again"):
        one.undo()
    assert master.told == []


@pytest.fixture
def beginning(opened, monkeypatch, site):
    """A function that makes an exercise whose fault shows after so many looks at its goal; all else of the site is whole."""

    def make(looks: int) -> Exercise:
        opened("")
        answers = iter([""] * looks)
        monkeypatch.setattr(exercise, "whole", lambda lab: [])
        one = Exercise.load("silent-portal", site)
        goal = Goal("the portal answers", lambda: next(answers, "it has no endpoints"))
        one.task = replace(one.task, breaks=lambda lab: [lab.on_master("true")], goals=lambda lab: [goal])
        return one

    return make


def test_an_exercise_has_begun_when_its_fault_shows(beginning):
    one = beginning(looks=3)
    assert "something is broken now" in str(one.start()) and not one.check().mended


def test_an_exercise_that_breaks_nothing_says_so(beginning, monkeypatch):
    monkeypatch.setattr(exercise, "SETTLED", 0.0)
    with pytest.raises(StepFailed, match="has broken nothing"):
        beginning(looks=99).start()


def test_an_expired_certificate_is_the_same_one_but_for_its_dates():
    authority, subject = new_ca("lab authority"), Subject("system:kube-scheduler", usages=("client",))
    old = issue(authority, subject)
    found = problems(expired(old.cert, authority), key_pem=old.key, ca_pem=authority.cert, subject=subject)
    assert found == [f"expired on {end_of(expired(old.cert, authority)):%Y-%m-%d}"]


def test_every_exercise_has_its_notebook():
    assert [path.stem for path in NOTEBOOKS] == [f"{number:02}-{name}" for number, name in enumerate(MODULES, 1)]
    page = (PROJECT / "docs" / "exercises.md").read_text()
    assert [path.name for path in NOTEBOOKS if f"(../notebooks/exercises/{path.name})" not in page] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_to_be_done_and_gives_nothing_away(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    name, chapter = path.stem[3:], r"from airavata_runbook\.chapters import \w+"
    assert cells[0].source == PARAMETERS and cells[0].metadata.tags == ["parameters"]
    assert [line for line in cells[1].source.splitlines() if not re.fullmatch(chapter, line)] == LOAD
    begin = f'from airavata_runbook.exercises import Exercise\nexercise = Exercise.load("{name}", site)\nexercise.start(plan)'
    steps = [f"exercise.{word}" for word in ("look()", "hint()", "check()", "solution()", "undo(plan)")]
    assert [one for one in (cell.source for cell in cells[2:]) if "exercise" in one] == [begin, *steps]
    assert all(len(cell.source.splitlines()) <= LINES for cell in cells)
    assert all(not cell.outputs and cell.execution_count is None for cell in cells), "it is committed without outputs"
    headings = re.findall(r"(?m)^## (.*)$", "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    expected = ["Begin", "What do you expect?", "Look", "A hint", "Mend", "The solution, and the end", "What you have learned"]
    assert headings == expected
    cause = MODULES[name].replace("_", " ")
    before = [cell.source for cell in notebook.cells][: [cell.source for cell in notebook.cells].index("exercise.solution()")]
    assert cause not in " ".join(before) and json.dumps(notebook.metadata.get("widgets", {})) == "{}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_link_of_a_notebook_leads_somewhere(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    assert [link for link in re.findall(r"\]\(([^)\s#]+)", text) if not (path.parent / link).exists()] == []
