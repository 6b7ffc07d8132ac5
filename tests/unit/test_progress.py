"""Progress: bars in a live notebook, nothing in a headless one, a rewritten line on a terminal, some lines in a log."""

import errno
import io
import os
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from airavata_runbook import kernel_env
from airavata_runbook.local.terminal import ProgressLine, progress, step_progress
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

    def execute(self, source: str) -> list[dict]:
        """The messages of a cell, those that come from other threads included."""
        messages = []
        self.client.execute_interactive(source, allow_stdin=True, timeout=60, output_hook=messages.append)
        return messages


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


def test_a_failed_step_keeps_its_report_and_no_bars(live, tmp_path):
    (tmp_path / "files" / "two-1").mkdir()
    messages = live.execute("files(site)")
    report, error = kept(messages)
    assert "1 failed" in report["text/plain"] and error["ename"] == "StepFailed"
    assert comms(messages, "comm_open") == comms(messages, "comm_close")


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
    terminal = terminal_of(monkeypatch)
    with step_progress("Files", ["two", "one"]) as update:
        update("two", "checking")
        threads = [threading.Thread(target=update, args=("one", f"file {n}", n, 9)) for n in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        update("two", "a file with quite a long name", 1, 9)
        (line,) = lines(terminal.text)
        assert line.startswith("Files: one: file ") and line.endswith("…") and len(line) == 39
        update("two", "done", 9, 9)
    assert lines(terminal.text) == ["Files: one, two", ""]


def test_progress_on_a_terminal_vanishes(monkeypatch):
    terminal = terminal_of(monkeypatch)
    with progress("build", 4) as update:
        update("etcd", 2)
        assert lines(terminal.text) == ["build: etcd (50 %, 0 s, about 0 s left)"]
    assert lines(terminal.text) == [""]


@pytest.mark.parametrize(
    ("work", "texts"),
    [(lambda: progress("build"), ("etcd",)), (lambda: step_progress("Files", ["one"]), ("one", "file"))],
    ids=["build", "step"],
)
def test_a_log_gets_a_line_now_and_then(monkeypatch, work, texts):
    log, now = io.StringIO(), 100.0
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("airavata_runbook.local.terminal.time.monotonic", lambda: now)
    with work() as update:
        for _ in range(120):  # a minute
            update(*texts)
            now += 0.5
    assert len(log.getvalue().splitlines()) == 12 and "\r" not in log.getvalue()


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
