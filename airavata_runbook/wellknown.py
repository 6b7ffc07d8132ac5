"""Ports, paths and names that several parts share."""

PKI = "/etc/kubernetes/pki"
SECRETS = "/etc/airavata-runbook/secrets"
API_PORT = 6443
ETCD_PORT = 2379
FLANNEL_PORT = 8472  # UDP; the Linux kernel's own default for vxlan, which flannel keeps
PAUSE_IMAGE = "pause:3.10"
