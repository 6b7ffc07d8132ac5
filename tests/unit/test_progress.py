"""Progress: bars in a live notebook, nothing in a headless one, a rewritten line on a terminal, some lines in a log."""

import errno
import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from airavata_runbook import kernel_env
from airavata_runbook.local import step_progress as steps
from airavata_runbook.local import terminal
from airavata_runbook.local.step_progress import step_progress
from airavata_runbook.local.terminal import ProgressLine, Transfer, progress
from tests.unit.small_project import wait_for
from tests.unit.test_runner import Terminal

PROJECT = Path(__file__).parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"
SETUP = """
import sys
from airavata_runbook import Site
from airavata_runbook.engine.step import step
from airavata_runbook.local.terminal import progress
from airavata_runbook.resources import File
from pytest import MonkeyPatch
from tests.unit.sessions import open_session
from tests.unit.test_engine import ThisMachine

class Machine(ThisMachine):
    def __init__(self, node):
        super().__init__()
        self.name, self.node = node.name, node

nodes = [("one", "master"), ("two", "worker")]
site = Site.load({"name": "fake", "nodes": [
    {"name": name, "address": f"192.0.2.{n}", "role": role} for n, (name, role) in enumerate(nodes, 1)]})
open_session(MonkeyPatch(), site, {node.name: Machine(node) for node in site.nodes})

@step("Three files")
def files(target):
    with progress("build", 2) as update:
        update("etcd", 1)
    for number in range(3):
        yield File(f"FOLDER/{target.node.name}-{number}", "text\\n")
"""


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """What the kernels of these tests get. Returns the code of the notebook's first cell."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv(kernel_env.LOCK_HELD, "1")
    (tmp_path / "files").mkdir()
    return SETUP.replace("FOLDER", str(tmp_path / "files"))


def test_a_headless_notebook_keeps_no_progress_and_imports_no_widgets(environment):
    cells = [environment, "files(site)", "'ipywidgets' in sys.modules"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    first, step, widgets = (cell.outputs for cell in notebook.cells)
    assert not first and [output.output_type for output in step] == ["execute_result"]
    assert "6 changed" in step[0].data["text/plain"] and widgets[0].data["text/plain"] == "False"


class Live:
    """A front end that can answer input requests, as JupyterLab: it executes cells and keeps their messages."""

    def __init__(self, client):
        self.client = client
        self.subshell = self.button = ""  # IDs
        self.clicked = False

    def execute(self, source: str, look: Callable[[dict], None] = lambda message: None) -> list[dict]:
        """The messages of a cell, those that come from other threads included. look: is given each as it comes."""
        messages = []

        def keep(message: dict) -> None:
            messages.append(message)
            look(message)

        self.client.execute_interactive(source, allow_stdin=True, timeout=60, output_hook=keep)
        return messages

    def make_subshell(self) -> None:
        self.client.control_channel.send(self.client.session.msg("create_subshell_request"))
        while (reply := self.client.get_control_msg(timeout=60))["msg_type"] != "create_subshell_reply":
            pass
        self.subshell = reply["content"]["subshell_id"]

    def click(self, message: dict) -> None:
        """Click the button of the cell as soon as it is shown."""
        content = message["content"]
        state = content.get("data", {}).get("state", {}) if message["msg_type"].startswith("comm_") else {}
        if state.get("_model_name") == "ButtonModel":
            self.button, self.layout = content["comm_id"], state["layout"].removeprefix("IPY_MODEL_")
        if message["msg_type"] == "comm_msg" and content["comm_id"] == self.layout and state == {"display": None}:
            data = {"method": "custom", "content": {"event": "click"}}
            click = self.client.session.msg("comm_msg", {"comm_id": self.button, "data": data})
            click["header"]["subshell_id"] = self.subshell
            self.client.shell_channel.send(click)
            self.clicked = True


@pytest.fixture
def live(environment):
    manager, client = start_new_kernel(kernel_name="python3")
    front_end = Live(client)
    assert not [message for message in front_end.execute(environment) if message["msg_type"] in ("error", "stream")]
    yield front_end
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def kept(messages: list[dict]) -> list[dict]:
    """The MIME bundles of the outputs that a front end saves with the cell."""
    outputs, by_id = [], {}
    for message in messages:
        content = message["content"]
        if message["msg_type"] in ("display_data", "execute_result", "error", "stream"):
            outputs.append(content.get("data", content))
            by_id[content.get("transient", {}).get("display_id")] = outputs[-1]
        elif message["msg_type"] == "update_display_data":
            by_id[content["transient"]["display_id"]].clear()
            by_id[content["transient"]["display_id"]].update(content["data"])
        elif message["msg_type"] == "clear_output":
            outputs.clear()
    return outputs


def comms(messages: list[dict], kind: str) -> list[str]:
    return sorted(message["content"]["comm_id"] for message in messages if message["msg_type"] == kind)


def test_a_live_notebook_shows_bars_and_keeps_nothing_of_them(live):
    messages = live.execute("files(site)")
    states = [message["content"]["data"]["state"] for message in messages if message["msg_type"] == "comm_open"]
    assert [state["_model_name"] for state in states].count("FloatProgressModel") == 4, "two hosts, each with a build"
    changes = [message["content"]["data"].get("state", {}) for message in messages if message["msg_type"] == "comm_msg"]
    assert [change["value"] for change in changes if change.get("value") in (3, "3/3")].count("3/3") == 2
    assert [change["value"] for change in changes if change.get("value") == "done"] == ["done"] * 2
    assert any(WIDGET in message["content"].get("data", {}) for message in messages if message["msg_type"] == "display_data")
    assert comms(messages, "comm_open") == comms(messages, "comm_close")
    (report,) = kept(messages)
    assert "6 changed" in report["text/plain"]


ENDLESS = """
import threading
from airavata_runbook.hosts.host import Host
from airavata_runbook.resources import Condition
Machine.pause, Machine.stop, Machine.resume = Host.pause, lambda self: self._stop.set(), lambda self: self._stop.clear()
Machine._stopped, Machine._stop = Host._stopped, threading.Event()

