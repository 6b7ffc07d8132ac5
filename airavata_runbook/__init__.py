"""The runbook that brings Apache Airavata up on a private Kubernetes cluster made from bare machines."""

from airavata_runbook.site import Site

__all__ = ["Site"]
