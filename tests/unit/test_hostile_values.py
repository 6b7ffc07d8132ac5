"""Whatever a site's names are, as long as the model accepts them: each consumer reads them back from its file, and as text."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from configparser import RawConfigParser
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from airavata_runbook import Site
from airavata_runbook.cluster.kubeconfig import kubeconfig
from airavata_runbook.configs import control_plane, node, registry
from airavata_runbook.configs.template import FOLDER as TEMPLATES
from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.rpm import RPM
from airavata_runbook.errors import SiteError
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.mirror.build import folder
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.pki.types import Pair
from airavata_runbook.serialise import environment_value, json_value, one_line, quoted, shell_value, yaml_text, yaml_value
from airavata_runbook.site import fields
from airavata_runbook.site.stack_file import FOLDER as STACKS
from airavata_runbook.stacks.render import render
from airavata_runbook.stacks.settings import Settings
from tests.unit.test_facts_host import snapshot

# What some reader takes for a number, a truth value, a date, nothing, or a mark of its own.
WORDS = [
    *("2026", "007", "010", "0", "1e3", "1E5", "12e03", "1.0", "1.5e3", ".5", "5.", "0x10", "0xdead", "0o17", "0b11", "1_000"),
    *("+1", "-1", "190:20:30", "1:23", "y", "n", "Y", "N", "yes", "no", "on", "off", "On", "OFF", "true", "false", "True"),
    *("null", "Null", "nan", "inf", ".inf", ".nan", "~", "=", "<<", "-", "--", "---", "...", "2026-11-25", "2026-11-25t10-00"),
    *("_", "__", "-x", "a-b", "e3", "x", "/0", "/1/2", "/on/.5"),
]


class AnyReader(yaml.SafeLoader):
    """YAML 1.1, and what Go's packages take for a number or truth value besides (gopkg.in/yaml.v2, resolve.go: the reader of
    the registry, and by sigs.k8s.io/yaml of kubectl and the kubelet)."""


AnyReader.yaml_implicit_resolvers = {first: [*pairs] for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()}
AnyReader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?((\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+)$"),
    list("-+.0123456789"),
)
AnyReader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))


def from_yaml(text: str):
    return yaml.load(text, AnyReader)


def environment(text: str) -> dict[str, str]:
    """The variables of a file as systemd reads it (systemd.exec(5), EnvironmentFile=)."""
    found = {}
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        name, _, value = line.partition("=")
        found[name] = re.sub(r'\\(["\\`$])', r"\1", value[1:-1]) if value.startswith('"') else value
    return found


def arguments(text: str) -> list[str]:
    """The words of a file with one variable, as a unit's $VARIABLE (systemd.service(5)): quotes are respected."""
    (value,) = environment(text).values()
    return shlex.split(value)


def accepted(kind) -> st.SearchStrategy[str]:
    """Texts that the model accepts for a field of this type: by its own pattern, and of the words above."""
    adapter = TypeAdapter(kind)

    def good(text: str) -> bool:
        try:
            adapter.validate_python(text)
        except ValidationError:
            return False
        return True

    short = re.sub(r"\{0,\d+\}", "{0,4}", adapter.json_schema()["pattern"])  # what is long is not more hostile, but slow to make
    pattern = st.from_regex(short, fullmatch=True, alphabet=st.characters(max_codepoint=126))
    return st.one_of(st.sampled_from([word for word in WORDS if good(word)] or ["x"]), pattern).filter(good)


NODE_NAMES, WORD, FOLDERS = accepted(fields.NodeName), accepted(fields.Word), accepted(fields.Folder)
SITE_NAMES, DOMAINS, COMMON_NAMES = accepted(fields.SiteName), accepted(fields.Domain), accepted(fields.CommonName)
NAMESPACES, PREFIXES, INTERFACES = accepted(fields.Namespace), accepted(fields.Prefix), accepted(fields.Interface)
URLS, LINES, KEYS = accepted(fields.Url), accepted(fields.Line), accepted(fields.KeyFile)


@st.composite
def sites(draw) -> Site:
    first, second = draw(st.lists(NODE_NAMES, min_size=2, max_size=2, unique=True))
    url = draw(URLS)
    signed = {"gpgcheck": draw(st.booleans())} if url.startswith("file:") else {"gpgcheck": True, "gpgkey": draw(KEYS)}
    try:
        return Site.load(
            {
                "name": draw(SITE_NAMES),
                "nodes": [
                    {"name": first, "address": "10.1.0.11", "interface": draw(INTERFACES), "role": "master"},
                    {"name": second, "address": "10.1.0.12", "interface": draw(INTERFACES)},
                ],
                "network": {"etcd_prefix": draw(PREFIXES), "domain": draw(DOMAINS)},
                "repository": {"id": draw(WORD), "name": draw(LINES), "baseurl": url, **signed},
                "registry": {"name": draw(COMMON_NAMES), "user": draw(WORD), "root": draw(FOLDERS), "node": second},
                "airavata": {
                    "gateway": draw(WORD),
                    "namespace": draw(NAMESPACES),
                    "storage_path": draw(FOLDERS),
                    "storage_node": first,
                    "stand_in": draw(st.booleans()),
                },
            }
        )
    except SiteError:  # values that are valid, but not together
        reject()


