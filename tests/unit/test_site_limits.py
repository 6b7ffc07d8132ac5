"""Site files that a person writes by mistake, from the text to the message: what is in them twice, cannot be together, or is
no site at all. Each is one clear refusal, and none shows a password."""

import json
from pathlib import Path

import jsonschema
import pytest
from papermill.iorw import read_yaml_file

from airavata_runbook import Site
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import SiteError
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.source import resolve
from airavata_runbook.local import paths
from airavata_runbook.site.fields import without_login
from airavata_runbook.site.parts import ImageSource
from airavata_runbook.site.schema import schema_text
from airavata_runbook.wellknown import CONTROL_PLANE_PORTS

GOOD = """\
site:
  name: gateway
  nodes:
    - {name: head, address: 10.0.0.11, role: master}
    - {name: one, address: 10.0.0.12}
"""


@pytest.fixture
def refusal(tmp_path):
    """The message that refuses a site file of this text."""

    def refused(text: str) -> str:
        (tmp_path / "bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(SiteError) as caught:
            Site.load(tmp_path / "bad.yaml")
        assert "bad.yaml" in str(caught.value)
        return str(caught.value)

    return refused


def loaded(tmp_path: Path, text: str) -> Site:
    (tmp_path / "good.yaml").write_text(text)
    return Site.load(tmp_path / "good.yaml")


def test_a_key_that_stands_twice_is_refused_with_both_lines(refusal):
    message = refusal(GOOD + "  registry:\n    port: 5001\n    port: 5002\n  name: other\n")
    assert "port (lines 7 and 8)" in message and "name (lines 2 and 9)" in message


def test_an_anchor_and_a_merge_are_no_key_that_stands_twice(tmp_path):
    site = loaded(
        tmp_path,
        GOOD.replace("{name: one,", "{<<: &host {interface: eth1, role: worker}, role: worker, name: one,")
        + "    - {<<: *host, name: two, address: 10.0.0.13}\n",
    )
    assert [node.interface for node in site.nodes] == ["eth0", "eth1", "eth1"]


@pytest.mark.parametrize("number", ["012", "0o12", "0x1388", "1:23", "5_000", "1e3", "0b101"])
def test_a_number_is_decimal_or_none(refusal, number):
    assert f"registry.port: needs a whole number, in decimal digits (found '{number}')" in refusal(
        GOOD + f"  registry: {{port: {number}}}\n"
    )


@pytest.fixture
def through_papermill(tmp_path, monkeypatch):
    """The site of a file as `papermill -f` gives it to a notebook; folder: where in the project the file is."""
    monkeypatch.chdir(tmp_path)

    def load(text: str, folder: str = "parameters") -> Site:
        (tmp_path / "parameters").mkdir(exist_ok=True)
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / "mine.yaml"
        path.write_text(text)
        return Site.load(read_yaml_file(str(path))["site"])

    return load


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "  registry: {port: 012710}\n", "registry.port: needs a whole number, in decimal digits (found '012710')"),
        (GOOD + "  registry: {port: 5_000}\n", "registry.port: needs a whole number, in decimal digits (found '5_000')"),
        (GOOD + "  registry: {port: 5001}\n  registry: {port: 5002}\n", "registry (lines 6 and 7)"),
        (GOOD.replace("gateway", "2026-11-25"), "name: needs text (in quotes"),
    ],
)
def test_what_papermill_s_reader_loses_is_refused_where_the_file_is_known(through_papermill, text, said):
    assert through_papermill(text, "elsewhere").name  # README.md says so
    with pytest.raises(SiteError) as refused:
        through_papermill(text)
    assert said in str(refused.value) and "parameters/mine.yaml" in str(refused.value)


@pytest.mark.parametrize("name", ["2026", "1.5", "yes", "on", "null", "[a]", "{a: b}"])
@pytest.mark.parametrize("folder", ["parameters", "elsewhere"])
def test_a_name_that_papermill_took_for_something_else_is_refused(through_papermill, name, folder):
    for text in (GOOD.replace("gateway", name), GOOD + f"  airavata: {{gateway: {name}}}\n"):
        with pytest.raises(SiteError, match=r"(name|airavata.gateway): needs (text|letters)"):
            through_papermill(text, folder)


