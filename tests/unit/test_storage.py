"""The databases' folders: when they may be used, and how they are copied, on this machine."""

import json
import os
import socket
from types import SimpleNamespace

import pytest
from kubernetes.client import ApiClient

from airavata_runbook.cluster import storage_users
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts import folder_copy
from airavata_runbook.hosts.folder_copy import Place
from airavata_runbook.resources import StorageUsable
from airavata_runbook.site import Site, storage
from tests.unit.test_engine import ThisMachine

CONTEXT = Context(SimpleNamespace(name="worker"), None)
SITE = Site.load("lab")


class Machine(ThisMachine):
    def stop(self):
        self.stopped = True

    def resume(self):
        pass


@pytest.fixture
def places(tmp_path):
    """Two folders with all kinds of files, and where they are copied to."""
    source, host = tmp_path / "old", Machine()
    for name in ("one", "two"):
        (source / name / "deep").mkdir(parents=True)
    (source / "one" / "deep" / "file with\nline").write_bytes(os.urandom(100_000))
    (source / "one").chmod(0o700)
    (source / "two" / "link").symlink_to("nowhere")
    with (source / "two" / "sparse").open("wb") as file:
        file.truncate(1 << 26)
    return Place(host, str(source), ("one", "two")), Place(host, str(tmp_path / "new" / "deeper"), ("one", "two"))


def test_a_copy_is_equal_and_keeps_modes_links_and_holes(places, tmp_path):
    source, target = places
    folder_copy.copy(source, target, lambda count: None)
    assert folder_copy.differences(source, target, lambda: None) == []
    new = tmp_path / "new" / "deeper"
    assert (new / "one").stat().st_mode & 0o777 == 0o700 and os.readlink(new / "two" / "link") == "nowhere"
    assert (new / "two" / "sparse").stat().st_blocks < 100
    assert folder_copy.size(target) == pytest.approx(folder_copy.size(source), rel=0.2)
    folder_copy.empty(target)
    assert {path.name for path in new.rglob("*")} == {"one", "two"}


@pytest.mark.parametrize("damage", ["content", "mode", "missing", "more"])
def test_every_difference_of_a_copy_is_found(places, tmp_path, damage):
    source, target = places
    folder_copy.copy(source, target, lambda count: None)
    sparse = tmp_path / "new" / "deeper" / "two" / "sparse"
    if damage == "content":
        with sparse.open("r+b") as file:
            file.seek(1 << 25)
            file.write(b"x")
    elif damage == "mode":
        sparse.chmod(0o600)
    elif damage == "missing":
        sparse.unlink()
    else:
        sparse.with_name("more").touch()
    assert folder_copy.differences(source, target, lambda: None) != []


def test_a_copy_that_fails_says_why(places, tmp_path):
    source, target = places
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "deeper").write_text("a file in the place of a folder")
    with pytest.raises(StepFailed, match="(?s)new/deeper.*Not a directory|File exists"):
        folder_copy.copy(source, target, lambda count: None)


def test_nothing_is_not_a_copy_of_nothing(tmp_path):
    nothing = Place(Machine(), str(tmp_path), ("one",))
    with pytest.raises(StepFailed):
        folder_copy.differences(nothing, nothing, lambda: None)


def look(*folders: object) -> storage.Storage:
    return storage.parse(ThisMachine().run(storage.look([str(folder) for folder in folders])).text)


def test_the_state_of_a_folder_is_seen(tmp_path):
    for name in ("full", "empty", "mounted"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "mounted" / "lost+found").mkdir()
    seen = look(*(tmp_path / name for name in ("full", "empty", "mounted", "absent")))
    assert list(seen.state.values()) == ["data", "empty", "empty", "absent"] and seen.users == ()


def test_output_that_is_none_is_refused():
    with pytest.raises(ValueError):
        storage.parse("sh: stat: not found")


FOLDER = "/var/lib/airavata/mariadb"


@pytest.mark.parametrize("state", ["empty", "absent"])
def test_a_database_that_would_start_empty_is_refused(state):
    printed = f"stored {FOLDER}\n{state} {FOLDER}\n"
    (problem,) = storage.problems(SITE, "worker", storage.parse(printed))
    assert FOLDER in problem.found and state in problem.found and storage.STORED in problem.remedy
    with pytest.raises(StepFailed, match="would start empty"):
        StorageUsable(SITE).change(Found(printed.encode()), CONTEXT)


