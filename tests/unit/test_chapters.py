"""What chapters want of hosts and say of them, without a host: facts are read from fixtures."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import airavata, network, site_stack, verify
from airavata_runbook.checks.preflight import offline
from airavata_runbook.checks.types import Finding
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed
from airavata_runbook.mirror import catalogue
from tests.unit.test_facts_host import snapshot

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def site() -> Site:
    return Site.load(PROJECT / "parameters" / "lab.yaml")


def see(monkeypatch, site: Site) -> None:
    """The facts that chapter 01 shows, of two fit hosts."""
    shown = {node.name: snapshot("lab-debian-12", Mtus=f"2: {node.interface}: <UP> mtu 1500\n") for node in site.nodes}
    monkeypatch.setattr(network, "facts_of", lambda session: shown)


def test_the_networks_are_shown_with_their_room(site, monkeypatch):
    see(monkeypatch, site)
    assert network.networks.look(Session(site))[2] == ["pods", "10.244.0.0/16", "255 hosts of /24, packets of 1450 bytes"]


def test_what_is_in_the_way_is_a_table_and_an_error_and_what_is_ignored_is_said(site, monkeypatch):
    finding = Finding("memory", "worker", "512 MiB", "1024 MiB", "give the host more memory")
    monkeypatch.setattr(network.checks, "preflight", lambda site: [finding, replace(finding, check="swap", ignored=True)])
    with pytest.raises(StepFailed, match="the preflight checks found 1 problem") as caught:
        network.preflight.look(Session(site))
    assert caught.value.rows[1] == ["memory", "worker", "512 MiB", "1024 MiB", "give the host more memory"]
    assert caught.value.rows[2][:3] == ["swap", "worker", "512 MiB  (ignored)"] and len(caught.value.rows) == 3
    assert "nothing was changed" in caught.value.remedy
    monkeypatch.setattr(network.checks, "preflight", lambda site: [replace(finding, ignored=True)])
    rows = {row[0]: row[2] for row in network.preflight.look(Session(site))}
    assert rows["memory"] == "ignored: worker: 512 MiB" and rows["disk"] == "ok"


def test_only_the_master_gets_the_control_plane_and_only_the_registrys_host_the_registry():
    site = Site.load(PROJECT / "parameters" / "lab-three.yaml")
    names = {node.name: set(catalogue.of_host(site, node)) for node in site.nodes}
    assert {"etcd", "kubernetes-master", "kubernetes-client"} <= names["head"]
    assert names["node-b"] == {"containerd", "cri-tools", "flannel", "kubernetes-node"}
    assert names["node-a"] == names["node-b"] | {"docker-distribution"}


def test_the_picture_names_every_host_and_network():
    site = Site.load(PROJECT / "parameters" / "lab-three.yaml")
    rows, drawn = network.picture.look(Session(site))
    assert rows == [] and drawn.name == "networks.svg"
    for text in (drawn.svg, drawn.text):
        assert all(f"{node.name} ({node.role})" in text and str(node.address) in text for node in site.nodes)
        assert str(site.network.pods) in text and str(site.network.services) in text and "registry" in text


def stack_for(monkeypatch, site: Site) -> None:
    """The site's stack, its images named but not built."""
    names = ("mariadb", "rabbitmq", "zookeeper", "stand-in", "api-server", "portal")
    monkeypatch.setattr(site_stack, "references", lambda site: {name: f"{site.registry_address}/{name}:1" for name in names})


def test_components_without_an_image_are_shown_as_left_out_and_not_verified(site, monkeypatch):
    stack_for(monkeypatch, site)
    bare = Site.load("lab", {"airavata.stand_in": False})
    shown = {name: how for name, how in airavata.components.look(Session(bare))[0]}
    assert shown["mariadb"] == "real server" and shown["api-server"].startswith("left out: the site names no image")
    for check in (verify.portal, verify.browser, verify.spread, verify.replica_killed):
        head, (name, why) = check.look(Session(bare))
        assert head == ["not verified", "reason"] and "left out" in why
    called = {row[0]: row[1:3] for row in verify.servers.look(Session(bare))}
    assert called["api-server"][0] == "not verified" and "left out" in called["api-server"][1]


