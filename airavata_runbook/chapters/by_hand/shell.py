"""Where the commands are typed, and what several chapters type."""

from shlex import quote

from airavata_runbook.engine.by_hand import Shell
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node
from airavata_runbook.wellknown import ETCD_CA, ETCD_PORT, PKI, SERVICES_CA

ADMIN = "/etc/kubernetes/admin.conf"
SERVICES = f"{PKI}/{SERVICES_CA}.crt"  # the authority of Airavata's servers
REGISTRY = "/etc/containerd/certs.d/registry-ca.crt"  # the registry's, on every host
STATUS = "curl -s -o /dev/null -w '%{http_code}\\n'"  # of an HTTP response


def here(*commands: str) -> Shell:
    """On this machine."""
    return Shell(commands=commands)


def on(site: Site, node: Node, *commands: str) -> Shell:
    """In a shell of root on a host."""
    return Shell(host=node.name, login=_login(site, node), commands=commands)


def on_each(site: Site, *commands: str) -> Shell:
    """In a shell of root on every host: the commands for one of them."""
    shell = on(site, example(site), *commands)
    return shell.model_copy(update={"likewise": len(site.nodes) > 1})


def kubectl(site: Site, *commands: str) -> Shell:
    """On the master, as the cluster's admin."""
    return on(site, site.master, f"export KUBECONFIG={ADMIN}", *commands)


def etcdctl(site: Site, *commands: str) -> Shell:
    """On the master, as etcd's root user."""
    who = f"ETCDCTL_CERT={PKI}/etcd/root.crt ETCDCTL_KEY={PKI}/etcd/root.key"
    server = f"ETCDCTL_ENDPOINTS=https://127.0.0.1:{ETCD_PORT} ETCDCTL_CACERT={PKI}/{ETCD_CA}.crt"
    return on(site, site.master, f"export {server}", f"export {who}", *commands)


def example(site: Site) -> Node:
    """The host for which the commands of a step on every host are shown: if there is one, a worker without the registry."""
    return min(site.nodes, key=lambda node: (node == site.master, node == site.registry_node))


def _login(site: Site, node: Node) -> tuple[str, ...]:
    ssh = node.ssh
    if site.lab:
        which = "" if site.name == "lab" else f"--site {site.name} "
        command = f"airavata-runbook lab ssh {which}{node.name}"
    else:
        options = [f"-p {ssh.port}"] if ssh.port != 22 else []
        options += [f"-J {quote(ssh.jump)}"] if ssh.jump else []
        options += [f"-i {_path(ssh.key)}"] if ssh.key else []
        command = " ".join(["ssh", *options, quote(f"{ssh.user}@{ssh.host or node.address}")])
    return (command,) if ssh.user == "root" else (command, "sudo -i")


def _path(path: str) -> str:
    """For a shell, which expands ~ only where it is not quoted."""
    return f"~/{quote(path[2:])}" if path.startswith("~/") else quote(path)
