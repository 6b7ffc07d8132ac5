"""Rocky Linux. No version is accepted yet: the mirror makes no repository of rpm packages."""

from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.platform import ENTERPRISE_LINUX
from airavata_runbook.distributions.rpm import RPM

DISTRIBUTION = Distribution("rocky", "Rocky Linux", oldest="", packaging=RPM, platform=ENTERPRISE_LINUX)
