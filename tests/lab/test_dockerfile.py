"""A folder with a Dockerfile, as the proof of concept had for the back end and for PGA, built by buildah and pushed."""

import io
import re
import shutil
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from airavata_runbook.errors import RunbookError
from airavata_runbook.images import source
from airavata_runbook.mirror import build as mirror
from airavata_runbook.site.parts import ImageSource
from tests.lab.test_registry_client import RealRegistry

# The bases of the proof of concept's were public images; here it is busybox, so that no network is needed.
BACK_END = """FROM scratch
ADD base.tar /
COPY airavata-server.properties /opt/airavata/conf/airavata-server.properties
COPY start /opt/airavata/bin/start
RUN chmod 755 /opt/airavata/bin/start && mkdir /opt/airavata/logs && chown 10001 /opt/airavata/logs
ENV AIRAVATA_HOME=/opt/airavata
WORKDIR /opt/airavata
EXPOSE 8930
USER 10001
ENTRYPOINT ["/opt/airavata/bin/start"]
"""
PGA = """FROM scratch
ADD base.tar /
COPY index.php /var/www/html/
RUN test -s /var/www/html/index.php
EXPOSE 80
CMD ["httpd", "-f", "-h", "/var/www/html"]
"""

pytestmark = pytest.mark.skipif(not shutil.which("buildah"), reason="apt-get install buildah")


@pytest.fixture(scope="module")
def binary():
    return mirror.binary("registry", "registry")  # of the usual cache


@pytest.fixture(autouse=True)
def settings(binary, tmp_path, monkeypatch):
    """A storage of our own, and the isolation that needs no container runtime beside buildah."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    )
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))


def folder(path: Path, dockerfile: str, **files: str) -> Path:
    path.mkdir()
    with tarfile.open(path / "base.tar", "w") as base:
        linked = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", "/bin/busybox"], capture_output=True, text=True).stdout)
        for name in ("/bin/busybox", *linked):  # its libraries, where it is not a static one
            base.add(Path(name).resolve(), name.lstrip("/"))
        for name in ("sh", "chmod", "mkdir", "chown", "test", "httpd"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            base.addfile(link)
    (path / "Dockerfile").write_text(dockerfile)
    for name, content in files.items():
        (path / name.replace("_", ".")).write_text(content)
    return path


def names_of(layout) -> set[str]:
    found: set[str] = set()
    for blob in layout.blobs[1:]:
        with closing(layout.open(blob)) as reader, tarfile.open(fileobj=io.BytesIO(reader.read())) as layer:
            found |= {name.lstrip("./") for name in layer.getnames()}
    return found


def test_the_back_end_and_pga_are_built_once_and_pushed(binary, tmp_path):
    back_end = folder(tmp_path / "back-end", BACK_END, start="#!/bin/sh\n")
    (back_end / "airavata-server.properties").write_text("apiserver.port=8930\n")
    pga = folder(tmp_path / "pga", PGA, index_php="<?php\n")
    built = {path.name: source.resolve(ImageSource(build=str(path))) for path in (back_end, pga)}
    config = built["back-end"].config["config"]
    assert (config["User"], config["WorkingDir"], config["Entrypoint"]) == (
        "10001",
        "/opt/airavata",
        ["/opt/airavata/bin/start"],
    )
    assert "AIRAVATA_HOME=/opt/airavata" in config["Env"] and "8930/tcp" in config["ExposedPorts"]
    assert {"opt/airavata/conf/airavata-server.properties", "opt/airavata/logs"} <= names_of(built["back-end"])
    assert "var/www/html/index.php" in names_of(built["pga"])

    (tmp_path / "registry").mkdir()
    registry = RealRegistry(binary, tmp_path / "registry").start()
    try:
        for name, layout in built.items():
            digest = registry.client().push(name, source.tag(ImageSource(build=str(tmp_path / name))), layout)
            registry.client().pull(name, digest, tmp_path / "pulled" / name).verify()
    finally:
        registry.kill()
    again = {path.name: source.resolve(ImageSource(build=str(path))).digest for path in (back_end, pga)}
    assert again == {name: layout.digest for name, layout in built.items()}, "nothing is built again"
    left = subprocess.run(["buildah", "images", "--all", "--quiet"], capture_output=True, text=True, check=True)
    assert left.stdout == "", "what was built is in the cache, and nowhere else"


def test_a_dockerfile_that_fails_shows_which_line(tmp_path):
    broken = folder(tmp_path / "broken", PGA.replace("test -s", "test -d"), index_php="<?php\n")
    with pytest.raises(RunbookError, match="could not be built") as failed:
        source.resolve(ImageSource(build=str(broken)))
    assert "test -d /var/www/html/index.php" in failed.value.found
    assert not list((tmp_path / "cache").rglob("*.tar"))
