"""What a host is: its system, kernel, processors, memory and disks."""

from collections.abc import Iterator

from airavata_runbook.checks.facts import CONTAINERS, FreeSpace, Listening
from airavata_runbook.checks.kernel import RULE_MODULES, CgroupControllers, ContainersInPolicy, KernelFeatures, SysctlsAtBoot
from airavata_runbook.checks.types import Problem
from airavata_runbook.configs.node import SYSCTLS
from airavata_runbook.distributions import ACCEPTED, SUPPORTED, platform_of
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.snapshot import HostSnapshot
from airavata_runbook.site import Site
from airavata_runbook.wellknown import KUBELET_PORT

CPUS = 2  # on the master; kubeadm's minimum for a control plane too
# Bytes. A host of the idle cluster was measured at 0.7 GB; the kernel of a nominal 1 GiB machine shows about 960 MiB of it.
MEMORY = 900 << 20
DISK = 8 << 30  # bytes where images are unpacked; packages, images and their layers were measured at 2.5 GB on the master
# Bytes in every other folder that the runbook fills, and everywhere on a host that is a node already: its packages and
# images are there, and this is for those of another version beside them.
DISK_ELSEWHERE = 2 << 30
FEATURES = ("overlay", "br_netfilter", "vxlan", "nf_conntrack", *RULE_MODULES)
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")  # by which the kubelet limits pods


def find_os(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    system = host[facts.Os]
    if known := ACCEPTED.get(system.id):
        if not system.version:
            yield Problem(f"{system.id} without a version", SUPPORTED, "none: a testing release was not tried", note=True)
        elif known.is_too_old(system.version):
            yield Problem(str(system), SUPPORTED, "use another host, or upgrade it")
    elif like := [name for name in system.like if name in ACCEPTED]:
        yield Problem(f"{system}, like {like[0]}", SUPPORTED, "none: a derivative was not tried", note=True)
    else:
        yield Problem(str(system), SUPPORTED, "use another host")
    if not host[facts.Systemd]:
        yield Problem("PID 1 is not systemd", "systemd", "use a host that boots with systemd")


def find_architecture(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if host[facts.Architecture] != "x86_64":  # what images and packages are built for
        yield Problem(host[facts.Architecture], "x86_64", "use another host")


def find_cpu(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if host.node == site.master and host[facts.Cpus] < CPUS:
        yield Problem(f"{host[facts.Cpus]} CPU", f"{CPUS} on the master", "add CPUs, or make another host the master")


def find_memory(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if (total := host[facts.Memory].total) < MEMORY:
        yield Problem(f"{total >> 20} MiB", f"{MEMORY >> 20} MiB", "add memory to the host")


def find_disk(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    is_node = "kubelet" in (host.get(Listening) or {}).get(("tcp", KUBELET_PORT), ())
    for mount in sorted({system.mount for system in host[FreeSpace].values()}):
        free = {folder: system.free for folder, system in host[FreeSpace].items() if system.mount == mount}
        needed = DISK if CONTAINERS in free and not is_node else DISK_ELSEWHERE
        if (least := min(free.values())) < needed:
            yield Problem(
                f"{least / (1 << 30):.1f} GiB free on {mount}, for {', '.join(free)}",
                f"{needed >> 30} GiB",
                "free disk space, or mount a larger disk there",
            )


def find_swap(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    # With cgroup version 2 the kubelet keeps pods out of swap; with version 1 it cannot.
    swap, boot = host[facts.Memory].swap, host[facts.SwapAtBoot]
    if host[facts.CgroupVersion] == 1 and (swap or boot):
        now = f"{swap >> 20} MiB of swap" if swap else f"swap at the next boot ({', '.join(boot)})"
        units = [name for name in boot if not name.startswith("/etc/fstab")]
        remedy = ["swapoff -a, and remove it from /etc/fstab", *(f"systemctl mask {unit}" for unit in units)]
        yield Problem(f"{now}, with cgroup version 1", "no swap, also after a boot", "; ".join(remedy))


def find_kernel(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if missing := [name for name in FEATURES if name not in host[KernelFeatures]]:
        remedy = platform_of(host.get(facts.Os)).missing_modules
        yield Problem(f"no {', '.join(missing)}", ", ".join(FEATURES), remedy)


def find_sysctls(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """Kernel settings of ours that another file takes back at the next boot."""
    for name, (path, value) in sorted(host[SysctlsAtBoot].items()):
        if value != str(SYSCTLS[name]):
            yield Problem(
                f"{path} sets {name} to {value} at boot, after the runbook's own file",
                f"{name} = {SYSCTLS[name]}",
                f"remove the line from {path}",
            )


def find_cgroup(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    if missing := [name for name in CONTROLLERS if name not in host[CgroupControllers]]:
        yield Problem(
            f"no controllers {', '.join(missing)} in cgroup version {host[facts.CgroupVersion]}",
            ", ".join(CONTROLLERS),
            f"boot with {' '.join(f'cgroup_enable={name}' for name in missing)} on the kernel's command line",
        )


def find_selinux(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """SELinux that has no policy for containers. Whether it enforces is the host's own matter."""
    state, policy = host[facts.Selinux], platform_of(host.get(facts.Os)).selinux_policy
    if state == "enforcing" and not policy:
        yield Problem("SELinux is enforcing", "not enforcing", "setenforce 0, and SELINUX=permissive in /etc/selinux/config")
    if state != "absent" and policy and not host[ContainersInPolicy]:
        yield Problem(
            f"SELinux is {state}, and its policy has no containers",
            "the policy of container-selinux",
            f"none: 02-install does it, by the host's own repositories ({policy})",
            note=True,
        )
