"""The board: what it shows of reports, and what its buttons do. Its steps are functions of these tests; no host is asked."""

import ast
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from airavata_runbook.engine.report import Failure, Item, Report
from airavata_runbook.errors import HostUnreachable, SiteError, StepFailed
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.local.screen import Nowhere, screen, shown_on
from airavata_runbook.site import Site
from airavata_runbook.site_board import work as work_module
from airavata_runbook.site_board.model import SITE, Cell, Grid, Ran, Row, State, cell_of, question
from airavata_runbook.site_board.page import StillBoard, cell_html
from airavata_runbook.site_board.work import Work, look, rows_of
from tests.unit.sessions import FakeHost
from tests.unit.test_imports import in_new_process

PACKAGE = Path(__file__).parents[2] / "airavata_runbook"
FIELDS = [("one", "master"), ("two", "worker")]
LAB = {
    "name": "fake",
    "nodes": [{"name": name, "address": f"192.0.2.{n}", "role": role} for n, (name, role) in enumerate(FIELDS, 1)],
}
OK = Item(label="file /etc/a", status="ok")
NEW = Item(label="file /etc/b", status="would change", summary="create", detail="+ b", command="install b", absent=True)
OTHER = Item(label="file /etc/c", status="would change", summary="new content", detail="- c\n+ d", command="install c")
LATER = Item(label="key", status="would change", summary="known after etcd answers", later=True)
WAIT = Item(label="wait for peace", status="skipped")


def report(plan: bool = True, failures: tuple = (), **hosts) -> Report:
    return Report(chapter="c", step="s", title="Step", plan=plan, hosts=hosts, failures=list(failures))


class FakeStep:
    """A step whose hosts answer with these items. calls: how it was called, "plan" or "run", and with which hosts left out."""

    def __init__(self, **hosts):
        self.hosts, self.calls, self.fails, self.screens = hosts, [], False, []
        self.go_on = threading.Event()
        self.go_on.set()
        self.began = threading.Event()

    def __call__(self, site, plan=False, leave_out=()):
        self.calls.append(("plan" if plan else "run", tuple(leave_out)))
        self.screens.append(screen())
        self.began.set()
        assert self.go_on.wait(20)
        found = {host: list(items) for host, items in self.hosts.items() if host not in leave_out}
        if not plan:
            found = {host: [one.model_copy(update={"status": "changed"}) for one in items] for host, items in found.items()}
        made = report(plan, **found)
        if self.fails and not plan:
            made.failures = [Failure(host="one", message="no space left")]
            raise StepFailed("Step did not succeed", report=made)
        if not plan:
            self.hosts = dict.fromkeys(self.hosts, [OK])
        return made


@pytest.fixture
def site() -> Site:
    return Site.load(LAB)


@pytest.fixture
def steps() -> dict[str, FakeStep]:
    return {"files": FakeStep(one=[OK, NEW], two=[OTHER]), "etcd": FakeStep(one=[LATER, WAIT]), "verify": FakeStep()}


@pytest.fixture
def grid(steps) -> Grid:
    return Grid(
        ["one", "two"],
        [
            Row("02-install", "files", "Files", steps["files"], ("one", "two")),
            Row("03-etcd", "etcd", "etcd", steps["etcd"], ("one",)),
            Row("06-verify", "verify", "Nodes", steps["verify"], (SITE,), in_a_run=True),
        ],
    )


class World:
    """What is around the steps. silent: hosts that do not answer. other: who else has the lock. stopped, noted: what was."""

    def __init__(self):
        self.silent, self.other, self.stopped, self.noted, self.locked = {}, "", 0, [], []

    @contextmanager
    def stoppable(self, site, purpose):
        if self.other:
            raise StepFailed("another run is in progress on this site", found=self.other)
        self.locked.append(purpose)

        def stop():
            self.stopped += 1

        yield stop


@pytest.fixture
def world(monkeypatch) -> World:
    made = World()
    monkeypatch.setattr(work_module, "look_anew", lambda site: made.silent)
    monkeypatch.setattr(work_module, "holder", lambda site: made.other)
    monkeypatch.setattr(work_module, "stoppable", made.stoppable)
    monkeypatch.setattr(work_module, "note", lambda site, text: made.noted.append(text))
    monkeypatch.setattr(work_module, "POLL", 0.02)
    monkeypatch.setattr(work_module, "_loaded", lambda name: SiteError("no such site"))
    return made


