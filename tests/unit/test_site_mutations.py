"""Good site files, each spoilt in one place: every one is refused before any host is touched, with the field, the value and
what would be right."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from airavata_runbook import Site
from airavata_runbook.errors import SiteError
from airavata_runbook.site.schema import FILE, schema_text
from airavata_runbook.site.sources import Sources

PROJECT = Path(__file__).parents[2]
FULL = {  # every key that a site file can have
    "name": "full",
    "ssh": {
        "host": "gate.example.org",
        "port": 22,
        "user": "operator",
        "key": "~/.ssh/id_ed25519",
        "passphrase": "prompt:ssh-key",
        "jump": "me@bastion.example.org:2222",
        "jump_fingerprint": "SHA256:" + "J" * 43,
        "known_hosts": "~/.ssh/known_hosts",
        "legacy": False,
        "config": False,
    },
    "nodes": [
        {
            "name": "head",
            "address": "10.94.0.21",
            "interface": "eth0",
            "role": "master",
            "ssh": {"fingerprint": "SHA256:" + "A" * 43, "host": "head.example.org"},
        },
        {"name": "one", "address": "10.94.0.22", "interface": "eth0", "role": "worker"},
        {"name": "two", "address": "10.94.0.23", "ssh": {"port": 2202}},
    ],
    "network": {
        "pods": "10.52.0.0/14",
        "services": "10.60.0.0/20",
        "subnet_length": 25,
        "backend": "vxlan",
        "etcd_prefix": "/gateway/network",
        "domain": "gateway.internal",
    },
    "repository": {
        "id": "site-packages",
        "name": "Our packages",
        "baseurl": "https://packages.example.org/debian",
        "gpgcheck": True,
        "gpgkey": "/etc/apt/keyrings/site.gpg",
    },
    "proxy": {
        "http": "http://proxy:3128",
        "https": "http://[fd00::1]:3128",
        "no": [".example.org", "10.0.0.0/8"],
        "auth": "env:PROXY",
    },
    "sources": dict.fromkeys(Sources.model_fields, "repository") | {"coredns": "build"},
    "versions": {
        "kubernetes": "1.36.3",
        "etcd": "3.6.16",
        "containerd": "2.4.2",
        "flannel": "0.28.10",
        "cri_tools": "1.36.0",
        "registry": "3.1.2",
    },
    "registry": {
        "node": "one",
        "port": 5443,
        "pull_port": 5444,
        "name": "images.gateway.internal",
        "root": "/srv/registry",
        "user": "puller",
        "password": "env:REGISTRY",
        "certificate": {"certificate": "my.crt", "chain": "chain.crt", "key": "file:my.key"},
        "maintenance": True,
    },
    "airavata": {
        "stack": "classic",
        "namespace": "gateway",
        "stand_in": True,
        "api_replicas": 3,
        "gateway": "demo",
        "storage_node": "two",
        "storage_path": "/srv/gateway",
        "portal_node_port": 31443,
        "api_node_port": 31930,
        "images": {
            "portal": {"pull": "registry.example.org/portal", "digest": "sha256:" + "a" * 64, "auth": "env:PULL"},
            "gfac": {"archive": "gfac.tar"},
            "orchestrator": {"build": "orchestrator"},
            "credential-store": {"jar": "https://example.org/credential-store.jar", "sha256": "1" * 64},
        },
        "components": {
            "portal": {
                "image": "gfac",
                "replicas": 2,
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
                "env": {"TITLE": "A gateway"},
                "ports": {"https": 30443},
            },
            "kafka": {"enabled": True},
        },
        "identity_server": {"url": "https://iam.example.org/auth", "ca": "iam.pem", "admin": "root"},
        "secrets": {"airavata-server": "file:airavata-server.properties"},
    },
    "ignore_checks": ["swap", "machine-id"],
    "verify": {"disruptive": True},
    "lab": {
        "bridge": "lab4",
        "network": "10.94.0.0/24",
        "firewall": "closed",
        "memory": 2048,
        "hosts": {"two": {"packages": "rpm"}},
    },
}
FREE = {
    ("airavata", "images"),
    ("airavata", "secrets"),
    ("airavata", "components"),
    ("airavata", "components", "portal", "env"),
    ("airavata", "components", "portal", "ports"),
    ("lab", "hosts"),
}  # their keys are names that a site chooses


def walk(value, path=()):
    """Every (path, value) below `value`, containers too."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key), item
        yield from walk(item, (*path, key))


