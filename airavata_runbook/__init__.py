"""The runbook that brings Apache Airavata up on a private Kubernetes cluster made from bare machines."""

import atexit
import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airavata_runbook.site import Site
    from airavata_runbook.site_board import board

__all__ = ["Site", "board"]

# A run has seven processes, each of which loads thousands of objects that stay, and ends soon. Python would look through all
# of them for garbage again and again while it loads, and once more at the end, where the system takes the memory back anyway.
gc.set_threshold(50_000)
atexit.register(gc.freeze)


def __getattr__(name: str) -> Any:
    """Site and board, loaded when they are used: a command starts other processes before (cli/sites.py)."""
    if name in ("Site", "board"):
        from airavata_runbook.local.terminal import in_live_notebook

        if in_live_notebook():
            import airavata_runbook.notebook  # noqa: F401
    if name == "Site":
        from airavata_runbook.site import Site

        return Site
    if name == "board":
        from airavata_runbook.site_board import board

        return board
    raise AttributeError(f"module {__name__} has no attribute {name}")