class Watched:
    """Shows nothing, and knows when the work is done."""

    screen = Nowhere()

    def __init__(self):
        self.idle = threading.Event()
        self.rows, self.work = [], None

    def changed(self, *rows):
        self.rows += rows
        if self.work and not self.work.doing:
            self.idle.set()

    def wait(self):
        assert self.idle.wait(20)
        self.idle.clear()


@pytest.fixture
def board(site, grid, world):
    watched = Watched()
    watched.work = Work(site, grid, watched)
    yield watched
    for row in grid.rows:
        row.call.go_on.set()
    watched.work.close()


def states(grid: Grid) -> list[str]:
    return [cell.text for cell in grid.cells.values()]


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([OK, OK], "= as it should be"),
        ([], "= as it should be"),
        ([OK, NEW, WAIT], "– not there yet: 1 of 2"),
        ([OK, NEW, OTHER], "~ differs: 2 of 3"),
        ([LATER, WAIT], "– not there yet"),
        ([LATER, NEW], "– not there yet: 2 of 2"),
    ],
)
def test_a_cell_says_what_a_plan_found(grid, items, text):
    cell = cell_of(grid.rows[0], report(one=items), "one")
    assert cell.text == text and cell.report.hosts == ({"one": items} if items else {})


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Failure(host="one", message="no space"), "! failed: 1 resource"),
        (Failure(host="one", message="no route", unreachable=True), "? unknown: no answer"),
        (Failure(host="one", message="stopped", kind="stopped"), "? unknown: stopped"),
    ],
)
def test_a_failure_is_shown_for_its_host_only(grid, failure, text):
    broken = report(failures=[failure], one=[Item(label="file /etc/b", status="failed")], two=[OK])
    grid.take(grid.rows[0], broken)
    assert states(grid)[:2] == [text, "= as it should be"]
    assert failure.message in cell_html(grid.cells[grid.rows[0], "one"])
    assert failure.message not in cell_html(grid.cells[grid.rows[0], "two"])


def test_a_look_plans_every_step_and_makes_no_check_of_a_run(site, grid, steps, world):
    assert [row.name for row in look(site, grid)] == ["files", "etcd", "verify"]
    assert states(grid) == [
        "– not there yet: 1 of 2",
        "~ differs: 1 of 1",
        "– not there yet",
        "? unknown: checked in a run",
    ]
    assert [step.calls for step in steps.values()] == [[("plan", ())], [("plan", ())], []]
    assert grid.summary() == "1 differs, 2 not there yet, 1 check for a run"


def test_a_host_that_is_off_is_asked_once_and_unknown(site, grid, steps, world):
    world.silent = {"two": "host two does not answer"}
    list(look(site, grid))
    assert states(grid)[:2] == ["– not there yet: 1 of 2", "? unknown: no answer"]
    assert steps["files"].calls == [("plan", ("two",))] and "host two does not answer" in cell_html(
        grid.cells[grid.rows[0], "two"]
    )
    world.silent = {"one": "the master is off"}
    list(look(site, grid))
    assert set(states(grid)) == {"? unknown: no answer"} and steps["etcd"].calls == [("plan", ("two",))]


def test_the_board_as_text_and_html_has_a_word_in_every_cell_and_no_widget(site, grid, world):
    list(look(site, grid))
    still = StillBoard("fake", grid)
    lines = str(still).splitlines()
    assert lines[0] == "Board of site fake (1 differs, 2 not there yet, 1 check for a run)"
    assert lines[2].split("  ")[0] == "02-install" and "~ differs: 1 of 1" in lines[2]
    html = still._repr_html_()
    assert "<th scope='row'" in html and "colspan='2'" in html and "install c" in html and "widget" not in html
    for cell in grid.cells.values():
        assert cell.text in html


def test_what_is_shown_is_escaped(grid):
    evil = "<script>alert(1)</script>\x1b[2J"
    grid.put(grid.rows[0], Cell(State.FAILED, error=evil))
    assert "<script>" not in StillBoard(evil, grid)._repr_html_() and "\x1b" not in str(StillBoard(evil, grid))


