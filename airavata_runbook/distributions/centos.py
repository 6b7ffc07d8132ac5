"""CentOS Stream, which says its os-release's ID is centos. As of Rocky Linux, no version is accepted yet."""

from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.platform import ENTERPRISE_LINUX
from airavata_runbook.distributions.rpm import RPM

DISTRIBUTION = Distribution("centos", "CentOS Stream", oldest="", packaging=RPM, platform=ENTERPRISE_LINUX)
