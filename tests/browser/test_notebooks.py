"""The six notebooks on a running site, as a person works through them in JupyterLab, in light and dark."""

import pytest

from tests.browser.jupyterlab import PROJECT
from tests.browser.working import shown_wrong

NOTEBOOKS = sorted(path.stem for path in (PROJECT / "notebooks").glob("0*.ipynb"))
CHANGES = ("replica_killed", "database_restarted")  # verifications that change something: nbval has run them


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_worked_through(name, open_notebook):
    notebook = open_notebook(f"notebooks/{name}.ipynb")
    for number in notebook.code_cells()[2:]:
        if not any(word in notebook.source(number) for word in CHANGES):
            text = notebook.run(number, 120)
            assert not notebook.failed(number), text
    assert not shown_wrong(notebook, name)
