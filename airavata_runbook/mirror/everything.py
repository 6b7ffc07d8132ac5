"""`airavata-runbook mirror`: everything that most sites need; what else one needs is built by its run."""

import sys

from airavata_runbook.local.terminal import about
from airavata_runbook.mirror import images, packages
from airavata_runbook.mirror.build import build, pending
from airavata_runbook.mirror.catalogue import PACKAGE
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.mirror.recipes import ON_DEMAND


def build_everything() -> None:
    """Build the components, packages and images that the cache lacks. Raises CannotBuild."""
    names = [name for name in images.NAMES if name not in ON_DEMAND]
    if todo := pending(BY_NAME) | packages.pending(PACKAGE) | images.pending(names):
        print(f"mirror: {len(todo)} to build, {about(sum(todo.values()))} on 2 cores", file=sys.stderr)
    for component in BY_NAME.values():
        build(component)
    packages.make(PACKAGE)
    images.build(names)
