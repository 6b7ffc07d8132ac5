"""What chapters want of hosts and say of them, without a host: facts are read from fixtures."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import airavata, install, network, verify
from airavata_runbook.configs import registry as registry_configs
from airavata_runbook.errors import StepFailed
from airavata_runbook.facts.host import HostFacts, parse
from airavata_runbook.picture import network_picture

PROJECT = Path(__file__).parents[2]
FACTS = parse(json.loads((PROJECT / "tests/unit/fixtures/facts/lab-debian-12.json").read_text())["facts"])


@pytest.fixture
def site() -> Site:
    return Site.load(PROJECT / "parameters" / "lab.yaml")


def facts(site: Site, name: str, **changes) -> HostFacts:
    """Those of a host that is fit to be the node of that name, but for the changes."""
    address = f"{site.node(name).address}/24"
    return replace(FACTS, **{"disk_free": 64 << 30, "addresses": {"lo": "127.0.0.1/8", "host0": address}} | changes)


def test_a_fit_host_lacks_nothing(site):
    assert network.lacks(site.master, facts(site, "master")) == []


@pytest.mark.parametrize(("changes", "said"), [
    ({"mtu": {"lo": 65536, "eth1": 1500}}, "there is no interface host0; it has eth1, lo"),
    ({"addresses": {"host0": "10.98.0.99/24"}}, "host0 has address 10.98.0.99/24, the site file says 10.98.0.11"),
    ({"addresses": {}}, "host0 has address none"),
    ({"systemd": 0}, "systemd is not its first process"),
    ({"os": "rocky"}, "its system is rocky"),
    ({"memory": 512 << 20}, "it has 512 MiB of memory; needed: 1024"),
    ({"disk_free": 2 << 30}, "it has 2 GiB of disk free; needed: 8"),
    ({"skew": -3600.0}, "its clock is 3600 s behind this machine's"),
    ({"skew": 90.0}, "its clock is 90 s ahead of this machine's"),
])
def test_what_a_host_lacks_is_said(site, changes, said):
    (problem,) = network.lacks(site.master, facts(site, "master", **changes))
    assert said in problem


def test_all_hosts_problems_are_told_at_once_with_their_names(site, monkeypatch):
    monkeypatch.setattr(network, "facts_of", lambda site: {
        "master": facts(site, "master", memory=512 << 20, systemd=0), "worker": facts(site, "worker", disk_free=0)})
    with pytest.raises(StepFailed) as caught:
        network.hosts.look(site)
    assert [line.partition(":")[0] for line in caught.value.found.splitlines()] == ["master", "master", "worker"]


def test_a_network_that_a_host_has_already_is_refused_but_not_the_pods_own(site, monkeypatch):
    addresses = {"host0": "10.98.0.11/24", "cni0": "10.244.7.1/24", "flannel.1": "10.244.7.0/32"}

    def see(**more):
        monkeypatch.setattr(network, "facts_of", lambda site: {
            "master": facts(site, "master", addresses=addresses | more), "worker": facts(site, "worker")})
    see()
    assert network.networks.look(site)[2][2] == "255 hosts of /24, packets of 1450 bytes"
    see(tun0="10.254.3.1/30")
    with pytest.raises(StepFailed) as caught:
        network.networks.look(site)
    assert caught.value.found == "master: tun0 has 10.254.3.1/30, inside network.services 10.254.0.0/16"


def test_only_the_master_gets_the_control_plane_and_only_the_registrys_host_the_registry():
    site = Site.load(PROJECT / "parameters" / "lab-three.yaml")
    names = {node.name: set(install.package_names(site, node)) for node in site.nodes}
    assert {"etcd", "kubernetes-master", "kubernetes-client"} <= names["head"]
    assert names["node-b"] == {"containerd", "cri-tools", "flannel", "kubernetes-node"}
    assert names["node-a"] == names["node-b"] | {"docker-distribution"}


def test_the_picture_names_every_host_and_network():
    site = Site.load(PROJECT / "parameters" / "lab-three.yaml")
    drawn = network_picture(site)
    for text in (drawn.svg, drawn.text):
        assert all(f"{node.name} ({node.role})" in text and str(node.address) in text for node in site.nodes)
        assert str(site.network.pods) in text and str(site.network.services) in text
    assert re.search(r"registry", drawn.svg)


@pytest.mark.parametrize(("was", "becomes", "said"), [
    ("5000:5000", "5000:5001", "the registry listens on 5000"),
    ("/opt/registry/auth:/opt/registry/auth:ro", "/opt/registry/aut:/opt/registry/aut:ro", "htpasswd is not mounted"),
    ("data:/opt/registry/data", "data:/opt/registry/data:ro", "not mounted for writing"),
    ('"serve", "/opt', '"serve", "/srv', "configuration file is not mounted"),
])
def test_a_compose_file_that_would_start_another_registry_is_found_out(site, was, becomes, said):
    text, configuration = registry_configs.compose(site), registry_configs.config(site)
    assert registry_configs.compose_problems(text, configuration) == []
    assert was in text
    assert said in "; ".join(registry_configs.compose_problems(text.replace(was, becomes), configuration))


def stack_for(monkeypatch, site: Site) -> None:
    """The site's stack, its images named but not built."""
    names = ("mariadb", "rabbitmq", "zookeeper", "stand-in", "api-server", "portal")
    monkeypatch.setattr(airavata, "references", lambda site: {name: f"{site.registry_address}/{name}:1" for name in names})