@step("What never ends")
def endless(target):
    yield Condition("what never comes", check=lambda: "nothing", deadline=seconds)
"""


def test_the_stop_button_is_shown_where_it_works_and_ends_the_step(live):
    """The front end of these tests makes a subshell for widgets when it is told to, as JupyterLab does by itself."""
    assert not [message for message in live.execute(ENDLESS) if message["msg_type"] == "error"]
    messages = live.execute("seconds = 3; endless(site)", live.click)
    assert not live.clicked and "2 failed" in kept(messages)[0]["text/plain"], "no subshell: it would do nothing before the end"
    live.make_subshell()
    report, error = kept(live.execute("seconds = 60; endless(site)", live.click))
    assert live.clicked and "stopped by the user" in report["text/plain"] and "2 stopped" in report["text/plain"]
    assert error["traceback"][0].startswith(
        "StepFailed: What never ends was stopped on one, two (chapter __main__, step endless)"
    )
    assert error["traceback"][0].endswith("remedy: run the step again: completed changes are kept")


def test_a_failed_step_keeps_its_report_and_no_bars(live, tmp_path):
    (tmp_path / "files" / "two-1").mkdir()
    messages = live.execute("files(site)")
    report, error = kept(messages)
    assert "1 failed" in report["text/plain"] and error["ename"] == "StepFailed"
    assert comms(messages, "comm_open") == comms(messages, "comm_close")
    assert "two-1" in error["evalue"], "for programs, all of it; a person has it in the report above"
    assert error["traceback"] == [
        "StepFailed: Three files did not succeed on two (chapter __main__, step files), see the report above\n"
        "  remedy: fix the cause and run the step again: completed changes are kept"
    ]


def test_a_failed_step_of_a_headless_notebook_keeps_its_whole_message(environment, tmp_path):
    (tmp_path / "files" / "two-1").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (environment, "files(site)")])
    NotebookClient(notebook, kernel_name="python3", timeout=60, allow_errors=True).execute()
    _, error = notebook.cells[1].outputs
    assert error.traceback == [f"StepFailed: {error.evalue}"] and "two-1" in error.evalue


STOPPED = """
import os, signal, threading
from airavata_runbook.engine.step import check

@check("What is there")
def look(session):
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    threading.Event().wait(60)
look(site)
"""


def test_a_check_that_is_stopped_shows_one_line(live):
    (error,) = kept(live.execute(STOPPED))
    assert error["ename"] == "KeyboardInterrupt", "what a program sees stays"
    assert error["traceback"] == ["stopped by the user; run the cell again: what is done stays done"]


def test_reports_shown_between_the_steps_of_one_cell_stay(live):
    outputs = kept(live.execute("display(files(site)); display(files(site)); files(site)"))
    assert [list(output)[0] for output in outputs if output] == ["text/plain"] * 3


def lines(text: str) -> list[str]:
    """What a terminal shows after `text`."""
    shown = []
    for line in text.split("\n"):
        row = ""
        for part in line.split("\r"):
            row = part + row[len(part) :]
        shown.append(row.rstrip())
    return shown


def terminal_of(monkeypatch) -> Terminal:
    """Standard error as a terminal of 40 columns. pytest replaces stderr anew for each test, after its fixtures."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "40")
    return stream


