"""A plan with an empty cache says what would be built and builds nothing; a run builds it, and then changes nothing more."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import install, registry
from airavata_runbook.checks.preflight import offline
from airavata_runbook.engine.host_run import converge
from airavata_runbook.errors import NotYet
from airavata_runbook.images.http import RegistryError
from airavata_runbook.mirror import build as component_builds
from airavata_runbook.mirror import catalogue, image_steps, images, packages
from airavata_runbook.mirror.recipes import BY_NAME
from airavata_runbook.resources import KubeObject
from tests.unit.test_engine import ThisMachine

SAME = install.SameSite(Site.load("lab")).label  # it asks the master


class Host(ThisMachine):
    def send(self, source: Path, target: str) -> None:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


class Registry:
    """Stands in for the client of a registry: repository:tag → digest."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def manifest_digest(self, repository, tag):
        return self.tags.get(f"{repository}:{tag}")

    def push(self, repository, tag, layout):
        self.tags[f"{repository}:{tag}"] = layout.digest


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty one, while whatever would build raises."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(folder))

    def build(*_):
        raise AssertionError("something is built")

    for module, name in ((component_builds, "_build"), (packages, "_pack"), (image_steps, "apply")):
        monkeypatch.setattr(module, name, build)
    return folder


@pytest.fixture
def site(tmp_path) -> Site:
    return Site.load("lab", {"repository.baseurl": f"file://{tmp_path}/repository"})


@pytest.fixture
def client(monkeypatch) -> Registry:
    client = Registry()
    monkeypatch.setattr(registry, "site_password", lambda session: "password")
    monkeypatch.setattr(registry, "registry_client", lambda session, password: client)
    return client


def done(step, site: Site, planning: bool):
    """The items of a step's resources, but for those below /etc of this machine."""
    target = SimpleNamespace(site=site, session=SimpleNamespace(site=site), node=site.master, fan_out=None)
    wanted = [one for one in step.resources(target) if one.label != SAME and not getattr(one, "path", "").startswith("/etc/")]
    host = Host()
    outcome = converge(host.session, host, lambda: wanted, planning, lambda *_: None)
    if outcome.error:
        raise outcome.error
    return {item.label: item for item in outcome.items}


def small_package(package, kind, target) -> None:
    control = target.parent / package.name / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(
        f"Package: {package.name}\nVersion: {package.whole_version}\nArchitecture: all\nMaintainer: test\nDescription: test\n"
    )
    subprocess.run(["dpkg-deb", "-b", control.parent.parent, target], check=True, capture_output=True)
    shutil.rmtree(control.parent.parent)


def test_a_plan_of_the_repository_names_what_would_be_built_and_how_long_it_takes(cache, site):
    items = done(install.repository, site, planning=True)
    first = items["packages on this machine"]
    assert (first.status, first.summary) == ("would change", "build, about 9 min")
    assert "kubernetes 1.36.3, about 4 min\n" in first.detail and "package kubernetes-node, " in first.detail
    assert "coredns" not in first.detail, "it is in no package"
    others = [item for item in items.values() if item is not first]
    assert {item.status for item in others} == {"would change"}
    assert items[f"file {site.repository.folder}/Packages"].summary.startswith("known after the package ")
    assert list(cache.iterdir()) == []


def test_a_run_builds_the_packages_and_uploads_them_and_another_changes_nothing(cache, site, monkeypatch):
    monkeypatch.setattr(packages, "_pack", small_package)
    items = done(install.repository, site, planning=False)
    assert {item.status for item in items.values()} == {"changed"}
    for planning in (True, False):
        again = done(install.repository, site, planning)
        assert {item.status for item in again.values()} == {"ok"} and "packages on this machine" not in again
    folder = Path(site.repository.folder)
    expected = {packages.file_name(catalogue.PACKAGE[name]) for name in catalogue.of_host(site, site.master)}
    assert {path.name for path in folder.iterdir()} == {*expected, *catalogue.INDEX}
    assert "Package: etcd\n" in (folder / "Packages").read_text()


def test_a_damaged_package_in_the_cache_is_built_again(cache, site, monkeypatch):
    monkeypatch.setattr(packages, "_pack", small_package)
    packages.make(["etcd"])
    packages.path(catalogue.PACKAGE["etcd"]).write_bytes(b"damaged")
    assert "package etcd" in packages.pending(["etcd"])
    with pytest.raises(NotYet, match="the package etcd is built"):
        packages.built("etcd")
    packages.make(["etcd"])
    assert packages.pending(["etcd"]) == {} and packages.built("etcd").control.startswith("Package: etcd\n")


