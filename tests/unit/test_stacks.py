"""Stacks: what is in them can run in every site, and what cannot is refused with file, field and what is needed."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes.client
import pytest
import yaml

from airavata_runbook import Site
from airavata_runbook.errors import SiteError
from airavata_runbook.mirror.recipes import BY_NAME, FILES
from airavata_runbook.site.stack_file import FOLDER
from airavata_runbook.stacks import load, secrets_of
from airavata_runbook.stacks.render import MARK, pod_of

LAB = Path(__file__).parents[2] / "parameters" / "lab.yaml"
BUILT = (
    *("pause", "coredns", "mariadb", "rabbitmq", "zookeeper", "kafka", "toolbox", "stand-in"),
    *("keycloak", "haproxy", "airavata-setup", "unified-stand-in"),
)
OWN = (
    "credential-store",
    "sharing-registry",
    "registry-server",
    "profile-service",
    "gfac",
    "orchestrator",
    "api-server",
    "portal",
)
ARCHIVE = {"archive": "airavata.tar"}
# Component → the ports of its Services (Airavata's default configuration; the databases' own).
PORTS = {
    "mariadb": 3306,
    "rabbitmq": 5671,
    "zookeeper": 2181,
    "kafka": {9092, 9093},
    "credential-store": 8960,
    "sharing-registry": 7878,
    "registry-server": 8970,
    "profile-service": 8962,
    "gfac": 8950,
    "orchestrator": 8940,
    "api-server": 9930,
    "portal": 443,
    "coredns": 53,
    "toolbox": 8080,
    "keycloak": 8443,
    "keycloak-front": 8443,
    "airavata-server": 9090,
}
JOBS = ("airavata-schema", "keycloak-realm")  # nobody calls them
PROPERTIES = {"airavata-server": "file:airavata-server.properties"}


def lab(**airavata) -> Site:
    data = yaml.safe_load(LAB.read_text())["site"]
    return Site.load({**data, "airavata": {**data["airavata"], **airavata}})


def three(**airavata) -> Site:
    """Another site: three hosts, other networks, names and ports, and Airavata's own images for all."""
    return Site.load(
        {
            "name": "elsewhere",
            "nodes": [
                {"name": "head", "address": "192.168.7.1", "role": "master"},
                {"name": "left", "address": "192.168.7.2"},
                {"name": "right", "address": "192.168.7.3"},
            ],
            "network": {"pods": "172.20.0.0/16", "services": "172.21.0.0/16", "domain": "cluster.example"},
            "registry": {"name": "images.example", "port": 5443},
            "airavata": {
                "namespace": "science",
                "api_replicas": 3,
                "storage_node": "right",
                "storage_path": "/srv/airavata",
                "portal_node_port": 31443,
                "api_node_port": 31930,
                "images": dict.fromkeys(OWN, ARCHIVE),
                "secrets": PROPERTIES,
                **airavata,
            },
        }
    )


def given(name: str) -> Site:
    return Site.load(yaml.safe_load((LAB.parent / f"{name}.yaml").read_text())["site"])


def with_kafka(**airavata) -> Site:
    return lab(components={"kafka": {"enabled": True}}, **airavata)


SITES = {
    "lab": lab,
    "lab with Kafka": with_kafka,
    "lab-three": lambda: given("lab-three"),
    "poc-2017": lambda: given("poc-2017"),
    "three hosts": three,
    "one host": lambda: Site.load(
        {
            "name": "one",
            "nodes": [{"name": "a", "address": "192.168.7.1", "role": "master"}],
            "airavata": {"stand_in": True, "api_replicas": 1},
        }
    ),
}


def images(site: Site) -> dict[str, str]:
    return {name: f"{site.registry_address}/{name}:sha-0123456789ab" for name in (*BUILT, *site.airavata.images)}


def objects(stack, kind: str) -> dict[str, dict]:
    return {one["metadata"]["name"]: one for part in stack.components for one in part.objects if one["kind"] == kind}


def container(stack, name: str) -> dict:
    return objects(stack, "Deployment")[name]["spec"]["template"]["spec"]["containers"][0]


