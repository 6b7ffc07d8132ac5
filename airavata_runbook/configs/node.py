"""What runs on every host: containerd, kubelet, kube-proxy, flannel and the pod network's configuration."""

from collections.abc import Sequence
from urllib.parse import quote

from airavata_runbook.configs.arguments import Argument, argument_file
from airavata_runbook.configs.control_plane import FLANNEL_IN_ETCD
from airavata_runbook.configs.template import render
from airavata_runbook.hosts.node_settings import NodeSettings
from airavata_runbook.pki.types import Subject
from airavata_runbook.serialise import shell_value
from airavata_runbook.site import Site
from airavata_runbook.site.host_parts import cni_folders
from airavata_runbook.site.node import Node
from airavata_runbook.site.parts import MAX_PODS
from airavata_runbook.wellknown import ETCD_CA, ETCD_PORT, FLANNEL_PORT, PKI

SYSCTLS = {"net.ipv4.ip_forward": 1, "net.bridge.bridge-nf-call-iptables": 1}
MODULES = ("br_netfilter",)


def certificates(site: Site, node: Node) -> dict[str, Subject]:
    """A host's own certificates by file stem: the kubelet's name is the host's address (POC row 7)."""
    address = str(node.address)
    return {
        "kubelet": Subject(f"system:node:{address}", "system:nodes", dns=(node.name,), ips=(address,)),
        "kube-proxy": Subject("system:kube-proxy", usages=("client",)),
    }


def etcd_certificates() -> dict[str, Subject]:
    """A host's certificate signed by etcd's CA: flannel's, which may read and write below flannel's prefix only."""
    return {"etcd/flannel": Subject(FLANNEL_IN_ETCD, usages=("client",))}


def package_proxy(site: Site, login: str) -> str:
    """The environment of package managers, of a site that has a proxy. login: `user:password` or ""; a secret where given."""
    proxy, network = site.proxy, site.network
    assert proxy
    own = ["localhost", "127.0.0.1", *(str(node.address) for node in site.nodes), *(node.name for node in site.nodes)]
    own += [site.registry.name, str(network.pods), str(network.services), ".svc", f".{network.domain}"]
    user, _, password = login.partition(":")
    before = f"{quote(user, safe='')}:{quote(password, safe='')}@" if login else ""
    http, https = (url.replace("//", f"//{before}", 1) if url else "" for url in (proxy.http, proxy.https))
    return render("package-proxy.sh", site=site, http=http, https=https, no=",".join(dict.fromkeys([*own, *proxy.no])))


def hosts(site: Site) -> tuple[str, ...]:
    """Lines of /etc/hosts: the hosts of the site, and the registry's name."""
    lines = [f"{node.address} {node.name}" for node in site.nodes]
    return (*lines, f"{site.registry_node.address} {site.registry.name}")


def sysctls() -> str:
    """/etc/sysctl.d file: the host forwards pods' packets, and bridged traffic passes its firewall."""
    return "# Pods' traffic passes through this host, and kube-proxy's rules must see what crosses a bridge.\n" + "".join(
        f"{name} = {value}\n" for name, value in SYSCTLS.items()
    )


def modules(others: Sequence[str] = ()) -> str:
    """/etc/modules-load.d file. others: which some distributions do not load by themselves when kube-proxy needs them."""
    text = "# Bridged traffic is shown to the firewall by this module.\n" + "".join(f"{name}\n" for name in MODULES)
    if others:
        text += "# kube-proxy sets the size of the kernel's table of connections when it starts.\n"
    return text + "".join(f"{name}\n" for name in others)


def kubelet(site: Site, node: Node, settings: NodeSettings) -> str:
    """/etc/kubernetes/kubelet.yaml. Values that differ from Kubernetes' defaults follow from the host's facts."""
    values: dict[str, object] = {
        "cgroupDriver": settings.cgroup_driver,
        "failCgroupV1": settings.fail_cgroup_v1,
        "failSwapOn": settings.fail_swap_on,
        "oomScoreAdj": settings.oom_score_adj,
        "maxOpenFiles": settings.max_open_files,
        "systemReserved": settings.system_reserved,
        "imageGCHighThresholdPercent": settings.image_gc[0],
        "imageGCLowThresholdPercent": settings.image_gc[1],
    }
    if settings.resolv_conf:
        values["resolvConf"] = settings.resolv_conf
    reasons, network = dict(settings.reasons), site.network
    if network.max_pods < MAX_PODS:
        values["maxPods"] = network.max_pods
        reasons["maxPods"] = f"a /{network.subnet_length} lease has no more addresses for pods"
    return render("kubelet.yaml", site=site, node=node, settings=values, reasons=reasons)


