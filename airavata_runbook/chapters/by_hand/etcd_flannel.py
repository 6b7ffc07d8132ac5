"""Chapter 03 by hand: etcdctl, systemctl and the first kubectl."""

import json
from shlex import quote

from airavata_runbook.chapters.by_hand.shell import ADMIN, STATUS, etcdctl, example, kubectl, on, on_each
from airavata_runbook.configs import control_plane as configs
from airavata_runbook.configs import node
from airavata_runbook.engine.by_hand import ByHand
from airavata_runbook.site import Site
from airavata_runbook.wellknown import API_PORT, BRIDGE, CONTROLLER_MANAGER_PORT, PKI, SCHEDULER_PORT, TUNNEL

SUPER_ADMIN = "/etc/kubernetes/super-admin.conf"


def etcd_service(site: Site) -> ByHand:
    return ByHand(
        do=(on(site, site.master, "systemctl enable --now etcd"),),
        check=(etcdctl(site, "etcdctl endpoint health"),),
    )


def etcd_users(site: Site) -> ByHand:
    """One user is shown, with the role of its name; the other is made alike."""
    (_, other), (user, prefix) = configs.etcd_users(site).items()
    do = (
        f"etcdctl role add {user}",
        f"etcdctl role grant-permission {user} readwrite {quote(prefix)} --prefix",
        f"etcdctl user add {user} --no-password && etcdctl user grant-role {user} {user}",
        f"# and so on for {configs.API_SERVER_IN_ETCD} with {other}, and for root",
        "etcdctl auth enable",
    )
    return ByHand(do=(etcdctl(site, *do),), check=(etcdctl(site, "etcdctl auth status", f"etcdctl role get {user}"),))


def network_config(site: Site) -> ByHand:
    key, value = quote(f"{site.network.etcd_prefix}/config"), quote(json.dumps(node.flannel_network(site)))
    do = (f"etcdctl get {key}  # only where this prints nothing:", f"etcdctl put {key} {value}")
    return ByHand(do=(etcdctl(site, *do),), check=(etcdctl(site, f"etcdctl get {key}"),))


def api_server(site: Site) -> ByHand:
    url = f"https://{site.master.address}:{API_PORT}/"
    looks = (
        f"kubectl --kubeconfig {SUPER_ADMIN} get --raw /readyz",
        f"{STATUS} --cacert {PKI}/ca.crt {url}  # 401: nobody is let in without a certificate or token",
    )
    return ByHand(do=(on(site, site.master, "systemctl enable --now kube-apiserver"),), check=(on(site, site.master, *looks),))


def role_bindings(site: Site) -> ByHand:
    do = []
    for one in configs.bindings():
        (subject,) = one["subjects"]
        who = f"--{subject['kind'].lower()}={subject['name']}"
        do.append(f"kubectl create clusterrolebinding {one['metadata']['name']} --clusterrole={one['roleRef']['name']} {who}")
    return ByHand(
        do=(on(site, site.master, f"export KUBECONFIG={SUPER_ADMIN}", *do),),
        check=(on(site, site.master, f"kubectl --kubeconfig {ADMIN} auth can-i create pods --all-namespaces"),),
    )


def controllers(site: Site) -> ByHand:
    looks = [f"curl -skf https://127.0.0.1:{port}/healthz && echo" for port in (CONTROLLER_MANAGER_PORT, SCHEDULER_PORT)]
    return ByHand(
        do=(on(site, site.master, "systemctl enable --now kube-controller-manager kube-scheduler"),),
        check=(on(site, site.master, *looks),),
    )


def pod_network(site: Site) -> ByHand:
    looks = (
        "cat /run/flannel/subnet.env",
        f"ip -brief address show dev {BRIDGE}",
        f"ip -details link show dev {TUNNEL}",
        f"ip route show dev {TUNNEL}  # a route to the lease of each other host",
    )
    return ByHand(
        do=(on_each(site, "systemctl enable --now containerd flanneld"),),
        check=(on_each(site, *looks),),
    )


def node_services(site: Site) -> ByHand:
    return ByHand(
        do=(on_each(site, "systemctl enable --now kubelet kube-proxy"),),
        check=(
            kubectl(site, f"kubectl get node {example(site).address} -o wide"),
            on_each(site, "systemctl is-active kubelet kube-proxy"),
        ),
    )


def superseded(site: Site) -> ByHand:
    old = ("etcd", "etcd-client", "flannel")
    return ByHand(
        do=(on_each(site, "rm -f " + " ".join(f"{PKI}/{name}.crt {PKI}/{name}.key" for name in old)),),
        check=(on_each(site, f"ls {PKI}  # no {'.crt, no '.join(old)}.crt"),),
    )


def leases(site: Site) -> ByHand:
    prefix = quote(f"{site.network.etcd_prefix}/subnets/")
    return ByHand(
        check=(etcdctl(site, f"etcdctl get --prefix {prefix}"), on_each(site, "cat /run/flannel/subnet.env")),
    )
