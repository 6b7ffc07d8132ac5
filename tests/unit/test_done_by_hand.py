"""What is done by hand is kept: each step that is run in a live notebook, with who, when and where, whatever is run after it."""

import json
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import nbformat
import pytest

from airavata_runbook import Site, cli, kernel_env
from airavata_runbook.engine.report import Origin, Report
from airavata_runbook.engine.step import check, step
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.host import Result
from airavata_runbook.local import live as live_module
from airavata_runbook.local.live import set_live_notebook
from airavata_runbook.notebook import origin, site_view
from airavata_runbook.notebook.live import Live
from airavata_runbook.run import by_hand, record
from tests.unit.sessions import FakeHost, answer_batch, open_session
from tests.unit.small_project import wait_for


@check("A look", before=True)
def a_look(session):
    return [["site"], [session.site.name]]


@check("A failure", before=True)
def a_failure(session):
    raise StepFailed("it <b>broke</b>")


@step("Nothing")
def nothing(target):
    yield from ()


@pytest.fixture
def notebook(project, tmp_path, monkeypatch):
    """A live notebook in a project with the site small, whose host is a stand-in."""
    monkeypatch.setattr(live_module, "in_live_notebook", lambda: True)
    monkeypatch.setattr(live_module, "_notebook", None)
    monkeypatch.delenv(kernel_env.REPORT_FILE, raising=False)
    monkeypatch.setenv(kernel_env.LOCK_HELD, "1")
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("JPY_SESSION_NAME", str(project / "notebooks" / "02-install.ipynb"))
    monkeypatch.setenv("JUPYTERHUB_USER", "alice")
    set_live_notebook(Live())
    site = Site.load("small")
    open_session(monkeypatch, site, {"one": Host()})
    return site


class Host(FakeHost):
    name, node = "one", SimpleNamespace(name="one", ssh=SimpleNamespace(passphrase=None))
    answers = {"lock": "", "journal": ""}

    def run(self, script: str, **_) -> Result:
        return answer_batch(script, self.answers)


def kept(project, which: str = "latest-by-hand") -> dict:
    return json.loads((project / "outputs" / "small" / which / "report.json").read_text())


def steps_of(project) -> list[dict]:
    return [one for chapter in kept(project)["chapters"] for one in chapter["steps"]]


def test_each_step_is_kept_with_who_when_where_and_whether_it_was_a_plan(notebook, project, capsys):
    a_look(notebook)
    nothing(notebook, plan=True)
    a_look(notebook)
    assert [(one["step"], one["plan"]) for one in steps_of(project)] == [("a_look", False), ("nothing", True), ("a_look", False)]
    assert steps_of(project)[0]["origin"]["notebook"] == "02-install.ipynb" and not steps_of(project)[0]["running"]
    assert steps_of(project)[0]["origin"]["who"].startswith("alice@")
    (folder,) = (project / "outputs" / "small").glob("2*-by-hand")
    page = (folder / "report.html").read_text()
    now = datetime.now(UTC).strftime("%H:")
    assert "3 steps by hand" in page and f"Plan, {now}" in page and "alice@" in page and "02-install.ipynb" in page
    assert cli.main(["runs", "small"]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[0] == folder.name and row[3] == "by-hand" and row[4:6] == ["02", "ok"]


def test_what_failed_is_kept_when_the_cell_runs_again(notebook, project, monkeypatch):
    with pytest.raises(StepFailed):
        a_failure(notebook)
    assert kept(project)["outcome"] == "failed"
    monkeypatch.setattr(a_failure, "look", lambda session: [["well"]])
    a_failure(notebook)
    assert kept(project)["outcome"] == "ok" and kept(project)["failed"] == 1
    page = (project / "outputs" / "small" / "latest-by-hand" / "report.html").read_text()
    assert "it &lt;b&gt;broke&lt;/b&gt;" in page and "run again" not in page


def test_a_step_during_which_the_kernel_dies_is_kept_as_begun(notebook, project, monkeypatch):
    def die(session):
        assert kept(project)["outcome"] == "running"
        raise SystemExit

    monkeypatch.setattr(a_look, "look", die)
    with pytest.raises(SystemExit):
        a_look(notebook)
    assert steps_of(project)[0]["running"]


def test_the_notebooks_of_a_session_share_a_days_record_and_go_on_in_a_new_one_the_next_day(notebook, project, monkeypatch):
    a_look(notebook)
    monkeypatch.setenv("JPY_SESSION_NAME", "03-etcd-flannel.ipynb")
    set_live_notebook(Live())
    a_look(notebook)
    monkeypatch.setenv("JPY_SESSION_NAME", "02-install.ipynb")
    a_look(notebook)
    assert [one["chapter"] for one in kept(project)["chapters"]] == ["02-install", "03-etcd-flannel", "02-install"]
    page = (project / "outputs" / "small" / "latest-by-hand" / "report.html").read_text()
    assert 'href="#02-install-1"' in page and 'id="02-install-3"' in page

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2099, 1, 1, 8, tzinfo=tz)

    monkeypatch.setattr(by_hand, "datetime", Tomorrow)
    monkeypatch.setattr(record, "datetime", Tomorrow)
    a_look(notebook)
    assert len(steps_of(project)) == 1 and (project / "outputs" / "small" / "20990101T080000Z-by-hand").is_dir()


