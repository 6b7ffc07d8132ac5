"""airavata.components: what a site has otherwise than its stack, and airavata.stack as a folder of the site's own."""

import pytest

from airavata_runbook import Site, stacks
from airavata_runbook.checks import preflight
from airavata_runbook.errors import SiteError
from airavata_runbook.local import paths
from airavata_runbook.site import storage
from airavata_runbook.site.life import record, recorded_value
from airavata_runbook.stacks.render import MARK
from tests.unit.small_stack import references, site_with, small_stack
from tests.unit.test_stacks import ARCHIVE, images, lab

LOADED = {"archive": "airavata.tar"}


def objects(site: Site, component: str) -> dict[str, dict]:
    """Kind → object of a component."""
    (found,) = [one for one in stacks.load(site, references(site)).components if one.name == component]
    return {one["kind"]: one for one in found.objects}


def box(site: Site, component: str = "server", kind: str = "Deployment") -> dict:
    return objects(site, component)[kind]["spec"]["template"]["spec"]["containers"][0]


def refusal(stack, **airavata) -> str:
    """Of Site.load, or else of the preflight checks."""
    try:
        site = site_with(stack, **airavata)
    except SiteError as refused:
        return str(refused)
    return "\n".join(one.found for one in preflight.offline(site) if one.check == "stack")


@pytest.fixture
def stack(tmp_path):
    return small_stack(tmp_path)


def test_a_stack_is_a_folder_of_the_sites_own(stack):
    loaded = stacks.load(site_with(stack), references(site_with(stack)))
    assert [(one.name, one.stand_in, one.verify) for one in loaded.components] == [
        ("store", False, ""),
        ("schema", False, ""),
        ("server", True, "airavata-api"),
    ]
    assert loaded.name == "gateway" and loaded.secrets == {"store": {"password": "generated:store-password"}}
    assert loaded.components[1].waits_for == (("Job", "schema"),)
    assert stacks.node_ports(loaded) == {("tcp", 31000)}


@pytest.mark.parametrize("written", ["./stacks/gateway", "stacks/gateway", "~/stacks/gateway"])
def test_a_folder_is_relative_to_the_project_as_other_paths_are(tmp_path, monkeypatch, written):
    (tmp_path / "parameters").mkdir()
    small_stack(tmp_path / "stacks")
    monkeypatch.chdir(tmp_path / "parameters")
    monkeypatch.setenv("HOME", str(tmp_path))
    site = site_with(written)
    assert stacks.image_names(site) == {"mariadb", "stand-in"}
    assert storage.folders(site) == {"/var/lib/airavata/store": 10001}
    assert paths.project_dir() == tmp_path


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("clasic", "airavata.stack: unknown stack 'clasic'; did you mean 'classic'?; a folder of your own has a / in its path"),
        ("./nothing", "airavata.stack: no stack.yaml in "),
        ("~nobody-here/stack", "airavata.stack: invalid path"),
    ],
)
def test_an_unknown_stack_is_refused(written, said):
    assert said in refusal(written)


def test_the_record_of_a_site_has_the_stacks_name_not_its_place(stack, tmp_path):
    other = small_stack(tmp_path / "elsewhere")
    assert recorded_value(record(site_with(stack)), "airavata.stack") == "gateway"
    assert record(site_with(stack)) == record(site_with(other))
    assert recorded_value(record(Site.load("lab")), "airavata.stack") == "classic"