def spoilt(path: tuple, change) -> dict:
    """A copy of the full site in which the container at path[:-1] was changed: change(container, last key)."""
    site = copy.deepcopy(FULL)
    container = site
    for key in path[:-1]:
        container = container[key]
    change(container, path[-1])
    return site


def refusal(site: dict) -> str:
    with pytest.raises(SiteError) as caught:
        Site.load(site)
    return str(caught.value)


def dotted(path: tuple) -> str:
    return ".".join(map(str, path))


def misspell(key: str) -> str:
    return key[:-1] + key[-1] * 2


KEYS = [path for path, _ in walk(FULL) if isinstance(path[-1], str) and path[:-1] not in FREE]
LEAVES = [path for path, value in walk(FULL) if not isinstance(value, dict | list)]
BRANCHES = [path for path, value in walk(FULL) if isinstance(value, dict | list)]
VALUES = [
    ("name", "Full Site", "lower-case letters"),
    ("name", "", "lower-case letters"),
    ("ssh.port", 0, "at least 1"),
    ("ssh.port", 65536, "at most 65535"),
    ("ssh.port", "22", "whole number"),
    ("ssh.port", True, "whole number"),
    ("ssh.port", 22.5, "whole number"),
    ("ssh.jump", "a b", "[user@]host[:port]"),
    ("ssh.user", "", "letters, digits"),
    ("nodes.0.ssh.fingerprint", "MD5:12:34", "SHA256:…"),
    ("nodes.0.address", "10.94.0.300", "IPv4 address"),
    ("nodes.0.address", "fe80::1", "IPv4 address"),
    ("nodes.0.address", "head", "IPv4 address"),
    ("nodes.0.name", "head.example.org", "lower-case letters"),
    ("nodes.0.role", "boss", "'master' or 'worker'"),
    ("nodes.0.interface", "an-interface-too-long", "at most 15 characters"),
    ("nodes", [], "at least 1"),
    ("network.pods", "10.52.0.0/33", "IPv4 network"),
    ("network.pods", "10.52.1.0/14", "host bits zero"),
    ("network.services", "10.0.0.0/8", "larger than /12"),
    ("network.services", "10.60.0.0", "with its mask"),
    ("network.services", "10.60.0.0/29", "smaller than /24"),
    ("network.services", "10.53.0.0/20", "overlap"),
    ("network.subnet_length", 7, "at least 8"),
    ("network.subnet_length", 30, "at most 28"),
    ("network.subnet_length", 14, "does not fit"),
    ("network.backend", "host-gw", "'vxlan'"),
    ("network.etcd_prefix", "gateway", "a key such as"),
    ("network.pods", "10.94.0.0/16", "is inside network.pods"),
    ("repository.baseurl", "packages.example.org", "starts with"),
    ("repository.gpgcheck", "yes", "true or false"),
    ("repository.gpgcheck", 1, "true or false"),
    ("repository.gpgkey", None, "gpgcheck: true needs gpgkey"),
    ("repository.id", "two words", "letters, digits"),
    ("versions.etcd", 3.6, "quotes"),
    ("versions.etcd", "latest", "a version such as"),
    ("registry.node", "three", "needs the name of a node: head, one, two (found "),
    ("registry.root", "srv/registry", "absolute path"),
    ("registry.password", "hunter2", "needs a reference"),
    ("registry.password", "env:", "needs a reference"),
    ("registry.certificate.key", "my.key", "needs a reference"),
    ("registry.user", "a:b", "letters, digits"),
    ("airavata.api_replicas", 0, "at least 1"),
    ("airavata.portal_node_port", 443, "at least 30000"),
    ("airavata.api_node_port", 31443, "are both 31443"),
    ("airavata.storage_node", "four", "needs the name of a node: head, one, two (found "),
    ("airavata.images.portal", {"pull": "example.org/portal:1"}, "pull needs a digest"),
    ("airavata.images.portal", {"pull": "a@sha256:" + "1" * 64, "archive": "b"}, "exactly one of"),
    ("airavata.images.portal.digest", "sha256:123", "64 hexadecimal"),
    ("airavata.images.portal", {"jar": "a.jar"}, "airavata.images.portal: jar needs sha256"),
    ("airavata.images.portal", {"jar": "a.jar", "sha256": "1" * 63}, "airavata.images.portal.sha256: needs 64 hexadecimal"),
    ("airavata.images.portal", {"jar": "a.jar", "sha256": "1" * 64, "digest": "sha256:" + "1" * 64}, "a jar has sha256"),
    ("airavata.images.portal", {"archive": "a", "sha256": "1" * 64}, "an image has digest"),
    ("airavata.images.portal", {"jar": "http://example.org/a.jar", "sha256": "1" * 64}, "starts with https://"),
    ("airavata.images.portal", {"jar": "https://me:x@example.org/a.jar", "sha256": "1" * 64}, "belongs in auth"),
    ("airavata.images.portal", {"jar": "https://example.org", "sha256": "1" * 64}, "a host and a path"),
    (
        "airavata.unified",
        {"server": {"jar": "a.jar", "sha256": "1" * 64}},
        "airavata.unified.server: unknown in the stack classic",
    ),
    ("airavata.unified", {"server": {"jar": "a.jar"}}, "airavata.unified.server: jar needs sha256"),
    ("airavata.secrets.airavata-server", "plain", "reference"),
    ("ignore_checks.0", "Swap", "lower-case letters, digits and hyphens (found 'Swap')"),
    ("ignore_checks.0", "", "the name of a check"),
    ("ignore_checks.0", "swap-", "the name of a check"),
    ("nodes.0.role", "mastr", "did you mean 'master'?"),
    ("lab.bridge", "br-lab4", "at most nine"),
    ("lab.network", "10.93.0.0/24", "is not in lab.network"),
    ("lab.memory", 512, "at least 1024"),
    ("lab.hosts", {"twoo": {"packages": "rpm"}}, "lab.hosts: no node twoo; did you mean 'two'?"),
    ("lab.hosts.two.packages", "dnf", "'deb' or 'rpm'"),
    ("lab.firewall", "shut", "'open' or 'closed'"),
    ("nodes.1.name", "head", "used by more than one node"),
    ("nodes.1.address", "10.94.0.21", "used by more than one node"),
    ("nodes.1.role", "master", "needs exactly one node with role: master (found 2)"),
    ("nodes.0.role", "worker", "needs exactly one node with role: master (found 0)"),
    ("name", "n" * 41, "at most 40"),
    ("ssh.port", "012", "whole number"),
    ("ssh.jump", "me@127.0.0.1:99999", "from 1 to 65535"),
    ("ssh.jump", "me@127.0.0.1:0", "from 1 to 65535"),
    ("ssh.jump", "..", "[user@]host[:port]"),
    ("ssh.jump", "me@-x", "[user@]host[:port]"),
    ("ssh.jump", "b:٢٢", "[user@]host[:port]"),
    ("ssh.user", "-oX", "the first no dot or hyphen"),
    ("ssh.user", "a\\b\\c", "or DOMAIN\\user"),
    ("ssh.user", "DOM\\user", "a lab creates its users"),
    ("ssh.jump", None, "ssh.jump_fingerprint: head, one, two has no jump host"),
    ("ssh.jump", "one,,two", "[user@]host[:port]"),
    ("ssh.jump_fingerprint", "MD5:12", "SHA256:…"),
    ("ssh.passphrase", "hunter2", "a reference to an existing secret"),
    ("ssh.passphrase", "generated:key", "a reference to an existing secret"),
    ("ssh.legacy", "yes", "true or false"),
    ("ssh.config", 1, "true or false"),
    ("ssh.host", "", "name or address"),
    ("ssh.host", "..", "name or address"),
    ("ssh.host", "my host", "name or address"),
    ("ssh.host", "ssh://x", "name or address"),
    ("ssh.host", "h" * 64, "name or address"),
    ("ssh.host", "head:22", "name or address"),
    ("ssh.host", 12, "quotes"),
    ("ssh.key", "", "needs a path on this machine\n"),
    ("ssh.known_hosts", "a\nb", "a path on this machine"),
    ("nodes.0.address", "0.0.0.0", "this network"),
    ("nodes.0.address", "127.0.0.1", "loopback"),
    ("nodes.0.address", "169.254.1.1", "link-local"),
    ("nodes.0.address", "224.0.0.1", "multicast"),
    ("nodes.0.address", "255.255.255.255", "reserved"),
    ("nodes.0.address", True, "IPv4 address"),
    ("nodes.0.address", 173932567, "IPv4 address"),
    ("nodes.0.address", b"\n\x5e\x00\x15", "IPv4 address"),
    ("nodes.0.address", "10.94.0.0", "is the network address in lab.network"),
    ("nodes.0.address", "10.94.0.255", "is the broadcast address"),
    ("nodes.0.address", "10.94.0.1", "this machine's address on the bridge"),
    ("nodes.2.ssh.port", 22, "one, two all connect to gate.example.org:22 through me@bastion.example.org:2222"),
    ("ssh.fingerprint", "SHA256:" + "B" * 43, "one, two cannot have the same host key"),
    ("network.pods", "0.0.0.0/0", "this network"),
    ("network.pods", "169.254.0.0/16", "link-local"),
    ("network.services", "127.0.0.0/16", "loopback"),
    ("network.services", "224.0.0.0/16", "multicast"),
    ("network.pods", "10.52.0.0", "with its mask"),
    ("network.pods", 171966464, "IPv4 network"),
    ("network.services", "10.94.0.0/16", "network: services 10.94.0.0/16 and lab.network 10.94.0.0/24 overlap"),
    ("network.domain", "cluster..local", "a domain name"),
    ("network.etcd_prefix", "/registry", "the API server keeps Kubernetes' objects"),
    ("network.etcd_prefix", "/registry/network", "the API server keeps Kubernetes' objects"),
    ("nodes.0.interface", "lo", "the loopback"),
    ("nodes.1.interface", "cni0", "the pods' bridge"),
    ("nodes.1.interface", "flannel.1", "the VXLAN interface that flannel makes"),
    ("lab.network", "0.0.0.0/0", "this network"),
    ("repository.name", "a\ndeb [trusted=yes] http://evil ./", "one line"),
    ("repository.id", "..", "the first no dot or hyphen"),
    ("repository.gpgcheck", False, "repository.gpgcheck: needs true with an http:// or https:// baseurl"),
    ("repository.baseurl", "https://packages.example.org/debian#main", "starts with https://"),
    ("repository.baseurl", 'https://packages.example.org/"debian', "starts with https://"),
    ("repository.gpgkey", "https://packages.example.org/key.asc", "keys are not downloaded"),
    ("repository.gpgkey", "keys/site.gpg", "absolute path of a key file on the hosts"),
    ("repository.gpgkey", "/x] http://evil ./\n#", "keys are not downloaded"),
    ("repository.baseurl", "file:///opt/airavata-runbook/repository", "repository.gpgkey: needs none with a file:// baseurl"),
    ("repository.baseurl", "file:///etc", "two levels deep"),
    ("repository.baseurl", "file:///etc/apt", "/etc belongs to the system"),
    ("repository.baseurl", "file://opt/x", "absolute path"),
    ("repository.baseurl", "http:///debian", "and a host"),
    ("versions.etcd", "١.٣", "a version such as"),
    ("sources.etcd", "release", "sources.etcd: release needs a file:// repository.baseurl"),
    ("sources.etcd", "download", "'build', 'release', 'repository' or 'host'"),
    ("proxy.http", "http://user:password@proxy:3128", "without a login, which belongs in auth"),
    ("proxy.https", "https://proxy:3128", "http://HOST:PORT of a proxy"),
    ("proxy.http", "http://proxy:3128/path", "http://HOST:PORT of a proxy"),
    ("proxy.no", ["a b"], "a host, domain or network"),
    ("proxy.auth", "user:password", "a reference to an existing secret"),
    ("sources.coredns", "repository", "'build' or 'release'"),
    ("registry.name", "head", "head is the name of a node that does not run the registry"),
    ("registry.name", "a..b", "a domain name"),
    ("registry.name", "a-.b", "a domain name"),
    ("registry.name", "a" * 64 + ".b", "64 characters"),
    ("registry.root", "/opt/{a}", "absolute path"),
    ("registry.root", "/opt/a:b", "absolute path"),
    ("registry.root", "/opt/*", "absolute path"),
    ("registry.root", "/opt/../etc", "absolute path"),
    ("registry.root", "/etc", "/etc belongs to the system"),
    ("registry.root", "/srv", "/srv is shared with other software"),
    ("registry.password", "generated:../../../shadow", "generated:NAME (lower-case letters"),
    ("registry.password", "env:NO PE=", "needs a reference"),
    ("registry.password", "env:\ud800", "a lone surrogate"),
    ("registry.certificate.key", "generated:key", "cannot be the key of your certificate"),
    ("registry.port", 10250, "used on one by kubelet"),
    ("registry.port", 10248, "used on one by kubelet"),
    ("registry.port", 5444, "registry.pull_port: 5444 is used on one by registry.port"),
    ("registry.pull_port", 10250, "registry.pull_port: 10250 is used on one by kubelet"),
    ("registry.pull_port", 0, "registry.pull_port: needs at least 1"),
    ("registry.maintenance", "yes", "registry.maintenance: needs true or false"),
    ("registry.password", "generated:registry-pull-password", "the password that every host pulls images with"),
    ("airavata.secrets.mariadb-root", "generated:registry-pull-password", "the password that every host pulls images with"),
    ("registry.port", 10256, "used on one by kube-proxy"),
    ("registry.port", 10249, "used on one by kube-proxy"),
    ("registry.port", 31443, "used on one by airavata.portal_node_port"),
    ("registry.port", 31930, "used on one by airavata.api_node_port"),
    ("airavata.storage_path", "/var/lib/etcd", "/var/lib/etcd belongs to the cluster"),
    ("airavata.secrets.airavata-server", "generated:../../../shadow", "generated:NAME (lower-case letters"),
    ("airavata.images.portal.auth", "generated:pull", "a login at another registry"),
    ("airavata.images.portal.pull", "registry.example.org/portal@sha256:" + "b" * 64, "give one of them, or the same"),
    ("airavata.images.portal.pull", "a b", "an image reference"),
    ("airavata.images.gfac.archive", "", "a path on this machine"),
    ("airavata.stack", "clasic", "unknown stack 'clasic'; did you mean 'classic'?"),
    ("airavata.stack", "system", "unknown stack 'system'; known: classic"),
    (
        "airavata.images",
        {"portel": {"archive": "portal.tar"}},
        "airavata.images.portel: unknown in the stack classic; did you mean 'portal'?",
    ),
    (
        "airavata.secrets",
        {"mariadb-rot": "env:X"},
        "airavata.secrets.mariadb-rot: unknown in the stack classic; did you mean 'mariadb-root'?",
    ),
    (
        "airavata.secrets",
        {"x": "env:X"},
        "known: airavata-default-user, airavata-server, credential-store-keystore, identity-server-admin, ",
    ),
    (
        "airavata.secrets",
        {"credential-store-keystore": "env:KEYSTORE"},
        "airavata.secrets.credential-store-keystore: needs file:PATH, since it is not text (found env:KEYSTORE)",
    ),
    ("airavata.namespace", "kube-system", "the prefix kube- is reserved for Kubernetes (found 'kube-system')"),
    ("nodes.1.name", "localhost", "every host's own loopback name"),
    ("registry.name", "localhost", "every host's own loopback name"),
    ("registry.name", "10.94.0.22", "a name, not an address"),
    ("network.domain", "10.0.0.300", "a name, not an address"),
    ("nodes.2.name", "12", "a name, not an address"),
    ("lab", None, "lab: needs keys below it; {} takes all defaults (found nothing)"),
    ("lab", [], "found a list"),
    ("airavata.images.gfac", None, "airavata.images.gfac: needs keys below it (found nothing)"),
]