def test_what_disturbs_a_site_is_asked_for(site, monkeypatch):
    stack_for(monkeypatch, site)
    calm = Site.load("lab", {"verify.disruptive": False})
    for check in (verify.replica_killed, verify.database_restarted):
        head, (name, why) = check.look(Session(calm))
        assert head == ["not verified", "reason"] and "--disruptive" in why


def test_the_stand_in_is_said_to_be_one(site, monkeypatch):
    stack_for(monkeypatch, site)
    shown = {name: how for name, how in airavata.components.look(Session(site))[0]}
    assert shown["api-server"] == shown["portal"] == "STAND-IN"
    assert {shown[name] for name in ("mariadb", "rabbitmq", "zookeeper")} == {"real server"}


def test_a_site_whose_pods_cannot_all_be_asked_is_not_called_verified(site, monkeypatch):
    from airavata_runbook.chapters import probes

    pod = SimpleNamespace(
        spec=SimpleNamespace(node_name="10.98.0.11"),
        status=SimpleNamespace(pod_ip="10.244.1.2"),
        metadata=SimpleNamespace(name="netcheck-1", deletion_timestamp=None),
    )
    core = SimpleNamespace(list_namespaced_pod=lambda *_, **__: SimpleNamespace(items=[pod]))
    session = Session(site)
    monkeypatch.setattr(session, "kube", lambda: SimpleNamespace(core=core))
    with pytest.raises(StepFailed, match="no pod of the network check") as caught:
        probes.netcheck_pods(session)
    assert caught.value.found == "worker"


def test_what_a_site_file_points_to_is_looked_at_before_anything_is_touched(site, monkeypatch, tmp_path):
    monkeypatch.delenv("REGISTRY_PASSWORD", raising=False)
    loose = tmp_path / "properties"
    loose.write_text("password=canary-hunter2\n")
    loose.chmod(0o644)
    broken = tmp_path / "portal.tar"
    broken.write_text("no archive")
    wrong = Site.load(
        "poc-2017",
        {
            "ssh.key": "/nowhere/id_rsa",
            "airavata.images": {
                "api-server": {"archive": "/nowhere/api.tar"},
                "portal": {"archive": str(broken)},
                "gfac": {"build": "/nowhere/gfac"},
            },
            "airavata.secrets": {"airavata-server": f"file:{loose}", "credential-store-keystore": "file:/nowhere/keystore"},
        },
    )
    found = [one.found for one in offline(wrong) if one.check == "sources"]
    told = dict(line.split(": ", 1) for line in found)
    assert sorted(told) == [
        "airavata.images.api-server",
        "airavata.images.gfac",
        "airavata.images.portal",
        "airavata.secrets.airavata-server",
        "airavata.secrets.credential-store-keystore",
        "registry.certificate",
        "registry.password",
        "ssh.key",
    ]
    assert "/nowhere/api.tar" in told["airavata.images.api-server"] and "accessible to other users" in str(found)
    assert "canary" not in str(found)


def test_what_a_site_file_points_to_and_is_there_is_shown_without_its_value(site, monkeypatch):
    monkeypatch.setenv("CANARY", "canary-hunter2")
    rows = network.sources.look(Session(Site.load("lab", {"registry.password": "env:CANARY"})))
    assert ["registry.password", "env:CANARY", "found"] in rows and "hunter2" not in str(rows)
    assert ["registry.password", "generated:registry-password", "generated on the master, once"] in network.sources.look(
        Session(site)
    )


def test_a_secret_that_is_asked_for_is_refused_where_nobody_is(site):
    (found,) = offline(Site.load("lab", {"registry.password": "prompt:registry"}))
    assert "cannot be prompted for" in found.found
