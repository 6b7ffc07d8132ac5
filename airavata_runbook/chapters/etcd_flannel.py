"""Chapter 03: etcd, flannel's configuration in it, the control plane, and the hosts as nodes (POC rows 6 to 8)."""

from collections.abc import Iterator
from ipaddress import ip_interface

from airavata_runbook.chapters.by_hand import etcd_flannel as by_hand
from airavata_runbook.cluster import etcd, readiness
from airavata_runbook.cluster.host_causes import control_plane_causes, node_causes, service_causes
from airavata_runbook.cluster.session import Session
from airavata_runbook.configs import control_plane as configs
from airavata_runbook.configs import node
from airavata_runbook.engine.report import Picture, picture_of
from airavata_runbook.engine.step import Rows, check, step
from airavata_runbook.engine.target import Target, everywhere, master
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.pictures import hosts as drawn
from airavata_runbook.resources import (
    Cleared,
    Condition,
    EtcdAccess,
    EtcdKey,
    EtcdStore,
    File,
    NodeLabels,
    NodeObject,
    PodNetwork,
    Resource,
    RoleBinding,
    SameSite,
    Service,
)
from airavata_runbook.resources.etcd_store import INITIALIZED
from airavata_runbook.resources.role_binding import KUBECTL
from airavata_runbook.site.host_parts import drop_in_of
from airavata_runbook.wellknown import (
    CLUSTER_CA,
    CONTROLLER_MANAGER_PORT,
    ETCD_CA,
    FLANNEL_PORT,
    FRONT_PROXY_CA,
    KUBE_PROXY_PORT,
    KUBELET_PORT,
    PKI,
    SCHEDULER_PORT,
)

COMMON = "/etc/kubernetes/config"  # read by all services of Kubernetes
NO_LEASE = etcd.Lease("none", "")


@step("etcd", on=master, by_hand=by_hand.etcd_service)
def etcd_service(target: Target) -> Iterator[Resource]:
    yield SameSite(target.site)
    yield EtcdStore()
    reads = ["/etc/etcd/etcd.conf", *_pair("etcd/server"), f"{PKI}/{ETCD_CA}.crt"]
    yield Service("etcd", *_reads(target, "etcd", reads))
    # etcdctl retries for seconds when etcd does not run, so systemctl is asked first.
    yield Condition(
        "etcd to answer",
        f"systemctl -q is-active etcd && {etcd.ETCDCTL} endpoint health",
        causes=lambda: service_causes(target.host, "etcd"),
        remedy="journalctl -u etcd",
    )
    yield File(
        INITIALIZED,
        "# etcd has run. If its data in /var/lib/etcd is lost, the runbook does not start it with an empty store.\n",
    )


@step("Users and roles in etcd", on=master, by_hand=by_hand.etcd_users)
def etcd_users(target: Target) -> Iterator[Resource]:
    yield EtcdAccess(configs.etcd_users(target.site))


@step("Pod network configuration in etcd", on=master, by_hand=by_hand.network_config)
def network_config(target: Target) -> Iterator[Resource]:
    yield EtcdKey(f"{target.site.network.etcd_prefix}/config", node.flannel_network(target.site))


@step("API server", on=master, by_hand=by_hand.api_server)
def api_server(target: Target) -> Iterator[Resource]:
    yield Service(
        "kube-apiserver",
        [
            COMMON,
            "/etc/kubernetes/apiserver",
            *_pair("apiserver"),
            f"{PKI}/{CLUSTER_CA}.crt",
            f"{PKI}/{ETCD_CA}.crt",
            f"{PKI}/{FRONT_PROXY_CA}.crt",
            *_pair("apiserver-etcd-client"),
            *_pair("apiserver-kubelet-client"),
            *_pair("front-proxy-client"),
            f"{PKI}/service-accounts.key",
        ],
        package="kubernetes-master",
    )
    # After etcd was down for minutes, the API server's two clients reconnect within 120 s plus a fifth (gRPC's connection
    # backoff); 56 s were measured after 110 s of downtime.
    yield Condition(
        "the API server to answer",
        f"{KUBECTL} get --raw /readyz",
        causes=lambda: control_plane_causes(target.session),
        deadline=180,
        remedy="journalctl -u kube-apiserver",
    )


@step("Role bindings of the admin and of the API server", on=master, by_hand=by_hand.role_bindings)
def role_bindings(target: Target) -> Iterator[Resource]:
    yield from map(RoleBinding, configs.bindings())


@step("Controller manager and scheduler", on=master, by_hand=by_hand.controllers)
def controllers(target: Target) -> Iterator[Resource]:
    yield Condition(
        "the API server to be ready",
        check=lambda: readiness.api_server_missing(target.session),
        causes=lambda: control_plane_causes(target.session),
        deadline=60,
        remedy="journalctl -u kube-apiserver",
    )
    for name, port in (("controller-manager", CONTROLLER_MANAGER_PORT), ("scheduler", SCHEDULER_PORT)):
        yield Service(
            f"kube-{name}",
            [COMMON, f"/etc/kubernetes/{name}", f"/etc/kubernetes/{name}.conf", *_pair(name)],
            package="kubernetes-master",
            port=port,
        )


