"""What a reset takes away, tried with this machine's own shell below a temporary folder; nothing else may go with it."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import reset
from airavata_runbook.distributions import Packaging
from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.rpm import RPM
from airavata_runbook.engine.host_run import converge
from airavata_runbook.engine.resource import Found
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.mirror import catalogue
from airavata_runbook.mirror import packages as mirror
from airavata_runbook.resources import Absent, Cleared, Context, Removed, Stopped
from tests.unit.test_engine import ThisMachine


def take_away(*resources, planning: bool = False):
    return converge(SimpleNamespace(planned={}), ThisMachine(), lambda: list(resources), planning, lambda *_: None)


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


@pytest.fixture(params=["another file system", "a folder of the same one"])
def mounted(request, tmp_path):
    """A folder with somebody's data mounted in it; as the kubelet mounts a local volume, it is of the same file system."""
    inner, volume = tmp_path / "outer" / "inner", tmp_path / "volume"
    inner.mkdir(parents=True)
    volume.mkdir()
    source = ["--bind", volume] if "same" in request.param else ["-t", "tmpfs", "-o", "size=64k", "tmpfs"]
    subprocess.run(["mount", *source, inner], check=True)
    (inner / "data").write_text("precious")
    yield inner
    subprocess.run(["umount", inner], check=True)


def test_what_is_mounted_below_is_never_deleted(mounted: Path):
    error = take_away(Absent(str(mounted.parent))).error
    assert isinstance(error, StepFailed) and "something is still mounted below" in error.found
    assert (mounted / "data").read_text() == "precious"


def test_a_mount_point_is_emptied_and_stays(mounted: Path):
    assert take_away(Absent(str(mounted))).items[0].status == "changed"
    assert subprocess.run(["mountpoint", "-q", mounted]).returncode == 0 and not list(mounted.iterdir())
    assert take_away(Absent(str(mounted))).items[0].status == "ok"


def test_things_are_told_one_by_one_and_taken_together(tmp_path):
    for name in "ab":
        (tmp_path / name).touch()
    cleared = Cleared("file of ours", f"ls {tmp_path}", f"rm {tmp_path}/a {tmp_path}/b")
    item = take_away(cleared, planning=True).items[0]
    assert (item.label, item.summary, item.detail) == ("no file of ours", "remove 2", "a\nb\n")
    assert take_away(cleared).items[0].status == "changed" and not list(tmp_path.iterdir())


def test_a_look_that_fails_has_not_seen_that_there_is_nothing(tmp_path):
    save = tmp_path / "iptables-save"
    save.write_text("#!/bin/sh\ncat " + str(tmp_path / "rules") + "\n")
    save.chmod(0o755)
    cleared = Cleared("rule of the cluster", str(save), f"sed -i /KUBE-/d {tmp_path}/rules", only="KUBE-|CNI-")
    outcome = take_away(cleared)  # the rules cannot be read
    assert isinstance(outcome.error, StepFailed) and "(exit status 1)" in outcome.error.found
    (tmp_path / "rules").write_text("-A INPUT \\n -j KUBE-FIREWALL\n-A INPUT -j ACCEPT\n")
    assert take_away(cleared, planning=True).items[0].detail == "-A INPUT \\n -j KUBE-FIREWALL\n"
    assert take_away(cleared).items[0].status == "changed"
    assert (tmp_path / "rules").read_text() == "-A INPUT -j ACCEPT\n" and take_away(cleared).items[0].status == "ok"
    assert isinstance(take_away(Cleared("interface", "exit 127", "true")).error, StepFailed)


@pytest.mark.parametrize(
    "state, summary",
    [
        ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n", "stop, disable"),
        ("LoadState=loaded\nActiveState=activating\nUnitFileState=disabled\n", "stop"),
        ("LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\n", "disable"),
        ("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", None),
    ],
)
def test_a_service_is_stopped_and_disabled_where_it_has_to_be(state, summary):
    change = Stopped("etcd").change(Found(state.encode()), Context(None, None))
    assert (change and change.summary) == summary


def test_a_service_of_which_nothing_is_known_is_no_stopped_one():
    with pytest.raises(StepFailed, match="did not report"):
        Stopped("etcd").change(Found(b"System has not been booted with systemd"), Context(None, None))


def test_packages_go_with_what_came_along_and_nothing_else():
    removed = Removed(["etcd", "flannel"])
    change = removed.change(Found(b"deb\nii etcd package\nii conntrack came-along\n"), Context(None, None))
    assert (change.summary, change.detail) == ("remove 2", "etcd\nconntrack (came along)\n")
    assert change.shown.endswith(" purge etcd conntrack") and change.shown in change.script
    assert removed.change(Found(b"deb\n"), Context(None, None)) is None


def repository(folder: Path, packaging: Packaging = DEB):
    """What a reset takes back of a site's repository in this folder."""
    site = Site.load("lab", {"repository.baseurl": f"file://{folder}"})
    resources = reset.packages.resources(SimpleNamespace(site=site, node=site.master, packaging=packaging))
    return next(one for one in resources if one.label.endswith(f" in {folder}"))


