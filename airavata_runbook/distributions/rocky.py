"""Rocky Linux. No version is accepted yet: the mirror makes no repository of rpm packages, and SELinux has no policy."""

from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.rpm import RPM

DISTRIBUTION = Distribution("rocky", "Rocky Linux", oldest="", packaging=RPM)
