"""What is read of a cluster and drawn: pods by host, services and their endpoints, who speaks to whom with which certificate."""

import configparser
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import airavata, availability, etcd_flannel, running, speaks
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.etcd import Lease
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.engine.step import Check
from airavata_runbook.errors import StepFailed
from airavata_runbook.pictures import charts, hosts, svg
from airavata_runbook.stacks import secrets_of

TESTS = Path(__file__).parents[1]
KAFKA = {"airavata.components": {"kafka": {"enabled": True}}}


def pod(name: str, node: str, owner: str = "ReplicaSet", ready: str = "True", phase: str = "Running") -> SimpleNamespace:
    made_by = name.rpartition("-")[0]
    return SimpleNamespace(
        metadata=SimpleNamespace(
            name=name,
            namespace="airavata",
            owner_references=[SimpleNamespace(kind=owner, name=made_by)],
            labels={"pod-template-hash": made_by.rpartition("-")[2]} if owner == "ReplicaSet" else {},
        ),
        spec=SimpleNamespace(node_name=node),
        status=SimpleNamespace(phase=phase, conditions=[SimpleNamespace(type="Ready", status=ready)]),
    )


def test_pods_are_shown_by_host_without_what_is_random_in_their_names():
    site = Site.load("lab")
    master, worker = (str(node.address) for node in site.nodes)
    found = [
        pod("api-server-7d9f8b6c5d-x2x4z", worker),
        pod("api-server-7d9f8b6c5d-b4b4b", master),
        pod("mariadb-0", worker, owner="StatefulSet", ready="False"),
        pod("seed-b2b2b", worker, owner="Job", ready="False", phase="Succeeded"),
        pod("netcheck-c5c5c", "10.98.0.77", owner="DaemonSet"),
    ]
    drawn = running.pods_by_host(site, found, {"api-server": "STAND-IN"})
    assert drawn.text.splitlines() == [
        running.PLACED,
        "  master: api-server 1 (STAND-IN)",
        "  worker: api-server 2 (STAND-IN), mariadb 1 (not ready), seed 1 (done)",
        "  10.98.0.77: netcheck 1",
    ]
    assert "x2x4z" not in drawn.svg and "7d9f8b6c5d" not in drawn.svg


def test_services_are_shown_with_their_endpoints_and_without_addresses_of_pods():
    site = Site.load("lab")

    def service(name: str, namespace: str, **port) -> tuple:
        return (namespace, name), {"spec": {"ports": [{"port": 80, **port}]}}

    def piece(name: str, namespace: str, *endpoints) -> dict:
        return {"metadata": {"namespace": namespace, "labels": {running.SERVICE_OF: name}}, "endpoints": list(endpoints)}

    def end(name: str, **conditions) -> dict:
        return {"addresses": ["10.244.3.9"], "targetRef": {"name": name}, "conditions": conditions}

    pieces = [
        piece("kubernetes", "default", {"addresses": [str(site.master.address)], "conditions": {"ready": True}}),
        piece("portal", "airavata", end("portal-7d9f8b6c5d-x2x4z", ready=True), end("portal-7d9f8b6c5d-b4b4b", ready=False)),
        piece("portal", "airavata", end("portal-7d9f8b6c5d-zzzzz", ready=False, terminating=True)),
        piece("mariadb", "airavata", end("mariadb-0")),
        piece("other", "theirs", end("other")),
    ]
    session = SimpleNamespace(
        site=site, kube=lambda: SimpleNamespace(request=lambda method, path, query: {"items": pieces} if "slices" in path else {})
    )
    found = [service("portal", "airavata", nodePort=30080), service("mariadb", "airavata"), service("gfac", "airavata")]
    found += [service("kubernetes", "default"), service("other", "theirs")]
    drawn = running.services_to_endpoints(session, dict(found), ["airavata", "default"])
    assert drawn.text.splitlines()[1:] == [
        "  airavata/gfac (80/TCP): no endpoint",
        "  airavata/mariadb (80/TCP): mariadb 1",
        "  airavata/portal (80/TCP, port 30080 of every host): portal 1 (not ready), portal 2",
        "  default/kubernetes (80/TCP): the host master",
    ]
    assert "10.244" not in drawn.svg and "x2x4z" not in drawn.svg


@pytest.fixture(scope="module")
def spoken() -> dict[str, dict[str, str]]:
    """Server → certificate that a client shows it → whom it takes the client for, as the picture has them."""
    text = speaks.picture(Session(Site.load("lab", KAFKA))).text
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"  (\S+).* shows (\S+ ?\S+) to:", line):
            clients = found.setdefault(match[1], {"shows": match[2]})
        elif match := re.fullmatch(r"    .* with (\S+)\.crt, as (.*)", line):
            clients[match[1]] = match[2]
    return found