def test_components_without_an_image_are_shown_as_left_out_and_not_asked(site, monkeypatch):
    stack_for(monkeypatch, site)
    bare = Site.load("lab", {"airavata.stand_in": False})
    shown = {name: how for name, how in airavata.components.look(bare)}
    assert shown["mariadb"] == "the real server" and shown["api-server"].startswith("left out: the site names no image")
    for check in (verify.portal, verify.gateway, verify.spread, verify.replica_killed):
        head, (name, why) = check.look(bare)
        assert head == ["not asked", "why"] and "left out" in why


def test_the_stand_in_is_said_to_be_one(site, monkeypatch):
    stack_for(monkeypatch, site)
    shown = {name: how for name, how in airavata.components.look(site)}
    assert shown["api-server"] == shown["portal"] == "STAND-IN"
    assert {shown[name] for name in ("mariadb", "rabbitmq", "zookeeper")} == {"the real server"}


def test_a_site_whose_pods_cannot_all_be_asked_is_not_called_verified(site, monkeypatch):
    from airavata_runbook import probes
    pod = SimpleNamespace(spec=SimpleNamespace(node_name="10.98.0.11"), status=SimpleNamespace(pod_ip="10.244.1.2"),
                          metadata=SimpleNamespace(name="netcheck-1", deletion_timestamp=None))
    core = SimpleNamespace(list_namespaced_pod=lambda *_, **__: SimpleNamespace(items=[pod]))
    monkeypatch.setattr(probes, "kube", lambda site: SimpleNamespace(core=core))
    with pytest.raises(StepFailed, match="no pod of the network check") as caught:
        probes.netcheck_pods(site)
    assert caught.value.found == "worker"


def test_what_a_site_file_points_to_is_looked_at_before_anything_is_touched(site, monkeypatch, tmp_path):
    monkeypatch.delenv("REGISTRY_PASSWORD", raising=False)
    loose = tmp_path / "properties"
    loose.write_text("password=canary-hunter2\n")
    loose.chmod(0o644)
    broken = tmp_path / "portal.tar"
    broken.write_text("no archive")
    wrong = Site.load("poc-2017", {
        "airavata.images": {"api-server": {"archive": "/nowhere/api.tar"}, "portal": {"archive": str(broken)},
                            "gfac": {"build": "/nowhere/gfac"}},
        "airavata.secrets": {"airavata-server": f"file:{loose}"}})
    with pytest.raises(StepFailed) as caught:
        network.sources.look(wrong)
    told = dict(line.split(": ", 1) for line in caught.value.found.splitlines())
    assert sorted(told) == ["airavata.images.api-server", "airavata.images.gfac", "airavata.images.portal",
                            "airavata.secrets.airavata-server", "registry.certificate", "registry.password"]
    assert "/nowhere/api.tar" in told["airavata.images.api-server"] and "open to others" in caught.value.found
    assert "canary" not in str(caught.value)


def test_what_a_site_file_points_to_and_is_there_is_shown_without_its_value(site, monkeypatch):
    monkeypatch.setenv("CANARY", "canary-hunter2")
    rows = network.sources.look(Site.load("lab", {"registry.password": "env:CANARY"}))
    assert ["registry.password", "env:CANARY", "there"] in rows and "hunter2" not in str(rows)
    assert ["registry.password", "generated:registry-password", "made on the master, once"] in network.sources.look(site)


def test_a_secret_that_is_asked_for_is_refused_where_nobody_is(site):
    with pytest.raises(StepFailed, match="nobody is there to answer"):
        network.sources.look(Site.load("lab", {"registry.password": "prompt:registry"}))


def test_the_picture_is_an_image_that_an_unrun_notebook_shows(site):
    shown = network_picture(site)._repr_html_()
    assert shown.startswith("<img ") and "<svg" not in shown and "10.98.0.11" in shown
    drawn = unquote(re.search(r'src="data:image/svg\+xml,([^"]+)"', shown)[1])
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
