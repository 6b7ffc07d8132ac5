"""Where something is done by hand: in which notebook and cell of it, and by whom."""

import json
import os
from pathlib import Path

from IPython import get_ipython

from airavata_runbook.engine.report import Origin
from airavata_runbook.local.person import person
from airavata_runbook.local.screen import screen

NOTEBOOK = "JPY_SESSION_NAME"  # set by Jupyter's server: the notebook's path when its kernel was started
VS_CODE = "__vsc_ipynb_file__"  # set by VS Code, in the kernel's namespace


def notebook_file() -> Path | None:
    """The notebook of this kernel, where its front end says it."""
    path = os.environ.get(NOTEBOOK) or getattr(get_ipython(), "user_ns", {}).get(VS_CODE)
    return Path(path) if path else None


def origin() -> Origin:
    """Of what runs now."""
    where = Origin(who=person(), notebook=notebook_name())
    shell = get_ipython()
    request = shell.kernel.get_parent() if shell else {}
    if screen() is None and request.get("header", {}).get("msg_type") == "execute_request":  # else a button, as of the board
        where.count, where.cell = shell.execution_count, _number(request.get("metadata", {}).get("cellId"))
    return where


def _number(cell_id: object) -> int:
    """The number of a cell in the notebook as last saved; JupyterLab tells a cell's id with each request to execute it."""
    path = notebook_file()
    try:
        cells = json.loads(path.read_bytes())["cells"] if path and cell_id else []
        return next((number for number, cell in enumerate(cells, 1) if cell.get("id") == cell_id), 0)
    except (OSError, ValueError, LookupError, AttributeError):  # renamed, or no notebook
        return 0


def notebook_name() -> str:
    """The name of its file; "" where it is not known."""
    path = notebook_file()
    return path.name if path else ""
