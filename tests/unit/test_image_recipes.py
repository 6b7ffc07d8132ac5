"""The recipes as data, and what of building them needs neither root nor network."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images.layout import open_archive
from airavata_runbook.local import paths
from airavata_runbook.mirror import image_steps, images, jar_steps, java_steps, oci_writer
from airavata_runbook.mirror.components import BY_NAME as COMPONENTS
from airavata_runbook.mirror.recipes import BY_NAME, FILES, RECIPES, STAND_IN
from airavata_runbook.pki import issue as pki

SCRIPTS = sorted(path for path in FILES.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!"))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    return paths.cache_dir()


def _is_there(source: Path) -> bool:
    return source.exists() or source == STAND_IN  # its files are looked at by their own tests


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_what_a_recipe_names_exists(recipe):
    assert recipe.parent is None or RECIPES.index(BY_NAME[recipe.parent]) < RECIPES.index(recipe)
    assert [path for _, path, _ in recipe.files if not _is_there(path)] == []
    for path, component, name in recipe.programs:
        assert path.startswith("/") and name in COMPONENTS[component].programs.values()
        assert recipe.version == COMPONENTS[component].version
    assert recipe.version or recipe.versioned_by


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_no_image_runs_as_root(recipe):
    assert recipe.user != 0
    assert images.settings(recipe, "1")[0]["User"] == f"{recipe.user}:{recipe.user}"


def test_a_stand_in_says_so_in_title_and_labels():
    _, labels = images.settings(BY_NAME["stand-in"], "2.2.7")
    assert "STAND-IN" in labels["org.opencontainers.image.title"]
    assert labels["org.apache.airavata.runbook.stand-in"] == "STAND-IN"


def test_python_packages_are_pinned_by_digest():
    lines = [line for line in BY_NAME["stand-in"].requirements.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 5
    assert all("==" in line and "--hash=sha256:" in line for line in lines)


@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if b"bash" in path.read_bytes()[:20]], ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_entry_points_are_valid_shell(script):
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "set -euo pipefail" in script.read_text()


def test_a_layer_is_made_anew_when_its_recipe_or_its_parents_change():
    recipe = BY_NAME["toolbox"]
    assert images.key(recipe) == images.key(replace(recipe, seconds=1, title="other")), "that is in no layer"
    changed = [
        replace(recipe, packages=("python3",)),
        replace(recipe, folders=("/data",)),
        replace(recipe, parent=None),
        replace(recipe, files=(("/usr/bin/netcheck", recipe.files[0][1], 0o755),)),
    ]
    assert len({images.key(one) for one in (recipe, *changed)}) == 5


def test_steps_of_java_belong_to_the_recipes_that_have_them(monkeypatch):
    java, keycloak, others = BY_NAME["java"], BY_NAME["keycloak"], [BY_NAME["toolbox"], BY_NAME["mariadb"], BY_NAME["pause"]]
    before = [images.key(one) for one in (java, keycloak, *others)]
    real = images.fingerprint
    monkeypatch.setattr(images, "fingerprint", lambda text: "other" if "def trust_store" in text else real(text))
    changed = [was != images.key(one) for was, one in zip(before, (java, keycloak, *others), strict=True)]
    assert changed == [True, True, False, False, False]
    assert images.key(keycloak) != images.key(replace(keycloak, archive=replace(keycloak.archive, sha256="0" * 64)))


@pytest.mark.skipif(not shutil.which("keytool"), reason="keytool (of a JRE) reads the trust store")
def test_java_reads_the_trust_store_and_it_is_always_the_same(tmp_path):
    authorities = [pki.new_ca(name).cert for name in ("One", "Two")]
    store = java_steps.trust_store(b"# a comment\n".join(authorities))
    assert store == java_steps.trust_store(authorities[1] + authorities[0] + authorities[1])
    (tmp_path / "store").write_bytes(store)
    listed = subprocess.run(
        ["keytool", "-list", "-v", "-keystore", tmp_path / "store", "-storepass", "changeit"], capture_output=True, text=True
    )
    assert listed.returncode == 0 and listed.stdout.count("trustedCertEntry") == 2, listed.stdout
    assert "CN=One" in listed.stdout and "CN=Two" in listed.stdout


def test_an_archive_is_unpacked_without_its_first_folder(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "keycloak.tar.gz", "w:gz") as tar:
        for name in ("keycloak-1/bin/kc.sh", "keycloak-1/conf/keycloak.conf"):
            info = tarfile.TarInfo(name)
            info.mode, info.uid = 0o755, 1001
            tar.addfile(info)
    monkeypatch.setattr(java_steps.maven, "fetch", lambda artifact, sha256: tmp_path / "keycloak.tar.gz")
    java_steps.prepare(BY_NAME["keycloak"], tmp_path / "root")
    file = tmp_path / "root/opt/keycloak/bin/kc.sh"
    assert file.stat().st_mode & 0o777 == 0o755 and file.stat().st_uid == os.getuid()


def test_jars_are_put_into_one_folder_each_by_its_digest(tmp_path, monkeypatch):
    kafka = BY_NAME["kafka"]
    listed = jar_steps.listed(kafka.jars)
    assert ("org.apache.kafka:kafka_2.13:" + kafka.version) in dict(listed) and len(dict(listed)) == len(listed)
    assert all(artifact.count(":") == 2 and re.fullmatch("[0-9a-f]{64}", sha256) for artifact, sha256 in listed)
    fetched = []
    (tmp_path / "any.jar").write_text("jar")
    monkeypatch.setattr(jar_steps.maven, "fetch", lambda *one: fetched.append(one) or tmp_path / "any.jar")
    jar_steps.apply(kafka, tmp_path / "root")
    jar_steps.apply(BY_NAME["java"], tmp_path / "none")
    assert fetched == [(artifact, sha256, "jar") for artifact, sha256 in listed] and not (tmp_path / "none").exists()
    assert (tmp_path / f"root/opt/kafka/kafka_2.13-{kafka.version}.jar").stat().st_mode & 0o777 == 0o644
    assert len(list((tmp_path / "root/opt/kafka").iterdir())) == len(listed), "two of one name"


def test_an_unknown_image_is_named_with_those_there_are(cache):
    with pytest.raises(CannotBuild) as caught:
        images.build(["mysql"])
    assert "mysql" in str(caught.value) and "mariadb" in caught.value.needed


def _fake_layers(steps_seen, monkeypatch):
    def steps(one, root):
        steps_seen.append(one.name)
        (root / one.name).write_text(one.name)

    monkeypatch.setattr(image_steps, "apply", steps)
    monkeypatch.setattr(image_steps, "package_version", lambda root, package: "1.0")
    monkeypatch.setattr(images.os, "geteuid", lambda: 0)

    def unpack(layer, file, root):
        subprocess.run(["tar", "-xzf", file, "-C", root, "--no-same-owner"], check=True)

    monkeypatch.setattr(oci_writer, "unpack", unpack)


def test_images_share_layers_and_the_cache_and_a_damaged_layer_is_made_again(cache, monkeypatch):
    """Steps that need root are replaced; layers, cache and layouts are the real ones."""
    seen: list[str] = []
    _fake_layers(seen, monkeypatch)
    first = images.build(["toolbox", "rabbitmq", "mariadb"])
    assert seen == ["base", "toolbox", "mariadb", "rabbitmq"]
    layers = {name: [blob.digest for blob in open_archive(path).blobs[1:]] for name, path in first.items()}
    assert layers["rabbitmq"][:2] == layers["toolbox"] and layers["mariadb"][0] == layers["toolbox"][0]
    assert [len(layers[name]) for name in ("toolbox", "rabbitmq", "mariadb")] == [2, 3, 2]

    seen.clear()
    assert images.build(["toolbox", "rabbitmq", "mariadb"]) == first
    assert seen == []

    kept = next((cache / "images/layers").glob("mariadb-*")) / "layer.tar.gz"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    again = images.build(["mariadb"])
    assert seen == ["mariadb"]
    open_archive(again["mariadb"]).verify()
    assert not list((cache / "images/layers").glob(".*.part"))


def test_a_step_that_fails_leaves_nothing_in_the_cache(cache, monkeypatch):
    _fake_layers([], monkeypatch)

    def fails(recipe, root):
        (root / "half").write_text("half")
        raise CannotBuild("no network")

    monkeypatch.setattr(image_steps, "apply", fails)
    with pytest.raises(CannotBuild, match="no network"):
        images.build(["toolbox"])
    assert [path.name for path in (cache / "images/layers").iterdir() if path.suffix != ".lock"] == []


def test_shadow_and_dated_bytecode_do_not_depend_on_the_day(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow").write_text("root:*:20780:0:99999:7:::\n")
    cache = tmp_path / "usr/lib/python3/dist-packages/x/__pycache__"
    cache.mkdir(parents=True)
    (cache.parent / "__init__.py").touch()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"\xa7\x0d\x0d\x0a" + bytes(12))
    image_steps._tidy(tmp_path)
    assert (tmp_path / "etc/shadow").read_text() == "root:*:20454:0:99999:7:::\n"
    assert not cache.exists()


def test_no_secret_that_an_installation_made_stays_in_an_image(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow").touch()
    made = [tmp_path / name for name in ("var/lib/rabbitmq/.erlang.cookie", "etc/ssl/private/ssl-cert-snakeoil.key")]
    for path in made:
        path.parent.mkdir(parents=True)
        path.write_text("secret")
    image_steps._tidy(tmp_path)
    assert [path for path in made if path.exists()] == []


@pytest.fixture
def netcheck():
    """The real script, answering on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", SERVE, str(FILES / "toolbox/netcheck")],
        stdout=subprocess.PIPE,
        text=True,
        env={"POD_NAME": "pod-1", "NODE_NAME": "worker"},
    )
    yield int(process.stdout.readline())
    process.kill()
    process.wait()


