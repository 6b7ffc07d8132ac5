"""A site file that cannot be right is refused with the field, what was found and what would be right."""

from pathlib import Path

import pytest
import yaml

from airavata_runbook import Site
from airavata_runbook.errors import SiteError

PARAMETERS = Path(__file__).parents[2] / "parameters"
LAB = PARAMETERS / "lab.yaml"


def good() -> dict:
    return yaml.safe_load(LAB.read_text())["site"]


def refusal(**changes) -> str:
    with pytest.raises(SiteError) as refused:
        Site.load({**good(), **changes})
    return str(refused.value)


def test_the_lab_site_is_good_by_name_path_mapping_and_environment(monkeypatch):
    by_path = Site.load(LAB)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_SITE", str(LAB))
    assert by_path == Site.load("lab") == Site.load(good()) == Site.load() == Site.load(by_path)
    assert by_path.master.name == "master" and [node.name for node in by_path.nodes if node.role == "worker"] == ["worker"]


def test_no_site_is_ever_taken_by_default(monkeypatch):
    monkeypatch.delenv("AIRAVATA_RUNBOOK_SITE", raising=False)
    with pytest.raises(SiteError, match="no site specified"):
        Site.load()


def test_an_unknown_site_names_the_known_ones():
    with pytest.raises(SiteError, match="lab"):
        Site.load("labb")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ssh": {"jump": "me@bastion:port"}}, "ssh.jump"),
        ({"nodez": []}, "did you mean 'nodes'?"),
        ({"network": {"pod": "10.0.0.0/8"}}, "network.pod: unknown key; did you mean 'pods'?"),
        ({"network": {"pods": "10.244.0.0/33"}}, "network.pods"),
        ({"network": {"pods": "10.254.0.0/17"}}, "pods 10.254.0.0/17 and services 10.254.0.0/16 overlap"),
        ({"network": {"pods": "10.98.0.0/16"}}, "address 10.98.0.11 is inside network.pods"),
        ({"network": {"pods": "10.244.0.0/24", "subnet_length": 24}}, "does not fit"),
        ({"network": {"pods": "10.244.0.0/23", "subnet_length": 24}}, "too few /24 leases for 2 nodes"),
        ({"registry": {"node": "elsewhere"}}, "registry.node: needs the name of a node: master, worker (found 'elsewhere')"),
        ({"repository": {"baseurl": "https://packages.example.org"}}, "gpgcheck: true needs gpgkey"),
        ({"airavata": {"images": {"portal": {"pull": "example.org/portal:1"}}}}, "pull needs a digest"),
        ({"airavata": {"images": {"portal": {}}}}, "exactly one of archive, pull, build or jar"),
        ({"airavata": {"portal_node_port": 80}}, "airavata.portal_node_port"),
        ({"nodes": [{"name": "one", "address": "10.98.0.11"}]}, "needs exactly one node with role: master (found 0)"),
        (
            {"nodes": [{"name": "a", "address": "10.98.0.11", "role": "master"}, {"name": "a", "address": "10.98.0.11"}]},
            "name a is used by more than one node",
        ),
        ({"nodes": [{"name": "a", "address": "10.97.0.11", "role": "master"}]}, "not in lab.network"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_field(changes, said):
    assert said in refusal(**changes)


def test_all_problems_are_reported_at_once():
    message = refusal(nodez=[], network={"pods": "nonsense"})
    assert "2 problems" in message and "nodez" in message and "network.pods" in message


def test_a_secret_written_into_a_site_file_is_refused_and_not_repeated():
    message = refusal(registry={"password": "canary-hunter2"})
    assert "registry.password" in message and "canary-hunter2" not in message


def test_the_checks_themselves_are_known_to_preflight_only():
    """Site.load accepts any well-formed name; preflight rejects an unknown one before it connects to a host."""
    assert Site.load("lab", {"ignore_checks": ["swap", "no-such-check"]}).ignore_checks == ["swap", "no-such-check"]


def test_overrides_reach_nested_fields_and_are_checked():
    assert Site.load("lab", {"registry.port": 5443}).registry.port == 5443
    with pytest.raises(SiteError, match="registry.port"):
        Site.load("lab", {"registry.port": 70000})


@pytest.mark.parametrize("field", ["nodes.worker.address", "nodes.1.address"])
def test_an_override_finds_a_node_by_name_and_by_number(field):
    assert str(Site.load("lab", {field: "10.98.0.77"}).node("worker").address) == "10.98.0.77"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("nodes.other.address", "found:  other\n  needed: a number below 2, or one of master, worker"),
        ("nodes.7.address", "a number below 2"),
        ("nodes.7", "a number below 2"),
        ("name.first", "cannot set a field below a plain value"),
    ],
)
def test_an_override_of_what_is_not_there_is_refused(field, said):
    with pytest.raises(SiteError) as caught:
        Site.load("lab", {field: "10.98.0.77"})
    assert said in str(caught.value) and f"--set {field}" in str(caught.value)


@pytest.mark.parametrize("path", sorted(PARAMETERS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_site_file_of_the_project_is_good(path):
    assert Site.load(path).name == path.stem


def test_the_site_of_2017_has_the_proof_of_concepts_own_values():
    """SEED.md rows 1 to 12, but for gpgcheck=0: packages that come over http are checked."""
    site = Site.load("poc-2017")
    assert {node.name: str(node.address) for node in site.nodes} == {"master": "149.165.169.147", "slave": "149.165.169.156"}
    assert (str(site.network.pods), site.network.subnet_length, site.network.backend) == ("172.30.0.0/16", 24, "vxlan")
    assert (str(site.network.services), site.network.etcd_prefix) == ("10.254.0.0/16", "/kube-centos/network")
    assert site.repository.id == "virt7-docker-common-release" and site.repository.gpgcheck
    assert (site.registry.root, site.registry.port, site.registry_node.name) == ("/opt/registry", 5000, "master")
    assert site.lab is None


def test_the_three_hosts_differ_from_the_lab_in_everything():
    lab, three = Site.load("lab"), Site.load("lab-three")
    assert len(three.nodes) == 3 and three.ssh.user != "root" and three.lab.firewall == "closed"
    assert not {node.name for node in lab.nodes} & {node.name for node in three.nodes}
    for field in ("pods", "services", "subnet_length", "etcd_prefix", "domain"):
        assert getattr(lab.network, field) != getattr(three.network, field)
    for field in ("node", "name", "port", "user", "root"):
        assert getattr(lab.registry, field) != getattr(three.registry, field)


def test_a_lab_site_takes_its_keys_from_the_lab(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path))
    assert Site.load("lab").master.ssh.key == str(tmp_path / "labs" / "lab0" / "id_ed25519")


@pytest.mark.parametrize("text", ["", "nodes: []", "site: []", "site: {}\nother: 1", "{"])
def test_a_file_without_exactly_one_site_is_refused(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SiteError, match="bad.yaml"):
        Site.load(tmp_path / "bad.yaml")


def test_flannels_own_default_prefix_is_accepted():
    assert Site.load("lab", {"network.etcd_prefix": "/coreos.com/network"}).network.etcd_prefix == "/coreos.com/network"
    for prefix in ("/../network", "/./network", "/a..b", "/.hidden"):
        with pytest.raises(SiteError, match="needs a key such as"):
            Site.load("lab", {"network.etcd_prefix": prefix})
