"""Settings of a host's components, derived from its facts. Each that is not Kubernetes' default has its reason.

Defaults: KubeletConfiguration v1beta1, KubeProxyConfiguration v1alpha1; containerd's CRI plugin.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address

from airavata_runbook.distributions import platform_of
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.snapshot import HostSnapshot

MAX_OPEN_FILES = 1_000_000  # the kubelet's default
OOM_SCORE_ADJ = -999  # the kubelet's and kube-proxy's default
IMAGE_GC = (85, 80)  # the kubelet's defaults: percent of the disk at which unused images are deleted, and where that ends
RESOLVED = "/etc/resolv.conf names systemd-resolved on this host's loopback, which pods cannot reach"
LOOPBACK = "/etc/resolv.conf names no resolver that pods can reach"
NO_CAPABILITY = "this host has no CAP_SYS_RESOURCE: a score below its own cannot be set"
CONNTRACK_UNCHANGED: dict[str, object] = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}


@dataclass(frozen=True)
class NodeSettings:
    """Values for configuration files; conntrack: kube-proxy's section, empty for its defaults.
    image_gc: the kubelet's high and low threshold, percent of the disk. selinux: whether containers get SELinux' labels.

    reasons: the key of a file, as it is written there → why its value is not the default.
    """

    cgroup_driver: str
    systemd_cgroup: bool
    fail_cgroup_v1: bool
    fail_swap_on: bool
    oom_score_adj: int
    restrict_oom_score_adj: bool
    max_open_files: int
    conntrack: dict[str, object]
    system_reserved: dict[str, str]
    resolv_conf: str
    image_gc: tuple[int, int] = IMAGE_GC
    selinux: bool = False
    reasons: dict[str, str] = field(default_factory=dict)


def derive_node_settings(host: HostSnapshot) -> NodeSettings:
    """The settings of a host. A current Linux with systemd and cgroup v2 gets Kubernetes' own defaults.

    Raises StepFailed when a fact that they follow from could not be parsed.
    """
    cgroup, systemd, can_raise = host[facts.CgroupVersion], host[facts.Systemd], host[facts.CanRaiseLimits]
    container, swap, boot = host[facts.Container], host[facts.Memory].swap, host[facts.SwapAtBoot]
    resolv_conf = pods_resolv_conf(host) or facts.RESOLV_CONF
    modern = cgroup == 2 and systemd > 0
    lack = f"cgroup version {cgroup}" if systemd else "no systemd as PID 1"
    limits, conntrack_fixed = host[facts.OpenFiles], not host[facts.ConntrackWritable]
    selinux = host[facts.Selinux] != "absent" and bool(platform_of(host.get(facts.Os)).selinux_policy)
    files = min(MAX_OPEN_FILES, limits.nr_open if can_raise else limits.hard)
    departures = {  # key: (whether its value is not the default, why)
        "systemReserved": (True, "a tenth of the host is reserved for its own services, within limits"),
        "cgroupDriver": (not modern, f"this host has {lack}: the kubelet manages cgroups by itself"),
        "systemd_cgroup": (not modern, f"this host has {lack}; must agree with the kubelet's cgroupDriver"),
        "failCgroupV1": (cgroup == 1, "this host has cgroup version 1, which the kubelet refuses by default"),
        "failSwapOn": (
            swap > 0 or bool(boot),
            f"this host has {swap >> 20} MiB of swap; pods do not use it"
            if swap
            else f"this host switches swap on at boot ({', '.join(boot)}); pods do not use it",
        ),
        "oomScoreAdj": (not can_raise, NO_CAPABILITY),
        "restrict_oom_score_adj": (not can_raise, NO_CAPABILITY),
        "maxOpenFiles": (files < MAX_OPEN_FILES, f"this host limits a process to {files} open files"),
        "conntrack": (conntrack_fixed, "nf_conntrack_max is read-only on this host: 0 leaves it unchanged"),
        "imageGCHighThresholdPercent": (
            container != "",
            f"this host is a container ({container}): its disk is shared, and other users' data on it must not cause its "
            "images to be deleted",
        ),
        "enable_selinux": (selinux, "this host has SELinux: containers and their files get its labels"),
        "resolvConf": (resolv_conf != facts.RESOLV_CONF, RESOLVED if resolv_conf == facts.RESOLVED_CONF else LOOPBACK),
    }
    return NodeSettings(
        cgroup_driver="systemd" if modern else "cgroupfs",
        systemd_cgroup=modern,
        fail_cgroup_v1=cgroup != 1,
        fail_swap_on=not swap and not boot,
        oom_score_adj=OOM_SCORE_ADJ if can_raise else 0,
        restrict_oom_score_adj=not can_raise,
        max_open_files=files,
        conntrack=dict(CONNTRACK_UNCHANGED) if conntrack_fixed else {},
        # A tenth of the host, at most half a CPU and 1 GiB.
        system_reserved={
            "cpu": f"{min(500, host[facts.Cpus] * 100)}m",
            "memory": f"{min(1024, (host[facts.Memory].total >> 20) // 10)}Mi",
        },
        image_gc=(100, 99) if container else IMAGE_GC,
        selinux=selinux,
        resolv_conf="" if resolv_conf == facts.RESOLV_CONF else resolv_conf,
        reasons={key: why for key, (departs, why) in departures.items() if departs},
    )


def pods_resolv_conf(host: HostSnapshot) -> str:
    """The file with the name servers that pods can ask, "" for none: not one on the host's loopback, which is each pod's own.

    Where systemd-resolved runs it is its file, as kubeadm has it.
    """
    files = host[facts.Nameservers]
    usable = [path for path, servers in files.items() if servers and not any(map(_is_loopback, servers))]
    if host[facts.Resolved] and facts.RESOLVED_CONF in usable:
        return facts.RESOLVED_CONF
    return usable[0] if usable else ""


def _is_loopback(server: str) -> bool:
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False  # not an address: resolvers ignore it
