"""A certificate that is renewed reaches the server that presents it, and only that server's processes are replaced."""

import hashlib
import json
import ssl

import pytest

from airavata_runbook.site import Site
from airavata_runbook.wellknown import PKI, PULL_SERVICE
from tests.full_picture import kubectl, over_ssh
from tests.site.conftest import runbook

PORTAL = f"{PKI}/services/portal-tls"
UNITS = (
    "etcd kube-apiserver kube-controller-manager kube-scheduler containerd flanneld kubelet kube-proxy docker-distribution "
    + PULL_SERVICE
)


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


@pytest.fixture(scope="module")
def renewed(first, site_file, site):
    """What the portal and the registry presented before and after the run that renewed their certificates; what has restarted."""
    before, old = processes(site), shown(site)
    over_ssh(site, site.master.name, f"rm {PORTAL}.crt {PORTAL}.key")
    stem = f"{site.registry.root}/cert/registry-cert"
    over_ssh(site, site.registry_node.name, f"cp -a {stem}.crt {stem}.key /root/; rm {stem}.crt {stem}.key")
    done = runbook("run", site_file, "--from", "04", "--to", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    after = processes(site)
    restarted = {key.split()[0] for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return old, shown(site), restarted


def shown(site: Site) -> list[str]:
    """The fingerprints that the portal and the registry present."""
    address, port = str(site.master.address), site.airavata.portal_node_port
    return [
        presented(site, site.master.name, address, port),
        *(presented(site, site.registry_node.name, "127.0.0.1", port) for port in (site.registry.port, site.registry_pull_port)),
    ]


def test_a_renewed_certificate_is_presented_and_nothing_else_restarts(renewed, site):
    old, new, restarted = renewed
    file = f"{site.registry.root}/cert/registry-cert.crt"
    assert new == [on_disk(site, site.master.name, f"{PORTAL}.crt"), *[on_disk(site, site.registry_node.name, file)] * 2]
    assert not set(old) & set(new)
    assert restarted == {"portal", "docker-distribution", PULL_SERVICE}


def test_verify_reports_a_server_that_presents_another_certificate_than_its_file(renewed, site_file, site):
    """The file is older than the process, as after `cp -p`: no step sees it, the handshake does."""
    folder, host = f"{site.registry.root}/cert", site.registry_node.name
    over_ssh(site, host, f"cp -a /root/registry-cert.* {folder}/; rm /root/registry-cert.*")
    done = runbook("run", site_file, "--from", "06", "--to", "06")
    assert done.returncode == 1 and f"systemctl restart docker-distribution on {host}" in done.stderr, done.stderr
    over_ssh(site, host, f"systemctl restart docker-distribution {PULL_SERVICE}")