def unknown(value, kind: str, field: str = "") -> list[str]:
    """Fields that Kubernetes does not know, by the models of its own Python client."""
    if kind.startswith("list["):
        return [line for one in value for line in unknown(one, kind[5:-1], field)]
    model = getattr(kubernetes.client, kind, None)
    if model is None:
        return []
    types = {json: model.openapi_types[name] for name, json in model.attribute_map.items()}
    return [f"{field}.{key}" for key in value if key not in types] + [
        line for key, one in value.items() if key in types for line in unknown(one, types[key], f"{field}.{key}")
    ]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in FOLDER.glob("*/stack.yaml")))
@pytest.mark.parametrize("stand_in", [True, False])
@pytest.mark.parametrize("make", SITES.values(), ids=SITES)
def test_the_stacks_of_the_runbook_have_no_problems_in_any_site(make, stand_in, name):
    site = make()
    site = site.model_copy(update={"airavata": site.airavata.model_copy(update={"stand_in": stand_in})})
    stack = load(site, images(site), name)
    assert stack.components
    for part in stack.components:
        services = [one for one in part.objects if one["kind"] == "Service"]
        known = PORTS.get(part.name, set())
        known = {known} if isinstance(known, int) else known
        assert {port["port"] for one in services for port in one["spec"]["ports"]} == known
        assert services or part.name in JOBS


@pytest.mark.parametrize("name", ["classic", "system"])
@pytest.mark.parametrize("make", SITES.values(), ids=SITES)
def test_every_manifest_is_one_that_kubernetes_knows(make, name):
    site = make()
    stack = load(site, images(site), name)
    for part in stack.components:
        for one in part.objects:
            assert unknown(one, f"V1{one['kind']}") == [], part.name
            cluster_wide = one["kind"].startswith("Cluster") or one["kind"] == "PersistentVolume"
            assert one["metadata"].get("namespace") == (None if cluster_wide else stack.namespace)
        assert part.waits_for


def test_the_lab_runs_a_stand_in_and_says_so():
    stack = load(lab(), images(lab()))
    assert {part.name for part in stack.components} == {"mariadb", "rabbitmq", "zookeeper", *OWN}
    assert {part.name for part in stack.components if part.stand_in} == set(OWN)
    assert [one.name for one in stack.left_out if one.wanted] == []
    for part in stack.components:
        for one in part.objects:
            pods = one["spec"]["template"]["metadata"] if pod_of(one) else one["metadata"]
            for metadata in (one["metadata"], pods):
                assert (metadata.get("labels", {}).get(MARK) == "true") == part.stand_in
                assert ("STAND-IN" in metadata.get("annotations", {}).get(MARK, "")) == part.stand_in
    assert container(stack, "api-server")["image"] == "registry.lab:5000/stand-in:sha-0123456789ab"


def test_without_a_stand_in_airavatas_own_servers_are_left_out_with_the_reason():
    stack = load(lab(stand_in=False), images(lab()))
    assert [part.name for part in stack.components] == ["mariadb", "rabbitmq", "zookeeper"]
    reasons = {one.name: one.reason for one in stack.left_out if one.wanted}
    assert set(reasons) == set(OWN)
    assert "airavata.images.portal" in reasons["portal"] and "airavata.stand_in is false" in reasons["portal"]


def test_an_image_that_the_site_names_is_preferred_to_the_stand_in():
    site = lab(images={"portal": ARCHIVE})
    stack = load(site, images(site))
    assert {part.name for part in stack.components if part.stand_in} == set(OWN) - {"portal"}
    assert container(stack, "portal")["image"] == "registry.lab:5000/portal:sha-0123456789ab"


def test_components_come_after_what_they_need():
    site = three(components={"kafka": {"enabled": True}})
    stack = load(site, images(site))
    order = [part.name for part in stack.components]
    assert not stack.left_out and not any(part.stand_in for part in stack.components)
    for part in yaml.safe_load((FOLDER / "classic" / "stack.yaml").read_text())["components"]:
        assert all(order.index(need) < order.index(part["name"]) for need in part.get("needs", []))