def labels(node: Node) -> dict[str, str]:
    """The runbook's labels of a host's node: its name and role."""
    return {"airavata-runbook/host": node.name, "airavata-runbook/role": node.role}


def kubelet_arguments(site: Site, node: Node) -> str:
    """/etc/kubernetes/kubelet."""
    return argument_file(
        "KUBELET_ARGS",
        f"The kubelet of {node.name}; the rest stands in kubelet.yaml.",
        [
            Argument("config", "/etc/kubernetes/kubelet.yaml", "its settings"),
            Argument("kubeconfig", "/etc/kubernetes/kubelet.conf", "how it reaches the API server, and as whom"),
            Argument("hostname-override", node.address, "the host is known by its address, not by its name"),
            Argument("node-ip", node.address, "the address that its pods' traffic comes from"),
            Argument(
                "node-labels",
                ",".join(f"{key}={value}" for key, value in labels(node).items()),
                "so that the host's name and role show in the cluster",
            ),
        ],
    )


def kube_proxy(site: Site, node: Node, settings: NodeSettings) -> str:
    """/etc/kubernetes/proxy.yaml."""
    values = {"oomScoreAdj": settings.oom_score_adj, "conntrack": settings.conntrack}
    return render("proxy.yaml", site=site, node=node, settings=values, reasons=settings.reasons)


def kube_proxy_arguments() -> str:
    """/etc/kubernetes/proxy."""
    return argument_file(
        "KUBE_PROXY_ARGS",
        "kube-proxy; its settings stand in proxy.yaml.",
        [Argument("config", "/etc/kubernetes/proxy.yaml", "its settings")],
    )


def flannel(site: Site, node: Node) -> str:
    """/etc/sysconfig/flanneld, with the POC's variable names (row 8)."""
    options = [
        f"-iface={shell_value(node.interface)} -public-ip={node.address} -ip-masq",
        f"-etcd-cafile={PKI}/{ETCD_CA}.crt -etcd-certfile={PKI}/etcd/flannel.crt -etcd-keyfile={PKI}/etcd/flannel.key",
    ]
    etcd_url = f"https://{site.master.address}:{ETCD_PORT}"
    return render("flanneld.conf", site=site, node=node, etcd_url=etcd_url, options=options)


def flannel_network(site: Site) -> dict:
    """The value of flannel's key in etcd (POC row 6)."""
    return {"Network": str(site.network.pods), "SubnetLen": site.network.subnet_length, "Backend": {"Type": site.network.backend}}


def pod_network_unit() -> str:
    """A drop-in for flanneld: creates the pods' network interfaces before the first pod needs them."""
    return """\
# flannel.1 keeps one MAC address for good, so that the other hosts' forwarding entries stay right after a reboot;
# cni0 is there before the first pods, which would otherwise race for making it.
[Service]
ExecStartPre=/bin/sh /etc/airavata-runbook/pod-network.sh before
ExecStartPost=/bin/sh /etc/airavata-runbook/pod-network.sh after
"""


def pod_network_script(node: Node) -> str:
    """/etc/airavata-runbook/pod-network.sh: creates flannel.1, and from the lease cni0 and the CNI configuration."""
    mac = "0a:fb:" + ":".join(f"{octet:02x}" for octet in node.address.packed)
    return render("pod-network.sh", node=node, mac=mac, port=FLANNEL_PORT)


def containerd(site: Site, settings: NodeSettings, pause: str) -> str:
    """containerd's configuration. pause: the image of the sandbox container, REGISTRY/NAME:TAG@DIGEST."""
    tagged, _, digest = pause.partition("@")
    name, _, tag = tagged.rpartition(":")
    runc = "runc" if "runc" in site.sources.hosted else "/usr/bin/runc"  # by its name it is looked up in PATH
    image = {"pause": f"{name}@{digest}", "tag": tag}
    return render("containerd.toml", site=site, settings=settings, cni=cni_folders(site), runc=runc, **image)


def containerd_file(site: Site) -> str:
    """The path of containerd's configuration on the hosts. Where containerd is the host's own, so stays its own configuration."""
    return "/etc/airavata-runbook/containerd.toml" if "containerd" in site.sources.hosted else "/etc/containerd/config.toml"


def containerd_drop_in(site: Site) -> str:
    """A drop-in for the unit of the host's own containerd."""
    return render("containerd-host.conf", site=site, path=containerd_file(site))


def registry_hosts(site: Site, authorization: str) -> str:
    """certs.d/…/hosts.toml: where the site's registry serves pulls, its authority, and credentials. A secret: mode 600."""
    return render("hosts.toml", address=f"https://{site.registry_pull_address}", authorization=authorization)