def test_the_question_says_which_steps_and_what_they_would_change(site, grid, world):
    first, etcd, check = grid.rows
    assert "nothing that is known would be changed" in question(grid, [first], "fake"), "nothing was looked at yet"
    list(look(site, grid))
    assert question(grid, [first], "fake") == (
        "Run “Files” on one, two (site fake)? By the last look, 2 resources would be changed."
    )
    asked = question(grid, grid.rows_from(etcd), "fake")
    assert asked.startswith("Run 2 steps, from “etcd” of 03-etcd to “Nodes” of 06-verify") and "1 resource would" in asked
    assert question(grid, [check], "fake").endswith("A check leaves the site as it was.")
    assert question(grid, [first], "fake", plans=True) == (
        "Plan “Files” on one, two (site fake)? Plan is on for this site: nothing is changed."
    )


def test_a_run_holds_the_lock_calls_the_step_and_looks_again(board, grid, steps, world):
    board.work.look()
    board.wait()
    assert board.work.run([grid.rows[0]])
    board.wait()
    assert [call[0] for call in steps["files"].calls] == ["plan", "run", "plan"]
    assert states(grid)[:2] == ["= as it should be"] * 2
    assert world.locked == ["step 'Files' of chapter 02-install, from the board"]
    assert board.work.said == "1 of 1 step done" and world.noted == ["1 of 1 step done"]
    assert isinstance(steps["files"].screens[0], Nowhere), "a look shows nothing in any cell"


def test_run_from_here_runs_what_follows_and_keeps_the_result_of_a_check(board, grid, steps):
    board.work.run(grid.rows_from(grid.rows[1]))
    board.wait()
    assert [step.calls[0][0] for step in steps.values()] == ["plan", "run", "run"]
    assert states(grid)[-1].startswith("= as it should be: checked at ") and board.work.said == "2 of 2 steps done"


def test_a_step_that_fails_ends_the_run_and_shows_why_until_the_next_look(board, grid, steps):
    steps["files"].fails = True
    board.work.run(list(grid.rows))
    board.wait()
    assert grid.cells[grid.rows[0], "one"].state == State.FAILED and "no space left" in cell_html(grid.cells[grid.rows[0], "one"])
    assert ("run", ()) not in steps["etcd"].calls
    assert board.work.said == "“Files” failed, 0 of 3 steps done: click its cell for the reason"
    board.work.look()
    board.wait()
    assert grid.cells[grid.rows[0], "one"].state == State.NOT_YET


def test_two_clicks_are_one_run(board, grid, steps):
    steps["files"].go_on.clear()
    assert board.work.run([grid.rows[0]]) and steps["files"].began.wait(20)
    assert not board.work.run([grid.rows[0]]) and not board.work.run(list(grid.rows)) and not board.work.look()
    assert not board.work.plan(grid.rows[1])
    steps["files"].go_on.set()
    board.wait()
    assert steps["files"].calls.count(("run", ())) == 1 and ("run", ()) not in steps["etcd"].calls


def test_stop_ends_a_run_at_once_and_no_step_follows(board, grid, steps, world):
    steps["files"].go_on.clear()
    board.work.run(list(grid.rows))
    assert steps["files"].began.wait(20)
    board.work.stop()
    board.work.stop()
    assert world.stopped == 1 and board.work.stopping
    steps["files"].go_on.set()
    board.wait()
    assert steps["etcd"].calls == [] and board.work.said.startswith("stopped by you: 1 of 3 steps done")
    assert board.work.look(), "it can be used again"
    board.wait()


def test_a_look_that_is_stopped_interrupts_no_command_of_a_cell(board, grid, steps, world):
    steps["files"].go_on.clear()
    board.work.look()
    assert steps["files"].began.wait(20)
    board.work.stop()
    steps["files"].go_on.set()
    board.wait()
    assert world.stopped == 0 and steps["etcd"].calls == [] and board.work.said.startswith("the look was stopped: 1 of 3")


def test_a_run_started_elsewhere_is_shown_and_refuses_one_here(board, grid, steps, world):
    world.other = "ann@desk, process 7, airavata-runbook run, since noon"
    board.work.run([grid.rows[0]])
    board.wait()
    assert world.other in board.work.said and board.work.other == world.other and steps["files"].calls == []
    world.other = ""
    for _ in range(400):
        if steps["files"].calls:
            break
        board.idle.wait(0.05)
    assert steps["files"].calls == [("plan", ())], "when it has ended, the board looks again"


