"""What a reset takes away, tried with this machine's own shell below a temporary folder; nothing else may go with it."""

import subprocess
from pathlib import Path

import pytest

from airavata_runbook.engine import bring_about
from airavata_runbook.errors import StepFailed
from airavata_runbook.resources import Absent, Cleared, Context, Removed, Stopped
from airavata_runbook.resources.base import Found
from tests.unit.test_engine import ThisMachine


def take_away(*resources, planning: bool = False):
    return bring_about(ThisMachine(), lambda: list(resources), planning, lambda *_: None)


def test_a_folder_goes_with_all_in_it_and_its_empty_parent(tmp_path):
    folder = tmp_path / "etc" / "ours"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file with blanks").write_text("x")
    absent = Absent(str(folder), parents=(str(tmp_path / "etc"),))
    planned = take_away(absent, planning=True).items[0]
    assert (planned.status, planned.detail) == ("would change", f"{folder} (2 in it)\n") and folder.exists()
    assert take_away(absent).items[0].status == "changed" and not (tmp_path / "etc").exists()
    assert take_away(absent).items[0].status == "ok"


def test_a_parent_that_others_use_stays_and_so_does_their_file(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ours-1").write_text("x")
    (tmp_path / "etc" / "theirs").write_text("x")
    outcome = take_away(Absent(f"{tmp_path}/etc/ours-*", parents=(f"{tmp_path}/etc",)))
    assert outcome.items[0].status == "changed" and [path.name for path in (tmp_path / "etc").iterdir()] == ["theirs"]


def test_an_empty_parent_of_an_interrupted_reset_is_swept_up(tmp_path):
    (tmp_path / "etc").mkdir()
    assert take_away(Absent(f"{tmp_path}/etc/ours", parents=(f"{tmp_path}/etc",))).items[0].detail == f"{tmp_path}/etc (empty)\n"
    assert not (tmp_path / "etc").exists()


def test_a_link_goes_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    take_away(Absent(str(tmp_path / "link")))
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "data" / "kept").exists()


@pytest.fixture
def mounted(tmp_path):
    """A folder with a file system of its own in it, which holds somebody's data."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", inner], check=True)
    (inner / "data").write_text("precious")
    yield inner
    subprocess.run(["umount", inner], check=True)


def test_what_is_mounted_below_is_never_deleted(mounted: Path):
    error = take_away(Absent(str(mounted.parent))).error
    assert isinstance(error, StepFailed) and "something is still mounted below" in error.found
    assert (mounted / "data").read_text() == "precious"


def test_a_mount_point_is_emptied_and_stays(mounted: Path):
    assert take_away(Absent(str(mounted))).items[0].status == "changed"
    assert mounted.is_mount() and not list(mounted.iterdir())
    assert take_away(Absent(str(mounted))).items[0].status == "ok"


def test_things_are_told_one_by_one_and_taken_together(tmp_path):
    for name in "ab":
        (tmp_path / name).touch()
    cleared = Cleared("file of ours", f"ls {tmp_path}", f"rm {tmp_path}/a {tmp_path}/b")
    item = take_away(cleared, planning=True).items[0]
    assert (item.label, item.summary, item.detail) == ("no file of ours", "remove 2", "a\nb\n")
    assert take_away(cleared).items[0].status == "changed" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("state, summary", [
    ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n", "stop, disable"),
    ("LoadState=loaded\nActiveState=activating\nUnitFileState=disabled\n", "stop"),
    ("LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\n", "disable"),
    ("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", None),
])
def test_a_service_is_stopped_and_disabled_where_it_has_to_be(state, summary):
    change = Stopped("etcd").change(Found(state.encode()), Context(None))
    assert (change and change.summary) == summary


def test_a_service_of_which_nothing_is_known_is_no_stopped_one():
    with pytest.raises(StepFailed, match="did not say"):
        Stopped("etcd").change(Found(b"System has not been booted with systemd"), Context(None))


def test_packages_go_with_what_came_along_and_nothing_else():
    removed = Removed(["etcd", "flannel"])
    change = removed.change(Found(b"deb\nii etcd package\nii conntrack came-along\n"), Context(None))
    assert (change.summary, change.detail) == ("remove 2", "etcd\nconntrack (came along)\n")
    assert change.shown.endswith(" purge etcd conntrack") and change.shown in change.script
    assert removed.change(Found(b"deb\n"), Context(None)) is None
