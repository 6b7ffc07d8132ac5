"""The step `Images` with an image of each kind and a real registry: a Dockerfile, an archive, a reference and a jar by URL."""

import hashlib
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from airavata_runbook.chapters import registry, site_stack
from airavata_runbook.images.http import RegistryError
from airavata_runbook.images.layout import open_archive
from airavata_runbook.mirror import build as mirror
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from airavata_runbook.site import Site
from tests.lab.test_dockerfile import PGA, folder
from tests.lab.test_registry_client import PASSWORD, RealRegistry
from tests.unit import image_samples as samples
from tests.unit.https_files import HttpsFiles
from tests.unit.test_jar import write_jar
from tests.unit.test_plan_builds_nothing import done

KINDS = {"portal": "build", "orchestrator": "archive", "credential-store": "pull", "gfac": "jar"}

pytestmark = pytest.mark.skipif(not shutil.which("buildah"), reason="apt-get install buildah")


@contextmanager
def a_registry(path: Path, monkeypatch):
    """A real one, whose certificate is for 127.0.0.1 too."""
    path.mkdir()
    issue = pki.issue
    with monkeypatch.context() as patched:
        patched.setattr(
            pki,
            "issue",
            lambda ca, subject: issue(ca, Subject("registry.lab", dns=subject.dns, ips=("127.0.0.1",), usages=("server",))),
        )
        real = RealRegistry(mirror.binary("registry", "registry"), path).start()
    yield real
    real.kill()


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another registry, that an image is pulled from."""
    with a_registry(tmp_path / "other", monkeypatch) as real:
        yield real


@pytest.fixture
def private(tmp_path, monkeypatch):
    """The site's private registry."""
    with a_registry(tmp_path / "private", monkeypatch) as real:
        for name in ("site_password", "pull_password"):
            monkeypatch.setattr(registry, name, lambda session: PASSWORD)
        monkeypatch.setattr(registry, "registry_client", lambda *_: real.client())
        for module in (registry, site_stack):
            monkeypatch.setattr(module, "IMAGES", str(tmp_path / "images.json"))
        all_images = site_stack.site_images
        monkeypatch.setattr(
            registry, "site_images", lambda site, releases: {name: all_images(site, releases)[name] for name in KINDS}
        )
        yield real


@pytest.fixture
def site(tmp_path, other, monkeypatch):
    """One with four images, each of another kind; the same ones in every run, so that the cache does not grow."""
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")
    monkeypatch.setenv("OTHER", f"admin:{PASSWORD}")
    archive = samples.image(samples.layer("orchestrator", 3_000_000))
    samples.write_tar(tmp_path / "orchestrator.tar", samples.files_of(*archive))
    pulled = samples.image(samples.layer("credential store", 2_000_000))
    layout = open_archive(samples.write_tar(tmp_path / "pulled.tar", samples.files_of(*pulled)))
    other.client().push("team/store", "1", layout)
    sha256 = write_jar(tmp_path / "server.jar")
    (tmp_path / "https").mkdir()
    with HttpsFiles(tmp_path / "https", {"/server.jar": (tmp_path / "server.jar").read_bytes()}) as files:
        (tmp_path / "ca.pem").write_bytes(other.ca.cert + Path(files.ca).read_bytes())
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        sources = {
            "portal": {"build": str(folder(tmp_path / "pga", PGA, index_php="<?php\n"))},
            "orchestrator": {"archive": str(tmp_path / "orchestrator.tar"), "digest": samples.sha(archive[0])},
            "credential-store": {"pull": f"127.0.0.1:{other.port}/team/store@{layout.digest}", "auth": "env:OTHER"},
            "gfac": {"jar": f"{files.url}/server.jar", "sha256": sha256},
        }
        yield Site.load("lab", {"airavata.images": sources})


def statuses(site: Site, planning: bool = False) -> set[str]:
    """Of the four images and of the record of their digests."""
    return {str(item.status) for item in done(registry.images, site, planning).values()}


def test_images_of_every_kind_end_in_the_registry_by_digest_and_only_once(site, private, tmp_path):
    assert statuses(site, planning=True) == {"would change"} and not private.uploads()
    assert statuses(site) == {"changed"}
    record = json.loads((tmp_path / "images.json").read_text())
    assert {name.partition(":")[0] for name in record} == set(KINDS)
    for name, digest in record.items():
        pulled = private.client().pull(name.partition(":")[0], digest, tmp_path / "seen" / name.partition(":")[0])
        pulled.verify()
    config = open_archive(tmp_path / "seen/gfac").config["config"]
    assert config["Entrypoint"][:2] == ["java", "-jar"]
    sent = private.uploads()
    assert statuses(site) == {"ok"} and private.uploads() == sent, "a second run sends nothing"


def test_a_corrupt_layer_is_named_and_the_next_run_repairs(site, private, tmp_path):
    path = tmp_path / "orchestrator.tar"
    whole = path.read_bytes()
    layer = next(one for one in samples.image(samples.layer("orchestrator", 3_000_000))[1].values() if one[:2] == b"\x1f\x8b")
    path.write_bytes(whole.replace(layer, layer[:-8] + bytes(8)))
    with pytest.raises(Exception, match="a blob does not match its digest") as failed:
        done(registry.images, site, False)
    assert failed.value.where == str(path)
    assert private.client().manifest_digest("orchestrator", site_stack.site_image(site, "orchestrator").tag) is None
    assert not (tmp_path / "images.json").exists(), "no digest is recorded, so that no pod can name it"
    path.write_bytes(whole)
    assert "failed" not in statuses(site)
    assert statuses(site) == {"ok"}


def test_a_wrong_password_of_the_private_registry_is_one_error(site, private, monkeypatch):
    monkeypatch.setattr(registry, "registry_client", lambda *_: private.client(password="canary-wrong"))
    with pytest.raises(RegistryError, match="refuses the credentials") as failed:
        done(registry.images, site, False)
    assert "canary-wrong" not in str(failed.value) and not private.uploads()


def test_a_jar_that_was_changed_at_its_url_is_not_used(site, private, tmp_path):
    source = site.airavata.images["gfac"].model_copy(update={"sha256": hashlib.sha256(b"another").hexdigest()})
    images = {**site.airavata.images, "gfac": source}
    changed = site.model_copy(update={"airavata": site.airavata.model_copy(update={"images": images})})
    with pytest.raises(Exception, match="does not match its sha256"):
        done(registry.images, changed, False)
    assert private.client().manifest_digest("gfac", site_stack.site_image(changed, "gfac").tag) is None
