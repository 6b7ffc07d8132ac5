"""The picker of the site in JupyterLab by the keyboard alone, in a project of its own. It needs no site."""

import shutil

import pytest

from tests.browser.devtools import PICTURES
from tests.browser.jupyterlab import PROJECT, Notebook, new_notebook
from tests.browser.working import SCHEMES, TRACES

CELLS = ["site = None", "from airavata_runbook import Site\nsite = Site.load(site); site", "site.name"]
LOAD, NAME = 1, 2
TABS = 12  # from the cell's prompt to its last control, at most


@pytest.fixture
def notebook(page, address, project):
    """In a folder of one site file, whose hosts do not answer; what is chosen there is chosen nowhere else."""
    own = project / "own"
    shutil.copytree(PROJECT / "notebooks", own / "notebooks", ignore=shutil.ignore_patterns("*.ipynb", ".ipynb_checkpoints"))
    (own / "parameters").mkdir()
    shutil.copy(PROJECT / "parameters" / "lab.yaml", own / "parameters" / "picked.yaml")
    shutil.copy(PROJECT / "parameters" / "lab-three.yaml", own / "parameters" / "another.yaml")
    new_notebook(own / "notebooks" / "picker.ipynb", CELLS)
    page.show(1280, 900)
    opened = Notebook(page, address, "own/notebooks/picker.ipynb")
    yield opened
    opened.close()
    shutil.rmtree(own)


def tab_to(notebook: Notebook, element: str) -> None:
    """Go on with the Tab key until an element has the focus."""
    passed: list[str] = []
    while not notebook.page.js(f"document.activeElement === {element}"):
        assert len(passed) < TABS, passed
        notebook.page.press("Tab")
        passed.append(notebook.page.js("document.activeElement.outerHTML.slice(0, 120)"))


def test_a_site_is_chosen_and_plan_switched_on_by_the_keyboard(notebook, page):
    notebook.run(0)
    text = notebook.run(LOAD)
    assert "no site is chosen yet" in text and not any(trace in text for trace in TRACES), text
    output = notebook.output(LOAD)
    page.press("ArrowUp")  # from the cell below, which is selected now
    tab_to(notebook, f"[...{output}.querySelectorAll('button')].find((one) => one.innerText.trim() === 'picked')")
    page.press("Enter")
    page.wait(f"{output}.querySelector('[role=status]').innerText.includes('picked is chosen')")
    assert "picked (chosen)" in page.js("document.activeElement.innerText"), "the keyboard goes on there"
    tab_to(notebook, f"{output}.querySelector('input[type=checkbox]')")
    page.press(" ")
    page.wait(f"{output}.querySelector('[role=status]').innerText.includes('Plan is on')")
    for scheme, theme in SCHEMES.items():
        notebook.theme(theme)
        assert not page.js(f"[...look.wide([{output}]), ...look.pale([{output}])]") and not page.unnamed(output)
        page.picture(PICTURES / f"picker-keyboard-{scheme}.png")
    assert "PLAN: steps show what they would change" in notebook.run(LOAD)
    assert "'lab'" in notebook.run(NAME), "what the file picked.yaml says"
