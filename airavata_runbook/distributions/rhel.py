"""Red Hat Enterprise Linux, which others say that they are like. No version is accepted: nothing that is it was tried."""

from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.platform import ENTERPRISE_LINUX
from airavata_runbook.distributions.rpm import EL_REPOSITORIES, RPM

DISTRIBUTION = Distribution(
    "rhel",
    "Red Hat Enterprise Linux",
    oldest="",
    packaging=RPM,
    platform=ENTERPRISE_LINUX,
    repositories=(*EL_REPOSITORIES, "redhat"),
)
