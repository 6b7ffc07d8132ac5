"""The cluster from this machine: the Kubernetes API, etcd, and kubeconfigs."""