def test_a_site_puts_its_own_values_everywhere():
    site = three()
    stack = load(site, images(site))
    assert {path for path, _ in stack.folders} == {f"/srv/airavata/{name}" for name in ("mariadb", "rabbitmq", "zookeeper")}
    assert all(uid > 0 for _, uid in stack.folders)
    volume = objects(stack, "PersistentVolume")["science-mariadb"]["spec"]
    (term,) = volume["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["192.168.7.3"]}]
    assert volume["local"] == {"path": "/srv/airavata/mariadb"} and volume["claimRef"]["namespace"] == "science"
    assert objects(stack, "Deployment")["api-server"]["spec"]["replicas"] == 3
    assert objects(stack, "Service")["portal"]["spec"]["ports"][0]["nodePort"] == 31443
    certificate = stack.certificates["api-server-tls"]
    assert {"api-server", "api-server.science.svc.cluster.example", "left"} <= set(certificate.dns)
    assert "192.168.7.2" in certificate.ips
    assert "mariadb.science" in stack.certificates["mariadb-tls"].dns and "left" not in stack.certificates["mariadb-tls"].dns


def test_dns_answers_where_the_kubelet_says_and_on_two_hosts_if_there_are_two():
    site = three()
    stack = load(site, images(site), "system")
    service = objects(stack, "Service")["kube-dns"]["spec"]
    assert service["clusterIP"] == "172.21.0.10"
    assert {(port["port"], port["protocol"]) for port in service["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert objects(stack, "Deployment")["coredns"]["spec"]["replicas"] == 2
    corefile = objects(stack, "ConfigMap")["coredns"]["data"]["Corefile"]
    assert "kubernetes cluster.example in-addr.arpa" in corefile
    compiled = (FOLDER.parent / "mirror" / "go" / "coredns" / "main.go").read_text()
    for plugin in (line.split()[0] for line in corefile.splitlines()[1:] if line.startswith("    ") and line[4] not in " }"):
        assert f'plugin/{plugin}"' in compiled


@pytest.mark.parametrize("name", ["classic", "system"])
def test_manifests_agree_with_the_images_that_they_run(name):
    for part in load(with_kafka(), images(lab()), name).components:
        for one in part.objects:
            pod = (pod_of(one) or {"spec": {"containers": []}})["spec"]
            for box in pod["containers"]:
                recipe = BY_NAME["stand-in" if part.stand_in else part.name]
                assert pod["securityContext"]["runAsUser"] == recipe.user
                assert {port["containerPort"] for port in box["ports"]} <= set(recipe.ports)
                probes = [box.get(probe, {}).get("exec") for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
                programs = {Path(path).name for path, *_ in recipe.files}
                assert {probe["command"][0] for probe in probes if probe} <= programs


def test_no_request_meets_a_replica_that_is_going():
    deployment = objects(load(lab(), images(lab())), "Deployment")["api-server"]["spec"]
    pod = deployment["template"]["spec"]
    wait = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert 0 < wait < pod["terminationGracePeriodSeconds"] - 10
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"


def test_secrets_are_references_which_a_site_may_replace():
    stack = load(lab(), images(lab()))
    assert stack.secrets["mariadb"]["root-password"] == "generated:mariadb-root"
    site = lab(secrets={"mariadb-root": "env:ROOT_PASSWORD"})
    assert load(site, images(site)).secrets["mariadb"]["root-password"] == "env:ROOT_PASSWORD"
    assert "airavata-server" not in stack.secrets and "airavata-server.properties" in stack.settings["airavata-server"]
    assert "airavata-server.properties" not in load(three(), images(three())).settings["airavata-server"]
    assert load(three(), images(three())).secrets["airavata-server"] == {
        "airavata-server.properties": "file:airavata-server.properties"
    }


def test_a_keystore_is_a_file_of_any_content_that_only_the_credential_store_sees():
    assert not load(three(), images(three())).files
    site = three(secrets=PROPERTIES | {"credential-store-keystore": "file:airavata.jks"})
    stack = load(site, images(site))
    assert stack.files == {"credential-store": {"keystore": "file:airavata.jks"}}
    users = [name for name, one in objects(stack, "Deployment").items() if "credential-store" in secrets_of(one)]
    assert users == ["credential-store"]


@pytest.mark.parametrize("make", [lab, lambda: three(secrets={})], ids=["stand-ins", "Airavata's own"])
def test_all_of_airavatas_servers_read_one_file_in_which_names_and_ports_are_those_of_the_stack(make):
    site = make()
    stack = load(site, images(site))
    for name in set(OWN) - {"portal"}:
        pod = objects(stack, "Deployment")[name]["spec"]["template"]["spec"]
        assert {"name": "settings", "secret": {"secretName": "airavata-server", "defaultMode": 0o440}} in pod["volumes"]
        assert {"name": "settings", "mountPath": "/etc/airavata/settings", "readOnly": True} in container(stack, name)[
            "volumeMounts"
        ]
        # A server listens at its own host's address of that file: in its own pod that is any address, for all others the Service.
        assert pod["hostAliases"] == [{"ip": "0.0.0.0", "hostnames": [name]}]
    text = stack.settings["airavata-server"]["airavata-server.properties"].text(lambda secret, key: f"{secret}/{key}")
    found = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    hosts = {key: value for key, value in found.items() if key.endswith(".host")}
    services = {name: [port["port"] for port in one["spec"]["ports"]] for name, one in objects(stack, "Service").items()}
    assert set(hosts.values()) == set(OWN) - {"portal"}
    for key, host in hosts.items():
        port = "TLS.api.server.port" if key == "apiserver.host" else key.replace(".host", ".port")
        assert int(found[port]) in services[host]
    for key in (key for key in found if key.endswith(".jdbc.url")):
        database = urlsplit(found[key].removeprefix("jdbc:"))
        assert database.port in services[database.hostname]
        assert f"{database.path.removeprefix('/')}:airavata" in (FILES / "mariadb/start").read_text()
    broker = urlsplit(found["rabbitmq.broker.url"])
    assert (broker.scheme, broker.path, broker.password) == ("amqps", "/messaging", "rabbitmq%2Fpassword")
    assert broker.port in services[broker.hostname]
    assert found["zookeeper.server.connection"] == f"zookeeper:{services['zookeeper'][0]}"
    assert (found["api.secured"], found["TLS.enabled"], "apiserver.port" in found) == ("true", "true", False)


def settings_of(site: Site) -> dict[str, str]:
    text = load(site, images(site)).settings["airavata-server"]["airavata-server.properties"].text(lambda *_: "x")
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def test_kafka_runs_where_the_site_asks_for_it_and_the_servers_are_told_of_it_there_only():
    without, having = load(lab(), images(lab())), load(with_kafka(), images(lab()))
    assert {one.name: one.wanted for one in without.left_out} == {"kafka": False} and not having.left_out
    assert [part.name for part in having.components if part.name not in {one.name for one in without.components}] == ["kafka"]
    assert "kafka" in having.secrets and "kafka" not in without.secrets and "kafka-tls" not in without.certificates
    assert any(path.endswith("/kafka") for path, _ in having.folders) and len(without.folders) == len(having.folders) - 1
    found = settings_of(lab())
    assert found["enable.kafka.logging"] == "false" and not [key for key in found if key.startswith("kafka.")]
    found = settings_of(with_kafka())
    ports = {port["name"]: port["port"] for port in objects(having, "Service")["kafka"]["spec"]["ports"]}
    assert found["enable.kafka.logging"] == "true" and found["kafka.broker.list"] == f"kafka:{ports['plain']}"
    (box,) = objects(having, "StatefulSet")["kafka"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "TOPIC_PREFIX", "value": found["kafka.topic.prefix"]} in box["env"]


IDENTITY = {"url": "https://iam.example.org/auth", "ca": "iam.pem", "admin": "root"}
ADMIN = {"identity-server-admin": "env:ADMIN"}


def test_an_identity_server_may_have_an_address_without_a_name():
    url = "https://192.168.7.9:8443/auth"
    assert settings_of(lab(identity_server=IDENTITY | {"url": url}, secrets=ADMIN))["iam.server.url"] == url


def test_the_servers_are_told_of_the_sites_identity_server_or_that_there_is_none():
    site = lab(identity_server=IDENTITY, secrets=ADMIN)
    found, stack = settings_of(site), load(site, images(site))
    assert {key: value for key, value in found.items() if key.startswith(("iam.", "trust."))} == {
        "iam.server.url": IDENTITY["url"],
        "iam.server.super.admin.username": "root",
        "iam.server.super.admin.password": "x",
        "trust.store": "/etc/airavata/settings/identity-server.p12",
        "trust.store.password": "none",
    }
    assert stack.secrets["identity-server"] == {"admin-password": "env:ADMIN"}
    assert stack.keystores["airavata-server"]["identity-server.p12"].authority == "identity-server"
    without = load(lab(), images(lab()))
    assert "airavata-server" not in without.keystores and "identity-server" not in without.secrets
    text = without.settings["airavata-server"]["airavata-server.properties"].text(lambda *_: "x")
    assert "# No identity server: the site names none (airavata.identity_server)" in text
    assert not [key for key in settings_of(lab()) if key.startswith(("iam.", "trust."))]


@pytest.mark.parametrize(
    ("airavata", "said"),
    [
        ({"identity_server": IDENTITY}, "needed: airavata.secrets.identity-server-admin"),
        ({"identity_server": {"url": IDENTITY["url"]}}, "airavata.identity_server.ca"),
        ({"identity_server": IDENTITY | {"url": "http://iam.example.org"}}, "needs an address that starts with https://"),
        ({"identity_server": IDENTITY | {"url": "https://iam.example.org/"}}, "needs an address without / at its end"),
        ({"identity_server": IDENTITY | {"url": "https://keycloak:8443"}, "secrets": ADMIN}, "found keycloak, an unknown name"),
        ({"identity_server": IDENTITY, "stack": "unified"}, "airavata.identity_server: the stack unified does not use it"),
    ],
)
def test_an_identity_server_that_the_servers_could_not_reach_or_trust_is_refused(airavata, said):
    with pytest.raises(SiteError) as refused:
        load(lab(**airavata), images(lab()))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("components", "said"),
    [
        ({"kafka": {}}, "airavata.components.kafka: needs enabled, true or false"),
        ({"kafka": {"resources": {"limits": {"memory": "1Gi"}}}}, "airavata.components.kafka: needs enabled"),
        ({"kafka": {"enabled": "yes"}}, "airavata.components.kafka.enabled: needs true or false"),
        (
            {"mariadb": {"enabled": False}},
            "mariadb.enabled: the stack classic always has it; optional: kafka",
        ),
    ],
)
def test_only_an_optional_component_is_switched(components, said):
    with pytest.raises(SiteError) as refused:
        lab(components=components)
    assert said in str(refused.value)


def test_servers_that_a_site_does_not_run_are_not_in_its_file():
    site = lab(stand_in=False, images={"credential-store": ARCHIVE})
    text = load(site, images(site)).settings["airavata-server"]["airavata-server.properties"].text(lambda *_: "x")
    assert "credential.store.server.port=8960" in text and "orchestrator.server" not in text


def test_only_the_ports_for_clients_outside_are_open_to_them():
    for name, one in objects(load(lab(), images(lab())), "Service").items():
        outside = one["spec"].get("type", "ClusterIP") != "ClusterIP" or "externalIPs" in one["spec"]
        assert outside == (name in ("api-server", "portal")), name


def test_passwords_reach_containers_as_files():
    for make in (lab, three):
        stack = load(make(), images(make()))
        for name, one in objects(stack, "Deployment").items():
            for box in one["spec"]["template"]["spec"]["containers"]:
                assert not [entry for entry in box.get("env", []) if "secretKeyRef" in entry.get("valueFrom", {})], name


def test_changed_settings_reach_the_pods(tmp_path):
    def stamp(stack):
        return objects(stack, "Deployment")["coredns"]["spec"]["template"]["metadata"]["annotations"]

    folder = planted(tmp_path, DNS, "ttl 30", "ttl 60")
    assert stamp(load(lab(), images(lab()), "system")) == stamp(load(lab(), images(lab()), "system"))
    assert stamp(load(lab(), images(lab()), "system", folder)) != stamp(load(lab(), images(lab()), "system"))


def planted(tmp_path: Path, file: str, old: str, new: str) -> Path:
    """A copy of the stacks in which `old` is `new` in one file."""
    folder = tmp_path / "stacks"
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return folder


def refusal(tmp_path: Path, *change: str, site: Site | None = None) -> str:
    site = site or lab()
    with pytest.raises(SiteError) as refused:
        load(site, images(site), change[0].partition("/")[0], planted(tmp_path, *change))
    return str(refused.value)


PORTAL, MARIADB = (f"classic/{name}/deploy.yaml" for name in ("portal", "mariadb"))
GATEWAY = "name: GATEWAY_ID, value: {{ site.airavata.gateway }}"
SERVICE, STACK, DNS = "classic/portal/service.yaml", "classic/stack.yaml", "system/coredns/deploy.yaml"
IMAGE = '{{ image("portal") }}'


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (STACK, "needs: [api-server]", "needs: [apiserver]", "portal.needs: found apiserver; needed: a component of the stack"),
        (STACK, "name: mariadb, kind", "name: mariadb, needs: [portal], kind", "need each other in a cycle"),
        (STACK, "kind: airavata", "kind: arvata", "components.4.kind"),
        (STACK, "outside: true}", "outsite: true}", "components.11.outsite"),
        (STACK, "name: portal, kind", "name: gfac, kind", "components: found gfac twice; needed: each name once"),
        (STACK, '"generated:mariadb-root"', "canary", "root-password: needs generated:NAME or site:NAME; a stack never holds"),
        (STACK, "stand_in: stand-in,", "stand_in: true,", "components.9.stand_in"),
        (STACK, "components:", "components: [", "stack.yaml"),
        (PORTAL, "{{ site.airavata.gateway }}", "{{ site.airavata.getaway }}", "classic/portal/deploy.yaml, line"),
        (PORTAL, "{% endif %}", "{% fi %}", "classic/portal/deploy.yaml, line"),
        (PORTAL, "spec:", "spec: [", "classic/portal/deploy.yaml"),
        (PORTAL, "kind: Deployment", "sort: Deployment", "needed: kind"),
        (PORTAL, "containers:", "boxes:", "needed: spec.template.spec.containers"),
        (PORTAL, IMAGE, '{{ image("portel") }}', "image(\"portel\"); did you mean 'portal'?"),
        (
            PORTAL,
            "name: portal\n          image",
            "title: portal\n          image",
            "needed: spec.template.spec.containers.0.name",
        ),
        (SERVICE, "port: 443, ", "", "needed: spec.ports.0.port"),
        (PORTAL, "{{ site.airavata.gateway }}", "{{ site.__class__.__mro__ }}", "access to attribute '__class__'"),
    ],
)
def test_a_stack_that_cannot_be_read_is_refused_with_its_file(tmp_path, file, old, new, said):
    message = refusal(tmp_path, file, old, new)
    assert said in message and "canary" not in message


def test_a_component_has_both_its_files(tmp_path):
    (planted(tmp_path, SERVICE, "https", "https") / SERVICE).unlink()
    with pytest.raises(SiteError, match="classic/portal/service.yaml"):
        load(lab(), images(lab()), folder=tmp_path / "stacks")


def test_an_unreadable_template_names_the_very_line(tmp_path):
    message = refusal(tmp_path, PORTAL, "{{ site.airavata.gateway }}", "{{ site.airavata.getaway }}")
    line = next(index for index, text in enumerate((FOLDER / PORTAL).read_text().splitlines(), 1) if "gateway" in text)
    assert f"line {line}\n" in message and "getaway" in message


def test_all_problems_are_reported_at_once(tmp_path):
    planted(tmp_path, PORTAL, "readinessProbe:", "startupProbe:")
    (tmp_path / "stacks" / SERVICE).write_text((FOLDER / SERVICE).read_text().replace("targetPort: https", "targetPort: x"))
    with pytest.raises(SiteError, match="2 problems"):
        load(lab(), images(lab()), folder=tmp_path / "stacks")
    (tmp_path / "stacks" / STACK).write_text((FOLDER / STACK).read_text().replace("kind: airavata", "kind: arvata"))
    with pytest.raises(SiteError, match="8 problems"):
        load(lab(), images(lab()), folder=tmp_path / "stacks")


@pytest.mark.parametrize(
    ("site", "said"),
    [
        (dict(images={"api-server": ARCHIVE}, stand_in=False), "api-server.needs: found orchestrator left out"),
        (dict(images={"portal": ARCHIVE}, stand_in=False), "portal.needs: found api-server left out"),
    ],
)
def test_what_a_site_lacks_for_its_stack_is_named(site, said):
    site = lab(**site)
    with pytest.raises(SiteError) as refused:
        load(site, images(site))
    assert " ".join(said.split()) in " ".join(str(refused.value).split())


def test_an_image_that_is_not_in_the_registry_is_named():
    some = {name: reference for name, reference in images(lab()).items() if name != "rabbitmq"}
    with pytest.raises(SiteError, match="rabbitmq.image: found no rabbitmq among the images .* needed: 04-registry"):
        load(lab(), some)


def test_the_password_of_a_keystore_is_there_also_where_the_site_has_its_own_file_of_settings():
    for site in (three(), three(secrets={})):
        stack = load(site, images(site))
        assert stack.keystores["api-server"]["server.p12"].certificate == "api-server"
        assert stack.secrets["keystore"] == {"password": "generated:keystore-password"}
    assert not load(lab(), images(lab())).keystores, "the stand-in has its certificate in PEM"
