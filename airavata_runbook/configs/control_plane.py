"""etcd and the control plane on the master: systemd services with argument files, as in the POC."""

from airavata_runbook.configs.arguments import Argument, argument_file
from airavata_runbook.configs.template import render
from airavata_runbook.pki.types import Subject
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node
from airavata_runbook.wellknown import API_PORT, ETCD_CA, ETCD_PORT, FRONT_PROXY_CA, PKI

ADMINS = "airavata-runbook:cluster-admins"  # the group of the admin's certificate
KUBELET_CLIENT = "kube-apiserver-kubelet-client"
API_SERVER_IN_ETCD = "kube-apiserver-etcd-client"  # users in etcd: the CN of their certificates
FLANNEL_IN_ETCD = "flannel"


def certificates(site: Site) -> dict[str, Subject]:
    """The master's certificates, signed by the cluster's CA, by file stem below /etc/kubernetes/pki.

    Nobody is in the group system:masters, which no role binding limits, but super-admin: it is for emergencies and stays on
    the master (as with kubeadm). What the others may do is said by role bindings: `bindings`, and those of Kubernetes itself.
    """
    master, address = site.master.name, str(site.master.address)
    local = ("127.0.0.1",)
    kubernetes = tuple("kubernetes" + end for end in ("", ".default", ".default.svc", f".default.svc.{site.network.domain}"))
    return {
        "apiserver": Subject(
            "kube-apiserver",
            dns=(*kubernetes, "localhost", master),
            ips=(str(site.network.api_address), address, *local),
            usages=("server",),
        ),
        "apiserver-kubelet-client": Subject(KUBELET_CLIENT, usages=("client",)),
        "controller-manager": Subject("system:kube-controller-manager", usages=("client",)),
        "scheduler": Subject("system:kube-scheduler", usages=("client",)),
        "admin": Subject("admin", ADMINS, usages=("client",)),
        "super-admin": Subject("kubernetes-super-admin", "system:masters", usages=("client",)),
    }


def etcd_certificates(site: Site) -> dict[str, Subject]:
    """The master's certificates signed by etcd's CA, by file stem below /etc/kubernetes/pki.

    A client's CN is its user in etcd, whose role says what it may do: see `etcd_users`.
    """
    return {
        "etcd/server": Subject("etcd", dns=("localhost", site.master.name), ips=(str(site.master.address), "127.0.0.1")),
        "etcd/root": Subject("root", usages=("client",)),
        "apiserver-etcd-client": Subject(API_SERVER_IN_ETCD, usages=("client",)),
    }


def bindings() -> list[dict]:
    """The ClusterRoleBindings of the admin and of the API server as a client of the kubelets."""
    return [
        _binding(ADMINS, "cluster-admin", "Group", ADMINS),
        _binding("airavata-runbook:kubelet-client", "system:kubelet-api-admin", "User", KUBELET_CLIENT),
    ]


def etcd_users(site: Site) -> dict[str, str]:
    """User in etcd → the prefix of the keys that it may read and write. The root user, who may do everything, is not listed."""
    return {API_SERVER_IN_ETCD: "/registry/", FLANNEL_IN_ETCD: f"{site.network.etcd_prefix}/"}


def _binding(name: str, role: str, kind: str, subject: str) -> dict:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": kind, "name": subject}],
    }


def etcd(site: Site) -> str:
    """/etc/etcd/etcd.conf: etcd serves the API server and flannel, which need client certificates."""
    local_url, url = (f"https://{address}:{ETCD_PORT}" for address in ("127.0.0.1", site.master.address))
    return render("etcd.conf", site=site, local_url=local_url, url=url)


def etcd_drop_in(site: Site) -> str:
    """A drop-in for the unit of the host's own etcd."""
    return render("etcd-host.conf", site=site)


def common(site: Site) -> str:
    """/etc/kubernetes/config: arguments of every Kubernetes service of the host (POC row 5)."""
    return argument_file(
        "KUBE_COMMON_ARGS",
        f"Shared by the Kubernetes services of site {site.name}, whose master is "
        f"{site.master.name} at https://{site.master.address}:{API_PORT}.",
        [Argument("v", 1, "how much is logged: 1 says what an operator needs, 4 what a developer needs")],
    )