def test_the_full_site_is_good_and_has_every_key_of_the_model():
    Site.load(FULL)
    schema = json.loads(schema_text())
    known = {(name, key) for name, part in schema["$defs"].items() for key in part.get("properties", ())}
    known = {(name, key) for name, key in known if name != "Unified"} - {("Airavata", "unified")}  # of another stack
    used = {path[-1] for path in KEYS}
    assert {key for _, key in known} == used
    assert len(KEYS) + len(LEAVES) + len(BRANCHES) + len(VALUES) >= 100


@pytest.mark.parametrize("path", KEYS, ids=dotted)
def test_a_misspelt_key_is_refused_with_the_nearest_known_one(path):
    wrong = (*path[:-1], misspell(path[-1]))
    message = refusal(spoilt(path, lambda container, key: container.update({misspell(key): container.pop(key)})))
    assert f"{dotted(wrong)}: unknown key; did you mean {path[-1]!r}?" in message


@pytest.mark.parametrize("path", LEAVES, ids=dotted)
def test_keys_where_a_value_belongs_are_refused(path):
    message = refusal(spoilt(path, lambda container, key: container.__setitem__(key, {"surprise": 1})))
    assert f"- {dotted(path)}: needs " in message


@pytest.mark.parametrize("path", BRANCHES, ids=dotted)
def test_a_value_where_keys_belong_is_refused(path):
    message = refusal(spoilt(path, lambda container, key: container.__setitem__(key, "a word")))
    may_be_secret = "secret" in dotted(path) or path[-1] == "env"
    assert f"- {dotted(path)}: needs " in message and ("(found 'a word')" in message or may_be_secret)