BOUNDED = settings(
    max_examples=50,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # the words are short, and shrinking a site takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
HOST = derive_node_settings(snapshot("lab-debian-12"))


@BOUNDED
@given(site=sites())
def test_every_file_of_a_site_is_read_back_by_its_consumer(site):
    kubeconfigs_name_the_site(site)
    the_registrys_files_hold_its_name_folder_and_port(site)
    the_hosts_files_hold_names_and_addresses(site)


def kubeconfigs_name_the_site(site: Site) -> None:
    pair = Pair(b"certificate", b"key")
    texts = {"admin": kubeconfig("https://127.0.0.1:1", b"ca", pair, "admin", site.name)}
    texts["kubelet"] = control_plane.kubeconfig(site, site.nodes[1], "kubelet", "/etc/kubernetes/pki/kubelet")
    for user, text in texts.items():
        content = from_yaml(text)
        context = {"name": f"{user}@{site.name}", "context": {"cluster": site.name, "user": user}}
        assert content["contexts"] == [context] and content["current-context"] == context["name"]
        assert [one["name"] for one in content["clusters"] + content["users"]] == [site.name, user]


def the_registrys_files_hold_its_name_folder_and_port(site: Site) -> None:
    root, address = site.registry.root, f"{site.registry.name}:5000"
    config = from_yaml(registry.config(site))
    assert config["auth"] == {"htpasswd": {"realm": site.registry.name, "path": f"{root}/auth/htpasswd"}}
    assert config["storage"]["filesystem"] == {"rootdirectory": f"{root}/data"} and config["version"] == 0.1
    assert config["http"]["addr"] == "0.0.0.0:5000" and config["http"]["tls"]["key"] == f"{root}/cert/registry-cert.key"
    service = from_yaml(registry.compose(site))["services"]["registry"]
    assert service["ports"] == ["5000:5000"] and service["command"] == ["serve", f"{root}/config.yml"]
    assert (
        service["volumes"][0] == f"{root}/config.yml:{root}/config.yml:ro" and service["volumes"][3] == f"{root}/data:{root}/data"
    )
    assert environment(registry.environment(f"{root}/config.yml")) == {"REGISTRY_CONFIG": f"{root}/config.yml"}
    pull = from_yaml(registry.pull_config(site))
    assert pull["auth"] == {"htpasswd": {"realm": site.registry.name, "path": f"{root}/auth/htpasswd-pull"}}
    assert pull["storage"]["filesystem"] == {"rootdirectory": f"{root}/data"} and pull["http"]["addr"] == "0.0.0.0:5001"
    service = from_yaml(registry.compose(site))["services"]["registry-pull"]
    assert service["ports"] == ["5001:5001"] and service["command"] == ["serve", f"{root}/config-pull.yml"]
    hosts = tomllib.loads(node.registry_hosts(site, "Basic x"))
    pulls = f"https://{site.registry.name}:5001"
    assert hosts["server"] == pulls
    assert hosts["host"] == {
        pulls: {
            "capabilities": ["pull", "resolve"],
            "ca": "/etc/containerd/certs.d/registry-ca.crt",
            "header": {"authorization": "Basic x"},
        }
    }
    digest = "sha256:" + "a" * 64
    images = tomllib.loads(node.containerd(site, HOST, f"{address}/pause:recipe-1@{digest}"))["plugins"][
        "io.containerd.cri.v1.images"
    ]
    assert images["pinned_images"] == {"sandbox": f"{address}/pause@{digest}"}


def the_hosts_files_hold_names_and_addresses(site: Site) -> None:
    master, worker = site.nodes
    lines = [line.split() for line in node.hosts(site)]
    assert lines == [["10.1.0.11", master.name], ["10.1.0.12", worker.name], ["10.1.0.12", site.registry.name]]
    etcd = environment(control_plane.etcd(site))
    assert etcd["ETCD_NAME"] == master.name and etcd["ETCD_INITIAL_CLUSTER"] == f"{master.name}=https://127.0.0.1:2380"
    assert etcd["ETCD_LISTEN_CLIENT_URLS"] == "https://127.0.0.1:2379,https://10.1.0.11:2379"
    flannel = environment(node.flannel(site, worker))
    assert flannel["FLANNEL_ETCD_PREFIX"] == site.network.etcd_prefix
    assert shlex.split(flannel["FLANNEL_OPTIONS"])[:3] == [f"-iface={worker.interface}", "-public-ip=10.1.0.12", "-ip-masq"]
    labels = f"--node-labels=airavata-runbook/host={worker.name},airavata-runbook/role=worker"
    assert labels in arguments(node.kubelet_arguments(site, worker))
    issuer = f"--service-account-issuer=https://kubernetes.default.svc.{site.network.domain}"
    assert issuer in arguments(control_plane.apiserver(site))
    kubelet = from_yaml(node.kubelet(site, worker, HOST))
    assert kubelet["clusterDomain"] == site.network.domain and kubelet["clusterDNS"] == ["10.254.0.10"]
    assert from_yaml(node.kube_proxy(site, worker, HOST))["hostnameOverride"] == "10.1.0.12"
    before = shlex.split(node.pod_network_script(worker).partition(";;")[0], comments=True)
    assert before[before.index("dev") :][:4] == ["dev", worker.interface, "local", "10.1.0.12"]
    (source,) = [line for line in DEB.entry(site.repository).split("\n") if line and not line.startswith("#")]
    key, address = site.repository.gpgkey, site.repository.baseurl
    if site.repository.folder:
        key, address = "/etc/apt/keyrings/airavata-runbook.asc", f"copy:{site.repository.folder}"
    assert source.split(" ") == ["deb", f"[signed-by={key}]", address, "./"]


@BOUNDED
@given(site=sites())
def test_a_repository_s_entry_for_dnf_holds_what_the_site_has_and_nothing_else(site):
    repository = site.repository
    text = RPM.entry(repository)
    read = RawConfigParser(default_section="")  # as dnf's reader, which has none
    read.read_string(text)
    assert read.sections() == [repository.id] and RPM.entry_path(repository) == f"/etc/yum.repos.d/{repository.id}.repo"
    name, baseurl, gpgkey = (read[repository.id].pop(key) for key in ("name", "baseurl", "gpgkey"))
    assert baseurl == repository.baseurl and name == (one_line(repository.name) or repository.id)
    assert gpgkey == f"file://{RPM.keyring if repository.folder else repository.gpgkey}"
    assert dict(read[repository.id]) == {
        "enabled": "0",
        "gpgcheck": "1",
        "repo_gpgcheck": "1" if repository.folder else "0",
        "metadata_expire": "1",
        "module_hotfixes": "1",
        "skip_if_unavailable": "0",
    }
    # Each line is one setting: nothing is continued, so a value cannot add a line for readers that know no continuation.
    assert [line.partition("=")[0] for line in text.splitlines()[2:]] == [
        *("name", "baseurl", "enabled", "gpgcheck", "repo_gpgcheck", "gpgkey"),
        *("metadata_expire", "module_hotfixes", "skip_if_unavailable"),
    ]


@pytest.mark.parametrize("name", ["main", "MAIN", "DEFAULT", "default"])
def test_an_id_that_dnf_reads_as_something_else_is_refused_there(name):
    repository = Site.load("lab", {"repository.id": name}).repository
    with pytest.raises(SiteError, match="site.repository.id"):
        RPM.entry(repository)
    assert name in DEB.entry(repository), "for apt it is one like any other"


@settings(BOUNDED, max_examples=25)
@given(site=sites())
def test_manifests_hold_text_where_kubernetes_has_text(site):
    def objects(stack: str, component: str, namespace: str) -> list[dict]:
        stand_in = site.airavata.stand_in
        image = f"{site.registry.name}:5000/{{}}:1.0".format
        files = render(STACKS / stack, component, site, namespace, stand_in, image)
        return [one for file in files for one in file.objects]

    mine = site.airavata.namespace
    dns, portal, database = (
        objects("system", "coredns", mine),
        objects("classic", "portal", mine),
        objects("classic", "mariadb", mine),
    )
    for one in [*dns, *portal, *database]:
        assert all(isinstance(text, str) for text in texts(one)), one
    (container,) = pod(portal)["containers"]
    assert {one["name"]: one.get("value") for one in container["env"]}["GATEWAY_ID"] == site.airavata.gateway
    assert container["image"] == f"{site.registry.name}:5000/portal:1.0"
    assert container["securityContext"]["readOnlyRootFilesystem"] is site.airavata.stand_in
    (volume,) = [one["spec"] for one in database if one["kind"] == "PersistentVolume"]
    assert volume["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == ["10.1.0.11"]
    assert volume["local"]["path"] == f"{site.airavata.storage_path}/mariadb"
    ports = {"mariadb": {"mysql": 3306}, "rabbitmq": {"amqps": 5671}, "zookeeper": {"client": 2181}}
    file = Settings(STACKS / "classic", "airavata-server.properties", site, mine, frozenset(), ports)
    assert f"\ndefault.registry.gateway={site.airavata.gateway}\n" in file.text(lambda *_: "x")
    (corefile,) = [one["data"]["Corefile"] for one in dns if one["kind"] == "ConfigMap"]
    assert f"    kubernetes {site.network.domain} in-addr.arpa ip6.arpa {{\n" in corefile
    (binding,) = [one for one in dns if one["kind"] == "ClusterRoleBinding"]
    assert binding["subjects"][0]["namespace"] == mine and portal[0]["metadata"]["namespace"] == mine


def pod(objects: list[dict]) -> dict:
    (found,) = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
    return found


TEXTS = ("name", "namespace", "image", "value", "path", "kind", "clusterIP", "values", "volumeName")


def texts(manifest: object, here: bool = False) -> Iterator[object]:
    """Every value of a manifest that Kubernetes' types say is a text."""
    if isinstance(manifest, dict):
        for key, value in manifest.items():
            below = key in (
                "labels",
                "annotations",
                "matchLabels",
                "nodeSelector",
                "args",
                "command",
                "data",
                "requests",
                "limits",
            )
            yield from texts(value, here or below or key in TEXTS)
    elif isinstance(manifest, list):
        for item in manifest:
            yield from texts(item, here)
    elif here:
        yield manifest


PLAIN_VALUES = (
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(WORDS)
)


@settings(BOUNDED, max_examples=100)
@given(
    value=PLAIN_VALUES | st.lists(PLAIN_VALUES) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), PLAIN_VALUES)
)
def test_any_value_is_read_back_from_yaml_wherever_it_stands(value):
    for text in (yaml_value(value), json_value(value)):
        assert "\n" not in text
        document = f"one:\n  - key: {text}\n    # a comment\n    more: {{in: {text}, and: [{text}, {text}]}}\n"
        assert from_yaml(document) == {"one": [{"key": value, "more": {"in": value, "and": [value, value]}}]}
    assert from_yaml(yaml_text({"key": value})) == {"key": value}