@pytest.mark.parametrize("now", ["changed", "invalid"])
def test_a_site_file_that_changed_meanwhile_is_not_worked_on(site, grid, world, steps, monkeypatch, now):
    files = {"fake": site}
    monkeypatch.setattr(work_module, "_loaded", lambda name: files[name])
    watched = Watched()
    watched.work = Work(site, grid, watched)
    files["fake"] = Site.load(LAB | {"registry": {"port": 5001}}) if now == "changed" else SiteError("invalid site file")
    watched.work.run([grid.rows[0]])
    watched.wait()
    assert steps["files"].calls == [] and "board(site) again" in watched.work.said
    watched.work.close()


def test_a_bug_in_a_step_leaves_the_board_usable(board, grid):
    def broken(site, plan=False, leave_out=()):
        raise KeyError("oops")

    board.work.plan(Row("c", "s", "Step", broken, ("one",)))
    board.wait()
    assert board.work.said == "unexpected: KeyError: 'oops'" and board.work.look()
    board.wait()


def test_a_run_that_is_refused_before_it_begins_marks_no_cell(board, grid, world):
    """As where another site was chosen since (airavata_runbook.notebook)."""

    def refused(site, plan=False, leave_out=()):
        raise SiteError("another site was chosen")

    row = Row("c", "s", "Step", refused, ("one",))
    board.work.grid = Grid(["one"], [row])
    board.work.run([row])
    board.wait()
    assert board.work.said == "another site was chosen" and states(board.work.grid) == ["? unknown: not looked at yet"]


def test_a_picture_of_a_check_is_shown_with_its_words(grid):
    from airavata_runbook.engine.report import Picture

    found = report(False)
    found.picture = Picture(name="portal.png", text="the portal", png="aGk=")
    assert "alt='the portal'" in cell_html(cell_of(grid.rows[2], found, SITE))


def test_an_error_without_a_report_stands_for_the_whole_step(site, grid, world):
    def wrong(site, plan=False, leave_out=()):
        raise HostUnreachable("the SSH connection was lost", where="host one")

    row = Row("c", "s", "Step", wrong, ("one", "two"))
    made = Grid(["one", "two"], [row])
    list(look(site, made))
    assert [cell.state for cell in made.cells.values()] == [State.FAILED] * 2 and "host one" in cell_html(made.cells[row, "two"])


def test_what_a_run_came_to_is_said_in_one_line():
    assert Ran(3, 3, planned=True).text == "plan is on for this site, so nothing was changed: 3 of 3 steps planned"
    assert Ran(3, 1, stopped=True).text == "stopped by you: 1 of 3 steps done, which stay done"


def test_the_rows_are_the_steps_of_all_chapters_that_the_cells_call(site):
    from airavata_runbook.chapters import MODULES, steps_of

    rows = rows_of(site)
    assert list(dict.fromkeys(row.chapter for row in rows)) == list(MODULES)
    called = {row.call for row in rows}
    assert all(step in called for chapter in MODULES for step in steps_of(chapter) if hasattr(step, "title"))
    assert {row.hosts for row in rows} <= {("one",), ("two",), ("one", "two"), (SITE,)}


def test_the_board_has_no_ssh_and_no_comparison_in_it():
    """What it knows of hosts comes from reports; what it does to them, steps do."""
    allowed = ("chapters", "engine.report", "engine.step", "engine.watch", "errors", "local", "site", "site_board")
    found = set()
    for path in (PACKAGE / "site_board").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            found.update([node.module or ""] if isinstance(node, ast.ImportFrom) else names)
    own = {name.removeprefix("airavata_runbook.") for name in found if name.startswith("airavata_runbook")}
    assert own and not [name for name in own if not name.startswith(allowed)]
    assert not found & {"paramiko", "subprocess", "socket", "difflib"}


def test_neither_the_package_nor_a_headless_board_loads_widgets():
    script = (
        "import sys, airavata_runbook; assert 'airavata_runbook.site_board' not in sys.modules; "
        "from airavata_runbook import board; print(callable(board), 'ipywidgets' in sys.modules)"
    )
    assert in_new_process(script) == ["True", "False"]


@pytest.fixture
def view(site, grid, world):
    from airavata_runbook.site_board.view import BoardView

    made = BoardView(site, grid)
    settled(made)
    yield made
    made.close()


