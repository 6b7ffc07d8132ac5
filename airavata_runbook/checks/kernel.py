"""Facts of a host's kernel that only the preflight checks need: what it has, and how it is set at boot."""

import re

from airavata_runbook.configs.node import SYSCTLS
from airavata_runbook.hosts import selinux
from airavata_runbook.hosts.snapshot import Fact

OWN_SYSCTLS = "90-airavata-runbook.conf"


class WordSet(Fact[frozenset[str]]):
    """The words that a command prints."""

    def parse(self, text: str) -> frozenset[str]:
        return frozenset(text.split())


# Of rules of kube-proxy, flannel and the CNI plugins. With iptables' older variant nft_compat is not needed.
RULE_MODULES = ("nft_compat", "xt_comment", "xt_addrtype", "xt_MASQUERADE")


class KernelFeatures(WordSet):
    """What the running kernel has or can load as a module. vxlan is tried in a network namespace that is gone at once.

    Modules of rules are not looked for where the host has no folder of modules, as a container has none.
    """

    command = f"""loadable() {{ modprobe -nq $1 2>/dev/null && echo $1; true; }}
if grep -qw overlay /proc/filesystems; then echo overlay; else loadable overlay; fi
if test -d /proc/sys/net/bridge; then echo br_netfilter; else loadable br_netfilter; fi
if test -e /proc/sys/net/netfilter/nf_conntrack_max; then echo nf_conntrack; else loadable nf_conntrack; fi
if unshare -n ip link add v0 type vxlan id 1 dstport 8472 local 127.0.0.1 2>/dev/null; then echo vxlan; else loadable vxlan; fi
for name in {" ".join(RULE_MODULES)}; do
    if test -d /lib/modules/$(uname -r)/kernel; then loadable $name; else echo $name; fi
done
if modprobe -nq ip_tables 2>/dev/null; then echo nft_compat; fi"""


class ContainersInPolicy(Fact[bool]):
    """Whether SELinux's policy knows containers."""

    command = selinux.LOOK

    def parse(self, text: str) -> bool:
        return selinux.knows_containers(text)


class SysctlsAtBoot(Fact[dict[str, tuple[str, str]]]):
    """Kernel setting of ours → (file, value) of the last file that sets it at boot after our own (sysctl.d(5)).

    Debian's and Ubuntu's 99-sysctl.conf is such a file, a link to /etc/sysctl.conf, and those of rules for hardened hosts are.
    """

    command = (
        "find /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d -name '*.conf' 2>/dev/null | "
        f"xargs -r grep -HsE '^[-[:space:]]*({'|'.join(SYSCTLS).replace('.', '[./]')})[[:space:]]*=' || true"
    )

    def parse(self, text: str) -> dict[str, tuple[str, str]]:
        files: dict[str, str] = {}  # the first folder's, of files of one name
        found: dict[str, tuple[str, str, str]] = {}
        for line in filter(None, text.splitlines()):
            row = re.fullmatch(r"(/[^:]*/([^:/]+)):[-\s]*([\w./-]+)\s*=\s*(.*?)\s*", line)
            if not row:
                raise ValueError("not a kernel setting")
            path, name, setting, value = row.groups()
            setting = setting.replace("/", ".")
            if files.setdefault(name, path) == path and max(OWN_SYSCTLS, found.get(setting, ("",))[0]) <= name != OWN_SYSCTLS:
                found[setting] = (name, path, value)
        return {setting: (path, value) for setting, (_, path, value) in found.items()}


class CgroupControllers(WordSet):
    """The enabled controllers. Version 2 lists them in the first file; version 1 in the second: name, hierarchy, number of
    cgroups, enabled."""

    command = "cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null || awk '$4 == 1 {print $1}' /proc/cgroups"
