"""`airavata-runbook restore`: what is refused before a host is touched, the order of its parts, and its way on after an end."""

import hashlib
import io
import json
import os
import tarfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import cli, kernel_env
from airavata_runbook.engine.resource import Found
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.resources import Condition, SameSite
from airavata_runbook.run import backup_file, restore
from airavata_runbook.run.backup_file import Key, Lock
from airavata_runbook.site import Site, storage
from airavata_runbook.site.life import LOOK, RECORD, parse_look, record
from airavata_runbook.wellknown import IMAGES
from tests.unit.sessions import open_session
from tests.unit.test_engine import ThisMachine

pyrage = pytest.importorskip("pyrage")
IDENTITY = pyrage.x25519.Identity.generate()
LOCK, KEY = Lock((IDENTITY.to_public(),)), Key((IDENTITY,))
ORDER = [
    "run 01",
    "master.tar",
    "run 02",
    "etcd.db",
    "registry.tar",
    "services",
    "run 03 to 04",
    "mariadb.sql",
    "run 05",
    "run 06",
]


class Machine(ThisMachine):
    """A host whose /etc and /var/lib are folders of the test."""

    def __init__(self, node, root: Path):
        super().__init__()
        self.node, self.name, self.root = node, node.name, root
        (root / "etc/kubernetes").mkdir(parents=True)

    def run(self, script: str, **options):
        return super().run(script.replace("/etc/", f"{self.root}/etc/").replace("/var/lib/", f"{self.root}/var/lib/"))

    def stop(self):
        pass

    resume = stop


def master_tar(site: Site, **files: str) -> bytes:
    content = {RECORD: record(site), IMAGES: json.dumps({"mariadb:1": f"sha256:{'a' * 64}"})} | files
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in content.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return archive.getvalue()


@pytest.fixture
def site() -> Site:
    return Site.load("lab")


@pytest.fixture
def file(site, tmp_path):
    """A function that writes a backup; about, parts: what it has in the place of a good one's."""

    def write(about=(), **parts: bytes | None) -> Path:
        path = tmp_path / "site.backup"
        path.unlink(missing_ok=True)
        content = {"etcd.db": b"etcd", "master.tar": master_tar(site), "mariadb.sql": b"rows", "registry.tar": b"images"}
        content = {name: parts.get(name.partition(".")[0], data) for name, data in content.items()}
        named = {"site": site.name, "made": "2026-11-30T00:00:00+00:00", "runbook": "1"} | dict(about)
        backup_file.write(path, LOCK, named, [(name, [data]) for name, data in content.items() if data is not None])
        return path

    return write


@pytest.fixture
def hosts(site, tmp_path, monkeypatch):
    """Bare hosts, by name; whatever is sent to one, run on one or done in the cluster is in `done`, in order.

    fails: an error for each of these that is to fail.
    """
    monkeypatch.setenv(kernel_env.LOCK_HELD, "1")
    found = {node.name: Machine(node, tmp_path / node.name) for node in site.nodes}
    open_session(monkeypatch, site, found)
    state = SimpleNamespace(hosts=found, done=[], fails={}, expected=[], received={})

    def do(what: str) -> None:
        if what in state.fails:
            raise state.fails.pop(what)
        state.done.append(what)
        state.expected.append(os.environ[kernel_env.RESTORE].split())

    def run(given, settings, *, server, start=None, to=None, only=None):
        assert given == site
        do(f"run {only or ' to '.join(filter(None, (start, to)))}")

    def feed(host, script, blocks):
        part = {"tar -C / ": "master.tar", "set -e; u": "etcd.db", "set -e\nmk": "registry.tar"}[script[:9]]
        state.received[part] = b"".join(blocks)
        do(part)

    monkeypatch.setattr(restore.runner, "run", run)
    monkeypatch.setattr(restore, "feed", feed)
    monkeypatch.setattr(restore, "KernelServer", nullcontext)
    monkeypatch.setattr(restore._Restore, "_services", lambda self: do("services"))
    monkeypatch.setattr(restore._Restore, "_databases", lambda self: (list(self._blocks("mariadb.sql")), do("mariadb.sql")))
    return state