def test_a_plan_of_the_images_names_what_would_be_built(cache, site, client):
    items = done(registry.images, site, planning=True)
    first = items.pop("images on this machine")
    assert (first.status, first.summary) == ("would change", "build, about 2 min")
    for name in ("coredns 1.15.0", "image base", "image mariadb", "image pause"):
        assert f"{name}, about " in first.detail
    assert {(item.status, item.summary) for item in items.values()} == {("would change", "push")}
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("error", [NotYet("the registry's password is made"), RegistryError("refused", retryable=True)])
def test_a_plan_names_what_would_be_built_before_there_is_a_registry(cache, site, monkeypatch, error):
    def site_password(session):
        raise error

    monkeypatch.setattr(registry, "site_password", site_password)
    items = done(registry.images, site, planning=True)
    assert items["images on this machine"].summary == "build, about 2 min"
    assert items["image toolbox"].summary.startswith("known after the registry")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("planning", [True, False])
def test_nothing_is_built_where_the_registry_has_every_image(cache, site, client, planning):
    for name, image in registry.site_images(site).items():
        client.tags[f"{name}:{image.tag}"] = "sha256:of another workstation"
    assert {item.status for item in done(registry.images, site, planning).values()} == {"ok"}
    assert list(cache.iterdir()) == []


def test_a_run_builds_only_what_the_registry_lacks_and_pushes_another_build_of_this_machine(cache, site, client, monkeypatch):
    tags = {name: image.tag for name, image in registry.site_images(site).items()}
    there = {f"{name}:{tag}": "sha256:of another workstation" for name, tag in tags.items() if name not in ("toolbox", "pause")}
    client.tags = dict(there)
    built: list[str] = []
    monkeypatch.setattr(image_steps, "apply", lambda recipe, root: (built.append(recipe.name), (root / recipe.name).touch()))
    monkeypatch.setattr(image_steps, "package_version", lambda root, package: "1.0")
    monkeypatch.setattr(images.oci_writer, "unpack", lambda layer, file, root: None)
    monkeypatch.setattr(images.os, "geteuid", lambda: 0)
    items = done(registry.images, site, planning=False)
    assert built == ["base", "pause", "toolbox"]
    assert {label for label, item in items.items() if item.status == "changed"} == {
        "images on this machine",
        "image pause",
        "image toolbox",
    }
    assert {item.status for item in done(registry.images, site, planning=False).values()} == {"ok"}

    client.tags[f"toolbox:{tags['toolbox']}"] = "sha256:of another build"
    planned = done(registry.images, site, planning=True)["image toolbox"]
    assert (planned.status, planned.summary) == ("would change", "push another build")
    assert f"sha256:of another build → {images.built('toolbox')}" in planned.detail
    assert done(registry.images, site, planning=False)["image toolbox"].status == "changed"
    assert client.tags[f"toolbox:{tags['toolbox']}"] == images.built("toolbox")


def test_the_first_pods_are_planned_with_the_tags_of_images_that_are_not_built(cache, site, monkeypatch):
    monkeypatch.setattr(registry, "pull_secret", lambda session, namespace: KubeObject({"kind": "Secret", "metadata": {}}))
    wanted = list(registry.system_pods.resources(SimpleNamespace(site=site, session=None, node=site.master)))
    text = str([one.manifest for one in wanted if isinstance(one, KubeObject)])
    assert f"{site.registry_address}/coredns:{images.tag('coredns')}" in text
    assert f"{site.registry_address}/toolbox:{images.tag('toolbox')}" in text
    assert list(cache.iterdir()) == []


def test_preflight_builds_nothing(cache, site):
    offline(site)
    assert list(cache.iterdir()) == []


def test_a_tag_follows_the_recipe_its_settings_and_its_parents(monkeypatch):
    before = {name: images.tag(name) for name in images.NAMES}
    assert len(set(before.values())) == len(before)
    monkeypatch.setitem(BY_NAME, "toolbox", replace(BY_NAME["toolbox"], env=(("LANG", "C"),)))
    assert {name for name in images.NAMES if images.tag(name) != before[name]} == {"toolbox", "rabbitmq", "stand-in"}
    monkeypatch.undo()
    monkeypatch.setattr(images, "DEBIAN", "2099-01")
    assert all(images.tag(name) != before[name] for name in images.NAMES)
