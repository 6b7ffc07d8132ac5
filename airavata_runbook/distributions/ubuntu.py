"""Ubuntu, in its versions with long-term support."""

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.distribution import Distribution

DISTRIBUTION = Distribution("ubuntu", "Ubuntu", oldest="22.04", packaging=DEB)
