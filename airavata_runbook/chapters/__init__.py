"""The six chapters, one for each notebook: each a literal list of steps, STEPS, in the order of its notebook's cells."""

from collections.abc import Callable
from importlib import import_module

# Notebook → its chapter's module. A module is imported when it is needed: some load large libraries.
MODULES = {
    "01-network": "network",
    "02-install": "install",
    "03-etcd-flannel": "etcd_flannel",
    "04-registry": "registry",
    "05-deploy-airavata": "airavata",
    "06-verify": "verify",
}


def steps_of(notebook: str) -> list[Callable]:
    """The steps of a notebook ("03-etcd-flannel") in order; [] for a notebook that is no chapter."""
    return import_module(f"{__name__}.{MODULES[notebook]}").STEPS if notebook in MODULES else []