def apiserver(site: Site) -> str:
    """/etc/kubernetes/apiserver."""
    return argument_file(
        "KUBE_API_ARGS",
        "The API server: the only one that talks to etcd about the cluster.",
        [
            Argument("advertise-address", site.master.address, "where the hosts reach it"),
            Argument("secure-port", API_PORT, "the one port, with TLS; there is no unencrypted one"),
            Argument("etcd-servers", f"https://127.0.0.1:{ETCD_PORT}", "where the state is kept"),
            Argument("etcd-cafile", f"{PKI}/{ETCD_CA}.crt", "the authority that etcd's certificate must come from"),
            Argument("etcd-certfile", f"{PKI}/apiserver-etcd-client.crt", "the certificate shown to etcd"),
            Argument("etcd-keyfile", f"{PKI}/apiserver-etcd-client.key", "and its key"),
            Argument("etcd-compaction-interval", "0", "etcd drops old revisions itself"),
            Argument("service-cluster-ip-range", site.network.services, "where services get their addresses from"),
            Argument("tls-cert-file", f"{PKI}/apiserver.crt", "the server's certificate"),
            Argument("tls-private-key-file", f"{PKI}/apiserver.key", "and its key"),
            Argument("client-ca-file", f"{PKI}/ca.crt", "clients with a certificate of this authority are who it says"),
            Argument("anonymous-auth", "false", "nobody is let in without saying who they are"),
            Argument(
                "authorization-mode", "Node,RBAC", "a kubelet may touch what belongs to its node; all others what a role says"
            ),
            Argument("enable-admission-plugins", "NodeRestriction", "a kubelet cannot speak for another node"),
            Argument("kubelet-certificate-authority", f"{PKI}/ca.crt", "kubelets must prove who they are, too"),
            Argument("kubelet-client-certificate", f"{PKI}/apiserver-kubelet-client.crt", "shown to kubelets"),
            Argument("kubelet-client-key", f"{PKI}/apiserver-kubelet-client.key", "and its key"),
            Argument("kubelet-preferred-address-types", "InternalIP", "hosts are reached by address, not by name"),
            Argument(
                "service-account-issuer", f"https://kubernetes.default.svc.{site.network.domain}", "who signs the tokens of pods"
            ),
            Argument("service-account-key-file", f"{PKI}/service-accounts.pub", "what the tokens are checked with"),
            Argument("service-account-signing-key-file", f"{PKI}/service-accounts.key", "what they are signed with"),
            Argument("default-not-ready-toleration-seconds", 10, "pods leave a host that is not ready after 10 s"),
            Argument("default-unreachable-toleration-seconds", 10, "and one that does not answer, likewise"),
            Argument(
                "requestheader-client-ca-file",
                f"{PKI}/{FRONT_PROXY_CA}.crt",
                "extension API servers know requests that come through here by this authority",
            ),
            Argument("requestheader-allowed-names", "front-proxy-client", "and by this name"),
            Argument("requestheader-username-headers", "X-Remote-User", "the header that names the user"),
            Argument("requestheader-group-headers", "X-Remote-Group", "the header that names the groups"),
            Argument("requestheader-extra-headers-prefix", "X-Remote-Extra-", "how further headers begin"),
            Argument("proxy-client-cert-file", f"{PKI}/front-proxy-client.crt", "shown to extension API servers"),
            Argument("proxy-client-key-file", f"{PKI}/front-proxy-client.key", "and its key"),
            Argument("allow-privileged", "true", "system pods may ask for the host's network and devices"),
            Argument("profiling", "false", "no profiles of the running server for its clients"),
        ],
    )


def controller_manager(site: Site) -> str:
    """/etc/kubernetes/controller-manager."""
    config = "/etc/kubernetes/controller-manager.conf"
    return argument_file(
        "KUBE_CONTROLLER_MANAGER_ARGS",
        "The controllers: they make what is so what should be so.",
        [
            Argument("kubeconfig", config, "how it reaches the API server, and as whom"),
            Argument("authentication-kubeconfig", config, "how it asks who a client of its own port is"),
            Argument("authorization-kubeconfig", config, "and what that client may do"),
            Argument("bind-address", "127.0.0.1", "its own port answers on this host only"),
            Argument("cluster-cidr", site.network.pods, "where pods have their addresses"),
            Argument("allocate-node-cidrs", "false", "flannel leases the hosts' subnets, not this"),
            Argument("service-account-private-key-file", f"{PKI}/service-accounts.key", "signs the tokens of pods"),
            Argument("root-ca-file", f"{PKI}/ca.crt", "the authority that every pod is given, to know the API server by"),
            Argument("cluster-signing-cert-file", f"{PKI}/ca.crt", "signs the certificates that the cluster is asked for"),
            Argument("cluster-signing-key-file", f"{PKI}/ca.key", "and its key"),
            Argument("use-service-account-credentials", "true", "each controller has only its own rights"),
            Argument("node-monitor-period", "2s", "how often it looks at the hosts"),
            Argument("node-monitor-grace-period", "20s", "a host that was not heard of for so long is not ready"),
            Argument("leader-elect", "false", "there is one master, hence nobody to agree with"),
            Argument("profiling", "false", "no profiles of the running server"),
        ],
    )


def scheduler(site: Site) -> str:
    """/etc/kubernetes/scheduler."""
    config = "/etc/kubernetes/scheduler.conf"
    return argument_file(
        "KUBE_SCHEDULER_ARGS",
        f"The scheduler of site {site.name}: it chooses a host for each pod.",
        [
            Argument("kubeconfig", config, "how it reaches the API server, and as whom"),
            Argument("authentication-kubeconfig", config, "how it asks who a client of its own port is"),
            Argument("authorization-kubeconfig", config, "and what that client may do"),
            Argument("bind-address", "127.0.0.1", "its own port answers on this host only"),
            Argument("leader-elect", "false", "there is one master, hence nobody to agree with"),
            Argument("profiling", "false", "no profiles of the running server"),
        ],
    )


def kubeconfig(site: Site, node: Node, name: str, stem: str) -> str:
    """A kubeconfig on a host: the API server, and the client certificate (STEM.crt, STEM.key)."""
    address = "127.0.0.1" if node == site.master else site.master.address
    return render("kubeconfig.yaml", site=site, node=node, user=name, stem=stem, server=f"https://{address}:{API_PORT}")
