"""A server's jar as an image: packed the same every time, and refused where it cannot run, before it is packed."""

import base64
import hashlib
import io
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from airavata_runbook.checks.references import check_references
from airavata_runbook.errors import CannotBuild
from airavata_runbook.images import download
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import open_archive
from airavata_runbook.mirror import images, jar, oci_writer
from airavata_runbook.site import Site
from airavata_runbook.site.parts import ImageSource
from tests.unit.https_files import HttpsFiles

# class Show { public static void main(String[] a) { System.out.println(System.getProperty("user.dir")); } }, for Java 8
SHOW = base64.b64decode(
    "yv66vgAAADQAHgoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvT2JqZWN0AQAGPGluaXQ+AQADKClWCQAIAAkHAAoMAAsADAEAEGphdmEvbGFuZy9TeXN0ZW0B"
    "AANvdXQBABVMamF2YS9pby9QcmludFN0cmVhbTsIAA4BAAh1c2VyLmRpcgoACAAQDAARABIBAAtnZXRQcm9wZXJ0eQEAJihMamF2YS9sYW5nL1N0cmluZzsp"
    "TGphdmEvbGFuZy9TdHJpbmc7CgAUABUHABYMABcAGAEAE2phdmEvaW8vUHJpbnRTdHJlYW0BAAdwcmludGxuAQAVKExqYXZhL2xhbmcvU3RyaW5nOylWBwAa"
    "AQAEU2hvdwEABENvZGUBAARtYWluAQAWKFtMamF2YS9sYW5nL1N0cmluZzspVgAgABkAAgAAAAAAAgAAAAUABgABABsAAAARAAEAAQAAAAUqtwABsQAAAAAA"
    "CQAcAB0AAQAbAAAAGAACAAEAAAAMsgAHEg24AA+2ABOxAAAAAAAA"
)
NODES = [{"name": "one", "address": "192.0.2.11", "role": "master"}]


def for_java(version: int) -> bytes:
    return SHOW[:6] + (44 + version).to_bytes(2, "big") + SHOW[8:]