@pytest.mark.parametrize(("field", "value", "said"), VALUES, ids=lambda value: str(value)[:40])
def test_a_value_that_cannot_be_right_is_refused_with_what_would_be(field, value, said):
    path = tuple(int(part) if part.isdigit() else part for part in field.split("."))
    message = refusal(spoilt(path, lambda container, key: container.__setitem__(key, value)))
    assert said in message and (field in message or path[0] in message)


def test_what_may_be_a_password_is_never_repeated():
    for field in (
        "ssh.passphrase",
        "registry.password",
        "registry.certificate.key",
        "airavata.secrets.airavata-server",
        "airavata.images.portal.auth",
    ):
        path = tuple(field.split("."))
        for value in ("canary-hunter2", {"canary-hunter2": 1}, ["canary-hunter2"]):
            message = refusal(spoilt(path, lambda container, key, value=value: container.__setitem__(key, value)))
            assert field in message and "hunter2" not in message


def test_the_committed_schema_is_current():
    assert (PROJECT / FILE).read_text() == schema_text(), f"airavata-runbook schema > {FILE}"


@pytest.mark.parametrize("path", sorted((PROJECT / "parameters").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_site_file_names_the_schema_and_fits_it(path):
    assert path.read_text().startswith("# yaml-language-server: $schema=site.schema.json\n")
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(schema_text()))


def test_the_schema_refuses_what_an_editor_can_know():
    schema = json.loads(schema_text())
    for path in KEYS:
        wrong = spoilt(path, lambda container, key: container.update({misspell(key): container.pop(key)}))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"site": wrong}, schema)
