"""Debian."""

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.distribution import Distribution

DISTRIBUTION = Distribution("debian", "Debian", oldest="12", packaging=DEB)
