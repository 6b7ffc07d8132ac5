"""A step in JupyterLab: its progress while it runs, the button that stops it, and what a failure looks like. It needs no site."""

import json

import pytest

from airavata_runbook.kernel_env import LOCK_HELD
from tests.browser.devtools import PICTURES
from tests.browser.jupyterlab import Notebook, new_notebook
from tests.browser.working import SCHEMES, TRACES

SETUP = """
import hashlib, os, pathlib, threading, time
os.environ["LOCK"] = "1"
from airavata_runbook import Site
from airavata_runbook.engine.step import check, step
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.host import Host
from airavata_runbook.resources import Condition, File, Upload
from pytest import MonkeyPatch
from tests.unit.sessions import open_session
from tests.unit.test_engine import ThisMachine

class Machine(ThisMachine):
    pause, _stopped = Host.pause, Host._stopped

    def __init__(self, node):
        super().__init__()
        self.name, self.node, self._stop = node.name, node, threading.Event()

    def send(self, source, target, head, done):
        with source.open("rb") as file:
            while chunk := file.read(1 << 20):
                self.pause(0.3)
                done(len(chunk))
        pathlib.Path(target).write_bytes(source.read_bytes())

    def stop(self):
        self._stop.set()

    def resume(self):
        self._stop.clear()

site = Site.load({"name": "fake", "nodes": [
    {"name": "one", "address": "192.0.2.1", "role": "master"}, {"name": "two", "address": "192.0.2.2"}]})
open_session(MonkeyPatch(), site, {node.name: Machine(node) for node in site.nodes})
folder = pathlib.Path("FOLDER")
image = folder / "image"
image.write_bytes(bytes(12_000_000))
sha256 = hashlib.sha256(image.read_bytes()).hexdigest()

@step("Files of a host")
def files(target):
    for number in range(3):
        yield File(f"{folder}/{target.node.name}-{number}", "text\\n")
    yield Upload(f"{folder}/image-on-{target.node.name}", image, sha256)

@step("What never ends")
def endless(target):
    yield Condition("what is there", check=lambda: "")
    if target.node.name == "two":
        yield Condition("what never comes", check=lambda: "nothing", deadline=60)

@step("What cannot be done")
def impossible(target):
    yield File(f"{folder}/{target.node.name}-0/below-a-file", "text\\n")

@check("What is there")
def look(session):
    time.sleep(60)
"""
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = """from airavata_runbook.engine.report import Picture
Picture(name="portal.png", text="the portal's page", png="DOT")""".replace("DOT", DOT)
CELLS = [
    SETUP,
    "files(site)",
    "endless(site)",
    "impossible(site)",
    "look(site)",
    "Site.load({'name': 'fake', 'nodes': []})",
    PICTURE,
]
STEP = {name: number for number, name in enumerate(("setup", "files", "endless", "impossible", "look", "load", "picture"))}


@pytest.fixture(params=SCHEMES, scope="module")
def notebook(request, page, address, project, tmp_path_factory):
    setup = SETUP.replace("FOLDER", str(tmp_path_factory.mktemp("files"))).replace("LOCK", LOCK_HELD)
    new_notebook(project / "notebooks" / "steps.ipynb", [setup, *CELLS[1:]])
    page.show(1280, 900, request.param)
    opened = Notebook(page, address, "notebooks/steps.ipynb", SCHEMES[request.param])
    assert opened.run(STEP["setup"]) == ""
    opened.scheme = request.param
    yield opened
    opened.close()


def button(notebook: Notebook, cell: str) -> str:
    return f"{notebook.output(STEP[cell])}.querySelector('button:not([style*=\"display: none\"])')"


def stopped(notebook: Notebook) -> str:
    """What a cell shows that was stopped: one report, and one line below it."""
    text = notebook.text(STEP["endless"])
    assert "What never ends" in text and "1 stopped" in text, text
    assert text.count("stopped by the user") == 1 and not any(trace in text for trace in TRACES), text
    return text


def test_bars_a_button_and_bytes_while_a_step_runs_and_nothing_after_it(notebook, page, project):
    output = notebook.output(STEP["files"])
    notebook.begin(STEP["files"])
    page.wait(f"{output}.innerText.includes('MB/s')")
    text = notebook.text(STEP["files"])
    page.wait("!!" + button(notebook, "files"))
    assert all(word in text for word in ("Files of a host", "one", "two", "3/4", "of 12 MB", " left")), text
    assert page.js(f"{output}.querySelectorAll('.widget-hprogress').length") == 2
    assert not page.js(f"look.pale([{output}])") and not page.js(f"look.wide([{output}])")
    assert not page.unnamed(output)
    page.picture(PICTURES / f"progress-{notebook.scheme}.png")
    notebook.wait(STEP["files"])
    assert "2 hosts: 8 changed" in notebook.text(STEP["files"])
    assert not page.js(f"{output}.querySelectorAll('.jupyter-widgets, button').length")
    page.picture(PICTURES / f"step-{notebook.scheme}.png")
    notebook.save()
    saved = json.loads((project / "notebooks" / "steps.ipynb").read_text())
    assert "widget" not in json.dumps(saved) and len(saved["cells"][STEP["files"]]["outputs"]) == 1


def test_the_button_does_what_interrupting_the_kernel_does(notebook, page):
    notebook.begin(STEP["endless"])
    page.click(button(notebook, "endless"))
    notebook.wait(STEP["endless"], 10)
    by_button = stopped(notebook)
    page.picture(PICTURES / f"stopped-{notebook.scheme}.png")
    notebook.begin(STEP["endless"])
    page.wait("!!" + button(notebook, "endless"))
    page.js("jupyterapp.commands.execute('notebook:interrupt-kernel')")
    notebook.wait(STEP["endless"], 10)
    assert stopped(notebook) == by_button


def test_the_button_is_reached_and_pressed_by_the_keyboard(notebook, page):
    notebook.begin(STEP["endless"])
    page.wait("!!" + button(notebook, "endless"))
    page.press("ArrowUp")  # from the cell below, which is selected now
    page.tab_to(button(notebook, "endless"))
    page.press("Enter")
    notebook.wait(STEP["endless"], 10)
    stopped(notebook)


@pytest.mark.parametrize(("cell", "message"), [("impossible", "What cannot be done"), ("load", "SiteError")])
def test_a_cell_that_fails_shows_one_message_and_no_traceback(notebook, page, cell, message):
    notebook.run(STEP["files"])
    text = notebook.run(STEP[cell])
    assert message in text and not any(trace in text for trace in TRACES), text
    found = [line for line in text.splitlines() if "could not be changed" in line]
    assert len(found) == (2 if cell == "impossible" else 0), "a line for each host"
    assert not page.js(f"look.pale([{notebook.output(STEP[cell])}])")
    page.picture(PICTURES / f"failed-{cell}-{notebook.scheme}.png")


def test_a_check_that_is_stopped_shows_one_line(notebook, page):
    notebook.begin(STEP["look"])
    page.click(button(notebook, "look"))
    notebook.wait(STEP["look"], 10)
    text = notebook.text(STEP["look"])
    assert text.strip().startswith("stopped by the user") and len(text.splitlines()) == 1, text


def test_a_screenshot_has_a_text_for_those_who_cannot_see_it(notebook, page):
    notebook.run(STEP["picture"])
    output = notebook.output(STEP["picture"])
    assert page.js(f"{output}.querySelector('img').alt") == "the portal's page" and not page.unnamed(output)
