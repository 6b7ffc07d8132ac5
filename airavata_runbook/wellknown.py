"""Ports, paths and names that several parts share."""

PKI = "/etc/kubernetes/pki"
# The authorities below PKI, one for each purpose: a certificate of one means nothing to the servers of another.
CLUSTER_CA = "ca"  # the API server, its clients and the kubelets
ETCD_CA = "etcd/ca"
FRONT_PROXY_CA = "front-proxy-ca"
SERVICES_CA = "services-ca"  # the registry and Airavata's servers
SECRETS = "/etc/airavata-runbook/secrets"
REPOSITORY_KEY = f"{SECRETS}/repository.key"  # on the master: signs the package repository; with a dot, as no generated secret
RPM_REPOSITORY_KEY = f"{SECRETS}/repository-rpm.key"  # likewise: signs rpm packages and their repository
KEYRING = "/etc/apt/keyrings/airavata-runbook.asc"  # its public half, on every host
PROXY = "/etc/airavata-runbook/package-proxy.sh"  # on every host: the environment of its package manager
IMAGES = "/etc/airavata-runbook/images.json"  # on the master: the digest of every image that the site runs
EXERCISE = "/etc/airavata-runbook/exercise"  # on the master: which exercise is open there
API_PORT = 6443
ETCD_PORT = 2379
KUBELET_PORT = 10250
CONTROLLER_MANAGER_PORT = 10257
SCHEDULER_PORT = 10259
KUBE_PROXY_PORT = 10256  # of its health check
# TCP port → the program that listens there, on the master and on every host (Kubernetes' "Ports and Protocols", etcd's guide).
CONTROL_PLANE_PORTS = {
    API_PORT: "kube-apiserver",
    ETCD_PORT: "etcd",
    2380: "etcd",
    CONTROLLER_MANAGER_PORT: "kube-controller-manager",
    SCHEDULER_PORT: "kube-scheduler",
}
NODE_PORTS = {KUBELET_PORT: "kubelet", 10248: "kubelet", KUBE_PROXY_PORT: "kube-proxy", 10249: "kube-proxy"}
FLANNEL_PORT = 8472  # UDP; the Linux kernel's own default for vxlan, which flannel keeps
# Who pulls from the private registry, on hosts and for pods: an identity that can do nothing else.
PULL_SERVICE = "docker-distribution-pull"
PULL_USER = "pull"
PULL_PASSWORD = "generated:registry-pull-password"
# The resource of chapter 05 that is there where Airavata is upgraded; the runner looks for it in a report.
DATABASE_BACKUP = "backup of the databases before an upgrade"
# The interfaces of the pods' network on every host: the bridge, and vxlan's tunnel to the other hosts.
BRIDGE, TUNNEL = "cni0", "flannel.1"