@step("containerd and flannel", by_hand=by_hand.pod_network)
def pod_network(target: Target) -> Iterator[Resource]:
    yield Service("containerd", *_reads(target, "containerd", [node.containerd_file(target.site)]))
    yield Service(
        "flanneld",
        ["/etc/sysconfig/flanneld", "/etc/airavata-runbook/pod-network.sh", *_pair("etcd/flannel"), f"{PKI}/{ETCD_CA}.crt"],
        package="flannel",
    )
    yield PodNetwork(str(target.node.address))  # it restarts flanneld where that makes what is awaited
    yield Condition(
        "flannel's lease of a subnet",
        "test -s /run/flannel/subnet.env && test -s /etc/cni/net.d/10-airavata.conflist",
        causes=lambda: service_causes(target.host, "flanneld"),
        remedy="journalctl -u flanneld",
    )


@step("kubelet and kube-proxy", by_hand=by_hand.node_services)
def node_services(target: Target) -> Iterator[Resource]:
    yield Service(
        "kubelet",
        [COMMON, "/etc/kubernetes/kubelet", "/etc/kubernetes/kubelet.yaml", "/etc/kubernetes/kubelet.conf", *_pair("kubelet")],
        package="kubernetes-node",
        port=KUBELET_PORT,  # the API server says for 20 s after a kubelet's end that its node is Ready
    )
    yield Service(
        "kube-proxy",
        [COMMON, "/etc/kubernetes/proxy", "/etc/kubernetes/proxy.yaml", "/etc/kubernetes/proxy.conf", *_pair("kube-proxy")],
        package="kubernetes-node",
        port=KUBE_PROXY_PORT,
    )
    address = str(target.node.address)
    yield NodeObject(address)
    yield NodeLabels(address, node.labels(target.node))
    yield Condition(
        f"node {address} to be Ready",
        check=lambda: readiness.node_missing(target.session, address),
        causes=lambda: node_causes(target.session, target.host),
        deadline=120,
        remedy=f"journalctl -u kubelet on {target.node.name}",
    )


@step("Certificates of earlier versions of the runbook", by_hand=by_hand.superseded)
def superseded(target: Target) -> Iterator[Resource]:
    # Until 2026-11 etcd had no authority of its own. These names are left on hosts whose services have the new files.
    files = " ".join(f"{PKI}/{name}.crt {PKI}/{name}.key" for name in ("etcd", "etcd-client", "flannel"))
    yield Cleared("superseded certificate", f"ls {files} 2> /dev/null || true", f"rm -f {files}\n")


@check("Leases in etcd and subnets on the hosts", by_hand=by_hand.leases)
def leases(session: Session) -> tuple[Rows, Picture]:
    """Rows of host, lease and subnet, and a picture of them. Raises StepFailed, with the picture, when they differ."""
    in_etcd = etcd.leases(session)
    on_hosts = run_parallel(
        session.hosts.values(),
        lambda host: host.run(
            ". /run/flannel/subnet.env; echo $FLANNEL_SUBNET; ip -o -4 addr show dev cni0 | awk '{print $4}'"
        ).text.split(),
    )
    rows, found = [["host", "address", "lease in etcd", "subnet on the host", "equal"]], []
    for one in everywhere(session.site):
        lease, addresses = in_etcd.get(str(one.address), NO_LEASE), on_hosts[one.name]
        if isinstance(addresses, Exception):
            raise addresses
        subnets = {_network(address, one.name) for address in addresses}
        subnet = ", ".join(sorted(subnets)) or "none"
        found.append(drawn.HostLease(one.name, str(one.address), lease.subnet, subnet, lease.mac))
        rows.append([one.name, str(one.address), lease.subnet, subnet, "yes" if subnets == {lease.subnet} else "NO"])
    network = session.site.network
    shown = drawn.leases(session.site.name, f"{network.etcd_prefix}/subnets", str(network.pods), FLANNEL_PORT, found)
    picture = picture_of("leases", shown)
    if any(row[-1] == "NO" for row in rows):
        raise StepFailed(
            "a host's subnet is not its lease in etcd",
            picture=picture,
            found="; ".join(" ".join(row) for row in rows[1:]),
            remedy="restart flanneld on that host, then delete its pods, so that they start with new addresses",
        )
    return rows, picture


def _network(address: str, host: str) -> str:
    try:
        return str(ip_interface(address).network)
    except ValueError:
        raise StepFailed(
            "unexpected address of a host's pod bridge", where=f"host {host}", found=address[:200], retryable=True
        ) from None


def _pair(name: str) -> tuple[str, str]:
    return f"{PKI}/{name}.crt", f"{PKI}/{name}.key"


def _reads(target: Target, component: str, files: list[str]) -> tuple[list[str], str]:
    """What a component's service reads, and the runbook's package that has it; none where it is the host's own."""
    drop_in = drop_in_of(target.site, component)
    return ([*files, drop_in], "") if drop_in else (files, component)


STEPS = [
    etcd_service,
    etcd_users,
    network_config,
    api_server,
    role_bindings,
    controllers,
    pod_network,
    node_services,
    superseded,
    leases,
]
