"""Layers and layouts that are written by ourselves, read back by others' rules and our own reader."""

import gzip
import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import open_archive
from airavata_runbook.mirror.oci_writer import EPOCH, from_json, snapshot, to_json, write_layer, write_layout


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "root"
    (root / "etc/old").mkdir(parents=True)
    (root / "etc/kept").write_text("kept")
    (root / "etc/old/one").write_text("one")
    (root / "etc/edited").write_text("before")
    (root / "etc/gone").write_text("gone")
    (root / "etc/link").symlink_to("kept")
    (root / "dev").mkdir()
    (root / "dev/console").write_text("not a part of an image")
    return root


def members(layer: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer) as tar:
        found = tar.getmembers()
    assert len({info.name for info in found}) == len(found), "a name is there twice"
    return {info.name: info for info in found}


def test_a_first_layer_holds_everything_but_what_a_container_brings_itself(root, tmp_path):
    write_layer(root, tmp_path / "layer")
    found = members(tmp_path / "layer")
    assert set(found) == {"dev", "etc", "etc/edited", "etc/gone", "etc/kept", "etc/link", "etc/old", "etc/old/one"}
    assert found["etc/link"].issym() and found["etc/link"].linkname == "kept"
    assert {info.mtime for info in found.values()} == {EPOCH}
    assert (found["etc/kept"].uid, found["etc/kept"].uname) == (os.getuid(), "")


def test_the_next_layer_holds_only_what_was_changed_and_marks_what_went(root, tmp_path):
    before = snapshot(root)
    times = (root / "etc/edited").stat()
    (root / "etc/edited").write_text("after!")
    os.utime(root / "etc/edited", ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same time: changed all the same
    (root / "etc/gone").unlink()
    (root / "etc/old/one").unlink()
    (root / "etc/old").rmdir()
    (root / "etc/new").write_text("new")
    layer = write_layer(root, tmp_path / "layer", before)
    assert set(members(tmp_path / "layer")) == {"etc/edited", "etc/new", "etc/.wh.gone", "etc/.wh.old"}
    assert layer.removed == ("etc/gone", "etc/old")


def test_a_changed_mode_is_a_change(root, tmp_path):
    before = snapshot(root)
    (root / "etc/old").chmod(0o700)
    write_layer(root, tmp_path / "layer", before)
    assert {name: info.mode for name, info in members(tmp_path / "layer").items()} == {"etc/old": 0o700}


def test_a_folder_that_became_a_link_is_no_whiteout_but_is_cleared_before_unpacking(root, tmp_path):
    before = snapshot(root)
    (root / "etc/old/one").unlink()
    (root / "etc/old").rmdir()
    (root / "etc/old").symlink_to("kept")
    layer = write_layer(root, tmp_path / "layer", before)
    found = members(tmp_path / "layer")
    assert "etc/.wh.old" not in found and found["etc/old"].issym()
    assert "etc/old" in layer.removed


def test_the_same_content_gives_the_same_bytes_whenever_it_was_made(root, tmp_path):
    first = write_layer(root, tmp_path / "first")
    for path in root.rglob("*"):
        os.utime(path, (5, 5), follow_symlinks=False)
    assert write_layer(root, tmp_path / "second") == first
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_digests_are_those_of_the_file_and_of_the_tar_in_it(root, tmp_path):
    layer = write_layer(root, tmp_path / "layer")
    packed = (tmp_path / "layer").read_bytes()
    assert layer.digest == "sha256:" + hashlib.sha256(packed).hexdigest()
    assert layer.diff_id == "sha256:" + hashlib.sha256(gzip.decompress(packed)).hexdigest()
    assert layer.size == len(packed)
    assert from_json(to_json(layer)) == layer


def test_a_layout_opens_verifies_and_says_what_it_was_told(root, tmp_path):
    layer = write_layer(root, tmp_path / "layer")
    digest = write_layout(
        tmp_path / "image",
        [(layer, tmp_path / "layer")],
        {"Entrypoint": ["/start"], "User": "10001:10001"},
        {"org.opencontainers.image.title": "STAND-IN"},
    )
    image = open_archive(tmp_path / "image")
    image.verify()
    assert image.digest == digest
    assert image.config["config"] == {
        "Entrypoint": ["/start"],
        "User": "10001:10001",
        "Labels": {"org.opencontainers.image.title": "STAND-IN"},
    }
    assert image.config["rootfs"]["diff_ids"] == [layer.diff_id]


def test_a_damaged_layer_is_noticed(root, tmp_path):
    layer = write_layer(root, tmp_path / "layer")
    write_layout(tmp_path / "image", [(layer, tmp_path / "layer")], {}, {})
    data = bytearray((tmp_path / "layer").read_bytes())
    data[-1] ^= 1
    (tmp_path / "layer").write_bytes(data)
    with pytest.raises(BadImage, match="does not match its digest"):
        open_archive(tmp_path / "image").verify()