def settled(view) -> None:
    """Wait until the board does nothing."""
    for _ in range(2000):
        if not view.work.doing:
            return
        threading.Event().wait(0.01)
    raise AssertionError(view.work.doing)


def test_with_plan_on_the_board_asks_for_a_plan(view, grid, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_PLAN", "1")
    view.cells[grid.rows[0], "two"].click()
    view.opened.run.click()
    assert "Plan “Files” on one, two" in view.opened.question.value and view.opened.yes.description == "Yes, plan"


def test_with_many_hosts_a_cell_has_its_mark_and_the_whole_text_as_its_tooltip(site, grid, world):
    from airavata_runbook.site_board.view import BoardView

    view = BoardView(site, Grid(["one", "two", "three", "four", "five"], grid.rows))
    settled(view)
    differs, checked = view.cells[grid.rows[0], "two"], view.cells[grid.rows[2], SITE]
    assert differs.description == "~ 1 of 1" and differs.tooltip.endswith("two: ~ differs: 1 of 1")
    assert checked.description == "? unknown: checked in a run", "it is as wide as all hosts"
    view.close()


def test_a_click_shows_what_a_cell_is_about_and_asks_before_it_runs(view, grid, steps):
    files = grid.rows[0]
    shown = view.cells[files, "two"]
    assert shown.description == "~ differs: 1 of 1" and shown.tooltip == "02-install, Files, two: ~ differs: 1 of 1"
    shown.click()
    detail = view.opened
    assert "install c" in detail.content.value and "install b" not in detail.content.value and "on two" in detail.title.value
    detail.run.click()
    assert detail.ask.layout.display is None and "Run “Files” on one, two" in detail.question.value and detail.run.disabled
    detail.no.click()
    settled(view)
    assert ("run", ()) not in steps["files"].calls and detail.ask.layout.display == "none"
    detail.run.click()
    detail.yes.click()
    detail.yes.click()
    settled(view)
    assert steps["files"].calls.count(("run", ())) == 1 and shown.description == "= as it should be"
    assert "1 of 1 step done" in view.status.value and "role='status'" in view.status.value


def test_an_opened_cell_closes_the_one_of_another_chapter(view, grid):
    view.cells[grid.rows[0], "one"].click()
    first = view.opened
    view.cells[grid.rows[2], SITE].click()
    assert first.box.layout.display == "none" and view.opened.box.layout.display is None
    assert "a plan does not make it" in view.opened.content.value and "the whole site" in view.opened.title.value


def test_every_button_has_a_text_and_a_state_is_never_a_colour_alone(view, grid):
    view.cells[grid.rows[0], "one"].click()
    detail = view.opened
    for one in (view.again, view.stop, detail.plan, detail.run, detail.run_from, detail.hide, detail.yes, detail.no):
        assert one.description and one.tooltip
    assert {shown.description for shown in view.cells.values()} == set(states(grid))


def test_a_second_board_of_a_site_ends_the_first(view, site, grid):
    from airavata_runbook.site_board.view import BoardView

    second = BoardView(site, grid)
    settled(second)
    assert not view.work.look() and not view.work.run([grid.rows[0]]) and "does nothing any more" in view.status.value
    assert view.again.disabled and second.work.look()
    settled(second)
    second.close()


def test_a_board_is_shown_by_its_widget_and_by_words_where_there_is_none(view):
    bundle = view._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == view.box.model_id
    assert "run this cell again" in bundle["text/plain"]


def test_a_step_that_runs_shows_its_bars_in_the_board_and_leaves_none(view):
    running = view.screen
    bars = running.bars("Files", ["one", "two"])
    nested = running.bars("", ["build"])
    bars.heading("Files, 3 s")
    bars.update("one", "file /etc/a", 1, 3, "1/3", "3 s")
    running.say("one: waits for <etcd>")
    assert running.place.children == (bars.box, nested.box) and bars.bars["one"].value == 1
    assert "&lt;etcd&gt;" in running.texts.value
    assert not nested.close() and not bars.close() and running.place.children == ()
    view.again.click()
    settled(view)
    assert running.texts.value == "", "what kept a run waiting is not shown beside another look"


def test_the_threads_of_a_step_show_what_they_do_where_the_step_does():
    host = FakeHost()
    with shown_on(Nowhere()):
        assert isinstance(run_parallel([host], lambda one: screen())["here"], Nowhere)
    assert run_parallel([host], lambda one: screen())["here"] is None
