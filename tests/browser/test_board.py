"""The board, and an exercise, on a running site in JupyterLab."""

import pytest

from tests.browser.devtools import PICTURES
from tests.browser.jupyterlab import new_notebook
from tests.browser.working import SCHEMES, TRACES, WIDTHS, shown_wrong

CELLS = ["site = None", "from airavata_runbook import Site, board\nsite = Site.load(site); site", "board(site)"]
BOARD = 2
OPENS = 30  # seconds, with other work on the machine; alone it takes less than 5


def test_the_board_is_looked_at_and_clicked(open_notebook, page, project):
    new_notebook(project / "notebooks" / "board.ipynb", CELLS)
    board = open_notebook("notebooks/board.ipynb")
    board.run(BOARD)
    output = f"{board.cell(BOARD)}.querySelector('.jp-OutputArea-output')"
    page.wait(f"{output}.innerText.includes('API server')", OPENS)
    page.wait(f"!/\\.\\.\\. look|… look/.test({output}.innerText)", OPENS)
    for scheme, theme in SCHEMES.items():
        board.theme(theme)
        for width in WIDTHS:
            page.show(width, 1000, scheme)
            assert not page.js(f"[...look.wide([{output}]), ...look.pale([{output}])]")
    assert not page.unnamed(output)
    cell = f"[...{output}.querySelectorAll('button')].find((one) => one.title.includes('Packages'))"
    page.click(cell)
    page.wait(f"{output}.innerText.includes('Plan this step')")
    assert page.js("document.activeElement.innerText") == "Plan this step", "the keyboard goes on there"
    page.press("Tab")
    page.press("Enter")  # Run this step …
    page.wait(f"{output}.innerText.includes('Cancel')")
    assert page.js("document.activeElement.innerText") == "Cancel", "nothing is changed by pressing Enter once more"
    for scheme, theme in SCHEMES.items():
        board.theme(theme)
        assert not page.js(f"look.pale([{output}])")
        page.picture(PICTURES / f"board-{scheme}.png")
    page.click(f"[...{output}.querySelectorAll('button')].find((one) => one.innerText === 'Cancel')")


def test_an_exercise_is_done(open_notebook, plan):
    if plan:
        pytest.skip("an exercise breaks something: not with --plan")
    notebook = open_notebook("notebooks/exercises/01-silent-portal.ipynb")
    for call in ("start(", "look(", "hint("):
        text = notebook.run(notebook.code(f"exercise.{call}"), 120)
        assert not any(trace in text for trace in TRACES), text
    check = notebook.code("exercise.check(")
    broken = notebook.run(check, 120)
    notebook.run(notebook.code("exercise.undo("), 300)
    assert notebook.run(check, 120) != broken
    assert not shown_wrong(notebook, "exercise")
