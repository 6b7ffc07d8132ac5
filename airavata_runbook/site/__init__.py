"""A site: the one typed model of a site file. Nothing else in the package reads parameters."""

from airavata_runbook.site.site import Site

__all__ = ["Site"]