def test_a_good_file_is_the_same_through_papermill(through_papermill, tmp_path):
    text = GOOD + "  registry: {port: 5001, name: '1e3'}\n  network: {domain: 'on'}\n"
    assert through_papermill(text) == through_papermill(text, "elsewhere") == loaded(tmp_path, text)


def test_the_hosts_pull_on_the_port_after_the_registrys_own_unless_the_file_says_otherwise(tmp_path, refusal):
    assert loaded(tmp_path, GOOD).registry_pull_port == 5001
    assert loaded(tmp_path, GOOD + "  registry: {port: 5001}\n").registry_pull_port == 5002
    assert loaded(tmp_path, GOOD + "  registry: {pull_port: 443}\n").registry_pull_address == "registry.internal:443"
    message = refusal(GOOD + "  registry: {port: 65535}\n")
    assert "registry.pull_port: needs a port; there is none after registry.port 65535" in message


def test_a_decimal_number_is_one(tmp_path):
    assert loaded(tmp_path, GOOD + "  registry: {port: 5443}\n").registry.port == 5443


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the site file is empty"),
        ("# nothing yet\n", "the site file is empty"),
        ("site:\n", "found:  nothing"),
        ("site: [1]\n", "found:  a list"),
        ("site: gateway\n", "found:  a single value"),
        ("site: gateway\n", "`site:` has no keys below it"),
        ("- site\n", "found:  a list"),
        ("hello\n", "a single value"),
        ("Site: {}\n", "found:  the keys Site"),
        ("~: 1\n", "found:  the keys ~"),
        ("site: {}\n---\nsite: {}\n", "line 2, column 1"),
        (GOOD + "  network:\n\t pods: 10.1.0.0/16\n", "line 7, column 1"),
        (GOOD.encode() + b"  # caf\xe9\n", "could not read the site file"),
        (GOOD.encode("utf-16"), "could not read the site file"),
        (GOOD + "  on: 6\n", "on: unknown key"),
        (GOOD + "  5: 6\n", "5: unknown key"),
        (GOOD + "  '': 6\n", "'': unknown key"),
        (GOOD + "  ? [a, b]\n  : 6\n", "a list or mapping cannot be a key"),
        (GOOD + "  airavata: {images: {Portal: {archive: x}}}\n", "airavata.images: the key 'Portal' needs lower-case letters"),
        (GOOD + "  lab:\n", "lab: needs keys below it; {} takes all defaults (found nothing)"),
        (
            GOOD.replace("gateway", "2026-13-45"),
            "line 2, column 9\n  found:  looks like a number or a date, but is not a valid one",
        ),
        (GOOD.replace("gateway", "2026-11-23"), "(found 2026-11-23)"),
        (GOOD.replace("gateway", "!!bool maybe"), "is not a valid one"),
        (GOOD + f"  registry: {{port: {'9' * 5000}}}\n", "looks like a number or a date, but is not a valid one"),
        ("site: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("site: &s\n  name: gateway\n  nodes: *s\n", "contains itself"),
        ("site:\n  name: gateway\n  nodes: &n [*n]\n", "contains itself"),
        (GOOD.replace("gateway", "g" * 5000), "(found '" + "g" * 79 + "…"),
        (GOOD + '  registry: {password: "env:\\ud800"}\n', "registry.password: needs text; it contains a lone surrogate"),
        (GOOD + "  ssh: [user]\n", "ssh: needs keys below it; {} takes all defaults (found a list)"),
        (GOOD.replace("nodes:\n", "nodes:\n    first: x\n    second: y\nx:\n"), "a site file has exactly one top-level key"),
        (GOOD + "  ignore_checks: {swap: true, cpu: true}\n", "needs a list: lines that start with - (found keys: swap, cpu)"),
    ],
)
def test_what_is_no_site_is_reported_in_one_message(refusal, text, said):
    message = refusal(text)
    assert said in message and len(message) < 1000