def write_jar(path: Path, manifest: str = "Main-Class: Show\n", **classes: bytes) -> str:
    """A jar with these classes by name (default: Show), the same whenever it is written; its sha256."""
    with zipfile.ZipFile(path, "w") as archive:
        if manifest:
            archive.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), f"Manifest-Version: 1.0\r\n{manifest}")
        for name, content in (classes or {"Show": SHOW}).items():
            archive.writestr(zipfile.ZipInfo(f"{name}.class"), content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(jar.os, "geteuid", lambda: 0)
    return tmp_path / "cache"


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Stands in for the mirror's Java: one layer, with a list that a test can change."""
    folder = tmp_path / "java"
    folder.mkdir()
    chain = []

    def write(text: str) -> None:
        (folder / "root").mkdir(exist_ok=True)
        (folder / "root/java").write_text(text)
        chain[:] = [(oci_writer.write_layer(folder / "root", folder / f"{text}.tar.gz"), folder / f"{text}.tar.gz")]

    write("17.0.1")
    monkeypatch.setattr(images, "chain", lambda name: list(chain))
    monkeypatch.setattr(images, "recorded_chain", lambda name: list(chain))
    return write


def source(path: str, sha256: str) -> ImageSource:
    return ImageSource(jar=path, sha256=sha256)


def test_the_image_has_javas_layers_and_one_with_the_jar(tmp_path, java):
    sha256 = write_jar(tmp_path / "server.jar")
    assert jar.built(source("server.jar", sha256)) is None
    layout = jar.pack(source("server.jar", sha256))
    assert jar.built(source("server.jar", sha256)).digest == layout.digest
    _, base, own = layout.blobs
    with closing(layout.open(own)) as reader, tarfile.open(fileobj=io.BytesIO(reader.read())) as layer:
        found = {one.name: (one.mode, one.uid) for one in layer.getmembers()}
        assert layer.extractfile("opt/airavata/server.jar").read() == (tmp_path / "server.jar").read_bytes()
    folders = dict.fromkeys(("opt", "opt/airavata", "opt/airavata/conf"), (0o755, 0))
    assert {name: (mode, uid) for name, (mode, uid) in found.items()} == folders | {"opt/airavata/server.jar": (0o644, 0)}
    config = layout.config["config"]
    assert (config["User"], config["WorkingDir"], config["Entrypoint"]) == (
        "10001:10001",
        "/opt/airavata",
        ["java", "-jar", "/opt/airavata/server.jar"],
    )
    assert any(one.startswith("JAVA_TOOL_OPTIONS=-XX:MaxRAMPercentage=") for one in config["Env"]) and "Cmd" not in config


def test_what_the_cache_has_of_an_image_is_all_that_it_is_packed_from(tmp_path, java, monkeypatch):
    sha256 = write_jar(tmp_path / "server.jar")
    monkeypatch.setattr(images, "kept", lambda name: [tmp_path / name])
    named, fetched = source("server.jar", sha256), ImageSource(jar="https://example.org/server.jar", sha256=sha256)
    layout = jar.pack(named)
    base, image = jar.kept(named)
    assert (base.name, open_archive(image).digest) == ("java", layout.digest)
    assert jar.kept(fetched) == [base, image, download.cached(sha256)]


def test_the_same_jar_on_the_same_java_is_the_same_image_wherever_it_is(tmp_path, java, monkeypatch):
    sha256 = write_jar(tmp_path / "server.jar")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/other.jar").write_bytes((tmp_path / "server.jar").read_bytes())
    first = jar.pack(source("server.jar", sha256)).digest
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "another-cache"))
    assert jar.pack(source("elsewhere/other.jar", sha256)).digest == first
    assert jar.tag(source("elsewhere/other.jar", sha256)) == jar.tag(source("server.jar", sha256))
    java("17.0.2")
    assert jar.pack(source("server.jar", sha256)).digest != first
    other = write_jar(tmp_path / "server.jar", Show=for_java(11))
    assert jar.tag(source("server.jar", other)) != jar.tag(source("server.jar", sha256))


def test_a_damaged_image_of_a_jar_is_packed_again(tmp_path, java, cache):
    sha256 = write_jar(tmp_path / "server.jar")
    layout = jar.pack(source("server.jar", sha256))
    blob = layout.where / "blobs" / layout.blobs[-1].digest.replace(":", "/")
    blob.write_bytes(bytes(blob.stat().st_size))
    again = jar.pack(source("server.jar", sha256))
    again.verify()
    assert again.digest == layout.digest


def test_a_jar_that_is_another_or_missing(tmp_path, java):
    sha256 = write_jar(tmp_path / "server.jar")
    with pytest.raises(BadImage, match="does not match its sha256") as failed:
        jar.pack(source("server.jar", "0" * 64))
    assert failed.value.found == sha256
    with pytest.raises(BadImage, match="no such jar"):
        jar.pack(source("gone.jar", sha256))


@pytest.mark.parametrize(
    "manifest, classes, words",
    [
        ("Main-Class: Show\n", {"Show": for_java(17)}, ""),
        ("Main-Class: Show\n", {"Show": for_java(21)}, "compiled for Java 21"),
        (
            "Main-Class: Show\r\nStart-Class: org.example.Main\r\n",
            {"Show": SHOW, "BOOT-INF/classes/org/example/Main": for_java(25)},
            "25",
        ),
        ("Start-Class: org.ex\r\n ample.Main\r\nMain-Class: Show\r\n", {"Show": SHOW, "org/example/Main": for_java(25)}, "25"),
        ("Main-Class: elsewhere.Main\n", {"Show": for_java(21)}, ""),
        ("Start-Class: Show\n", {"Show": SHOW}, "no Main-Class"),
        ("", {"Show": SHOW}, "MANIFEST.MF"),
    ],
)
def test_a_jar_that_java_would_not_start(tmp_path, manifest, classes, words):
    sha256 = write_jar(tmp_path / "server.jar", manifest, **classes)
    if not words:
        return jar.check(source("server.jar", sha256))
    with pytest.raises(BadImage, match=words):
        jar.check(source("server.jar", sha256))