def test_a_terminal_gets_one_rewritten_line(monkeypatch):
    shown = terminal_of(monkeypatch)
    with step_progress("Files", ["two", "one"]) as update:
        update("two", "checking")
        threads = [threading.Thread(target=update, args=("one", f"file {n}", n, 9)) for n in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        update("one", "file 8", 8, 9)
        update("two", "a file with quite a long name", 1, 9)
        (line,) = lines(shown.text)
        assert line.startswith("Files, 0 s: one 8/9 file 8; two 1/9 a ") and line.endswith("…") and len(line) == 39
        update.end("one")
        assert lines(shown.text) == ["Files, 0 s: 1 of 2 hosts done; two 1/9…"]
        update("two", "done", 9, 9)
    assert lines(shown.text) == ["Files: one, two", ""]


def test_the_line_says_for_how_long_while_nothing_else_is_said(monkeypatch):
    shown = terminal_of(monkeypatch)
    monkeypatch.setattr(steps, "TICK", 0.02)
    with step_progress("Files", ["one"]) as update:
        update.started -= 95
        update("one", "waiting")
        shown.text = ""
        wait_for(lambda: "Files, 1 min 35 s: one waiting" in shown.text)


def test_progress_on_a_terminal_vanishes(monkeypatch):
    shown = terminal_of(monkeypatch)
    with progress("build", 4) as update:
        update("etcd", 2)
        assert lines(shown.text) == ["build: etcd (50 %, 0 s, about 0 s left)"]
    assert lines(shown.text) == [""]


@pytest.mark.parametrize(
    ("work", "texts"),
    [(lambda: progress("build"), ("etcd",)), (lambda: step_progress("Files", ["one"]), ("one", "file"))],
    ids=["build", "step"],
)
def test_a_log_gets_a_line_now_and_then(monkeypatch, work, texts):
    log, now = io.StringIO(), 100.0
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("airavata_runbook.local.terminal.time.monotonic", lambda: now)
    monkeypatch.setattr(steps, "TICK", 3600)
    with work() as update:
        for _ in range(120):  # a minute
            update(*texts)
            now += 0.5
    assert len(log.getvalue().splitlines()) == 12 and "\r" not in log.getvalue()


def test_a_transfer_says_bytes_and_the_time_left(monkeypatch):
    said, now = [], 100.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    transfer = Transfer(141_000_000, said.append)
    now += 0.6
    transfer(16_384)
    assert said.pop() == "0 of 141 MB", "too little to say how long it will take"
    now = 100.0
    transfer = Transfer(141_000_000, said.append)
    for _ in range(10):
        now += 0.3
        transfer(14_000_000)
    assert said[0] == "28 of 141 MB, 46.7 MB/s, about 2 s left"
    assert said[-1] == "140 of 141 MB, 46.7 MB/s, about 0 s left" and len(said) == 5


def test_the_kernel_of_a_run_leaves_its_line_to_the_runner(environment, monkeypatch, tmp_path):
    """So that a run shows what a step is doing while the step goes on, and the notebook keeps nothing of it."""
    file = tmp_path / "steps.doing"
    monkeypatch.setenv(kernel_env.PROGRESS, str(file))
    look = f"""
from airavata_runbook.local.terminal import ProgressFile
from pathlib import Path
seen, clear = [], ProgressFile.clear
ProgressFile.clear = lambda self: (seen.append(Path({str(file)!r}).read_text()), clear(self))
files(site); seen"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (environment, look)])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    (output,) = notebook.cells[1].outputs
    assert output.data["text/plain"] == r"['Three files, 0 s: 2 of 2 hosts done\n']" and file.read_text() == "\n"


def test_work_goes_on_when_its_terminal_is_closed():
    class Closed(Terminal):
        def write(self, text: str) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    line = ProgressLine(Closed())
    line.update("text")
    line.print("text")


WAIT = """
from dataclasses import replace
from airavata_runbook.cluster import causes
from airavata_runbook.resources import Condition, condition
probe = causes.Cause("container not ready", "pod x", "probe failed: refused", details=lambda: "last lines of its log:\\nlost")
causes.RULES[probe.kind] = replace(probe.rule, noticed=0)
condition.LOOK = 0.0
Machine.pause = lambda self, seconds: None

@step("Servers", on=lambda site: [site.master])
def servers(target):
    answers = iter(["0 of 1 pods ready"] * 4 + [""] * 9)
    yield Condition("Deployment x", check=lambda: next(answers), causes=lambda: [probe], deadline=5)
"""


def test_a_live_cell_says_what_its_step_waits_for_while_it_goes_on(live):
    assert not [message for message in live.execute(WAIT) if message["msg_type"] == "error"]
    messages = live.execute("servers(site)")
    kinds = [message["msg_type"] for message in messages]
    assert kinds.index("stream") < kinds.index("clear_output"), "while it goes on"
    said, report = kept(messages)
    assert said["text"].startswith("Servers: one: wait for Deployment x") and "probe failed: refused" in said["text"]
    assert said["text"].endswith("last lines of its log:\n  lost\n") and "1 ok" in report["text/plain"]


def test_a_headless_cell_leaves_that_to_the_runner(environment):
    """Its output is compared with that of another run, which may have waited for less."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in (environment, WAIT, "servers(site)")]
    )
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    assert [output.output_type for output in notebook.cells[-1].outputs] == ["execute_result"]