def test_notebooks_side_by_side_lose_nothing(project, tmp_path):
    def work(number: int) -> None:
        for count in range(5):
            where = Origin(who="alice", notebook=f"{number}.ipynb")
            report = Report(site="small", chapter="c", step=f"{number}-{count}", title="t", plan=False, hosts={}, origin=where)
            by_hand.keep(report.model_copy(update={"started": time.time(), "running": True}), project, tmp_path / "memory")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(steps_of(project)) == 20 and len(list((project / "outputs" / "small").glob("2*"))) == 1


def test_a_record_that_cannot_be_written_fails_no_step(notebook, project, capsys):
    (project / "outputs").write_text("a file, where a folder belongs")
    assert a_look(notebook).rows[1] == ["small"]
    assert "A look: the run's record could not be written" in capsys.readouterr().err


def test_headless_nothing_is_kept_by_hand(notebook, project, monkeypatch):
    monkeypatch.setattr(live_module, "in_live_notebook", lambda: False)
    assert a_look(notebook).origin is None and not (project / "outputs").exists()


def test_a_step_that_the_runner_records_is_not_recorded_twice(notebook, project, monkeypatch, tmp_path):
    monkeypatch.setenv(kernel_env.REPORT_FILE, str(tmp_path / "steps.jsonl"))
    a_look(notebook)
    assert (tmp_path / "steps.jsonl").exists() and not (project / "outputs").exists()


def test_the_cell_is_named_by_its_place_and_its_count(project, monkeypatch):
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("a_look(site)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project / "notebooks" / "01-network.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", str(project / "notebooks" / "01-network.ipynb"))
    monkeypatch.setenv("JUPYTERHUB_USER", "alice")

    def asked(kind: str, cell: str) -> str:
        request = {"header": {"msg_type": kind}, "metadata": {"cellId": cell}}
        shell = SimpleNamespace(execution_count=7, kernel=SimpleNamespace(get_parent=lambda: request), user_ns={})
        monkeypatch.setattr(origin, "get_ipython", lambda: shell)
        return str(origin.origin()).partition(", ")[2]

    assert asked("execute_request", cells[1].id) == "01-network.ipynb, cell 2 [7]"
    assert asked("execute_request", "of a cell that is not saved yet") == "01-network.ipynb, [7]"
    assert asked("comm_msg", "") == "01-network.ipynb", "a button"
    (project / "notebooks" / "01-network.ipynb").unlink()
    assert asked("execute_request", cells[1].id) == "01-network.ipynb, [7]"


@pytest.fixture
def displayed(monkeypatch):
    """What the site's cell shows: the newest text, and HTML."""
    shown = []

    def display(bundle, **_):
        shown.append(bundle)
        return SimpleNamespace(update=lambda bundle, raw: shown.append(bundle))

    monkeypatch.setattr(site_view, "display", display)
    return shown


ENTRY = "2026-11-30 14:03:00\t2026-11-30 14:05:00\talice@ws, process 7, airavata-runbook run\tok: 6 chapters <b>\n"


def test_the_first_cell_shows_what_was_last_done(notebook, displayed, monkeypatch):
    monkeypatch.setattr(Host, "answers", {"lock": "", "journal": ENTRY})
    notebook._ipython_display_()
    (shown,) = displayed
    assert "2026-11-30 14:03:00 to 14:05:00  alice@ws  airavata-runbook run  ok: 6 chapters <b>" in shown["text/plain"]
    assert "<td style='text-align:left'>ok: 6 chapters &lt;b&gt;</td>" in shown["text/html"]
    monkeypatch.setattr(Host, "answers", {"lock": "bob@ws, process 8, step 'x', since now", "journal": ""})
    notebook._ipython_display_()
    assert "Now: bob@ws, process 8, step 'x', since now." in displayed[-1]["text/plain"]


def test_a_host_that_takes_long_delays_no_cell(notebook, displayed, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(site_view, "WAIT", 0.01)
    monkeypatch.setattr(site_view, "last_done", lambda site: go_on.wait(20) and ("Last done here:", [["when"], ["today"]]))
    notebook._ipython_display_()
    assert "is being read" in displayed[-1]["text/plain"]
    go_on.set()
    wait_for(lambda: "today" in displayed[-1]["text/plain"])


def test_a_switch_for_plan_is_shown_as_it_is(notebook, displayed):
    view = site_view.SiteView(notebook, site_view.PLAN_ON)
    assert "PLAN: steps show what they would change" in displayed[-1]["text/html"]
    view.update("")
    assert "PLAN" not in displayed[-1]["text/html"] + displayed[-1]["text/plain"]


def test_nobody_is_asked_for_a_passphrase_to_show_it(notebook, displayed, monkeypatch):
    monkeypatch.setattr(Host, "node", SimpleNamespace(name="one", ssh=SimpleNamespace(passphrase="prompt:key")))
    notebook._ipython_display_()
    assert "is not read" in displayed[-1]["text/plain"]


def test_headless_a_site_is_shown_as_its_text(notebook, monkeypatch):
    monkeypatch.setattr(live_module, "in_live_notebook", lambda: False)
    with pytest.raises(NotImplementedError):
        notebook._ipython_display_()
