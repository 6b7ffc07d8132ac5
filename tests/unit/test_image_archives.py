"""Archives as tools write them, and as nobody should: read, or refused soon and with what they are."""

import gzip
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
from contextlib import closing

import pytest

from airavata_runbook.images import tar
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import open_archive
from tests.unit import image_samples as samples

LAYERS = (samples.layer("base", 300_000), samples.layer("top"))
ZSTD = b"\x28\xb5\x2f\xfd" + bytes(60)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def good():
    return samples.image(*LAYERS)


def changed(manifest: bytes, blobs: dict[str, bytes], **fields) -> dict[str, bytes]:
    """The files of a layout whose manifest has these fields."""
    return samples.files_of(json.dumps(json.loads(manifest) | fields).encode(), blobs)


def soon(call, *arguments):
    """The error of a call that must not wait."""
    found = []

    def run():
        try:
            found.append(call(*arguments))
        except BadImage as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert found and isinstance(found[0], BadImage), "it waits, or accepts"
    return found[0]


# --- only regular files --------------------------------------------------------------------------------------


def make_socket(path):
    with closing(socket.socket(socket.AF_UNIX)) as end:
        os.chdir(path.parent)  # its address is short
        end.bind(path.name)


SPECIAL = {
    "a FIFO": os.mkfifo,
    "a socket": make_socket,
    "a device": lambda path: os.mknod(path, 0o20600, os.makedev(1, 5)),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", ["index.json", "manifest", "config", "layer"])
def test_a_special_file_in_a_layout_is_never_waited_for(tmp_path, good, kind, name, monkeypatch):
    if kind == "a device" and os.geteuid():
        pytest.skip("root makes devices")
    monkeypatch.chdir(tmp_path)
    manifest, blobs = good
    parsed = json.loads(manifest)
    digest = {"manifest": samples.sha(manifest), "config": parsed["config"]["digest"], "layer": parsed["layers"][0]["digest"]}
    folder = samples.write_folder(tmp_path / "image", samples.files_of(manifest, blobs))
    path = folder / ("blobs/" + digest[name].replace(":", "/") if name in digest else name)
    path.unlink()
    SPECIAL[kind](path)
    assert str(folder) in str(soon(open_archive, folder))


@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a device", "a link to a device"])
def test_a_special_file_as_archive(tmp_path, kind, monkeypatch):
    if kind == "a device" and os.geteuid():
        pytest.skip("root makes devices")
    monkeypatch.chdir(tmp_path)
    SPECIAL[kind](tmp_path / "image.tar")
    assert "unreadable" in str(soon(open_archive, tmp_path / "image.tar"))


def test_a_special_file_in_a_docker_archive_that_is_unpacked(tmp_path):
    files = samples.docker_files(*LAYERS)
    folder = samples.write_folder(tmp_path / "image", files)
    assert open_archive(folder).digest
    layer = folder / f"{0:064x}/layer.tar"
    layer.unlink()
    os.mkfifo(layer)
    assert "not a regular file" in str(soon(open_archive, folder))


# --- sizes and counts ----------------------------------------------------------------------------------------


def test_a_compressed_archive_unpacks_only_so_far(tmp_path, monkeypatch, good):
    monkeypatch.setattr(tar, "SPARE", 1 << 20)
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 64 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    assert "much larger than its file" in str(soon(open_archive, path))
    real = samples.write_tar(tmp_path / "real.tar.gz", samples.files_of(*good), "w:gz")
    assert open_archive(real).digest == samples.sha(good[0])


def test_a_compressed_archive_leaves_space_on_the_disk(tmp_path, monkeypatch, good):
    usage = tar.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(tar.shutil, "disk_usage", lambda path: usage._replace(free=tar.FREE + 10))
    path = samples.write_tar(tmp_path / "real.tar.gz", samples.files_of(*good), "w:gz")
    assert "does not fit on this machine's disk" in str(soon(open_archive, path))


def test_a_sparse_file_is_larger_than_its_archive_only_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "SPARE", 1 << 20)
    (tmp_path / "zeros").write_bytes(b"")
    os.truncate(tmp_path / "zeros", 1 << 40)
    subprocess.run(["tar", "-C", tmp_path, "--sparse", "-cf", tmp_path / "x.tar", "zeros"], check=True)
    assert "much larger than its file" in str(soon(open_archive, tmp_path / "x.tar"))