def test_what_a_site_sets_is_in_the_manifests(stack):
    own = {
        "replicas": 3,
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}},
        "env": {"LEVEL": "debug", "iam.server.url": "https://iam.example.org"},
        "ports": {"main": 31443},
    }
    site = site_with(stack, components={"server": own})
    assert objects(site, "server")["Deployment"]["spec"]["replicas"] == 3
    assert box(site)["resources"] == {"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"memory": "2Gi"}}
    env = {one["name"]: one.get("value") for one in box(site)["env"]}
    assert env["LEVEL"] == "debug" and env["iam.server.url"] == "https://iam.example.org" and len(box(site)["env"]) == 4
    assert objects(site, "server")["Service"]["spec"]["ports"][0]["nodePort"] == 31443
    plain = site_with(stack)
    assert objects(plain, "store") == objects(site, "store") and objects(plain, "server") != objects(site, "server")


def test_a_port_of_the_cluster_is_changed_where_all_who_name_it_agree(tmp_path):
    change = {"store": {"ports": {"main": 3307}}}
    found = refusal(small_stack(tmp_path), components=change)
    assert "found store:3306; needed: a port of the Service, one of 3307" in found
    files = ("server/deploy.yaml", "schema/deploy.yaml")
    agreed = small_stack(tmp_path, *((file, "3306", "3307") for file in files))
    port = objects(site_with(agreed, components=change), "store")["Service"]["spec"]["ports"][0]
    assert port["port"] == 3307 and port["targetPort"] == "main"


def test_one_image_of_the_site_serves_several_components():
    site = lab(
        images={"backend": ARCHIVE},
        components={name: {"image": "backend"} for name in ("credential-store", "sharing-registry", "portal")},
        secrets={"airavata-server": "file:airavata-server.properties"},
    )
    assert "backend" in stacks.image_names(site) and "portal" not in stacks.image_names(site)
    loaded = {one.name: one for one in stacks.load(site, images(site)).components}
    for name in ("credential-store", "sharing-registry", "portal"):
        (pod,) = [one["spec"]["template"] for one in loaded[name].objects if one["kind"] == "Deployment"]
        assert pod["spec"]["containers"][0]["image"] == "registry.lab:5000/backend:sha-0123456789ab"
        assert not loaded[name].stand_in and MARK not in pod["metadata"]["labels"]
    assert loaded["api-server"].stand_in


@pytest.mark.parametrize(
    ("components", "said"),
    [
        ({"sever": {"replicas": 2}}, "airavata.components.sever: unknown in the stack "),
        ({"sever": {"replicas": 2}}, "did you mean 'server'?"),
        ({"server": {"replica": 2}}, "airavata.components.server.replica: unknown key; did you mean 'replicas'?"),
        ({"server": {"replicas": 0}}, "airavata.components.server.replicas: needs at least 1"),
        ({"store": {"replicas": 2}}, "airavata.components.store.replicas: needs 1: two servers on one folder destroy its data"),
        ({"schema": {"replicas": 2}}, "replicas: found 0 Deployments and StatefulSets in the component; needed: one"),
        (
            {"server": {"image": "mine"}},
            "airavata.components.server.image: needs the name of an image of the site (found 'mine')",
        ),
        ({"server": {"image": "stand-in"}}, "needs the name of an image of the site (found 'stand-in')"),
        ({"server": {"resources": {"limits": {"memory": "512m"}}}}, "an amount of memory with Ki, Mi, Gi or Ti"),
        ({"server": {"resources": {"limits": {"memory": "512"}}}}, "an amount of memory with Ki, Mi, Gi or Ti"),
        ({"server": {"resources": {"requests": {"cpu": 2}}}}, "airavata.components.server.resources.requests.cpu: needs text"),
        ({"server": {"resources": {"requests": {"memory": "1Gi"}}}}, "found 1Gi; needed: at most the limit, 256Mi"),
        ({"server": {"ports": {"mian": 31001}}}, "ports.mian: found no such port of its Services; did you mean 'main'?"),
        ({"server": {"ports": {"main": 8443}}}, "airavata.components.server.ports.main: found 8443; needed: 30000 to 32767"),
        ({"server": {"ports": {"main": 5000}}}, "ports.main: found 5000; needed: 30000 to 32767"),
        ({"server": {"env": {"DATABASE_LOGIN": "x"}}}, "found a value that the stack takes from a Secret: give that as"),
        ({"server": {"env": {"DATABASE_URL": "jdbc:mysql://stoer:3306/x"}}}, "found stoer, an unknown name"),
        ({"server": {"env": {"DATABASE_PASSWORD": "canary"}}}, "env.DATABASE_PASSWORD: needs no secret's value"),
        ({"server": {"env": {"DB_PASS": "canary"}}}, "env.DB_PASS: needs no secret's value"),
        ({"server": {"env": {"URL": "mysql://a:canary@store"}}}, "env.URL: needs no secret's value"),
        ({"server": {"env": {"OPTS": "-Dpassword=canary"}}}, "env.OPTS: needs no secret's value"),
        ({"server": {"env": {"PASSWORD": ["canary"]}}}, "airavata.components.server.env.PASSWORD: needs text"),
        ({"server": {"env": {"DB_PASS": 4711}}}, "airavata.components.server.env.DB_PASS: needs text"),
        ({"server": {"env": "DB_PASS=canary"}}, "airavata.components.server.env: needs keys below it"),
        ({"server": {"env": {"A B": "x"}}}, "the name of an environment variable"),
    ],
)
def test_what_cannot_be_set_is_refused_before_a_run(stack, components, said):
    message = refusal(stack, components=components)
    assert said in message and "canary" not in message and "4711" not in message


def test_fields_of_their_own_stay_the_one_way():
    with pytest.raises(SiteError, match="components.api-server.replicas: needs airavata.api_replicas in its place"):
        lab(components={"api-server": {"replicas": 3}})
    site = lab(components={"portal": {"ports": {"https": 31443}}})
    found = [one.found for one in preflight.offline(site) if one.check == "stack"]
    assert found == ["airavata.components.portal.ports.https: needs airavata.portal_node_port in its place"]


def test_a_node_port_of_any_stack_must_be_free_on_the_hosts(stack, monkeypatch):
    from airavata_runbook.checks import table

    asked = []
    monkeypatch.setattr(table, "others_on", lambda site, host, key, program, names: asked.append((key, program)) or ())
    site = site_with(stack)
    listening = {table.Listening: {}}
    host = type("Snapshot", (dict,), {"node": site.nodes[1]})(listening)
    assert list(table._ports(site, host)) == []
    assert (("tcp", 31000), "kube-proxy") in asked and (("tcp", 30080), "kube-proxy") not in asked


def test_pods_of_the_site_are_counted_where_addresses_are_few():
    few = {"network.subnet_length": 28}
    Site.load("lab", few)
    with pytest.raises(SiteError, match="do not fit"):
        Site.load("lab", few | {"airavata.components": {"portal": {"replicas": 30}}})
