"""The picker of the site in JupyterLab by the keyboard alone, in a project of its own. It needs no site."""

import shutil

import pytest

from tests.browser.devtools import PICTURES
from tests.browser.jupyterlab import PROJECT, Notebook, new_notebook
from tests.browser.working import SCHEMES, TRACES

CELLS = ["site = None", "from airavata_runbook import Site\nsite = Site.load(site); site", "site.name"]
LOAD, NAME = 1, 2


@pytest.fixture
def notebook(page, address, project):
    """In a project of two site files, whose hosts do not answer; what is chosen there is chosen nowhere else."""
    own = project / "own"
    for name in ("notebooks", "parameters"):
        (own / name).mkdir(parents=True)
    shutil.copy(PROJECT / "parameters" / "lab.yaml", own / "parameters" / "picked.yaml")
    shutil.copy(PROJECT / "parameters" / "lab-three.yaml", own / "parameters" / "another.yaml")
    new_notebook(own / "notebooks" / "picker.ipynb", CELLS)
    page.show(1280, 900)
    opened = Notebook(page, address, "own/notebooks/picker.ipynb")
    yield opened
    opened.close()
    shutil.rmtree(own)


def test_a_site_is_chosen_and_plan_switched_on_by_the_keyboard(notebook, page):
    notebook.run(0)
    text = notebook.run(LOAD)
    assert "no site is chosen yet" in text and not any(trace in text for trace in TRACES), text
    output = notebook.output(LOAD)
    page.press("ArrowUp")  # from the cell below, which is selected now
    page.tab_to(f"[...{output}.querySelectorAll('button')].find((one) => one.innerText.trim() === 'picked')")
    page.press("Enter")
    page.wait(f"{output}.querySelector('[role=status]').innerText.includes('picked is chosen')")
    assert "picked (chosen)" in page.js("document.activeElement.innerText"), "the keyboard goes on there"
    page.tab_to(f"{output}.querySelector('input[type=checkbox]')")
    page.press(" ")
    page.wait(f"{output}.querySelector('[role=status]').innerText.includes('Plan is on')")
    for scheme, theme in SCHEMES.items():
        notebook.theme(theme)
        assert not page.js(f"[...look.wide([{output}]), ...look.pale([{output}])]") and not page.unnamed(output)
        page.picture(PICTURES / f"picker-keyboard-{scheme}.png")
    assert "PLAN: steps show what they would change" in notebook.run(LOAD)
    assert "'lab'" in notebook.run(NAME), "what the file picked.yaml says"