def test_an_archive_has_only_so_many_files(tmp_path):
    path = samples.write_tar(tmp_path / "x.tar", {f"file{number}": b"" for number in range(tar.MEMBERS + 1)})
    assert "more than 10000 files" in str(soon(open_archive, path))


def test_the_headers_of_an_archive_are_only_so_large(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "HEADERS", 1 << 20)
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"comment": "x" * (2 << 20)}
        archive.addfile(info)
    assert "bytes of headers" in str(soon(open_archive, tmp_path / "x.tar"))


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    block = bytearray(512)
    block[:100], block[124:136] = name.ljust(100, b"\0"), size.ljust(12, b"\0")
    block[100:124] = b"0000644\00000000\00000000\0"
    block[136:148], block[148:156], block[156:157], block[257:265] = b"00000000000\0", b" " * 8, kind, b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "content",
    [
        header(b"index.json", b"\xff" + b"\xff" * 9 + b"\xfe\0") + bytes(1024),  # a negative size
        header(b"x", b"\x80" + b"\xff" * 11) + bytes(1024),
        header(b"x", b"77777777777") + bytes(1024),
        header(b"x", b"77777777777", b"L") + bytes(1024),
        b"".join(header(b"x", b"00000000000", b"x") for _ in range(3000)) + bytes(1024),
        header(b"x", b"zzz") + bytes(1024),
        header(b"x", b"00000000000", b"S") + bytes(100),
    ],
)
def test_headers_that_no_tool_writes(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    assert "x.tar" in str(soon(open_archive, tmp_path / "x.tar"))


@pytest.mark.parametrize(
    "top",
    [
        b'{"manifests": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"manifests": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"manifests": ' + b'{"a":' * 500_000 + b"1" + b"}" * 500_000 + b"}",
        b'{"manifests": [' + b"[]," * 1_000_000 + b"[]]}",
        b'{"manifests": [{"size": ' + b"9" * 5000 + b"}]}",
        b'{"manifests": [{"mediaType": "a", "digest": "sha256:' + b"0" * 64 + b'", "size": ' + b"9" * 4000 + b"}]}",
        b'{"manifests": [{"mediaType": "a", "digest": "sha256:' + b"0" * 64 + b'", "size": true}]}',
    ],
)
@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
def test_json_is_only_so_deep_and_so_long(tmp_path, name, top):
    path = samples.write_tar(tmp_path / "x.tar", {name: top})
    error = soon(open_archive, path)
    assert len(str(error)) < 1000


# --- what tools write ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", [["--format=gnu"], ["--format=oldgnu"], *(["--format=posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_of_sparse_files_is_read(tmp_path, form, compressed):
    hollow = samples.layer("x", 3_000_000)
    files = samples.docker_files(hollow, samples.layer("top"))
    folder = samples.write_folder(tmp_path / "image", files)
    layer = folder / f"{0:064x}/layer.tar"
    layer.write_bytes(b"")
    with layer.open("r+b") as file:  # as cp --sparse=always: holes where there are zeros
        for start in range(0, len(hollow), 4096):
            if block := hollow[start : start + 4096].strip(b"\0"):
                file.seek(start + hollow[start : start + 4096].index(block[:1]))
                file.write(block)
        file.truncate(len(hollow))
    assert layer.read_bytes() == hollow
    path = tmp_path / "image.tar"
    subprocess.run(["tar", "-C", folder, *form, "--sparse", "-cf", path, *os.listdir(folder)], check=True)
    assert path.stat().st_size < 1_000_000, "the judge: tar made holes"
    if compressed:
        path = tmp_path / "image.tar.gz"
        path.write_bytes(gzip.compress((tmp_path / "image.tar").read_bytes()))
    layout = open_archive(path)
    assert layout.digest == open_archive(folder).digest
    layout.verify()
    with closing(layout.open(next(blob for blob in layout.blobs if blob.size == len(hollow)))) as reader:
        parts = []
        while part := reader.read(7919):
            parts.append(part)
    assert b"".join(parts) == hollow


@pytest.mark.parametrize("index", [{"manifests": None}, {"manifests": []}, {"schemaVersion": 2}])
def test_an_empty_index_beside_a_manifest_json(tmp_path, index):
    files = samples.docker_files(*LAYERS)
    plain = open_archive(samples.write_tar(tmp_path / "a.tar", files))
    both = open_archive(samples.write_tar(tmp_path / "b.tar", files | {"index.json": json.dumps(index).encode()}))
    assert both.digest == plain.digest
    with pytest.raises(BadImage, match="lists no manifests|no single image"):
        open_archive(samples.write_tar(tmp_path / "c.tar", {"index.json": json.dumps(index).encode()}))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_other_layers_than_the_configuration_has(tmp_path, good, count):
    manifest, blobs = good
    layers = (json.loads(manifest)["layers"] * 2)[:count]
    for name, write in (("folder", samples.write_folder), ("image.tar", samples.write_tar)):
        with pytest.raises(BadImage, match="layers do not match its configuration") as raised:
            open_archive(write(tmp_path / name, changed(manifest, blobs, layers=layers)))
        assert f"{count} layers" in str(raised.value) and "2 of rootfs.diff_ids" in str(raised.value)


def test_an_image_without_layers_is_one(tmp_path):
    assert open_archive(samples.write_tar(tmp_path / "scratch.tar", samples.files_of(*samples.image()))).blobs


@pytest.mark.parametrize(
    "kind, artifact, words",
    [
        ("application/vnd.cncf.helm.config.v1+json", None, "a Helm chart"),
        ("application/vnd.oci.empty.v1+json", "application/vnd.example.sbom", "an artifact of type application/vnd.example.sbom"),
        ("application/vnd.dev.cosign.simplesigning.v1+json", None, "an artifact of type application/vnd.dev.cosign"),
        ("application/vnd.docker.plugin.v1+json", None, "a plugin of Docker"),
        ("application/vnd.wasm.config.v0+json", None, "a WebAssembly module"),
    ],
)
def test_what_is_kept_like_an_image_and_is_none(tmp_path, good, kind, artifact, words):
    manifest, blobs = good
    config = json.loads(manifest)["config"] | {"mediaType": kind}
    files = changed(manifest, blobs, config=config, **({"artifactType": artifact} if artifact else {}))
    with pytest.raises(BadImage, match="not a container image") as raised:
        open_archive(samples.write_tar(tmp_path / "x.tar", files))
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "kind", ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "application/vnd.in-toto+json", "text/plain"]
)
def test_layers_that_containerd_does_not_unpack(tmp_path, good, kind):
    manifest, blobs = good
    layers = [layer | {"mediaType": kind} for layer in json.loads(manifest)["layers"]]
    with pytest.raises(BadImage, match="does not unpack") as raised:
        open_archive(samples.write_tar(tmp_path / "x.tar", changed(manifest, blobs, layers=layers)))
    assert kind in str(raised.value)


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ],
)
def test_layers_that_it_unpacks(tmp_path, good, kind):
    manifest, blobs = good
    layers = [layer | {"mediaType": kind} for layer in json.loads(manifest)["layers"]]
    assert open_archive(samples.write_tar(tmp_path / "x.tar", changed(manifest, blobs, layers=layers)))


@pytest.mark.parametrize(
    "start, name",
    [(ZSTD, "zstd"), (b"\xfd7zXZ\0" + bytes(60), "xz"), (b"BZh9" + bytes(60), "bzip2"), (b"\x04\x22\x4d\x18", "lz4")],
)
def test_another_compression_is_told(tmp_path, start, name):
    files = samples.docker_files(*LAYERS)
    with pytest.raises(BadImage, match=f"compressed by {name}") as raised:
        open_archive(samples.write_tar(tmp_path / "layer.tar", files | {f"{1:064x}/layer.tar": start}))
    assert f"{1:064x}/layer.tar" in str(raised.value) and "skopeo copy" in str(raised.value)
    (tmp_path / "whole.tar").write_bytes(start)
    with pytest.raises(BadImage, match=f"compressed by {name}"):
        open_archive(tmp_path / "whole.tar")


def test_a_page_instead_of_an_archive(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"<!DOCTYPE html><html>Log in</html>")
    with pytest.raises(BadImage, match="an HTML or XML page"):
        open_archive(tmp_path / "x.tar")
