"""Debian."""

from airavata_runbook.distributions.distribution import Distribution

DISTRIBUTION = Distribution("debian", "Debian", oldest="12")
