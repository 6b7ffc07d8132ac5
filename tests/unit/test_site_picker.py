"""The choice of a site in a live notebook: kept for the session and folder, followed by every step, never met headless."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import nbformat
import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from airavata_runbook import Site, kernel_env
from airavata_runbook.engine.report import report_html
from airavata_runbook.engine.step import check, step
from airavata_runbook.errors import SiteError
from airavata_runbook.local import live as live_module
from airavata_runbook.local.live import set_live_notebook
from airavata_runbook.notebook import session
from airavata_runbook.notebook.live import Live
from airavata_runbook.notebook.site_files import look
from tests.unit.small_project import FIRST, wait_for
from tests.unit.test_progress import PROJECT, WIDGET, kept
from tests.unit.test_progress import Live as FrontEnd

OTHER = "site: {name: other, nodes: [{name: two, address: 192.0.2.12, role: master}]}"


@check("A look", before=True)
def a_look(session):
    return [["site"], [session.site.name]]


@step("Nothing", on=lambda site: [])
def nothing(target):
    yield from ()


@pytest.fixture
def folder(project, tmp_path, monkeypatch):
    """A project with the sites small and other, whose notebooks name none."""
    (project / "parameters" / "other.yaml").write_text(OTHER)
    monkeypatch.delenv(kernel_env.SITE)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("JPY_SESSION_NAME", str(project / "notebooks" / "01-network.ipynb"))
    return project


@pytest.fixture
def kernel(folder, monkeypatch):
    """Starts what a kernel of a live notebook has; the newest one is in use."""
    monkeypatch.setattr(live_module, "in_live_notebook", lambda: True)
    monkeypatch.setattr(live_module, "_notebook", None)
    monkeypatch.setattr("airavata_runbook.notebook.live._look", lambda picker, name, path: None)

    def start() -> Live:
        set_live_notebook(one := Live())
        return one

    return start


def picked(kernel: Live, name: str) -> str:
    """What the picker says after a click on a site."""
    kernel._picker.buttons[name].click()
    return kernel._picker.said.value


def no_site() -> str:
    with pytest.raises(SiteError) as caught:
        Site.load(None)
    return str(caught.value)


def test_a_site_is_chosen_and_stays_so_for_the_folders_notebooks_until_another_one_is(kernel, folder):
    first = kernel()
    assert "no site is chosen yet" in (said := no_site()) and "Site.load(site)" in said
    assert "The site small is chosen. Run this cell again" in picked(first, "small")
    assert first._picker.buttons["small"].description == "small (chosen)"
    assert Site.load(None).name == "small"
    second = kernel()  # of another notebook
    assert Site.load(None).name == "small" and "was chosen in 01-network.ipynb" in second._picker.said.value
    picked(second, "other")
    assert Site.load(None).name == "other"


def test_a_step_says_the_same_sentence_while_no_site_is_chosen(kernel):
    kernel()
    said = no_site()
    for one in (nothing, a_look):
        with pytest.raises(SiteError) as caught:
            one(None)
        assert str(caught.value) == said


def test_a_notebook_that_has_loaded_the_site_before_runs_nothing_on_it_and_loads_the_new_one(kernel):
    first = kernel()
    no_site()
    picked(first, "small")
    site = Site.load(None)
    assert a_look(site, plan=True).rows[1] == ["small"]
    picked(first, "other")
    for one in (nothing, a_look):
        with pytest.raises(SiteError, match="another site was chosen after this notebook loaded the site small"):
            one(site)
    assert Site.load(site).name == "other", "the cell `site = Site.load(site)` again"


def test_a_site_that_the_notebook_names_is_that_one_whatever_was_chosen(kernel):
    first = kernel()
    no_site()
    picked(first, "small")
    named = Site.load("other")
    assert Site.load(named) is named and a_look(named).rows[1] == ["other"]
    first._picker.plan.value = True
    assert not a_look(named).plan


def test_the_switch_for_plan_reaches_every_step_and_every_notebook_of_the_folder(kernel):
    first = kernel()
    no_site()
    assert "Plan is on: steps change nothing" in turned(first, True)
    picked(first, "small")
    site = Site.load(None)
    assert nothing(site).plan and a_look(site, plan=False).plan
    second = kernel()
    of_second = Site.load(None)
    assert a_look(of_second).plan and second._picker.plan.value
    assert "Plan is off: steps change the hosts" in turned(second, False)
    assert not a_look(of_second).plan
    set_live_notebook(first)
    assert a_look(site).plan, "as it still shows"
    turned(first, False)
    assert not a_look(site).plan
    turned(first, True)
    set_live_notebook(second)
    assert a_look(of_second).plan, "on counts for all"


def turned(kernel: Live, on: bool) -> str:
    kernel._picker.plan.value = on
    return kernel._picker.said.value


def test_a_plan_that_the_environment_asks_for_cannot_be_switched_off(kernel, monkeypatch):
    monkeypatch.setenv(kernel_env.PLAN, "1")
    first = kernel()
    no_site()
    assert first._picker.plan.value and first._picker.plan.disabled


def test_what_was_chosen_in_another_session_or_folder_counts_for_nothing(kernel, folder, tmp_path, monkeypatch):
    first = kernel()
    no_site()
    picked(first, "small")
    assert Site.load(None).name == "small"
    with monkeypatch.context() as later:
        later.setattr(session, "_session", lambda: "1-another")
        no_site()
    (tmp_path / "elsewhere" / "parameters").mkdir(parents=True)
    (tmp_path / "elsewhere" / "parameters" / "small.yaml").write_text(OTHER)
    monkeypatch.chdir(tmp_path / "elsewhere")
    no_site()


def test_a_session_is_the_process_that_started_the_kernel(monkeypatch):
    of_this = session._name(str(os.getpid()))
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    assert session._session.__wrapped__() == of_this
    monkeypatch.setenv("JPY_PARENT_PID", "0")
    assert session._session.__wrapped__() == session._name(str(os.getppid())) != of_this
    monkeypatch.setattr(session, "BOOT", Path(__file__))
    assert session._name(str(os.getpid())) != of_this, "after a restart of the machine"


def test_what_sessions_that_have_ended_kept_is_removed(folder, tmp_path):
    ended = tmp_path / "state" / "notebooks" / "4194305-0123456789abcdef"  # above the greatest process id
    ended.mkdir(parents=True)
    session.choose(folder, session.Choice("one"))
    assert not ended.exists() and session.chosen(folder) == session.Choice("one")


def test_a_chosen_file_that_is_gone_is_no_choice(kernel, folder):
    first = kernel()
    no_site()
    picked(first, "other")
    (folder / "parameters" / "other.yaml").unlink()
    no_site()


def test_a_file_that_is_not_valid_says_so_in_the_picker_and_when_it_is_loaded(kernel, folder):
    (folder / "parameters" / "other.yaml").write_text("site: {name: other}")
    told = []
    look(folder / "parameters" / "other.yaml", lambda *words: told.append(words))
    assert told[0][1].startswith("not valid: ")
    first = kernel()
    no_site()
    picked(first, "other")
    assert "nodes" in no_site()


def test_the_environment_variable_names_the_site_without_a_picker(kernel, monkeypatch):
    monkeypatch.setenv(kernel_env.SITE, "other")
    first = kernel()
    assert Site.load(None).name == "other" and first._picker is None


def test_whether_hosts_answer(folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        nodes = f"{{name: one, address: 192.0.2.11, role: master, ssh: {{host: 127.0.0.1, port: {port}}}}}"
        silent = "{name: two, address: 192.0.2.12, ssh: {host: 127.0.0.1, port: 1}}"
        threading.Thread(target=lambda: greet(server), daemon=True).start()
        told = []
        for name, listed in (("up", nodes), ("half", f"{nodes}, {silent}")):
            path = folder / "parameters" / f"{name}.yaml"
            path.write_text(f"site: {{name: {name}, nodes: [{listed}]}}")
            look(path, lambda *words: told.append(words))
    assert told[:2] == [("one 192.0.2.11", "asking …"), ("one 192.0.2.11", "the host answers")]
    assert told[3] == ("one 192.0.2.11, two 192.0.2.12", "1 of 2 hosts answer (two: connection refused)")


def greet(server: socket.socket) -> None:
    for _ in range(2):
        connection, _ = server.accept()
        connection.sendall(b"SSH-2.0-test\r\n")
        connection.close()


def test_every_report_has_the_name_of_its_site(kernel):
    assert "checked, site other" in report_html(a_look(Site.load("other")))


LOAD = FIRST[1]


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def kernel_of_vs_code(folder: Path):
    """A client of a kernel that is started as VS Code's Jupyter extension does: a variable of the kernel names the notebook."""
    file = str(folder / f"kernel-{uuid4()}.json")
    _, ports = write_connection_file(file)
    process = subprocess.Popen(
        [sys.executable, "-m", "ipykernel_launcher", "-f", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    client = BlockingKernelClient(connection_file=file)
    try:
        wait_for(lambda: listens(ports["hb_port"]) and listens(ports["shell_port"]))
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        client.execute(f"__vsc_ipynb_file__ = {str(folder / 'notebooks' / '01-network.ipynb')!r}", silent=True)
        yield client
    finally:
        client.stop_channels()
        process.kill()
        process.wait()


@contextmanager
def kernel_of_jupyter(folder: Path):
    """A client of a kernel that is started as a Jupyter server does."""
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture(params=[kernel_of_jupyter, kernel_of_vs_code], ids=["jupyter", "vs-code"])
def kernels(folder, monkeypatch, request):
    """Starts kernels of live notebooks, as one front end does."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    if request.param is kernel_of_vs_code:
        for name in ("JPY_SESSION_NAME", "JPY_PARENT_PID"):
            monkeypatch.delenv(name, raising=False)

    with ExitStack() as started:

        def start() -> FrontEnd:
            front_end = FrontEnd(started.enter_context(request.param(folder)))
            front_end.execute(FIRST[0])
            return front_end

        yield start


def test_in_a_kernel_the_cell_shows_the_picker_and_one_sentence_and_a_click_is_enough(kernels):
    first = kernels()
    messages = first.execute(LOAD)
    shown, error = kept(messages)
    assert WIDGET in shown and "run this cell" in shown["text/plain"]
    assert error["ename"] == "SiteError" and len(error["traceback"]) == 1 and "no site is chosen yet" in error["traceback"][0]
    opened = {one["content"]["comm_id"]: one["content"]["data"]["state"] for one in messages if one["msg_type"] == "comm_open"}
    (button,) = [model for model, state in opened.items() if state.get("description") == "small"]
    assert opened[button]["tooltip"] == "Choose the site small"
    click = {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
    first.client.shell_channel.send(first.client.session.msg("comm_msg", click))
    picker, site = kept(first.execute(LOAD))
    assert WIDGET in picker and site["text/plain"].startswith("site small: one (master") and "site small" in site["text/html"]
    messages = kernels().execute(LOAD)
    picker, site = kept(messages)
    assert "The site small was chosen in 01-network.ipynb" in str([one["content"] for one in messages])
    assert site["text/plain"].startswith("site small:")


def test_headless_no_widget_is_met_whatever_was_chosen(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    session.choose(folder, session.Choice(str(folder / "parameters" / "small.yaml")))
    cells = [nbformat.v4.new_code_cell(source) for source in (*FIRST, "1")]
    with pytest.raises(CellExecutionError, match="no site specified"):
        NotebookClient(nbformat.v4.new_notebook(cells=cells), kernel_name="python3", timeout=60).execute()
    assert [output.output_type for output in cells[1].outputs] == ["error"]
    cells = [nbformat.v4.new_code_cell(one) for one in ('site = "small"', LOAD, "import sys; 'ipywidgets' in sys.modules")]
    NotebookClient(nbformat.v4.new_notebook(cells=cells), kernel_name="python3", timeout=60).execute()
    assert list(cells[1].outputs[0].data) == ["text/plain"] and cells[2].outputs[0].data["text/plain"] == "False"


def test_the_picker_does_not_wait_for_the_hosts(folder, kernel, monkeypatch):
    asked, go_on = threading.Event(), threading.Event()

    def slow(picker, name, path):
        asked.set()
        go_on.wait(20)
        picker.tell(name, "one <b>192.0.2.11</b>", "no answer")

    monkeypatch.setattr("airavata_runbook.notebook.live._look", slow)
    first = kernel()
    no_site()
    assert asked.wait(20) and first._picker.answers["small"].value == "reading …"
    go_on.set()
    wait_for(lambda: first._picker.answers["small"].value == "no answer")
    assert first._picker.hosts["small"].value == "one &lt;b&gt;192.0.2.11&lt;/b&gt;"
