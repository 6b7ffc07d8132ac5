"""What the distributions of a family have in common, beside the way that their packages are managed."""

from typing import NamedTuple


class Platform(NamedTuple):
    """selinux_policy: the command that installs SELinux's policy for containers, and the tool that adds to a policy, from the
    distribution's own repositories; "" where no policy for containers is known. modules: kernel modules that are loaded beside
    those of every host. missing_modules: how to get modules that the running kernel lacks. save_iptables: the command that
    keeps rules of iptables for the next boot. nftables_file: what nftables.service loads then.
    """

    selinux_policy: str
    modules: tuple[str, ...]
    missing_modules: str
    save_iptables: str
    nftables_file: str


DEBIAN_LIKE = Platform(
    selinux_policy="",
    modules=(),
    missing_modules="use a kernel that has them (Debian's and Ubuntu's do)",
    save_iptables="netfilter-persistent save",  # iptables-persistent(8)
    nftables_file="/etc/nftables.conf",
)

# Red Hat Enterprise Linux and what is made from it.
#
# kube-proxy ends on Rocky Linux 9 where nf_conntrack is not loaded yet (kubernetes/kops#17968). The images of version 10 have
# neither br_netfilter nor the modules of iptables' rules: these are in kernel-modules-extra, of the same version as the kernel
# (kubernetes/kops#18724, k3s-io/k3s-ansible#419 and #536).
ENTERPRISE_LINUX = Platform(
    selinux_policy="dnf -y -q install container-selinux policycoreutils-python-utils",
    modules=("nf_conntrack",),
    missing_modules="dnf install kernel-modules-extra-$(uname -r); where there is none of that version any more, "
    "dnf install kernel kernel-modules-extra, and reboot",
    save_iptables="service iptables save",  # of the package iptables-services
    nftables_file="/etc/sysconfig/nftables.conf",
)