@pytest.mark.parametrize("path", ["~nosuchuser/x.yaml", "a\0b", "x" * 5000, "/etc/passwd/x"])
def test_what_is_no_path_of_a_site_is_reported_in_one_message(path):
    with pytest.raises(SiteError) as caught:
        Site.load(path)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("field", ["nodes.²", "nodes.²x.name", "nodes.-1.name", "nodes." + "9" * 5000])
def test_an_override_of_no_item_is_refused(field):
    with pytest.raises(SiteError, match="the list has no such item"):
        Site.load("lab", {field: 5})


@pytest.mark.parametrize(
    ("length", "hosts", "stand_in", "most"),
    # A /28 lease has 13 addresses for pods. Beside the replicas: on each host the network check; two of DNS (one on one host),
    # three databases, six more servers and the portal, and one more replica during an update.
    [
        (27, 1, True, 29 - 13),
        (28, 2, True, 26 - 15),
        (28, 5, True, 65 - 18),
        (27, 2, True, 58 - 15),
        (26, 2, True, 50),
        (24, 1, True, 50),
        (28, 1, False, 50),
    ],
)
def test_replicas_that_the_leases_have_no_addresses_for_are_refused(refusal, tmp_path, length, hosts, stand_in, most):
    nodes = [{"name": f"n{at}", "address": f"10.0.0.{10 + at}", "role": "worker" if at else "master"} for at in range(hosts)]
    site = {
        "name": "small",
        "nodes": nodes,
        "network": {"subnet_length": length},
        "airavata": {"stand_in": stand_in, "api_replicas": most},
    }
    assert Site.load(site).airavata.api_replicas == most
    if most < 50:
        site["airavata"]["api_replicas"] = most + 1
        message = refusal(json.dumps({"site": site}))
        assert f"airavata.api_replicas: {most + 1} replicas and " in message and f"a /{length} lease" in message


@pytest.mark.parametrize(
    ("registry", "airavata", "said"),
    [
        (
            "root: /srv/data",
            "storage_path: /srv/data, storage_node: head",
            "airavata.storage_path: /srv/data is also registry.root on head",
        ),
        (
            "root: /srv/data/registry, node: one",
            "storage_path: /srv/data",
            "registry.root: /srv/data/registry is inside airavata.storage_path /srv/data on one",
        ),
        (
            "root: /srv/data",
            "storage_path: /srv/data/airavata, storage_node: head",
            "is inside registry.root /srv/data on head",
        ),
        (
            "root: /opt/airavata-runbook/repository/images",
            "{}",
            "is inside repository.baseurl /opt/airavata-runbook/repository",
        ),
        ("root: /opt/airavata-runbook", "{}", "repository.baseurl: /opt/airavata-runbook/repository is inside registry.root"),
    ],
)
def test_folders_of_one_host_do_not_lie_in_each_other(refusal, registry, airavata, said):
    """What `reset --data` removes of the one would be the other's."""
    airavata = airavata if airavata == "{}" else f"{{{airavata}}}"
    assert said in refusal(GOOD + f"  registry: {{{registry}}}\n  airavata: {airavata}\n")


def test_folders_of_different_hosts_may_have_one_name(tmp_path):
    loaded(tmp_path, GOOD + "  registry: {root: /srv/data}\n  airavata: {storage_path: /srv/data}\n")
    loaded(tmp_path, GOOD + "  registry: {root: /srv/data-registry, node: one}\n  airavata: {storage_path: /srv/data}\n")


def test_every_contradiction_is_a_line_and_counted(refusal):
    message = refusal(
        GOOD.replace("10.0.0.12", "10.244.0.12")
        + """\
  network: {services: 10.244.0.0/16, subnet_length: 12}
  registry: {node: three, password: "env:X"}
  repository: {gpgkey: /etc/apt/keyrings/site.gpg}
  airavata:
    portal_node_port: 30930
    storage_node: four
    images: {portal: {archive: a, build: b}, gfac: {pull: x}}
"""
    )
    lines = [line for line in message.splitlines() if line.startswith("  - ")]
    assert "the site file has 10 problems:" in message and len(lines) == 10
    for field in (
        "registry.node",
        "airavata.storage_node",
        "network: pods",
        "network.subnet_length",
        "nodes: one's address 10.244.0.12 is inside network.pods",
        "nodes: one's address 10.244.0.12 is inside network.services",
        "repository.gpgkey: needs none",
        "airavata: portal_node_port",
        "airavata.images.portal: needs exactly one of archive, pull, build or jar (found archive and build)",
        "airavata.images.gfac: pull needs a digest",
    ):
        assert sum(field in line for line in lines) == 1, field


