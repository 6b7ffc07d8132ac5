"""What runs on every host: containerd, kubelet, kube-proxy, flannel and the pod network's configuration."""

import json
from textwrap import indent

from airavata_runbook.configs.arguments import Argument, argument_file
from airavata_runbook.configs.control_plane import FLANNEL_IN_ETCD
from airavata_runbook.hosts.node_settings import NodeSettings
from airavata_runbook.pki.types import Subject
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Node
from airavata_runbook.wellknown import ETCD_CA, ETCD_PORT, FLANNEL_PORT, PAUSE_IMAGE, PKI

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


def hosts(site: Site) -> tuple[str, ...]:
    """Lines of /etc/hosts: the hosts of the site, and the registry's name."""
    lines = [f"{node.address} {node.name}" for node in site.nodes]
    return (*lines, f"{site.registry_node.address} {site.registry.name}")


def sysctls() -> str:
    """/etc/sysctl.d file: the host forwards pods' packets, and bridged traffic passes its firewall."""
    return "# Pods' traffic passes through this host, and kube-proxy's rules must see what crosses a bridge.\n" + "".join(
        f"{name} = {value}\n" for name, value in SYSCTLS.items()
    )


def modules() -> str:
    """/etc/modules-load.d file."""
    return "# Bridged traffic is shown to the firewall by this module.\n" + "".join(f"{name}\n" for name in MODULES)


def kubelet(site: Site, node: Node, settings: NodeSettings) -> str:
    """/etc/kubernetes/kubelet.yaml. Values that differ from Kubernetes' defaults follow from the host's facts."""
    text = f"""\
# The kubelet of {node.name}: it runs the pods that the API server gives to this host.
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
# Who may ask this kubelet: holders of a certificate of the site's authority, as far as the API server lets them.
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {PKI}/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {PKI}/kubelet.crt
tlsPrivateKeyFile: {PKI}/kubelet.key
readOnlyPort: 0
# Where pods look names up.
clusterDNS: [{site.network.dns_address}]
clusterDomain: {site.network.domain}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
# Several images at once: one slow pull does not hold up the others.
serializeImagePulls: false
"""
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
    return text + _settings(settings, values)


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
                f"airavata-runbook/host={node.name},airavata-runbook/role={node.role}",
                "so that the host's name and role show in the cluster",
            ),
        ],
    )


def kube_proxy(site: Site, node: Node, settings: NodeSettings) -> str:
    """/etc/kubernetes/proxy.yaml."""
    text = f"""\
# kube-proxy of {node.name}: it makes service addresses lead to pods, with iptables rules.
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {site.network.pods}
hostnameOverride: "{node.address}"
# Health and figures are for this host only.
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {{kubeconfig: /etc/kubernetes/proxy.conf}}
"""
    return text + _settings(settings, {"oomScoreAdj": settings.oom_score_adj, "conntrack": settings.conntrack})


def kube_proxy_arguments() -> str:
    """/etc/kubernetes/proxy."""
    return argument_file(
        "KUBE_PROXY_ARGS",
        "kube-proxy; its settings stand in proxy.yaml.",
        [Argument("config", "/etc/kubernetes/proxy.yaml", "its settings")],
    )


