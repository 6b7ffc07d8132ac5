"""What follows from a host's facts for its components. Each departure from Kubernetes' defaults has its reason.

Defaults: KubeletConfiguration v1beta1, KubeProxyConfiguration v1alpha1; containerd's CRI plugin.
"""

from dataclasses import dataclass, field

from airavata_runbook.hosts.facts import HostFacts

MAX_OPEN_FILES = 1_000_000  # the kubelet's default
OOM_SCORE_ADJ = -999  # the kubelet's and kube-proxy's default
IMAGE_GC = (85, 80)  # the kubelet's defaults: percent of the disk at which unused images go, and where that ends
RESOLVED = "/etc/resolv.conf names systemd-resolved on this host's loopback, which pods cannot reach"
CONNTRACK_OFF = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}


@dataclass(frozen=True)
class NodeSettings:
    """Values for configuration files; conntrack: kube-proxy's section, empty for its defaults.
    image_gc: the kubelet's high and low threshold, percent of the disk.

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
    reasons: dict[str, str] = field(default_factory=dict)


def derive(host: HostFacts) -> NodeSettings:
    """The settings of a host. A current Linux with systemd and cgroup v2 gets Kubernetes' own defaults."""
    reasons = {"systemReserved": "a tenth of the host is kept for its own services, within limits"}
    modern = host.cgroup == 2 and host.systemd > 0
    if not modern:
        lack = f"cgroup version {host.cgroup}" if host.systemd else "no systemd as PID 1"
        reasons["cgroupDriver"] = f"this host has {lack}: the kubelet manages the control groups by itself"
        reasons["systemd_cgroup"] = f"this host has {lack}; must agree with the kubelet's cgroupDriver"
    if host.cgroup == 1:
        reasons["failCgroupV1"] = "this host has cgroup version 1, which the kubelet refuses unless told not to"
    if host.swap:
        reasons["failSwapOn"] = f"this host has {host.swap >> 20} MiB of swap; pods do not use it"
    if not host.cap_sys_resource:
        reasons["oomScoreAdj"] = "this host has no CAP_SYS_RESOURCE: a score below its own cannot be set"
        reasons["restrict_oom_score_adj"] = reasons["oomScoreAdj"]
    files = min(MAX_OPEN_FILES, host.nr_open if host.cap_sys_resource else host.max_files)
    if files < MAX_OPEN_FILES:
        reasons["maxOpenFiles"] = f"this host lets a process have {files} open files"
    # A table that is not there yet says nothing: its module comes with the first rule that needs it.
    table_fixed = host.sysctls.get("net/netfilter/nf_conntrack_max", (True, ""))[0] is False
    if table_fixed:
        reasons["conntrack"] = "this host does not let the connection table's size be set: 0 leaves it alone"
    if host.container:
        reasons["imageGCHighThresholdPercent"] = (
            f"this host is a container ({host.container}): its disk is shared, and what others fill of it must not "
            "cost this host its images"
        )
    return NodeSettings(
        cgroup_driver="systemd" if modern else "cgroupfs",
        systemd_cgroup=modern,
        fail_cgroup_v1=host.cgroup != 1,
        fail_swap_on=not host.swap,
        oom_score_adj=OOM_SCORE_ADJ if host.cap_sys_resource else 0,
        restrict_oom_score_adj=not host.cap_sys_resource,
        max_open_files=files,
        conntrack=dict(CONNTRACK_OFF) if table_fixed else {},
        system_reserved=_reserved(host),
        image_gc=(100, 99) if host.container else IMAGE_GC,
        resolv_conf="/run/systemd/resolve/resolv.conf" if host.resolved else "",
        reasons=reasons | ({"resolvConf": RESOLVED} if host.resolved else {}),
    )


def _reserved(host: HostFacts) -> dict[str, str]:
    """A tenth of the host for the system itself, at most half a CPU and 1 GiB."""
    return {"cpu": f"{min(500, host.cpus * 100)}m", "memory": f"{min(1024, (host.memory >> 20) // 10)}Mi"}