def test_each_part_is_there_before_what_reads_it_starts(site, file, hosts):
    restore.restore(site, file(), KEY)
    assert hosts.done == ORDER
    assert hosts.received == {"etcd.db": b"etcd", "master.tar": master_tar(site), "registry.tar": b"images"}
    every = set(storage.folders(site))
    at = dict(zip(ORDER, map(set, hosts.expected), strict=True))
    assert at["run 03 to 04"] == every and every - at["run 05"] == {f"{site.airavata.storage_path}/mariadb"}, (
        "once it is loaded, a database that would start empty is refused again"
    )
    assert kernel_env.RESTORE not in os.environ
    etc = hosts.hosts["master"].root / "etc"
    assert not (etc / "airavata-runbook/restoring").exists() and not (etc / "kubernetes/restored").exists()


@pytest.mark.parametrize("what", ["cut", "altered", "another key", "no backup"])
def test_a_file_that_is_not_whole_is_refused_before_a_host_is_asked(site, file, hosts, tmp_path, what):
    path, key = file(), KEY
    whole = path.read_bytes()
    if what == "cut":
        path.write_bytes(whole[:-1])
    elif what == "altered":
        path.write_bytes(whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:])
    elif what == "another key":
        key = Key((pyrage.x25519.Identity.generate(),))
    else:
        path.write_text("rows")
    with pytest.raises(StepFailed, match="this backup is refused"):
        restore.restore(site, path, key)
    assert hosts.done == [] and all(host.trips == 0 for host in hosts.hosts.values())


def test_a_backup_of_another_site_or_of_other_hosts_is_refused_before_a_host_is_asked(site, file, hosts):
    moved = Site.load("lab", {"nodes.worker.address": "10.98.0.77", "network.services": "10.250.0.0/16"})
    for given, said in (
        ({"about": {"site": "other"}}, "(?s)backup of another site.*site other.*site lab"),
        ({"master": master_tar(moved)}, "(?s)nodes.address: .*10.98.0.77.*|network.services: .*10.250.0.0/16"),
        ({"master": master_tar(site, **{RECORD: "{}"})}, "record of the site in the backup is damaged"),
        ({"master": b""}, "lacks a file of the master"),
        ({"registry": None}, "(?s)lacks a part.*registry.tar"),
    ):
        with pytest.raises((SiteError, StepFailed), match=said):
            restore.restore(site, file(**given), KEY)
    assert hosts.done == [] and all(host.trips == 0 for host in hosts.hosts.values())


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("master", "etc/kubernetes/pki/ca.key"),
        ("worker", "etc/kubernetes/pki/ca.crt"),
        ("master", "var/lib/etcd/member"),
        ("master", "etc/airavata-runbook/secrets/mariadb-root"),
        ("master", "etc/airavata-runbook/site.json"),
    ],
)
def test_hosts_that_have_a_cluster_or_data_are_left_alone(site, file, hosts, host, path):
    there = hosts.hosts[host].root / path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("somebody's")
    with pytest.raises(StepFailed, match=f"(?s)overwrites none.*{host}: .*reset lab --data"):
        restore.restore(site, file(), KEY)
    assert hosts.done == [] and there.read_text() == "somebody's"


