"""`airavata-runbook move-storage`, on folders of this machine: a site without a cluster, as after a reset that kept data."""

import json
from pathlib import Path

import pytest

from airavata_runbook import kernel_env
from airavata_runbook.chapters import reset
from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.engine.target import Target
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.resources import StorageRecord
from airavata_runbook.run import move_storage
from airavata_runbook.run.move_storage import MARK, delete_old
from airavata_runbook.site import Site
from airavata_runbook.site.life import RECORD, kept_folders, record
from airavata_runbook.site.storage import STORED, folders
from tests.unit.sessions import open_session
from tests.unit.test_engine import ThisMachine, work

NAMES = ("mariadb", "rabbitmq", "zookeeper")


class Machine(ThisMachine):
    """A host whose /etc is a folder of the test."""

    def __init__(self, node, etc: Path):
        super().__init__()
        self.node, self.name, self.etc = node, node.name, etc
        etc.mkdir()

    def run(self, script: str, **options):
        return super().run(script.replace("/etc/", f"{self.etc}/"))

    def stop(self):
        pass

    resume = stop

    @property
    def record(self) -> Path:
        return Path(RECORD.replace("/etc/", f"{self.etc}/"))

    @property
    def stored(self) -> list[str]:
        """The folders that databases have run with."""
        return [line for line in Path(STORED.replace("/etc/", f"{self.etc}/")).read_text().splitlines() if line[0] == "/"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A function that makes the site with its storage in a folder of the test current; the databases are in `old`."""
    monkeypatch.setenv(kernel_env.LOCK_HELD, "1")
    hosts = {node.name: Machine(node, tmp_path / f"etc-{node.name}") for node in Site.load("lab").nodes}

    def at(name: str, **others: object) -> Site:
        site = Site.load("lab", {"airavata.storage_path": f"{tmp_path}/{name}", **others})
        open_session(monkeypatch, site, hosts)
        return site

    for name in NAMES:
        (tmp_path / "old" / name).mkdir(parents=True)
        (tmp_path / "old" / name / "data").write_text(f"data of {name}")
    hosts["master"].record.parent.mkdir()
    hosts["master"].record.write_text(record(at("old")))
    at.master, at.worker = hosts["master"], hosts["worker"]
    return at


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_databases_move_and_the_old_folders_stay_until_confirmed(place, tmp_path, capsys):
    before, site = contents(tmp_path / "old"), place("new")
    move_storage.move_storage(site, yes=True)
    assert contents(tmp_path / "new") == contents(tmp_path / "old") == before
    (kept,) = kept_folders(place.master.record.read_text())
    assert kept.folders == tuple(f"{tmp_path}/old/{name}" for name in NAMES) and "--delete-old" in capsys.readouterr().out
    move_storage.move_storage(site, yes=True)
    assert "nothing to move" in capsys.readouterr().out
    delete_old(site, yes=True)
    assert not (tmp_path / "old").exists() and contents(tmp_path / "new") == before
    assert place.master.record.read_text() == record(site)


@pytest.mark.parametrize("end", [StepFailed("the disk is full"), KeyboardInterrupt()])
def test_a_copy_that_ends_midway_leaves_everything_as_it_was_and_is_made_anew(place, tmp_path, monkeypatch, end, capsys):
    before, site, recorded = contents(tmp_path / "old"), place("new"), place.master.record.read_text()

    def half(source, target, progress):
        Path(target.folders[0]).mkdir(parents=True)
        (Path(target.folders[0]) / "half").write_text("half a file")
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(move_storage.folder_copy, "copy", half)
        with pytest.raises(type(end)) as caught:
            move_storage.move_storage(site, yes=True)
    assert "begins the copy anew" in str(caught.value) + capsys.readouterr().out
    assert contents(tmp_path / "old") == before and place.master.record.read_text() == recorded
    move_storage.move_storage(site, yes=True)
    assert contents(tmp_path / "new") == before and not (tmp_path / "new" / MARK).exists()


def test_a_copy_that_differs_is_not_used(place, tmp_path, monkeypatch):
    site, recorded = place("new"), place.master.record.read_text()
    copy = move_storage.folder_copy.copy

    def damaged(source, target, progress):
        copy(source, target, progress)
        Path(target.folders[0], "data").write_text("data of MARIADB")

    monkeypatch.setattr(move_storage.folder_copy, "copy", damaged)
    with pytest.raises(StepFailed, match="(?s)not equal.*mariadb/./data"):
        move_storage.move_storage(site, yes=True)
    assert place.master.record.read_text() == recorded


def test_a_place_that_is_not_empty_inside_the_old_one_or_too_small_is_refused_before_anything_is_touched(
    place, tmp_path, monkeypatch
):
    (tmp_path / "new" / "rabbitmq").mkdir(parents=True)
    (tmp_path / "new" / "rabbitmq" / "mine").write_text("somebody's")
    with pytest.raises(StepFailed, match="(?s)new/rabbitmq: not empty.*nothing was changed"):
        move_storage.move_storage(place("new"), yes=True)
    with pytest.raises(StepFailed, match="(?s)is inside .*nothing was changed"):
        move_storage.move_storage(place("old/deeper"), yes=True)
    monkeypatch.setattr(move_storage.folder_copy, "free", lambda place: 1 << 20)
    with pytest.raises(StepFailed, match="(?s)1.0 MiB free.*nothing was changed"):
        move_storage.move_storage(place("other"), yes=True)
    assert contents(tmp_path / "new") == {"rabbitmq/mine": "somebody's"} and not (tmp_path / "other").exists()


def test_data_that_is_not_there_is_not_moved(place, tmp_path):
    (tmp_path / "old" / "mariadb" / "data").unlink()
    with pytest.raises(StepFailed, match="(?s)no data to move.*old/mariadb is empty"):
        move_storage.move_storage(place("new"), yes=True)


def test_the_copy_that_an_earlier_move_kept_is_not_written_over(place, tmp_path):
    move_storage.move_storage(place("new"), yes=True)
    with pytest.raises(StepFailed, match="(?s)the copy that an earlier move kept.*--delete-old"):
        move_storage.move_storage(place("old"), yes=True)
    with pytest.raises(SiteError, match="storage_path"):
        delete_old(place("old"), yes=True)
    assert contents(tmp_path / "old") == contents(tmp_path / "new")


def test_only_the_place_may_differ_and_a_record_is_needed(place):
    with pytest.raises(SiteError, match="(?s)only the place.*airavata.namespace"):
        move_storage.move_storage(place("new", **{"airavata.namespace": "other"}), yes=True)
    place.master.record.unlink()
    with pytest.raises(SiteError, match="no record"):
        move_storage.move_storage(place("new"), yes=True)


def test_it_asks_first(place, monkeypatch, tmp_path, capsys):
    with pytest.raises(SiteError, match="no terminal"):
        move_storage.move_storage(place("new"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    move_storage.move_storage(place("new"))
    assert "nothing was changed" in capsys.readouterr().out and not (tmp_path / "new").exists()
    assert json.loads(place.master.record.read_text())["fixed"]["airavata.storage_path"] == f"{tmp_path}/old"


def keep_record(site: Site) -> bool:
    """Whether chapter 05, once the databases run, changes the record of their folders."""
    resource, context = StorageRecord(site), Context(session_of(site).master, session_of(site))
    change = resource.change(Found(answer=resource.ask(context)), context)
    if change:
        change.call()
    return bool(change)


@pytest.fixture
def left(place, tmp_path):
    """A site of whose databases one left the stack; what was kept before upgrades is beside them."""
    site = place("old")
    assert keep_record(site) and set(place.worker.stored) == set(folders(site))
    for name in ("search", "before-upgrades/20261130T080000Z"):
        (tmp_path / "old" / name).mkdir(parents=True)
        (tmp_path / "old" / name / "data").write_text(f"data of {name}")
    file = Path(STORED.replace("/etc/", f"{place.worker.etc}/"))
    file.write_text(file.read_text() + f"{tmp_path}/old/search\n{tmp_path}/old/gone\n")
    return site


def test_the_folder_of_a_database_that_left_stays_recorded_as_long_as_it_exists(left, place, tmp_path):
    assert keep_record(left) and not keep_record(left)
    assert place.worker.stored == sorted([*folders(left), f"{tmp_path}/old/search"])
    (tmp_path / "old" / "search" / "data").unlink()  # its disk is lost
    assert not keep_record(left)


def test_a_move_takes_the_database_that_left_and_the_kept_releases_along(left, place, tmp_path):
    before = contents(tmp_path / "old")
    move_storage.move_storage(place("new"), yes=True)
    assert contents(tmp_path / "new") == before and len(before) == 5
    assert place.worker.stored == sorted(
        str(one) for at in ("old", "new") for one in (tmp_path / at).iterdir() if one.name != "before-upgrades"
    )
    delete_old(place("new"), yes=True)
    assert not (tmp_path / "old").exists() and contents(tmp_path / "new") == before
    assert keep_record(place("new")) and f"{tmp_path}/new/search" in place.worker.stored and len(place.worker.stored) == 4


def test_a_database_that_left_and_has_lost_its_data_is_not_moved_as_an_empty_one(left, place, tmp_path):
    (tmp_path / "old" / "search" / "data").unlink()
    with pytest.raises(StepFailed, match="(?s)no data to move.*old/search is empty"):
        move_storage.move_storage(place("new"), yes=True)


@pytest.mark.parametrize("moved", [False, True])
def test_a_reset_with_data_removes_the_folder_of_a_database_that_left_and_the_kept_releases(left, place, tmp_path, moved):
    site = place("new") if moved else left
    if moved:
        move_storage.move_storage(site, yes=True)
    for host in (place.master, place.worker):
        outcome = work(host, *reset.databases.resources(Target(session_of(site), host)))
        assert not outcome.error, outcome.error
    assert not (tmp_path / "old").exists() and not (tmp_path / "new").exists()
    assert [path.name for path in place.worker.etc.iterdir()] == []
