"""What 06-verify reports of certificates: how long those on the hosts are valid, and which ones the servers present.

Many servers read their certificate at their start only (the API server, etcd and the kubelet read a new one by themselves): one
that was renewed since is on the disk and not in use.
"""

import socket
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from airavata_runbook.chapters.airavata import SERVICES
from airavata_runbook.chapters.registry import trusted
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.resource import quote
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.pki import issue as pki
from airavata_runbook.stacks import secrets_of
from airavata_runbook.stacks.render import pod_of
from airavata_runbook.wellknown import API_PORT, CLUSTER_CA, ETCD_CA, ETCD_PORT, KUBELET_PORT, PKI, PULL_SERVICE, SERVICES_CA

TIMEOUT = 15.0  # seconds for a connection and its TLS handshake
MYSQL = "mysql"  # the name of a port whose server speaks TLS only after its own greeting
PLAIN = "plain"  # the name of a port without TLS, of a component that has others
# SSLRequest of MySQL's protocol: 32 bytes, packet 1, flags PROTOCOL_41, SSL and SECURE_CONNECTION, 1 MiB packets, utf8.
SSL_REQUEST = bytes.fromhex("20000001" + "008a0000" + "00001000" + "21") + bytes(23)


@dataclass(frozen=True)
class Server:
    """A TLS server: through `host` it is reached at address:port. name: by which its clients verify it.

    authority: PEM of the one that they trust. file: its certificate's path; on: the host that has it. restart: the command.
    """

    title: str
    host: Host
    address: str
    port: int
    name: str
    authority: bytes
    file: str
    on: Host
    restart: str
    greets: bool = False


def expiry(session: Session) -> tuple[list[list[str]], list[str]]:
    """Rows of host, certificate and the last day that it is valid; and the problems: what has to be renewed."""
    script = (
        f"for file in {PKI}/*.crt {PKI}/etcd/*.crt {PKI}/services/*.crt {session.site.registry.root}/cert/*.crt; do "
        "test -e $file && echo FILE $file && cat $file; done; true"
    )
    rows, problems = [], []
    printed = run_parallel(session.hosts.values(), lambda host: host.run(script).text)
    for name, text in sorted(printed.items()):
        if isinstance(text, Exception):
            raise text
        _, *files = text.split("FILE ")
        problems += [] if files else [f"{name}: no certificate found"]
        for part in files:
            path, _, pem = part.partition("\n")
            problems += [f"{name}: {path}: {why}" for why in pki.problems(pem.encode())]
            rows.append([name, path, f"{pki.end_of(pem.encode()):%Y-%m-%d}"])
    return rows, problems


def served(session: Session) -> tuple[list[list[str]], list[str]]:
    """Rows of server, host, and the file on it whose certificate it presents; and the problems: another is presented."""
    servers = [*cluster_servers(session), *stack_servers(session)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(server_problem, servers))
    rows = dict.fromkeys((server.title, server.on.name, server.file) for server in servers)  # one row for all replicas
    return [list(row) for row in rows], [problem for problem in found if problem]


def cluster_servers(session: Session) -> Iterator[Server]:
    """The servers of the control plane, the hosts and the registry.

    kube-controller-manager and kube-scheduler make a certificate of their own at each start, for their loopback address only.
    """
    site, master, vault = session.site, session.master, session.vault
    cluster, address = vault.authority(CLUSTER_CA).cert, str(site.master.address)

    def on_host(title: str, host: Host, port: int, name: str, authority: bytes, file: str, unit: str) -> Server:
        restart = f"systemctl restart {unit} on {host.name}"
        return Server(title, host, "127.0.0.1", port, name, authority, file, host, restart)

    yield on_host("API server", master, API_PORT, address, cluster, f"{PKI}/apiserver.crt", "kube-apiserver")
    etcd = vault.authority(ETCD_CA).cert
    for port in (ETCD_PORT, ETCD_PORT + 1):  # clients, peers
        yield on_host(f"etcd, port {port}", master, port, address, etcd, f"{PKI}/etcd/server.crt", "etcd")
    for host in session.hosts.values():
        yield on_host("kubelet", host, KUBELET_PORT, str(host.node.address), cluster, f"{PKI}/kubelet.crt", "kubelet")
    file = f"{site.registry.root}/cert/registry-cert.crt"
    for port, unit in ((site.registry.port, "docker-distribution"), (site.registry_pull_port, PULL_SERVICE)):
        yield on_host(f"registry, port {port}", session.registry_host, port, site.registry.name, trusted(session), file, unit)


def stack_servers(session: Session) -> Iterator[Server]:
    """The servers of the stack that have a certificate: every replica."""
    stack, master = stack_of(session.site), session.master
    authority = session.vault.authority(SERVICES_CA).cert
    workloads = (one for component in stack.components for one in component.objects if pod_of(one))
    for manifest in (one for one in workloads if one["kind"] != "Job"):  # a Job serves nothing
        for secret in sorted(secrets_of(manifest) & set(stack.certificates)):
            name, selector = manifest["metadata"]["name"], manifest["spec"]["selector"]["matchLabels"]
            restart = f"kubectl -n {stack.namespace} rollout restart {manifest['kind'].lower()} {name}"
            for pod in _pods(session, stack.namespace, selector):
                for port in (port for box in pod.spec.containers for port in box.ports or () if port.name != PLAIN):
                    yield Server(
                        f"{name}, port {port.container_port}",
                        master,
                        pod.status.pod_ip,
                        port.container_port,
                        stack.certificates[secret].dns[0],
                        authority,
                        f"{SERVICES}/{secret}.crt",
                        master,
                        restart,
                        greets=port.name == MYSQL,
                    )


def server_problem(server: Server) -> str:
    """Why clients cannot rely on a server's certificate, or that it is not the one on the disk any more; "" when it is right."""
    where = (
        f"{server.title} on {server.on.name}" if server.address == "127.0.0.1" else f"{server.title} of the pod {server.address}"
    )
    port = server.host.forward(server.port, server.address)
    content = server.on.run(f"cat {quote(server.file)}").stdout
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        presented = x509.load_der_x509_certificate(_presented(port, server, unverified))
        if presented != x509.load_pem_x509_certificate(content):
            issued = f"{presented.not_valid_before_utc:%Y-%m-%d %H:%M:%S}"
            return f"{where}: presents a certificate of {issued}, not {server.file} on {server.on.name}: {server.restart}"
        _presented(port, server, ssl.create_default_context(cadata=server.authority.decode()))
    except ssl.SSLCertVerificationError as error:
        return f"{where}: clients refuse its certificate for {server.name}: {error.verify_message}"
    except OSError as error:
        return f"{where}: no TLS handshake: {error}"
    except ValueError as error:
        return f"{where}: {server.file} on {server.on.name} is no certificate: {error}"
    return ""


def _presented(port: int, server: Server, context: ssl.SSLContext) -> bytes:
    """The certificate that a server presents in a TLS handshake, as DER. Raises OSError, SSLCertVerificationError among them."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as plain:
        if server.greets:
            plain.recv(1 << 12)
            plain.sendall(SSL_REQUEST)
        with context.wrap_socket(plain, server_hostname=server.name) as tls:
            return tls.getpeercert(binary_form=True) or b""


def _pods(session: Session, namespace: str, labels: Mapping[str, str]) -> list[Any]:
    """The pods with these labels that run."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    listed = session.kube().core.list_namespaced_pod(namespace, label_selector=selector).items
    return [pod for pod in listed if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp]