@pytest.mark.parametrize("content", [b"", b"<html>login</html>", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_jar(tmp_path, content):
    (tmp_path / "server.jar").write_bytes(content)
    with pytest.raises(BadImage, match="not a jar"):
        jar.check(source("server.jar", hashlib.sha256(content).hexdigest()))


def test_a_disk_that_is_full_leaves_nothing_half_packed(tmp_path, java, cache, monkeypatch):
    sha256 = write_jar(tmp_path / "server.jar")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(oci_writer, "write_layer", full)
        with pytest.raises(CannotBuild, match="disk is full") as failed:
            jar.pack(source("server.jar", sha256))
    assert "No space left" in failed.value.found
    assert [one.name for one in (cache / "images/jars").iterdir() if not one.name.endswith(".lock")] == []
    jar.pack(source("server.jar", sha256)).verify()


def test_without_root_nothing_is_packed(tmp_path, java, monkeypatch):
    monkeypatch.setattr(jar.os, "geteuid", lambda: 1000)
    with pytest.raises(CannotBuild, match="only be packed by root"):
        jar.pack(source("server.jar", write_jar(tmp_path / "server.jar")))


# --- in a site -----------------------------------------------------------------------------------------------


def site_with(server: dict, **more) -> Site:
    airavata = {"images": {"api-server": server}, **more}
    return Site.load({"name": "far", "nodes": NODES, "airavata": airavata})


def problems(site: Site, online: bool = False) -> dict[str, str]:
    return {one.field: one.problem for one in check_references(site, online) if ".images." in one.field}


def test_a_jar_of_a_site_is_checked_before_anything_is_touched(tmp_path):
    sha256 = write_jar(tmp_path / "server.jar")
    assert problems(site_with({"jar": "server.jar", "sha256": sha256})) == {"airavata.images.api-server": ""}
    found = problems(site_with({"jar": "server.jar", "sha256": "0" * 64}))
    assert sha256 in found["airavata.images.api-server"]


def test_a_url_is_asked_only_online_and_what_was_fetched_not_again(tmp_path, monkeypatch):
    sha256 = write_jar(tmp_path / "server.jar")
    (tmp_path / "server").mkdir()
    with HttpsFiles(tmp_path / "server", {"/server.jar": (tmp_path / "server.jar").read_bytes()}) as files:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files.ca)
        here, gone = ({"jar": f"{files.url}/{name}.jar", "sha256": sha256} for name in ("server", "gone"))
        assert problems(site_with(gone)) == {"airavata.images.api-server": ""} and files.requests == []
        assert "404" in problems(site_with(gone), online=True)["airavata.images.api-server"]
        assert problems(site_with(here), online=True) == {"airavata.images.api-server": ""}
        assert not download.is_here(sha256), "a check does not download"
        download.fetch(here["jar"], sha256)
        files.requests.clear()
        assert problems(site_with(gone), online=True) == {"airavata.images.api-server": ""} and files.requests == []


def test_a_login_for_a_url_is_sent_and_not_shown(tmp_path, monkeypatch):
    sha256 = write_jar(tmp_path / "server.jar")
    (tmp_path / "server").mkdir()
    with HttpsFiles(tmp_path / "server", {"/a.jar": (tmp_path / "server.jar").read_bytes()}, login="ci:canary-1") as files:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files.ca)
        given = {"jar": f"{files.url}/a.jar", "sha256": sha256, "auth": "env:JAR_LOGIN"}
        for value, words in (("ci:canary-1", ""), ("ci:canary-2", "401")):
            monkeypatch.setenv("JAR_LOGIN", value)
            found = problems(site_with(given), online=True)["airavata.images.api-server"]
            assert words in found and bool(found) == bool(words) and "canary" not in found
