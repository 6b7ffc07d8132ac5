"""Ubuntu, in its versions with long-term support."""

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.platform import DEBIAN_LIKE

DISTRIBUTION = Distribution("ubuntu", "Ubuntu", oldest="22.04", packaging=DEB, platform=DEBIAN_LIKE)