def test_a_folder_that_pods_of_another_namespace_use_is_refused():
    printed = f"data {FOLDER}\nuser other_mariadb-1 {FOLDER}\n"
    (problem,) = storage.problems(SITE, "worker", storage.parse(printed))
    assert "namespace other" in problem.found and "mariadb-1" in problem.found
    assert "airavata.namespace back to other" in problem.remedy


@pytest.mark.parametrize(
    "printed",
    [f"absent {FOLDER}\n", f"empty {FOLDER}\n", f"stored {FOLDER}\ndata {FOLDER}\nuser airavata_mariadb-1 {FOLDER}\n", ""],
)
def test_a_first_run_and_a_site_that_runs_are_right(printed):
    assert list(storage.problems(SITE, "worker", storage.parse(printed))) == []
    assert StorageUsable(SITE).change(Found(printed.encode()), CONTEXT) is None


CLAIM, FOLDERS = {"persistentVolumeClaim": {"claimName": "mariadb"}}, ["/srv/mariadb", "/srv/zookeeper"]


def typed(kind: str, **fields: object):
    return ApiClient().deserialize(json.dumps(fields), kind, "application/json")


def with_volume(kind: str, name: str, volume: dict, namespace: str = "airavata", **fields: object):
    """A pod, or a workload with such pods, that uses a volume."""
    spec: dict = {"containers": [], "volumes": [{"name": "data", **volume}]}
    if kind != "V1Pod":
        template = {"metadata": {}, "spec": spec}
        spec = {"selector": {}, "template": template} | ({"serviceName": name} if "Stateful" in kind else {})
    return typed(kind, metadata={"name": name, "namespace": namespace}, spec=spec, **fields)


def test_all_that_uses_the_folders_is_stopped_and_its_pods_awaited():
    volumes = [
        {"local": {"path": "/srv/mariadb"}, "claimRef": {"namespace": "airavata", "name": "mariadb"}},
        {"local": {"path": "/srv/other"}, "claimRef": {"namespace": "airavata", "name": "other"}},
        {"hostPath": {"path": "/srv/mariadb"}},
    ]
    pods = [
        with_volume("V1Pod", "mariadb-0", CLAIM, status={"phase": "Running"}),
        with_volume("V1Pod", "elsewhere", CLAIM, "another", status={"phase": "Running"}),  # a claim of another namespace
        with_volume("V1Pod", "debug", {"hostPath": {"path": "/srv/zookeeper"}}, "another", status={"phase": "Pending"}),
        with_volume("V1Pod", "evicted", CLAIM, status={"phase": "Failed"}),
    ]
    stopped, paused, seen = [], [], []

    def list_pods():
        seen.append([f"{pod.metadata.name}" for pod in pods])
        return SimpleNamespace(items=pods if len(seen) < 3 else pods[1:2] + pods[3:])

    apps = SimpleNamespace(
        list_namespaced_deployment=lambda namespace: SimpleNamespace(
            items=[
                with_volume("V1Deployment", "zookeeper", {"hostPath": {"path": "/srv/zookeeper"}}),
                with_volume("V1Deployment", "portal", {"emptyDir": {}}),
            ]
        ),
        list_namespaced_stateful_set=lambda namespace: SimpleNamespace(
            items=[
                with_volume("V1StatefulSet", "mariadb", CLAIM),
                with_volume("V1StatefulSet", "other", {"persistentVolumeClaim": {"claimName": "other"}}),
            ]
        ),
        patch_namespaced_deployment_scale=lambda *words: stopped.append(words),
        patch_namespaced_stateful_set_scale=lambda *words: stopped.append(words),
    )
    core = SimpleNamespace(
        list_persistent_volume=lambda: SimpleNamespace(items=[typed("V1PersistentVolume", spec=one) for one in volumes]),
        list_pod_for_all_namespaces=list_pods,
    )
    session = SimpleNamespace(kube=lambda: SimpleNamespace(apps=apps, core=core), master=SimpleNamespace(pause=paused.append))
    assert storage_users.stop(session, "airavata", FOLDERS) == ["mariadb", "zookeeper"]
    assert stopped == [(name, "airavata", {"spec": {"replicas": 0}}) for name in ("zookeeper", "mariadb")]
    assert len(paused) == 2, "until neither the database's pod nor the other user of its folder is left"


def test_a_socket_is_not_compared(places, tmp_path, monkeypatch):
    source, target = places
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path / "old" / "one")  # a path of a socket is short
        server.bind("s")
        folder_copy.copy(source, target, lambda count: None)
        assert folder_copy.differences(source, target, lambda: None) == []
