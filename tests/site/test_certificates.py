"""What each certificate of a finished site may do, tried with every one that is found on a host or in a Secret.

As a client against etcd, the API server, the kubelets and the registry; as a server in a TLS handshake with each of their
clients' trust. certificates.md has the table that must come out; a site's own names are replaced by general ones.
"""

import base64
import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import etcd3
import pytest
from cryptography import x509

from airavata_runbook.cluster.session import session_of
from airavata_runbook.pki.read import is_ca
from airavata_runbook.wellknown import CLUSTER_CA, ETCD_CA, PKI, SERVICES_CA

TABLE = Path(__file__).with_name("certificates.md")
NOTHING = "—"
BINDING = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@dataclass(frozen=True)
class Credential:
    """name: as in the table. where: the host or Secret it was found on. paths: its two files, for libraries that read files."""

    name: str
    where: str
    host: str
    cert: bytes
    paths: tuple[str, str]


@pytest.fixture(scope="module")
def session(site, first):
    return session_of(site)


@pytest.fixture(scope="module")
def authorities(session) -> dict[str, bytes]:
    return {name: session.vault.authority(name).cert for name in (CLUSTER_CA, ETCD_CA, SERVICES_CA)}


@pytest.fixture(scope="module")
def found(site, session, tmp_path_factory) -> list[Credential]:
    """Every certificate with its key, on every host and in every Secret; authorities sign and are left out."""
    folder = tmp_path_factory.mktemp("pairs")
    pairs = {}
    for host in session.hosts.values():
        listed = host.run("find / -xdev -name '*.key' -type f 2>/dev/null | sort -u").text.split()
        for stem in (path.removesuffix(".key") for path in listed):
            both = host.run(f"cat {stem}.crt 2>/dev/null && echo SPLIT && cat {stem}.key").stdout
            if b"SPLIT" in both:
                cert, key = both.split(b"SPLIT\n")
                where = "the master" if host is session.master else "each worker"
                if stem.startswith(site.registry.root):
                    where = "the registry's host"
                pairs[stem.removeprefix(f"{PKI}/"), where, host.name] = cert, key
    for secret in session.kube().core.list_secret_for_all_namespaces().items:
        if "tls.key" in (secret.data or {}):
            cert, key = (base64.b64decode(secret.data[name]) for name in ("tls.crt", "tls.key"))
            pairs[secret.metadata.name, "Secret", ""] = cert, key
    result = []
    for number, ((name, where, host), (cert, key)) in enumerate(pairs.items()):
        if is_ca(x509.load_pem_x509_certificate(cert)):
            continue
        paths = tuple(str(folder / f"{number}.{end}") for end in ("crt", "key"))
        for path, content in zip(paths, (cert, key), strict=True):
            Path(path).write_bytes(content)
        result.append(Credential(name.replace(site.registry.root, "registry"), where, host, cert, paths))
    assert len(result) > 15
    return result


def https(context: ssl.SSLContext, port: int, method: str, path: str, body: str = "") -> tuple[int, str]:
    """Status (0: the connection was refused) and body of a request to a forward; whom it trusts is another test's matter."""
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""


def with_certificate(one: Credential) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_cert_chain(*one.paths)
    return context


def in_etcd(one: Credential, port: int, ca: str, prefix: str) -> str:
    """Which keys of etcd it can read and write."""
    client = etcd3.client("127.0.0.1", port, ca_cert=ca, cert_cert=one.paths[0], cert_key=one.paths[1], timeout=5)
    may = []
    for name, key in (("the cluster's", "/registry/x-test"), ("flannel's", f"{prefix}/x-test"), ("all others", "/x-test")):
        try:
            client.get(key)
            client.put(key, "x")
            client.delete(key)
            may.append(name)
        except etcd3.exceptions.Etcd3Exception:
            pass
        except Exception as error:  # gRPC's own, for "permission denied"
            assert "PERMISSION_DENIED" in str(error) or "permission denied" in str(error), error
    client.close()
    return "all keys" if len(may) == 3 else f"{may[0]} keys" if may else NOTHING


