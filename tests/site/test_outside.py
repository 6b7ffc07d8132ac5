"""A finished site observed with other tools than the runbook: kubectl, curl, openssl, ssh."""

import json
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.hosts.host import Host
from airavata_runbook.mirror.kubectl import ensure_kubectl
from airavata_runbook.wellknown import CLUSTER_CA, PKI, SERVICES_CA
from tests.site.conftest import runbook

# MariaDB, RabbitMQ with and without TLS, ZooKeeper, and the own ports of Airavata's servers.
CLOSED = (3306, 5671, 5672, 2181, 9092, 9093, 9094, 7878, 8930, 8940, 8950, 8960, 8962, 8970, 9930)


@pytest.fixture(scope="module")
def kubectl(site_file, first):
    """kubectl with the runbook's kubeconfig: a function from arguments to output."""
    path = runbook("kubeconfig", site_file).stdout.strip()

    def call(*words: str) -> str:
        done = subprocess.run([ensure_kubectl(), "--kubeconfig", path, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture(scope="module")
def ca(site, hosts, tmp_path_factory) -> Path:
    """The certificate of the services' authority, as an admin would copy it."""
    path = tmp_path_factory.mktemp("ca") / "ca.crt"
    path.write_bytes(hosts[site.master.name].run(f"cat {PKI}/{SERVICES_CA}.crt").stdout)
    return path


@pytest.fixture(scope="module")
def cluster_ca(site, hosts, tmp_path_factory) -> Path:
    """The certificate of the cluster's authority."""
    path = tmp_path_factory.mktemp("ca") / "ca.crt"
    path.write_bytes(hosts[site.master.name].run(f"cat {PKI}/{CLUSTER_CA}.crt").stdout)
    return path


def output(host: Host, script: str) -> str:
    done = host.run(script)
    assert done.status == 0, done.last_lines
    return done.text.strip()


@contextmanager
def forwarded(host: Host, port: int):
    """(address, port) of an SSH forward to a port of the host: SSH is what every site allows."""
    yield "127.0.0.1", host.forward(port, str(host.node.address))


def curl(ca: Path, url: str, *words: str) -> tuple[int, str]:
    """HTTP status (0: no answer) and body that curl gets; the server's certificate must be signed by the CA."""
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--max-time", "10", "--cacert", ca, "-w", "\n%{http_code}", *words, url],
        capture_output=True,
        text=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body + done.stderr


def test_package_managers_have_no_warnings_or_upgrades_for_the_runbooks_packages(site, hosts):
    id = site.repository.id
    for host in hosts.values():
        if "dnf" in output(host, "command -v dnf || true"):
            dnf = f"dnf -q --disablerepo='*' --enablerepo={id}"
            assert output(host, f"{dnf} --refresh makecache 2>&1") == ""
            assert output(host, f"{dnf} check-update 2>&1") == ""  # its status is 100 where there is an update
            continue
        repository = f"-o Dir::Etc::sourcelist=sources.list.d/{id}.list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0"
        assert output(host, f"apt-get -qq update {repository} 2>&1") == ""
        upgradable = output(host, f"apt-get -s {repository} upgrade")
        assert "0 upgraded, 0 newly installed" in upgradable, upgradable


def test_every_node_is_ready_and_every_pod_is_running(site, kubectl):
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    assert {node["metadata"]["name"] for node in nodes} == {str(node.address) for node in site.nodes}
    assert all({one["type"]: one["status"] for one in node["status"]["conditions"]}["Ready"] == "True" for node in nodes)
    pods = json.loads(kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
    assert len(pods) >= 8 and {pod["status"]["phase"] for pod in pods} == {"Running"}


def test_every_container_comes_from_the_private_registry(site, kubectl):
    pods = json.loads(kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
    images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    assert images and all(image.startswith(f"{site.registry_address}/") and "@sha256:" in image for image in images)


def test_stand_ins_are_labelled_as_such(site, kubectl):
    pods = json.loads(kubectl("-n", site.airavata.namespace, "get", "pods", "-o", "json"))["items"]
    stand_ins = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for pod in pods
        if any("/stand-in:" in container["image"] for container in pod["spec"]["containers"])
    }
    assert stand_ins == {one.name for one in stack_of(site).components if one.airavata} and len(stand_ins) == 8
    assert "STAND-IN" in kubectl("-n", site.airavata.namespace, "describe", "pods", "-l", "app.kubernetes.io/name=api-server")


def test_the_portal_answers_on_every_host_and_says_stand_in(site, hosts, ca):
    for host in hosts.values():
        port = site.airavata.portal_node_port
        with forwarded(host, port) as (address, local):
            status, page = curl(ca, f"https://{host.node.address}:{port}/", "--connect-to", f"::{address}:{local}")
        assert status == 200 and site.airavata.gateway in page and "STAND-IN" in page


def test_the_registry_requires_a_password_and_tls_with_the_sites_ca(site, hosts, ca):
    for number in (site.registry.port, site.registry_pull_port):
        refuses_strangers(site, hosts[site.registry_node.name], number, ca)


def refuses_strangers(site, host: Host, number: int, ca: Path) -> None:
    with forwarded(host, number) as (address, port):
        to, url = ("--connect-to", f"::{address}:{port}"), f"https://{site.registry.name}:{number}/v2/"
        assert curl(ca, url, *to)[0] == 401
        assert curl(ca, url, *to, "-u", f"{site.registry.user}:not-it")[0] == 401
        assert curl(ca, url.replace("https", "http"), *to)[0] in (0, 400)
        assert curl(Path("/etc/ssl/certs/ca-certificates.crt"), url, *to)[0] == 0


def test_anonymous_requests_are_refused(site, hosts, cluster_ca):
    for path in ("/api", "/version", "/readyz", "/metrics"):
        with forwarded(hosts[site.master.name], 6443) as (address, port):
            assert curl(cluster_ca, f"https://{address}:{port}{path}")[0] == 401
    for host in hosts.values():
        with forwarded(host, 10250) as (address, port):
            assert curl(cluster_ca, f"https://{address}:{port}/pods", "--insecure")[0] == 401
    with forwarded(hosts[site.master.name], 2379) as (address, port):
        assert curl(cluster_ca, f"https://{address}:{port}/v3/kv/range", "-d", "{}", "--insecure")[0] == 0


def test_databases_and_brokers_are_not_reachable_from_outside(site, hosts):
    for host in hosts.values():
        listening = output(host, "ss -Htln | awk '{print $4}' | sed 's/.*://' | sort -un").split()
        assert not {str(port) for port in CLOSED} & set(listening)


def test_only_ssh_is_open_where_the_firewall_is_closed(site, hosts):
    if not site.lab or site.lab.firewall != "closed":
        pytest.skip("this site's firewall is open")
    for node in site.nodes:
        for port in (6443, 2379, 10250, site.registry.port, site.registry_pull_port, site.airavata.portal_node_port):
            with pytest.raises(OSError):
                socket.create_connection((str(node.address), port), timeout=0.5).close()


def test_keys_and_secrets_are_readable_by_root_only(site, hosts):
    for host in hosts.values():
        loose = output(
            host,
            "find /etc/kubernetes /etc/airavata-runbook/secrets /etc/containerd/certs.d "
            f"{site.registry.root}/auth {site.registry.root}/cert -type f 2>/dev/null "
            "\\( -name '*.key' -o -path '*/secrets/*' -o -name '*.conf' -o -name hosts.toml -o -name 'htpasswd*' \\) "
            "\\( -perm /077 -o ! -user root \\) | sort",
        )
        assert loose == "", loose


def test_the_registrys_folders_are_those_of_the_proof_of_concept(site, hosts, ca, tmp_path):
    root, host = site.registry.root, hosts[site.registry_node.name]
    assert set(output(host, f"ls {root}").split()) >= {"auth", "cert", "data", "docker-compose.yml"}
    assert output(host, f"cut -d: -f1,2 {root}/auth/htpasswd").startswith(f"{site.registry.user}:$2")
    (tmp_path / "registry-cert.crt").write_text(output(host, f"cat {root}/cert/registry-cert.crt"))
    done = subprocess.run(["openssl", "verify", "-CAfile", ca, tmp_path / "registry-cert.crt"], capture_output=True, text=True)
    assert done.stdout.strip().endswith("OK"), done.stderr


def test_flannel_routes_pods_between_hosts_over_vxlan(site, hosts, kubectl):
    pods = json.loads(kubectl("-n", "kube-system", "get", "pods", "-l", "app.kubernetes.io/name=netcheck", "-o", "json"))["items"]
    address = {pod["spec"]["nodeName"]: pod["status"]["podIP"] for pod in pods}
    assert set(address) == {str(node.address) for node in site.nodes}
    for host in hosts.values():
        assert "vxlan id 1" in output(host, "ip -d link show flannel.1")
        for node, pod in address.items():
            if node != str(host.node.address):
                assert "dev flannel.1" in output(host, f"ip route get {pod}")
                assert "200" in output(host, f"curl -s --max-time 5 -o /dev/null -w '%{{http_code}}' http://{pod}:8080/")


def test_the_key_in_etcd_is_the_proof_of_concepts(site, hosts):
    key = f"{site.network.etcd_prefix}/config"
    value = output(
        hosts[site.master.name],
        f"etcdctl --endpoints https://127.0.0.1:2379 --cacert {PKI}/etcd/ca.crt "
        f"--cert {PKI}/etcd/root.crt --key {PKI}/etcd/root.key get --print-value-only {key}",
    )
    assert json.loads(value) == {
        "Network": str(site.network.pods),
        "SubnetLen": site.network.subnet_length,
        "Backend": {"Type": "vxlan"},
    }


def test_services_start_with_their_host(site, hosts, kubectl):
    """The units are enabled: they would run after a boot too."""
    for name, host in hosts.items():
        wanted = ["containerd", "flanneld", "kubelet", "kube-proxy"]
        wanted += ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] if name == site.master.name else []
        wanted += ["docker-distribution", "docker-distribution-pull"] if name == site.registry_node.name else []
        assert output(host, f"systemctl is-enabled {' '.join(wanted)}; systemctl is-active {' '.join(wanted)}").split() == [
            "enabled"
        ] * len(wanted) + ["active"] * len(wanted)
        assert output(host, "systemctl --failed --no-legend --plain") == ""


def test_a_deleted_pod_is_replaced(site, kubectl):
    namespace, label = site.airavata.namespace, "app.kubernetes.io/name=portal"
    before = kubectl("-n", namespace, "get", "pods", "-l", label, "-o", "name").split()
    kubectl("-n", namespace, "delete", *before)
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "--timeout=50s", "pod", "-l", label)
    end = time.monotonic() + 30
    while set(before) & set(kubectl("-n", namespace, "get", "pods", "-l", label, "-o", "name").split()):
        assert time.monotonic() < end
        time.sleep(0.5)
