"""Rocky Linux. Tried on a STAND-IN only: rpm and dnf on a Debian base (lab/rpm_image.py).

8 has systemd 239, whose systemctl has neither -P (246) nor --timestamp (247, systemd's NEWS).
"""

from airavata_runbook.distributions.distribution import Distribution
from airavata_runbook.distributions.platform import ENTERPRISE_LINUX
from airavata_runbook.distributions.rpm import EL_REPOSITORIES, RPM

DISTRIBUTION = Distribution(
    "rocky",
    "Rocky Linux",
    oldest="9",
    packaging=RPM,
    platform=ENTERPRISE_LINUX,
    repositories=(*EL_REPOSITORIES, "devel", "plus", "sap", "saphana", "rocky", "rocky-addons", "rocky-devel", "rocky-extras"),
)