@pytest.mark.parametrize(
    ("ssh", "field"), [("{user: 'a b'}", "ssh.user"), ("{password: x}", "ssh.password: unknown key"), ("{port: 0}", "ssh.port")]
)
def test_a_mistake_that_nodes_inherit_is_reported_once_where_it_stands(refusal, ssh, field):
    message = refusal(GOOD + f"  ssh: {ssh}\n")
    assert "1 problem:" in message and f"- {field}" in message


def test_a_mistake_in_a_node_s_own_ssh_is_reported_there(refusal):
    message = refusal(GOOD.replace("role: master}", "role: master, ssh: {user: 'a b'}}") + "  ssh: {user: 'c d'}\n")
    assert "2 problems:" in message and "- nodes.0.ssh.user" in message and "- ssh.user" in message


@pytest.mark.parametrize(
    "url",
    [
        "htp://u:hunter2@x/y",
        "https://u:hunter2@x/y z",
        "u:hunter2@x/y",
        "https://u:a/hunter2@x/y z",
        "https://x/y?token=hunter2 ",
        "https://u:a b hunter2@x/y",
        "https://u:a@hunter2@x/y z",
    ],
)
def test_a_password_in_an_address_is_not_repeated(refusal, url):
    message = refusal(GOOD + f"  repository: {{baseurl: '{url}'}}\n")
    assert "repository.baseurl: needs an address" in message and "hunter2" not in message


@pytest.mark.parametrize("value", ["hunter2: x", "*hunter2", "!hunter2", "'hunter2", "@hunter2", "%hunter2", "!!int hunter2"])
def test_a_password_on_a_line_that_is_no_yaml_is_not_repeated(refusal, value):
    assert "hunter2" not in refusal(GOOD + f"  registry: {{password: {value}}}\n")


def test_an_address_without_a_login_is_shown_whole():
    for text in ("https://packages.example.org:8443/debian", "me@bastion", "no host x: see y", "file:///opt/x"):
        assert without_login(text) == text


@pytest.mark.parametrize(("port", "what"), [*CONTROL_PLANE_PORTS.items(), (22, "ssh.port"), (30080, "airavata.portal_node_port")])
def test_on_the_master_the_registry_needs_a_port_that_nobody_has(refusal, port, what):
    assert f"registry.port: {port} is used on head by {what}" in refusal(GOOD + f"  registry: {{port: {port}}}\n")


@pytest.mark.parametrize("port", CONTROL_PLANE_PORTS)
def test_on_a_worker_the_control_plane_s_ports_are_free(tmp_path, port):
    assert loaded(tmp_path, GOOD + f"  registry: {{port: {port}, node: one}}\n").registry.port == port


def test_a_forwarded_ssh_port_is_none_of_the_host_s_own(tmp_path, refusal):
    assert "ssh.port: 6443 is used on head by kube-apiserver" in refusal(GOOD + "  ssh: {port: 6443}\n")
    behind = GOOD.replace("role: master}", "role: master, ssh: {host: gate.example.org, port: 6443}}")
    assert loaded(tmp_path, behind).master.ssh.port == 6443


@pytest.mark.parametrize(
    ("ssh", "said"),
    [
        ("host: gate.example.org", "nodes: head, one all connect to gate.example.org:22;"),
        ("host: gate.example.org, jump: me@bastion", "to gate.example.org:22 through me@bastion;"),
        ("fingerprint: 'SHA256:" + "A" * 43 + "'", "ssh.fingerprint: head, one cannot have the same host key"),
    ],
)
def test_what_only_one_host_can_have_is_not_inherited_by_several(refusal, ssh, said):
    assert said in refusal(GOOD + f"  ssh: {{{ssh}}}\n")