def filled(folder: Path, *others: str) -> list[str]:
    """A repository's folder as chapter 02 and an interrupted run of it leave it, with files of others; the runbook's names."""
    ours = [
        *map(mirror.file_name, catalogue.PACKAGES),
        *DEB.format.index_files,
        "kubernetes-node_1.30.0-1_amd64.deb",
        "etcd_3.6.16-1_amd64.deb.part",
        "Packages.new",
    ]
    folder.mkdir(parents=True)
    for name in (*ours, *others):
        (folder / name).write_text("x")
    return ours


def test_of_a_repository_s_folder_all_goes_that_was_brought_and_the_folder_too(tmp_path, monkeypatch):
    monkeypatch.setattr(reset, "OWN_FOLDER", str(tmp_path / "own"))
    folder = tmp_path / "own" / "repository"
    ours = filled(folder)
    planned = take_away(repository(folder), planning=True).items[0]
    assert planned.summary == f"remove {len(ours)}" and set(planned.detail.split()) == {f"{folder}/{name}" for name in ours}
    assert take_away(repository(folder)).items[0].status == "changed" and not list(tmp_path.iterdir())
    assert take_away(repository(folder)).items[0].status == "ok"


def test_what_others_have_in_a_repository_s_folder_stays_and_so_does_the_folder(tmp_path):
    others = ["etcd-client_3.4.23_amd64.deb", "my-etcd_1_amd64.deb", "Packages.gz", "Release.gpg", "notes.txt", "etcd.deb"]
    filled(tmp_path / "shared" / "debs", *others)
    (tmp_path / "shared" / "debs" / "etcd_folder.deb").mkdir()
    take_away(repository(tmp_path / "shared" / "debs"))
    assert sorted(path.name for path in (tmp_path / "shared" / "debs").iterdir()) == sorted([*others, "etcd_folder.deb"])
    assert take_away(repository(tmp_path / "shared" / "debs")).items[0].status == "ok"


def test_of_an_rpm_repository_all_goes_and_what_others_have_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(reset, "OWN_FOLDER", str(tmp_path / "own"))
    folder = tmp_path / "own" / "repository"
    version = catalogue.PACKAGE["etcd"].version
    ours = [*RPM.format.index_files, RPM.format.signature_file, "repodata/repomd.xml.new", "etcd-1.0-1.x86_64.rpm.part"]
    ours += [RPM.format.file_name(name, f"{version}-1") for name in catalogue.PACKAGE]
    theirs = ["etcd-client-3.4-1.x86_64.rpm", "repodata/comps.xml", "deep/etcd-1.0-1.x86_64.rpm", "etcd_1.0-1_amd64.deb"]
    for name in (*ours, *theirs):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    planned = take_away(repository(folder, RPM), planning=True).items[0]
    assert set(planned.detail.split()) == {f"{folder}/{name}" for name in ours}
    assert take_away(repository(folder, RPM)).items[0].status == "changed"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(theirs)
    shutil.rmtree(folder)
    for name in ours:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    assert take_away(repository(folder, RPM)).items[0].status == "changed" and not list(tmp_path.iterdir())


def test_empty_folders_of_an_interrupted_reset_are_swept_up(tmp_path, monkeypatch):
    monkeypatch.setattr(reset, "OWN_FOLDER", str(tmp_path / "own"))
    folder = tmp_path / "own" / "repository"
    folder.mkdir(parents=True)
    assert take_away(repository(folder)).items[0].detail == f"{folder} (empty)\n" and not list(tmp_path.iterdir())
    folder.parent.mkdir()
    assert take_away(repository(folder)).items[0].detail == f"{folder.parent} (empty)\n" and not list(tmp_path.iterdir())


def test_a_repository_behind_a_link_or_on_its_own_file_system_is_emptied_and_stays(tmp_path, mounted):
    mounted.joinpath("data").rename(mounted / "Packages")
    filled(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for folder in (mounted, tmp_path / "link"):
        assert take_away(repository(folder)).items[0].status == "changed"
        assert folder.is_dir() and not list(folder.iterdir())
        assert take_away(repository(folder)).items[0].status == "ok"


@pytest.mark.parametrize(
    "folder",
    [
        "/etc",
        "/",
        "/opt",
        "/etc/apt",
        "/usr/share/packages",
        "/opt/x/../../etc",
        "/var/lib",
        "/opt/containerd/packages",
        "/opt/x/*",
        "/opt/$(reboot)/x",
        "opt/x",
        "/opt/x/",
        "/opt//x",
    ],
)
def test_a_folder_that_is_not_the_repository_s_alone_is_no_repository(folder):
    with pytest.raises(SiteError, match="repository.baseurl: needs "):
        Site.load("lab", {"repository.baseurl": f"file://{folder}"})