def in_the_api(one: Credential, port: int) -> str:
    """What the API server takes its holder for, and whether it may do everything."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    status, text = https(
        with_certificate(one), port, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", json.dumps(review)
    )
    if status != 201:
        assert status in (0, 401), (status, text)
        return NOTHING
    user = json.loads(text)["status"]["userInfo"]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "x-test"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "x", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    grants, _ = https(with_certificate(one), port, "POST", f"{BINDING}?dryRun=All", json.dumps(binding))
    secrets, _ = https(with_certificate(one), port, "GET", "/api/v1/secrets")
    groups = set(user["groups"]) - {"system:authenticated"}
    name = next(iter(groups), user["username"]) if one.name == "kubelet" else user["username"]
    may = {(201, 200): "everything", (403, 200): "reads all Secrets"}.get((grants, secrets), "its role only")
    return f"{name}: {may}" + ("; in system:masters" if "system:masters" in groups else "")


def in_kubelets(one: Credential, ports: dict[str, int]) -> str:
    statuses = {https(with_certificate(one), port, "GET", "/pods")[0] for port in ports.values()}
    return {(200,): "yes", (403,): "refused"}.get(tuple(statuses), NOTHING if statuses <= {0, 401} else str(sorted(statuses)))


def passes_for(one: Credential, ca: bytes, name: str) -> bool:
    """Whether a client that trusts `ca` takes it for the server `name`: a TLS handshake in memory."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=ca.decode())
    server.load_cert_chain(*one.paths)
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(5)
        right.settimeout(5)
        accepting = server.wrap_socket(left, server_side=True, do_handshake_on_connect=False)
        asking = client.wrap_socket(right, server_hostname=name, do_handshake_on_connect=False)
        accepting.setblocking(False)
        asking.setblocking(False)
        done = set()
        for _ in range(20):
            for one_side in (asking, accepting):
                if one_side in done:
                    continue
                try:
                    one_side.do_handshake()
                    done.add(one_side)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                except ssl.SSLError:
                    return False
            if asking in done:
                return True
    return False


def as_server(one: Credential, site, authorities: dict[str, bytes], certificates: dict) -> str:
    """The servers that it passes for."""
    master, cluster, services = str(site.master.address), authorities[CLUSTER_CA], authorities[SERVICES_CA]
    roles = {
        "etcd": [(authorities[ETCD_CA], name) for name in ("127.0.0.1", master)],
        "API server": [(cluster, name) for name in ("127.0.0.1", "kubernetes.default.svc")],
        "registry": [(services, site.registry.name)],
        "node ports": [(services, str(node.address)) for node in site.nodes],
    }
    for node in site.nodes:
        own = "its host's" if node.name == one.host else "another host's"
        roles.setdefault(f"{own} kubelet", []).append((cluster, str(node.address)))
    for component, subject in certificates.items():
        roles[component.removesuffix("-tls")] = [(services, subject.dns[0])]
    found = [role for role, names in roles.items() if any(passes_for(one, ca, name) for ca, name in names)]
    return ", ".join(sorted(found)) or NOTHING


def test_every_certificate_may_do_what_its_row_says(site, session, found, authorities, tmp_path):
    from airavata_runbook.chapters.site_stack import stack_of

    ca = tmp_path / "etcd-ca.crt"
    ca.write_bytes(authorities[ETCD_CA])
    etcd_port, api_port = session.master.forward(2379), session.master.forward(6443)
    registry = [session.registry_host.forward(port) for port in (site.registry.port, site.registry_pull_port)]
    kubelets = {host.name: host.forward(10250, str(host.node.address)) for host in session.hosts.values()}
    stack = stack_of(site)
    certificates, without = stack.certificates, [f"{one.name}-tls |" for one in stack.left_out]
    rows = {}
    for one in found:
        for port in registry:
            assert https(with_certificate(one), port, "GET", "/v2/_catalog")[0] == 401  # the registry knows no certificates
        row = (
            in_etcd(one, etcd_port, str(ca), site.network.etcd_prefix),
            in_the_api(one, api_port),
            in_kubelets(one, kubelets),
            as_server(one, site, authorities, certificates),
        )
        rows.setdefault((one.name, row), set()).add(one.where)
    lines = sorted(
        f"| {name} | {' and '.join(sorted(where, reverse=True))} | {' | '.join(row)} |" for (name, row), where in rows.items()
    )
    committed = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")][1:]
    committed = [line for line in committed if not any(name in line for name in without)]
    assert "\n".join(lines) == "\n".join(committed)
