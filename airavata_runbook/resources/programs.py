"""What the programs of the services make on a host by themselves while they run, by the name of their unit.

Sources: containerd's config.toml and CRI plugin; KubeletConfiguration v1beta1, and what the kubelet logs with --v=4 at its start
(protectKernelDefaults: false sets them); KubeProxyConfiguration v1alpha1; the CNI plugins' and flannel's documentation. A test
compares it with what changed on running hosts.
"""

from airavata_runbook.footprint import UNTIL_RESTART, Touch
from airavata_runbook.wellknown import CONTROL_PLANE_PORTS, FLANNEL_PORT, NODE_PORTS


def _setting(name: str, value: object) -> Touch:
    return Touch("setting", f"{name} = {value}", stays=UNTIL_RESTART)


CONTAINERD = (
    Touch("folder", "/var/lib/containerd"),
    Touch("folder", "/run/containerd"),
    Touch("folder", "/opt/containerd"),
    Touch("folder", "/run/nri"),
    Touch("file", "/run/netns/cni-*"),
    Touch("folder", "/var/lib/cni"),
    Touch("mount", "/run/containerd/*"),
    Touch("mount", "/var/lib/containerd/*"),
    Touch("mount", "/run/netns/cni-*"),
    Touch("interface", "veth*"),
    Touch("chain", "CNI-*", by="a pod with a port of its host"),
    Touch("port", "127.0.0.1, a free one"),  # kubectl exec and port-forward, which the kubelet asks for
    Touch("module", "overlay", stays=UNTIL_RESTART),
)
KUBELET = (
    Touch("folder", "/var/lib/kubelet"),
    Touch("folder", "/var/log/pods"),
    Touch("folder", "/var/log/containers"),
    Touch("folder", "/usr/libexec/kubernetes"),
    Touch("mount", "/var/lib/kubelet/*"),
    Touch("cgroup", "kubepods"),
    Touch("chain", "KUBE-*"),
    _setting("vm.overcommit_memory", 1),
    _setting("kernel.panic", 10),
    _setting("kernel.panic_on_oops", 1),
    _setting("kernel.keys.root_maxkeys", 1000000),
    _setting("kernel.keys.root_maxbytes", 25000000),
)
KUBE_PROXY = (
    Touch("chain", "KUBE-*"),
    _setting("net.ipv4.conf.all.route_localnet", 1),
    _setting("net.netfilter.nf_conntrack_max", "32768 a CPU, at least 131072"),
    _setting("net.netfilter.nf_conntrack_tcp_timeout_established", 86400),
    _setting("net.netfilter.nf_conntrack_tcp_timeout_close_wait", 3600),
    Touch("module", "nf_conntrack", stays=UNTIL_RESTART),
)
FLANNELD = (
    Touch("folder", "/run/flannel"),
    Touch("interface", "flannel.1"),
    Touch("chain", "FLANNEL-*"),
    Touch("port", f"{FLANNEL_PORT}/udp"),
    Touch("module", "vxlan", stays=UNTIL_RESTART),
)
AT_WORK = {
    "containerd": CONTAINERD,
    "kubelet": KUBELET,
    "kube-proxy": KUBE_PROXY,
    "flanneld": FLANNELD,
    "etcd": (Touch("folder", "/var/lib/etcd"),),
}


def at_work(unit: str) -> list[Touch]:
    """What the program of a unit makes while it runs, and the ports on which it listens."""
    ports = (f"{port}/tcp" for port, program in (CONTROL_PLANE_PORTS | NODE_PORTS).items() if program == unit)
    return [one._replace(by=one.by or unit) for one in (*AT_WORK.get(unit, ()), *(Touch("port", port) for port in ports))]
