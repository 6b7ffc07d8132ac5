"""Disks that are full, of this machine and of the registry: one clear error, nothing half done is used, and the next run repairs.

The disks are file systems in memory (tmpfs) of a few megabytes, of these tests only.
"""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images import download
from airavata_runbook.images.download import DownloadFailed
from airavata_runbook.images.http import RegistryError
from airavata_runbook.images.layout import open_archive
from airavata_runbook.mirror import build as mirror
from tests.lab.test_registry_client import RealRegistry
from tests.unit import image_samples as samples
from tests.unit.https_files import HttpsFiles


class Disk:
    """size: megabytes. It can grow, and something else can fill it."""

    def __init__(self, path: Path, size: int):
        path.mkdir()
        self.path = path
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "airavata-runbook-test", path], check=True)

    def grow(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}m", self.path], check=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)


@pytest.fixture
def disk(tmp_path):
    made: list[Disk] = []
    yield lambda size: made.append(Disk(tmp_path / "disk", size)) or made[-1]
    for one in made:
        one.close()


@pytest.fixture
def layout(tmp_path):
    made = samples.image(samples.layer("base"), samples.layer("big") + os.urandom(12_000_000))
    return open_archive(samples.write_tar(tmp_path / "api.tar", samples.files_of(*made)))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("airavata_runbook.images.transfer.PAUSE", 0.01)


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "registry").mkdir()
    real = RealRegistry(mirror.binary("registry", "registry"), tmp_path / "registry")
    yield real
    real.kill()


def test_a_registry_whose_disk_is_full_has_no_half_image(registry, disk, layout, tmp_path):
    storage = disk(8)
    os.rmdir(registry.folder / "data")
    (registry.folder / "data").symlink_to(storage.path)
    client = registry.start().client()
    with pytest.raises(RegistryError, match="refuses a request|is unreachable") as failed:
        client.push("a", "1", layout)
    assert failed.value.retryable and "no space left on device" in registry.log()
    assert client.manifest_digest("a", "1") is None and client.manifest_digest("a", layout.digest) is None
    storage.grow(64)
    assert client.push("a", "1", layout) == layout.digest
    client.pull("a", layout.digest, tmp_path / "pulled").verify()


def test_a_pull_to_a_full_disk_is_one_error_and_goes_on_once_there_is_room(registry, disk, layout, monkeypatch):
    client = registry.start().client()
    client.push("a", "1", layout)
    cache = disk(8)
    with pytest.raises(Exception, match="does not fit on this machine's disk"):
        client.pull("a", layout.digest, cache.path / "pulled")
    monkeypatch.setattr("airavata_runbook.images.registry._check_space", lambda *_: None)  # something else fills it meanwhile
    with pytest.raises(CannotBuild, match="disk is full") as failed:
        client.pull("a", layout.digest, cache.path / "pulled")
    assert str(cache.path) in failed.value.where and "AIRAVATA_RUNBOOK_CACHE" in failed.value.remedy
    assert not (cache.path / "pulled/index.json").exists() and not list(cache.path.rglob(".part-*"))
    cache.grow(64)
    client.pull("a", layout.digest, cache.path / "pulled").verify()


def test_a_download_to_a_full_disk_goes_on_once_there_is_room(disk, tmp_path, monkeypatch):
    cache, content = disk(8), os.urandom(12_000_000)
    sha256 = hashlib.sha256(content).hexdigest()
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(cache.path))
    (tmp_path / "server").mkdir()
    with HttpsFiles(tmp_path / "server", {"/server.jar": content}) as files:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files.ca)
        with pytest.raises(DownloadFailed, match="does not fit"):
            download.fetch(f"{files.url}/server.jar", sha256)
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(download, "_check_size", lambda *_: None)
            with pytest.raises(CannotBuild, match="disk is full"):
                download.fetch(f"{files.url}/server.jar", sha256)
        assert not download.is_here(sha256)
        cache.grow(64)
        files.requests.clear()
        assert download.fetch(f"{files.url}/server.jar", sha256).read_bytes() == content
        assert files.requests[0][1].startswith("bytes="), "what arrived is used"
