"""Where something is done by hand: in which notebook and cell of it, and by whom."""

import os
from pathlib import Path

from IPython import get_ipython

NOTEBOOK = "JPY_SESSION_NAME"  # set by Jupyter's server: the notebook's path when its kernel was started
VS_CODE = "__vsc_ipynb_file__"  # set by VS Code, in the kernel's namespace


def notebook_file() -> Path | None:
    """The notebook of this kernel, where its front end says it."""
    path = os.environ.get(NOTEBOOK) or getattr(get_ipython(), "user_ns", {}).get(VS_CODE)
    return Path(path) if path else None


def notebook_name() -> str:
    """The name of its file; "" where it is not known."""
    path = notebook_file()
    return path.name if path else ""