SERVE = """
import runpy, sys
script = runpy.run_path(sys.argv[1])
server = script["Server"](("127.0.0.1", 0), script["Answer"])
print(server.server_address[1])
server.serve_forever()
"""


def _ask(*targets: str) -> tuple[int, list[dict]]:
    done = subprocess.run([sys.executable, FILES / "toolbox/netcheck", "ask", *targets], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout)


def test_netcheck_answers_with_pod_node_and_client(netcheck):
    with urllib.request.urlopen(f"http://127.0.0.1:{netcheck}/x") as response:
        assert json.load(response) == {"pod": "pod-1", "node": "worker", "client": "127.0.0.1", "path": "/x"}


def test_netcheck_asks_urls_ports_and_names(netcheck):
    status, answers = _ask(f"http://127.0.0.1:{netcheck}/", f"127.0.0.1:{netcheck}", "localhost")
    assert status == 0
    assert answers[0]["answer"]["json"]["node"] == "worker"
    assert answers[1]["answer"] == {"address": "127.0.0.1"}
    assert "127.0.0.1" in answers[2]["answer"]["addresses"]


def test_netcheck_says_what_failed_and_fails(netcheck):
    status, answers = _ask("127.0.0.1:1", "http://127.0.0.1:1/", f"127.0.0.1:{netcheck}", "no-such-name.invalid")
    assert status == 1
    assert [answer["ok"] for answer in answers] == [False, False, True, False]
    assert "refused" in answers[0]["error"]


def test_netcheck_ends_when_it_is_told_to():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, FILES / "toolbox/netcheck", "serve", str(port)])
    try:
        for _ in range(100):
            if _ask(f"127.0.0.1:{port}")[0] == 0:
                break
            time.sleep(0.05)
        process.terminate()
        assert process.wait(5) == 0
    finally:
        process.kill()