def test_hosts_behind_one_address_are_told_apart_by_their_ports(tmp_path):
    text = GOOD.replace("role: master}", "role: master, ssh: {port: 2201}}") + "  ssh: {host: gate.example.org}\n"
    assert [node.ssh.port for node in loaded(tmp_path, text).nodes] == [2201, 22]


@pytest.mark.parametrize("host", ["gate.example.org", "Gate", "10.0.0.1", "fd00::11", "fe80::1%eth0", "my_host"])
def test_a_host_is_reached_by_a_name_or_an_address(tmp_path, host):
    assert loaded(tmp_path, GOOD.replace("role: master}", f"role: master, ssh: {{host: '{host}'}}}}")).master.ssh.host == host


@pytest.mark.parametrize(
    "url",
    [
        "https://packages.example.org",
        "http://10.0.0.1:8080/debian/x86_64/os/",
        "http://[fd00::1]/x",
        "file:///srv/debs.d/airavata_1",
    ],
)
def test_a_repository_is_at_an_address_or_in_a_folder(tmp_path, url):
    signed = "" if url.startswith("file:") else ", gpgcheck: true, gpgkey: /etc/apt/keyrings/site.gpg"
    assert loaded(tmp_path, GOOD + f"  repository: {{baseurl: '{url}'{signed}}}\n").repository.baseurl == url


@pytest.mark.parametrize(
    ("section", "remedy"),
    [
        ("repository: {baseurl: 'https://ci:hunter2@packages.example.org'}", "/etc/apt/auth.conf.d"),
        (f"airavata: {{images: {{portal: {{pull: 'ci:hunter2@registry.example.org/a@sha256:{'1' * 64}'}}}}}}", "belongs in auth"),
    ],
)
def test_a_login_in_an_address_is_refused_unsaid_because_papermill_would_write_it_into_notebooks(tmp_path, section, remedy):
    with pytest.raises(SiteError) as refused:
        loaded(tmp_path, GOOD + f"  {section}\n")
    assert remedy in str(refused.value) and "hunter2" not in str(refused.value)


def test_relative_paths_start_at_the_project_s_folder(tmp_path, monkeypatch):
    (tmp_path / "parameters").mkdir()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "password").write_text("canary\n")
    (tmp_path / "password").chmod(0o600)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert (
        session_of(
            Site.load(
                {
                    "name": "paths",
                    "nodes": [{"name": "a", "address": "10.0.0.1", "role": "master"}],
                    "registry": {"password": "file:password"},
                }
            )
        ).vault.secret("file:password")
        == "canary"
    )
    (tmp_path / "parameters" / "gateway.yaml").write_text(GOOD)
    assert Site.load("gateway").name == Site.load("parameters/gateway.yaml").name == "gateway"


@pytest.mark.parametrize("path", ["~nosuchuser/x", "\ud800", "x" * 5000])
def test_a_secret_s_file_that_is_invalid_is_reported(path):
    with pytest.raises(SiteError):
        session_of(Site.load("lab")).vault.secret(f"file:{path}")


def test_an_image_below_the_folder_of_an_unknown_user_is_reported(tmp_path):
    with pytest.raises(SiteError, match="invalid path"):
        resolve(ImageSource(archive="~nosuchuser/x.tar"))
    with pytest.raises(BadImage, match="no such image archive") as caught:
        resolve(ImageSource(archive="~/no-such.tar"))
    assert str(paths.resolve_path("~/no-such.tar")) in str(caught.value)


@pytest.mark.parametrize(
    "section",
    [
        {"lab": None},
        {"repository": {"baseurl": "file:///etc"}},
        {"repository": {"gpgkey": "https://x/key"}},
        {"registry": {"password": "generated:../x"}},
        {"ssh": {"jump": "b:0"}},
        {"registry": {"root": "/opt/../etc"}},
        {"airavata": {"images": {"portal": {"pull": "x", "auth": "generated:x"}}}},
    ],
)
def test_an_editor_that_has_the_schema_refuses_it_too(section):
    site = {"name": "gateway", "nodes": [{"name": "head", "address": "10.0.0.11", "role": "master"}]}
    jsonschema.validate({"site": site}, json.loads(schema_text()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"site": {**site, **section}}, json.loads(schema_text()))