def flannel(site: Site, node: Node) -> str:
    """/etc/sysconfig/flanneld, with the POC's variable names (row 8)."""
    return f"""\
# flannel on {node.name}: it leases a subnet of the pod network from etcd and reaches the other hosts' by vxlan.
FLANNEL_ETCD_ENDPOINTS="https://{site.master.address}:{ETCD_PORT}"
# The key below which the network's configuration and the leases stand; the same as on every other host.
FLANNEL_ETCD_PREFIX="{site.network.etcd_prefix}"
# The interface of the private network, the certificate shown to etcd, and masquerading of what leaves the pods.
FLANNEL_OPTIONS="-iface={node.interface} -public-ip={node.address} -ip-masq \\
    -etcd-cafile={PKI}/{ETCD_CA}.crt -etcd-certfile={PKI}/etcd/flannel.crt -etcd-keyfile={PKI}/etcd/flannel.key"
"""


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
    return f"""\
# Run by flanneld's unit on {node.name}: before it starts, and when it has its lease.
set -eu
case $1 in
before)
    # The address of flannel.1 follows from the host's, so that it is the same after every boot.
    ip link show flannel.1 >/dev/null 2>&1 || ip link add flannel.1 address {mac} type vxlan \\
        id 1 dev {node.interface} local {node.address} dstport {FLANNEL_PORT} nolearning
    ;;
after)
    . /run/flannel/subnet.env
    ip link show cni0 >/dev/null 2>&1 || ip link add cni0 type bridge
    # The lease as flannel writes it is the first address of the subnet, 10.52.25.129/25: the bridge's own. An address of an
    # earlier lease would make the CNI plugin refuse the bridge.
    ip -4 -o addr show dev cni0 | while read -r _ _ _ address _; do
        test "$address" = "$FLANNEL_SUBNET" || ip addr del "$address" dev cni0
    done
    ip addr replace "$FLANNEL_SUBNET" dev cni0
    ip link set cni0 mtu "$FLANNEL_MTU" up
    gateway=${{FLANNEL_SUBNET%/*}}
    subnet=${{gateway%.*}}.$((${{gateway##*.}} - 1))/${{FLANNEL_SUBNET#*/}}
    mkdir -p /etc/cni/net.d
    cat > /etc/cni/net.d/.new <<CONFIGURATION
{{
  "cniVersion": "1.0.0",
  "name": "airavata-pods",
  "plugins": [
    {{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false, "mtu": $FLANNEL_MTU,
     "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "$subnet"}}]],
              "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
CONFIGURATION
    mv /etc/cni/net.d/.new /etc/cni/net.d/10-airavata.conflist
    ;;
esac
"""


def containerd(site: Site, settings: NodeSettings) -> str:
    """/etc/containerd/config.toml."""
    return f"""\
# containerd of site {site.name}: it runs the containers that the kubelet asks for.
version = 3

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    # The container that holds a pod's addresses; it comes from the site's own registry.
    sandbox = "{site.registry_address}/{PAUSE_IMAGE}"
  [plugins.'io.containerd.cri.v1.images'.registry]
    # How each registry is reached: its authority and, for the site's own, the credentials.
    config_path = "/etc/containerd/certs.d"

[plugins.'io.containerd.cri.v1.runtime']
{_reason(settings, "restrict_oom_score_adj", "  ")}  restrict_oom_score_adj = {json.dumps(settings.restrict_oom_score_adj)}
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "/usr/bin/runc"
{_reason(settings, "systemd_cgroup", "      ")}      SystemdCgroup = {json.dumps(settings.systemd_cgroup)}
"""


def registry_hosts(site: Site, authorization: str) -> str:
    """certs.d/…/hosts.toml: the site's registry with its authority and credentials. Holds a secret: mode 600."""
    address = f"https://{site.registry_address}"
    return f"""\
# The site's own registry; nothing is ever fetched from anywhere else.
server = "{address}"

[host."{address}"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/containerd/certs.d/registry-ca.crt"
  [host."{address}".header]
    authorization = "{authorization}"
"""


def _settings(settings: NodeSettings, values: dict[str, object]) -> str:
    """Lines of YAML, each after a comment with the reason where its value is not Kubernetes' default."""
    lines = []
    for key, value in values.items():
        lines.append(_reason(settings, key, ""))
        lines.append(f"{key}: {json.dumps(value)}\n")  # JSON is YAML, on one line
    return "".join(lines)


def _reason(settings: NodeSettings, name: str, margin: str) -> str:
    reason = settings.reasons.get(name, "")
    return indent(f"# {reason}\n", margin) if reason else ""
