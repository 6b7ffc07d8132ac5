"""The registry client against the real registry: TLS under another name, htpasswd, push, pull, breaks and their cure.

The registry is the mirror's own build, started here on 127.0.0.1 in a temporary folder laid out as /opt/registry.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.http import Connection, RegistryError
from airavata_runbook.images.layout import open_archive
from airavata_runbook.images.registry import Registry
from airavata_runbook.mirror import build as mirror
from airavata_runbook.pki import htpasswd
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.chain import bundle
from airavata_runbook.pki.types import Subject
from tests.unit import image_samples as samples

NAME = "registry.lab:5000"
PASSWORD = "canary-registry-password"


@dataclass
class RealRegistry:
    """A registry process on 127.0.0.1; `start` and `kill` as often as a test likes, the data stays."""

    binary: Path
    folder: Path

    def __post_init__(self):
        self.ca = pki.new_ca("Registry test CA")
        pair = pki.issue(self.ca, Subject("registry.lab", dns=("registry.lab",), usages=("server",)))
        for name in ("auth", "cert", "data"):
            (self.folder / name).mkdir()
        (self.folder / "cert/registry-cert.crt").write_bytes(bundle(pair.cert, self.ca.cert))
        (self.folder / "cert/registry.key").write_bytes(pair.key)
        (self.folder / "auth/htpasswd").write_text(htpasswd.htpasswd_entry("admin", PASSWORD, rounds=5) + "\n")
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        config = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "auth": {"htpasswd": {"realm": "registry.lab", "path": str(self.folder / "auth/htpasswd")}},
            "http": {
                "addr": f"127.0.0.1:{self.port}",
                "secret": "only-for-this-test",
                "tls": {
                    "certificate": str(self.folder / "cert/registry-cert.crt"),
                    "key": str(self.folder / "cert/registry.key"),
                },
            },
        }
        (self.folder / "config.yml").write_text(yaml.safe_dump(config))
        self.process = None

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.binary, "serve", self.folder / "config.yml"], stdout=log, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.client(password=None).ping() == 401:
                    return self
            except RegistryError as error:
                assert error.retryable, error
            time.sleep(0.05)
        raise AssertionError(f"the registry does not answer: {self.log()[-2000:]}")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    def client(self, password=PASSWORD, **options):
        settings = {"name": NAME, "ca": self.ca.cert, **options}
        user = "admin" if password else None
        return Registry(Connection(f"https://127.0.0.1:{self.port}", **settings, user=user, password=password))

    def log(self):
        return (self.folder / "log").read_text()

    def uploads(self):
        """How often a blob was sent since the start of the log."""
        return sum('"PUT /v2/' in line and "/blobs/uploads/" in line for line in self.log().splitlines())


@pytest.fixture(scope="module")
def binary():
    return mirror.binary("registry", "registry")


@pytest.fixture
def registry(binary, tmp_path):
    (tmp_path / "registry").mkdir()
    real = RealRegistry(binary, tmp_path / "registry").start()
    yield real
    real.kill()


@pytest.fixture
def layout(tmp_path):
    big = samples.layer("big") + os.urandom(30_000_000)
    made = samples.image(samples.layer("base", 1_000_000), big, samples.layer("top"))
    return open_archive(samples.write_tar(tmp_path / "api.tar", samples.files_of(*made)))


def test_the_name_in_the_certificate_counts_not_the_address(registry):
    assert registry.client().ping() == 200
    assert registry.client(password=None).ping() == 401
    assert registry.client(password="wrong").ping() == 401
    with pytest.raises(RegistryError, match="certificate is not trusted"):
        registry.client(name="other.lab:5000").ping()
    with pytest.raises(RegistryError, match="certificate is not trusted"):
        registry.client(ca=pki.new_ca("Other").cert).ping()


def test_push_and_pull_bring_back_the_same_bytes(registry, layout, tmp_path):
    client = registry.client()
    assert client.push("airavata/api", "1.0", layout) == layout.digest
    assert client.manifest_digest("airavata/api", "1.0") == layout.digest
    pulled = client.pull("airavata/api", layout.digest, tmp_path / "pulled")
    pulled.verify()
    assert pulled.manifest == layout.manifest
    assert client.manifest_digest("airavata/api", "2.0") is None
    assert PASSWORD not in registry.log()


def test_a_second_push_sends_nothing_and_shared_layers_are_mounted(registry, layout, tmp_path):
    client = registry.client()
    client.push("a", "1", layout)
    sent = registry.uploads()
    assert sent == len(layout.blobs)
    client.push("a", "1", layout)
    client.push("a", "2", layout)
    registry.client().push("a", "1", layout)
    assert registry.uploads() == sent
    other = samples.image(samples.layer("base", 1_000_000), Cmd=["other"])
    child = open_archive(samples.write_folder(tmp_path / "child", samples.files_of(*other)))
    client.push("b", "1", child)
    assert registry.uploads() == sent + 1, "only the configuration: the layer is mounted from a"
    client.pull("b", "1", tmp_path / "b").verify()


def test_a_push_that_was_killed_in_the_middle_is_healed_by_pushing_again(registry, layout, tmp_path):
    with pytest.raises(RegistryError) as raised:
        registry.client().push("a", "1", Crashing(layout, registry))
    assert raised.value.retryable and PASSWORD not in str(raised.value)
    registry.start()
    assert registry.client().manifest_digest("a", "1") is None, "half an image has no tag"
    assert registry.client().push("a", "1", layout) == layout.digest
    registry.client().pull("a", "1", tmp_path / "pulled").verify()


def test_a_pull_that_breaks_goes_on(registry, layout, tmp_path):
    registry.client().push("a", "1", layout)
    big = max(layout.blobs, key=lambda blob: blob.size).digest.removeprefix("sha256:")
    data = registry.folder / "data/docker/registry/v2/blobs/sha256" / big[:2] / big / "data"
    whole = data.read_bytes()
    data.write_bytes(bytes(len(whole)))
    with pytest.raises(BadImage, match="does not match its digest"):
        registry.client().pull("a", "1", tmp_path / "pulled")
    data.write_bytes(whole)
    registry.client().pull("a", "1", tmp_path / "pulled").verify()


def test_a_blob_damaged_on_the_registrys_disk_is_told_with_the_cure(registry, layout):
    registry.client().push("a", "1", layout)
    big = max(layout.blobs, key=lambda blob: blob.size).digest.removeprefix("sha256:")
    folder = registry.folder / "data/docker/registry/v2/blobs/sha256" / big[:2] / big
    (folder / "data").write_bytes(b"")
    with pytest.raises(RegistryError, match="damaged blob") as raised:
        registry.client().push("a", "2", layout)
    assert str(folder).endswith(raised.value.remedy.split()[1])
    shutil.rmtree(folder)
    registry.client().push("a", "2", layout)
    assert (folder / "data").stat().st_size == max(blob.size for blob in layout.blobs)


def test_a_registry_that_is_down_says_so(registry, layout):
    registry.kill()
    with pytest.raises(RegistryError, match="is unreachable") as raised:
        registry.client().push("a", "1", layout)
    assert raised.value.retryable and NAME in str(raised.value)


class Crashing:
    """An image whose registry is killed once 1 MB of a blob was read."""

    def __init__(self, layout, registry):
        self.layout, self.registry = layout, registry

    def __getattr__(self, name):
        return getattr(self.layout, name)

    def open(self, blob, *rest):
        reader, registry = self.layout.open(blob, *rest), self.registry
        read_on, done = reader.read, 0

        def read(size=-1):
            nonlocal done
            data = read_on(size)
            done += len(data)
            if done > 1_000_000:
                registry.kill()
            return data

        reader.read = read
        return reader
