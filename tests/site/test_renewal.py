"""A certificate that is renewed reaches the server that presents it, and only that server's processes are replaced."""

import hashlib
import json
import ssl

from airavata_runbook.cluster.session import session_of
from airavata_runbook.site import Site
from airavata_runbook.wellknown import PKI
from tests.full_picture import kubectl, over_ssh
from tests.site.conftest import runbook

UNITS = "etcd kube-apiserver kube-controller-manager kube-scheduler containerd flanneld kubelet kube-proxy docker-distribution"


def presented(site: Site, host: str, address: str, port: int) -> str:
    """The sha256 fingerprint of the certificate that a server presents, as openssl says on a host."""
    script = f"openssl s_client -connect {address}:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    return over_ssh(site, host, script).strip().partition("=")[2].replace(":", "").lower()


def on_disk(site: Site, host: str, path: str) -> str:
    """The fingerprint of the first certificate in a file on a host."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(over_ssh(site, host, f"openssl x509 -in {path}"))).hexdigest()


def processes(site: Site) -> dict[str, str]:
    """Unit on a host → the time of its start; pod → its UID."""
    found = {}
    for node in site.nodes:
        show = f"for unit in {UNITS}; do echo $unit $(systemctl show -P ExecMainStartTimestampMonotonic $unit); done"
        for line in over_ssh(site, node.name, show).splitlines():
            unit, _, started = line.partition(" ")
            found[f"{unit} on {node.name}"] = started
    for pod in json.loads(kubectl(site, "get pods -A -o json"))["items"]:
        if pod["metadata"]["namespace"] in ("kube-system", site.airavata.namespace) and not pod["metadata"].get(
            "deletionTimestamp"
        ):
            name = pod["metadata"]["labels"].get("app.kubernetes.io/name") or pod["metadata"]["labels"].get("k8s-app")
            found[f"{name} {pod['metadata']['uid']}"] = ""
    return found


def test_a_renewed_certificate_is_presented_and_nothing_else_restarts(first, site_file, site):
    master, root = site.master.name, site.registry.root
    address, port = str(site.master.address), site.airavata.portal_node_port
    before = processes(site)
    stems = [f"{PKI}/services/portal-tls", f"{root}/cert/registry-cert"]
    old = [presented(site, master, address, port), presented(site, site.registry_node.name, "127.0.0.1", site.registry.port)]
    over_ssh(site, master, f"rm {stems[0]}.crt {stems[0]}.key")
    over_ssh(site, site.registry_node.name, f"rm {stems[1]}.crt {stems[1]}.key")
    done = runbook("run", site_file, "--from", "04", "--to", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    new = [presented(site, master, address, port), presented(site, site.registry_node.name, "127.0.0.1", site.registry.port)]
    assert new == [on_disk(site, master, f"{stems[0]}.crt"), on_disk(site, site.registry_node.name, f"{stems[1]}.crt")]
    assert not set(old) & set(new)
    after = processes(site)
    changed = {key.split()[0] for key in before.keys() ^ after.keys()} | {
        key for key in before if after.get(key, "") != before[key]
    }
    assert {name.split()[0] for name in changed} == {"portal", "docker-distribution"}


def test_verify_reports_a_server_that_still_presents_an_old_certificate(first, site_file, site):
    """A file that looks older than the process, as after `cp -p`: no step sees it, the handshake does."""
    worker = next(node.name for node in site.nodes if node is not site.master)
    stem = f"{PKI}/kubelet"
    over_ssh(site, worker, f"cp -a {stem}.crt /root/kubelet.crt; cp -a {stem}.key /root/kubelet.key; rm {stem}.crt {stem}.key")
    done = runbook("run", site_file, "--from", "02", "--to", "02")
    assert done.returncode == 0, done.stdout + done.stderr
    over_ssh(site, worker, f"touch -r /root/kubelet.crt {stem}.crt; touch -r /root/kubelet.key {stem}.key; rm /root/kubelet.*")
    session_of(site).close()
    done = runbook("run", site_file, "--from", "06", "--to", "06")
    assert done.returncode == 1 and f"systemctl restart kubelet on {worker}" in done.stderr, done.stderr
    over_ssh(site, worker, "systemctl restart kubelet")
