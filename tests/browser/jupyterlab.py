"""JupyterLab on loopback, with settings of its own, and a notebook in it as a person sees it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat

from airavata_runbook.kernel_env import SITE
from tests.browser.devtools import POLL, SHIFT, Page

PROJECT = Path(__file__).parents[2]
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are there, also those out of view
}
OPTIONS = ("--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--LabApp.expose_app_in_browser=True")


@contextmanager
def jupyterlab(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a JupyterLab that serves copies of the project's notebooks and site files, in `folder`/project.

    environment: of it and its kernels, besides this process's own; no site is named in it otherwise.
    """
    root = folder / "project"
    for name in ("notebooks", "parameters"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name, values in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    with (folder / "jupyterlab.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.root_dir={root}"],
            env={name: value for name, value in os.environ.items() if name != SITE}
            | {name: str(folder / value) for name, value in own.items()}
            | {"PYTHONPATH": str(PROJECT)}
            | environment,
            cwd=root,
            stdout=log,
            stderr=log,
        )
    try:
        yield _address(folder / "runtime", process)
    finally:
        process.terminate()  # it ends its kernels
        process.wait(20)


def _address(runtime: Path, process: subprocess.Popen) -> str:
    """What the server writes down once it listens: its address and its token."""
    end = time.monotonic() + 60
    while not (found := [file for file in runtime.glob("jpserver-*.json") if file.stat().st_size]):
        assert process.poll() is None and time.monotonic() < end, "JupyterLab did not start"
        time.sleep(POLL)
    server = json.loads(found[0].read_text())
    return f"http://127.0.0.1:{server['port']}/{{path}}?token={server['token']}"


def new_notebook(path: Path, cells: Sequence[str]) -> None:
    """Write a notebook of code cells."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)), metadata=kernel), path)


class Notebook:
    """A notebook that is open in JupyterLab. Cells are counted from 0, prose too."""

    cells = "[...document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell')]"
    rendered = (  # prose and outputs
        "[...document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) :is(.jp-OutputArea-output, .jp-MarkdownOutput)')]"
    )
    kernel = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"

    def __init__(self, page: Page, address: str, path: str, theme: str = "JupyterLab Light"):
        self.page = page
        page.open(address.format(path=f"lab/tree/{path}") + "&reset")
        page.wait(f"window.jupyterapp && {self.kernel}?.status === 'idle' && {self.cells}.length", 60)
        self.theme(theme)
        page.js("jupyterapp.shell.collapseLeft()")

    def theme(self, name: str) -> None:
        self.page.js(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: {json.dumps(name)}}})")
        self.page.wait(
            f"document.body.dataset.jpThemeName === {json.dumps(name)} && !document.querySelector('#jupyterlab-splash')"
        )

    def screens(self) -> Iterator[int]:
        """Scroll through it from its beginning, a window at a time; yields the number of each."""
        panel = f"{self.cells}[0].closest('.jp-WindowedPanel-outer')"
        bottom = "getBoundingClientRect().bottom"
        for number in range(100):
            self.page.js(f"{panel}.scrollTop = {panel}.clientHeight * {number} * 0.95")
            self.page.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            yield number
            if self.page.js(f"{self.cells}.at(-1).{bottom} <= {panel}.{bottom}"):
                return

    def cell(self, number: int) -> str:
        """A cell, as a JavaScript expression."""
        return f"{self.cells}[{number}]"

    def output(self, number: int) -> str:
        """The outputs of a cell, as a JavaScript expression."""
        return f"{self.cells}[{number}].querySelector('.jp-Cell-outputArea')"

    def text(self, number: int) -> str:
        """The text of the outputs of a cell, as it is seen."""
        return self.page.js(f"{self.output(number)}.innerText")

    def failed(self, number: int) -> bool:
        """Whether a cell shows an error, or what was written to standard error."""
        return self.page.js(f"!!{self.cell(number)}.querySelector('[data-mime-type*=error], [data-mime-type*=stderr]')")

    def code(self, word: str) -> int:
        """The number of the first code cell with a word in it."""
        found = self.page.js(
            f"{self.cells}.findIndex((one) => one.classList.contains('jp-CodeCell')"
            f" && one.querySelector('.jp-InputArea-editor').innerText.includes({json.dumps(word)}))"
        )
        assert found >= 0, f"no code cell with {word!r}"
        return found

    def code_cells(self) -> list[int]:
        """The numbers of all code cells."""
        kinds = self.page.js(f"{self.cells}.map((one) => one.classList.contains('jp-CodeCell'))")
        return [number for number, code in enumerate(kinds) if code]

    def source(self, number: int) -> str:
        """The code of a cell."""
        return self.page.js(f"jupyterapp.shell.currentWidget.content.widgets[{number}].model.sharedModel.getSource()")

    def write(self, number: int, source: str) -> None:
        """Replace the code of a cell."""
        cell = f"jupyterapp.shell.currentWidget.content.widgets[{number}]"
        self.page.js(f"{cell}.model.sharedModel.setSource({json.dumps(source)})")

    def begin(self, number: int) -> None:
        """Run a cell by Shift+Enter, and return as soon as it runs."""
        self.page.click(f"{self.cell(number)}.querySelector('.jp-InputPrompt')")
        self.page.wait(f"{self.cell(number)}.contains(document.activeElement)")
        self.page.js(f"jupyterapp.shell.currentWidget.content.widgets[{number}].model.executionCount = null")
        self.page.press("Enter", SHIFT)
        self.page.wait(f"{self.cell(number)}.querySelector('.jp-InputPrompt').innerText !== '[ ]:'")

    def wait(self, number: int, timeout: float = 60) -> None:
        """Until a cell that runs has ended."""
        prompt = f"{self.cell(number)}.querySelector('.jp-InputPrompt').innerText"
        self.page.wait(f"/\\d/.test({prompt}) && {self.kernel}.status === 'idle'", timeout)

    def run(self, number: int, timeout: float = 60) -> str:
        """Run a cell to its end; returns the text of its outputs."""
        self.begin(number)
        self.wait(number, timeout)
        return self.text(number)

    def save(self) -> None:
        self.page.js("jupyterapp.commands.execute('docmanager:save')")

    def close(self) -> None:
        """Close it, and end its kernel."""
        self.page.js("jupyterapp.serviceManager.sessions.shutdownAll()")