def test_folders_of_databases_and_images_count_as_data(tmp_path, file, hosts, monkeypatch):
    here = Site.load("lab", {"airavata.storage_path": f"{tmp_path}/data", "registry.root": f"{tmp_path}/registry"})
    open_session(monkeypatch, here, hosts.hosts)
    path = file(master=master_tar(here))
    for folder in ("data/mariadb", "registry/data"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("somebody's")
        with pytest.raises(StepFailed, match=f"(?s)overwrites none.*{folder}"):
            restore.restore(here, path, KEY)
        (tmp_path / folder / "file").rename(tmp_path / "file")
        (tmp_path / folder / "lost+found").mkdir()
    assert hosts.done == []


@pytest.mark.parametrize("end", [StepFailed("the disk is full"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ORDER[1:-1])
def test_a_restore_that_ends_on_the_way_says_so_and_goes_on_there(site, file, hosts, at, end, capsys):
    path, hosts.fails = file(), {at: end}
    with pytest.raises(type(end)) as caught:
        restore.restore(site, path, KEY)
    said = str(caught.value) + capsys.readouterr().out
    assert "not restored yet" in said and "same command again" in said and "reset lab --data" in said
    state = hosts.hosts["master"].run(LOOK).text
    assert parse_look(state)[0] == "restoring" and kernel_env.RESTORE not in os.environ
    with pytest.raises(StepFailed, match="the site is not restored yet"):  # a run
        SameSite(site).change(Found(answer=state), SimpleNamespace())
    with pytest.raises(StepFailed, match="(?s)overwrites none.*another backup that did not end"):
        restore.restore(site, file(mariadb=b"other rows"), KEY)

    before, hosts.done[:] = [one for one in hosts.done if not one.startswith("run")], []
    restore.restore(site, file(), KEY)
    parts = [one for one in hosts.done if not one.startswith("run")]
    assert before + parts == [one for one in ORDER if not one.startswith("run")], "no part twice, and none left out"
    assert [one for one in hosts.done if one.startswith("run")] == [one for one in ORDER if one.startswith("run")]


def test_a_failure_of_the_checks_or_of_the_verification_is_no_half_restore(site, file, hosts):
    for at in ("run 01", "run 06"):
        hosts.fails = {at: StepFailed("as the run says it")}
        with pytest.raises(StepFailed, match="as the run says it") as caught:
            restore.restore(site, file(), KEY)
        assert "not restored yet" not in str(caught.value)
        assert parse_look(hosts.hosts["master"].run(LOOK).text)[0] != "restoring"


def test_after_a_reset_that_keeps_data_all_parts_are_restored_again(site, file, hosts):
    hosts.fails = {"run 05": StepFailed("it ends")}
    with pytest.raises(StepFailed):
        restore.restore(site, file(), KEY)
    (hosts.hosts["master"].root / "etc/kubernetes/restored").unlink()  # with all of /etc/kubernetes
    hosts.done.clear()
    restore.restore(site, file(), KEY)
    assert hosts.done == ORDER


def test_a_database_may_start_empty_only_where_its_data_comes_later(site, monkeypatch):
    folders = list(storage.folders(site))
    seen = storage.parse("".join(f"stored {folder}\nabsent {folder}\n" for folder in folders).replace("stored ", "stored "))
    assert len(list(storage.problems(site, "worker", seen))) == len(folders)
    monkeypatch.setenv(kernel_env.RESTORE, folders[0])
    assert [one.found.split()[0] for one in storage.problems(site, "worker", seen)] == folders[1:]


def blobs(root: Path, *contents: bytes) -> list[str]:
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    for digest, content in zip(digests, contents, strict=True):
        folder = root / "data/docker/registry/v2/blobs/sha256" / digest[:2] / digest
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(content)
    return digests


def test_images_are_as_their_digests_say(tmp_path):
    (digest, other) = blobs(tmp_path / "made", b"one", b"two")
    (tmp_path / "root/data").mkdir(parents=True)
    (tmp_path / "root/data/half").write_text("of an interrupted call")
    there = tmp_path / "made/data/docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"

    def restored(*wanted: str):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.add(tmp_path / "made/data", "data")
        archive = tmp_path / "registry.tar"
        archive.write_bytes(content.getvalue())
        names = " ".join(f"{one[:2]}/{one}/data" for one in wanted)
        script = restore.RESTORE_REGISTRY.format(root=tmp_path / "root", blobs=names)
        return ThisMachine().run(f"( {script} ) < {archive}")

    assert restored(digest, other).status == 0
    assert not (tmp_path / "root/data/half").exists()
    assert (tmp_path / "root" / there.relative_to(tmp_path / "made")).read_bytes() == b"one"
    lacking = restored(digest, "f" * 64)
    assert lacking.status and f"there is no image sha256:ff/{'f' * 64}" in lacking.text
    there.write_bytes(b"One")
    altered = restored(digest, other)
    assert altered.status and digest in altered.text


def test_nothing_of_airavata_is_left_for_a_kubelet_to_start(site, monkeypatch):
    """Its servers would take an empty database for their own, and fill it before the rows are loaded."""
    calls: list[tuple] = []

    def one(name: str, **status: str) -> SimpleNamespace:
        return SimpleNamespace(metadata=SimpleNamespace(name=name), status=SimpleNamespace(**status))

    there = {
        "pod": [one("api-server-x", phase="Running"), one("schema-x", phase="Succeeded")],
        "job": [one("schema", completion_time="today"), one("realm", completion_time=None)],
    }

    class Api:
        def __getattr__(self, name: str):
            def call(*words, **options):
                calls.append((name, *words, *options.values()))
                return SimpleNamespace(items=there.get(name.rpartition("_")[2], [one("api-server")]))

            return call

    session = open_session(monkeypatch, site, {node.name: SimpleNamespace(name=node.name, node=node) for node in site.nodes})
    monkeypatch.setattr(session, "kube", lambda: SimpleNamespace(apps=Api(), core=Api(), batch=Api()))
    monkeypatch.setattr(restore, "SERVICES", [])
    restore._Restore(session, None, lambda **chapters: None, set())._services()
    none = {"spec": {"replicas": 0}}
    for kind in ("deployment", "replica_set", "stateful_set"):
        assert (f"patch_namespaced_{kind}_scale", "api-server", "airavata", none) in calls
    assert [one for one in calls if one[0].startswith("delete")] == [
        ("delete_namespaced_job", "realm", "airavata", "Background"),
        ("delete_namespaced_pod", "api-server-x", "airavata", 0),
    ]


def test_the_key_is_given_as_for_other_commands(tmp_path, capsys):
    assert cli.main(["restore", "lab", str(tmp_path / "none"), "--passphrase", "canary"]) == 1
    said = capsys.readouterr()
    assert "takes a reference" in said.err and "canary" not in said.out + said.err


def test_rows_are_loaded_into_an_empty_database_which_then_starts_with_them(site, file, monkeypatch):
    done: list[str] = []
    hosts = {node.name: SimpleNamespace(name=node.name, node=node) for node in site.nodes}
    session = open_session(monkeypatch, site, hosts)
    scale = lambda name, namespace, body: done.append(f"{name}: {body['spec']['replicas']}")  # noqa: E731
    monkeypatch.setattr(session, "kube", lambda: SimpleNamespace(apps=SimpleNamespace(patch_namespaced_stateful_set_scale=scale)))
    monkeypatch.setattr(restore.storage_users, "stop", lambda session, namespace, folders: done.append(f"stop {folders}"))
    monkeypatch.setattr(restore.folder_copy, "empty", lambda place: done.append(f"empty {place}"))
    monkeypatch.setattr(restore._Restore, "_step", lambda self, step: done.append(step.title))
    monkeypatch.setattr(Condition, "wait", lambda self, host: done.append(f"wait for {self.awaited}"))
    monkeypatch.setattr(restore.mariadb.Database, "load", lambda self, master, blocks: done.append(f"load {b''.join(blocks)!r}"))
    restore._Restore(session, restore.examine(file(), KEY), lambda **chapters: None, set())._databases()
    start, folder = ["mariadb: 1", "wait for StatefulSet mariadb"], f"{site.airavata.storage_path}/mariadb"
    assert done == [
        f"stop ['{folder}']",
        f"empty {site.airavata.storage_path} on worker",
        "Storage folders of the databases",
        *start,
        "load b'rows'",
        f"stop ['{folder}']",
        *start,
    ]
