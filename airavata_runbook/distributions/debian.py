"""Debian."""

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.platform import DEBIAN_LIKE

DISTRIBUTION = Distribution("debian", "Debian", oldest="12", packaging=DEB, platform=DEBIAN_LIKE)
