"""Red Hat Enterprise Linux, which others say that they are like. As of Rocky Linux, no version is accepted yet."""

from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.platform import ENTERPRISE_LINUX
from airavata_runbook.distributions.rpm import RPM

DISTRIBUTION = Distribution("rhel", "Red Hat Enterprise Linux", oldest="", packaging=RPM, platform=ENTERPRISE_LINUX)