def test_who_speaks_to_whom_is_what_each_certificate_may_do(spoken):
    """tests/site/certificates.md has what was tried with every certificate of a running site."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in (TESTS / "site/certificates.md").read_text().splitlines()
    ]
    table = {row[0]: row for row in rows if len(row) == 6 and row[0] not in ("certificate", "---")}
    shown = {name for clients in spoken.values() for name in clients if name != "shows"}
    assert shown and shown <= table.keys()
    for name, (_, _, etcd, api, kubelets, serves) in ((name, table[name]) for name in shown):
        assert name not in spoken["etcd"] or etcd != "—"
        user = spoken["kube-apiserver"].get(name, api).removeprefix("group ")
        assert re.split(" in |: ", user)[0] == api.split(": ")[0], name
        assert name not in spoken["kubelet"] or kubelets == "yes"
        assert (serves == "—") or name == "kubelet"
    for name, (_, where, etcd, api, _, _) in table.items():
        if etcd != "—":
            assert name in spoken["etcd"], name
        elif api != "—" and where != "Secret":
            assert name in spoken["kube-apiserver"] or name in spoken["kubelet"], name
    servers = {clients["shows"].removeprefix("Secret ").removesuffix(".crt") for clients in spoken.values()}
    served = {
        name for name, row in table.items() if row[5] != "—" and not name.startswith("services/") and "registry" not in name
    }
    assert servers - {"registry-cert"} == served


def test_the_picture_says_who_the_api_server_is_to_the_kubelets(spoken):
    assert spoken["kubelet"] == {"shows": "kubelet.crt", "apiserver-kubelet-client": "kube-apiserver-kubelet-client"}
    assert spoken["etcd"]["etcd/flannel"] == "flannel" and spoken["kube-apiserver"]["kubelet"] == "group system:nodes"


def test_whoever_waits_for_a_job_speaks_to_those_that_the_job_works_on():
    stack = stack_of(Site.load("lab-unified"))
    (server,) = [one for one in stack.components if one.name == "airavata-server"]
    assert {"mariadb", "keycloak"} <= speaks.needed_by(server, stack)


@pytest.mark.parametrize(("name", "settings"), [("lab", KAFKA), ("lab-unified", {})])
def test_whoever_is_drawn_as_a_client_is_configured_with_the_server_s_name(name, settings):
    """Its manifests, or the settings that it is given, have it; Keycloak's outside is known by its address."""
    stack = stack_of(Site.load(name, settings))
    for component in stack.components:
        given = json.dumps(component.objects)
        for secret in {secret for one in component.objects for secret in secrets_of(one)}:
            given += "".join(one.text(lambda secret, key: "x") for one in stack.settings.get(secret, {}).values())
        servers = {f"{one}-tls" for one in speaks.needed_by(component, stack)} & set(stack.certificates) - {"keycloak-front-tls"}
        for server in (one.removesuffix("-tls") for one in servers):
            assert re.search(rf"(?<![\w.-]){server}(:\d|\.{stack.namespace}\b)|{server.upper()}_HOST|{server} ?\"", given), (
                component.name,
                server,
            )


@pytest.mark.parametrize(("name", "settings"), [("lab", {}), ("lab", KAFKA), ("lab-unified", {}), ("lab-three", {})])
def test_the_components_of_every_stack_are_drawn_with_what_each_needs(name, settings):
    site = Site.load(name, settings)
    rows, picture = airavata.components.look(Session(site))
    assert all(row[0] in picture.text and f">{row[0]}<" in picture.svg for row in rows[1:] if not row[1].startswith("left out"))
    assert all(f"{row[0]} is {row[1]}" in picture.text for row in rows[1:] if row[1].startswith("left out"))
    assert float(re.search(r'viewBox="0 0 ([0-9.]+)', picture.svg)[1]) <= 1000


def test_nbval_compares_pictures_of_another_lab_and_not_what_differs_in_every_run():
    sanitize = configparser.RawConfigParser()
    sanitize.read(TESTS / "nbval/sanitize.cfg")

    def compared(drawn) -> list[str]:
        picture = airavata.picture_of("x", drawn)
        texts = [repr(picture), picture._repr_html_()]
        for name in sanitize.sections():
            texts = [re.sub(sanitize[name]["regex"], sanitize[name]["replace"], text) for text in texts]
        return texts

    site = Site.load("lab")
    master, worker = (str(node.address) for node in site.nodes)
    one, other = (running.pods_by_host(site, [pod("gfac-7d9f8b6c5d-x2x4z", node)], {}) for node in (master, worker))
    assert one.text != other.text and compared(one) == compared(other)
    few, many = (charts.bars(availability.COUNTED, [charts.Bar("replica 1", number, f"{number}")], 20) for number in (40, 60))
    assert few.svg != many.svg and compared(few) == compared(many)

    def leases(network: int, lease: int, used: int) -> svg.Drawn:
        subnet, mac = f"10.244.{lease}.0/24", f"0a:fb:0a:{network:x}:00:0b"
        found = [hosts.HostLease("master", f"10.{network}.0.11", subnet, f"10.244.{used}.0/24", mac)]
        return hosts.leases("lab", "/net/subnets", "10.244.0.0/16", 8472, found)

    assert compared(leases(98, 3, 3)) == compared(leases(95, 103, 103)) != compared(leases(98, 3, 4))


def test_what_a_check_found_wrong_is_shown_as_a_picture_too(monkeypatch, capsys):
    """A host that flannel's lease was taken from: the picture says where, and the report keeps it."""
    session = session_of(Site.load("lab"))
    master, worker = session.site.nodes
    monkeypatch.setattr(etcd_flannel.etcd, "leases", lambda session: {str(master.address): Lease("10.244.3.0/24", "")})
    monkeypatch.setattr(etcd_flannel, "run_parallel", lambda hosts, ask: dict.fromkeys(session.hosts, ["10.244.3.1/24"]))
    check = Check("Leases", etcd_flannel.leases.look, before=True)  # no lock is taken: there is no host
    with pytest.raises(StepFailed, match="a host's subnet is not its lease in etcd") as caught:
        check(session.site)
    session.close()
    picture = caught.value.report.picture
    line = f"{worker.name} ({worker.address}): lease none, subnet on the host 10.244.3.0/24 DIFFERS"
    assert "f-red" in picture.svg and line in picture.text
    assert picture.text in capsys.readouterr().out
