"""CentOS Stream, which says its os-release's ID is centos. Of Rocky Linux's family, which was tried on a STAND-IN only."""

from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.platform import ENTERPRISE_LINUX
from airavata_runbook.distributions.rpm import EL_REPOSITORIES, RPM

DISTRIBUTION = Distribution(
    "centos",
    "CentOS Stream",
    oldest="9",
    packaging=RPM,
    platform=ENTERPRISE_LINUX,
    repositories=(*EL_REPOSITORIES, "extras-common", "centos", "centos-addons"),
)