@settings(BOUNDED, max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.sampled_from(WORDS))
def test_any_text_is_read_back_from_toml_an_environment_file_and_a_shell_word(text):
    assert tomllib.loads(f"key = {json_value(text)}\n[a.{json_value(text)}]\n") == {"key": text, "a": {text: {}}}
    assert json.loads(json_value(text)) == text
    assert shlex.split(shell_value(text)) == [text]
    if not re.search("[\x85\u2028\u2029]", text):  # str.splitlines of this test's own reader
        assert environment(f"NAME={environment_value(text)}\n") == {"NAME": text}
        assert environment(f"NAME={quoted([text, text])}\n") == {"NAME": f"{text}     {text}"}


def test_an_address_is_text():
    assert yaml_value(IPv4Address("10.0.0.1")) == "10.0.0.1" and json_value(IPv4Address("10.0.0.1")) == '"10.0.0.1"'


def test_a_value_in_a_template_is_a_whole_scalar_or_goes_through_a_filter():
    """A part of a scalar would decide with its neighbours what the scalar is."""
    whole = r"""(?:(?<=[ \[{=,.])|^){{ [^}|]+ (?:\| (?:json|quoted|min) )?}}(?=[],} .]|$)"""
    for path in [*TEMPLATES.iterdir(), *STACKS.glob("*/*/*.yaml")]:
        for line in path.read_text().splitlines():
            rest = re.sub(whole, "", re.sub(r"{{ [^}|]+ \| line }}", "", line.replace("| length", "")))
            assert "{{" not in rest or line == "{{ key }}: {{ value | json }}", f"{path.name}: {line}"


KUBECTL = shutil.which("kubectl") or folder(BY_NAME["kubernetes"]) / "kubectl"


@pytest.mark.skipif(not Path(KUBECTL).exists(), reason="no kubectl on this machine, and none built yet")
@pytest.mark.parametrize("name", ["2026", "1e3", "on", "y", "null", "0x10", "0o17", "007", "2026-11-25", "e3", "lab"])
def test_kubectl_reads_the_name_of_the_site(tmp_path, name):
    nodes = [{"name": "head", "address": "10.1.0.11", "role": "master"}]
    site = Site.load({"name": name, "nodes": nodes})
    files = {
        "host": control_plane.kubeconfig(site, site.master, "admin", "/etc/kubernetes/pki/admin"),
        "here": kubeconfig("https://127.0.0.1:1", b"ca", Pair(b"certificate", b"key"), "admin", name),
    }
    for file, text in files.items():
        (tmp_path / file).write_text(text)
        view = [KUBECTL, "--kubeconfig", tmp_path / file, "config", "view", "-o", "json"]
        content = json.loads(subprocess.run(view, capture_output=True, check=True).stdout)
        assert content["clusters"][0]["name"] == name and content["current-context"] == f"admin@{name}"
