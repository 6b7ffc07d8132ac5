"""Images by digest, and who may change them: tried from outside, with the logins that are found on the hosts."""

import base64
import json
import re
from pathlib import Path

import pytest

from airavata_runbook.cluster.session import session_of
from airavata_runbook.wellknown import IMAGES
from tests.site.test_outside import ca, curl, forwarded, kubectl, output  # noqa: F401 (fixtures)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SANDBOX = "ctr -n k8s.io containers list 'labels.\"io.cri-containerd.kind\"==sandbox' | tail -n +2"


@pytest.fixture(scope="module")
def record(site, hosts) -> dict[str, str]:
    """repository:tag → digest, as the master has it."""
    return json.loads(output(hosts[site.master.name], f"cat {IMAGES}"))


@pytest.fixture(scope="module")
def logins(site, hosts, kubectl) -> dict[str, str]:  # noqa: F811
    """Where a login of the registry was found → user:password. Every file that containerd reads, and every Secret."""
    found = {}
    for name, host in hosts.items():
        for line in output(host, "grep -r authorization /etc/containerd").splitlines():
            path, encoded = re.fullmatch(r'(\S+?):.*"Basic (\S+)"', line).groups()
            found[f"{name}: {path}"] = base64.b64decode(encoded).decode()
    for secret in json.loads(kubectl("get", "secrets", "--all-namespaces", "-o", "json"))["items"]:
        if secret["type"] == "kubernetes.io/dockerconfigjson":
            config = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
            for address, one in config["auths"].items():
                found[f"Secret of {secret['metadata']['namespace']} for {address}"] = base64.b64decode(one["auth"]).decode()
    assert len(found) == 2 * len(hosts) + 2, sorted(found)
    return found


@pytest.fixture(scope="module")
def ask(site, hosts, ca):  # noqa: F811
    """A request to the registry: a function from port, login, path and curl's options to status and body."""

    def call(port: int, login: str, path: str, *words: str | Path) -> tuple[int, str]:
        with forwarded(hosts[site.registry_node.name], port) as (address, local):
            url, to = f"https://{site.registry.name}:{port}/v2/{path}", f"::{address}:{local}"
            return curl(ca, url, "--connect-to", to, "-u", login, "-H", f"Accept: {MANIFEST}", *map(str, words))

    return call


def admin(site) -> str:
    return f"{site.registry.user}:{session_of(site).vault.secret(site.registry.password)}"


def test_the_logins_of_hosts_and_pods_pull_and_change_nothing(site, logins, record, ask, tmp_path):
    name, digest = next((name, digest) for name, digest in record.items() if name.startswith("coredns:"))
    tag = name.partition(":")[2]
    manifest, empty = tmp_path / "manifest", tmp_path / "empty"
    empty.write_bytes(b"")
    attempts = {
        "upload": ("coredns/blobs/uploads/", "-X", "POST", "--data-binary", f"@{empty}"),
        "overwrite": (f"coredns/manifests/{tag}", "-T", manifest, "-H", f"Content-Type: {MANIFEST}"),
        "new tag": ("coredns/manifests/new", "-T", manifest, "-H", f"Content-Type: {MANIFEST}"),
        "delete a tag": (f"coredns/manifests/{tag}", "-X", "DELETE"),
        "delete an image": (f"coredns/manifests/{digest}", "-X", "DELETE"),
        "delete a blob": (f"coredns/blobs/{digest}", "-X", "DELETE"),
    }
    for where, login in logins.items():
        status, text = ask(site.registry_pull_port, login, f"coredns/manifests/{digest}")
        assert status == 200, f"{where}: a pull"
        manifest.write_text(text)
        blob = json.loads(text)["layers"][0]["digest"]
        assert ask(site.registry_pull_port, login, f"coredns/blobs/{blob}", "-o", "/dev/null")[0] == 200
        for what, words in attempts.items():
            assert ask(site.registry_pull_port, login, *words)[0] == 405, f"{where}: {what}"
            assert ask(site.registry.port, login, *words)[0] == 401, f"{where}: {what} on the other port"
        assert ask(site.registry.port, login, f"coredns/manifests/{digest}")[0] == 401
    assert len({*logins.values()}) == 1 and site.registry.user not in next(iter(logins.values()))


def test_the_sites_user_pushes_and_deletes_nothing(site, hosts, record, ask, tmp_path):
    login, (name, digest) = admin(site), next(item for item in record.items() if item[0].startswith("coredns:"))
    tag, manifest, empty = name.partition(":")[2], tmp_path / "manifest", tmp_path / "empty"
    empty.write_bytes(b"")
    status, text = ask(site.registry.port, login, f"coredns/manifests/{digest}")
    manifest.write_text(text)
    put = ("-T", manifest, "-H", f"Content-Type: {MANIFEST}")
    assert status == 200 and ask(site.registry.port, login, f"coredns/manifests/{tag}", *put)[0] == 201
    post = ("-X", "POST", "--data-binary", f"@{empty}")
    assert ask(site.registry.port, login, "coredns/blobs/uploads/", *post)[0] == 202
    assert ask(site.registry.port, login, f"coredns/manifests/{digest}", "-X", "DELETE")[0] == 405
    assert ask(site.registry.port, login, f"coredns/manifests/{tag}", "-X", "DELETE")[0] == 405
    assert ask(site.registry_pull_port, login, f"coredns/manifests/{tag}")[0] == 401


def test_every_container_runs_the_digest_that_its_manifest_names(site, hosts, kubectl, record):  # noqa: F811
    pods = json.loads(kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
    running = 0
    for pod in pods:
        images = {box["name"]: box["image"] for box in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]}
        for status in pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]:
            named, digest = images[status["name"]].split("@")
            assert record[named.removeprefix(f"{site.registry_address}/")] == digest
            assert status["imageID"].rpartition("@")[2] == digest
            running += 1
    assert running >= 8
    pause = next(digest for name, digest in record.items() if name.startswith("pause:"))
    for host in hosts.values():
        sandboxes = [line.split()[1] for line in output(host, SANDBOX).splitlines()]
        assert sandboxes and {*sandboxes} == {f"{site.registry_address}/pause@{pause}"}
        # Else the kubelet could collect it as unused (KEP 4033), and no pod could be started without the registry.
        images = json.loads(output(host, "crictl images -o json"))["images"]
        assert [one["pinned"] for one in images if one["repoDigests"] == [f"{site.registry_address}/pause@{pause}"]] == [True]


def test_the_record_of_digests_is_roots_and_is_what_the_registry_has(site, hosts, record, logins, ask):
    assert output(hosts[site.master.name], f"stat -c '%a %U' {IMAGES}") == "600 root"
    login = next(iter(logins.values()))
    for name, digest in record.items():
        repository, _, tag = name.partition(":")
        status, headers = ask(site.registry_pull_port, login, f"{repository}/manifests/{tag}", "-I")
        assert status == 200 and f"docker-content-digest: {digest}" in headers.lower()
