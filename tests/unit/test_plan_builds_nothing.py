"""A plan with an empty cache says what would be built and builds nothing; a run builds it, and then changes nothing more."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import Site, stacks
from airavata_runbook.chapters import install, registry, site_stack
from airavata_runbook.checks.preflight import offline
from airavata_runbook.distributions import Packaging
from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.deb_format import control_of
from airavata_runbook.distributions.rpm import RPM
from airavata_runbook.engine.host_run import converge
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import NotYet, SiteError, StepFailed
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.hosts.vault import Vault
from airavata_runbook.images.http import RegistryError
from airavata_runbook.local.files import AS_IT_IS, Head
from airavata_runbook.mirror import build as component_builds
from airavata_runbook.mirror import catalogue, image_steps, images, packages, released, releases
from airavata_runbook.mirror.components import BY_NAME as COMPONENTS
from airavata_runbook.mirror.recipes import BY_NAME
from airavata_runbook.pki.openpgp import new_key
from airavata_runbook.resources import KubeObject
from airavata_runbook.stacks import images_of
from tests.unit.test_engine import ThisMachine
from tests.unit.test_facts_host import snapshot

KEYS = {format.key: new_key(format.algorithm) for format in (DEB.format, RPM.format)}
SETTINGS = derive_node_settings(snapshot("lab-debian-12"))


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


SAME = install.SameSite(Site.load("lab")).label  # it asks the master


class Host(ThisMachine):
    def send(self, source: Path, target: str, head: Head = AS_IT_IS, done: object = None) -> None:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_bytes(head.content + source.read_bytes()[head.instead :])


class Registry:
    """Stands in for the client of a registry. tags: repository:tag → digest. manifests: repository@digest."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.manifests: set[str] = set()
        self.pushed: list[str] = []

    def give(self, repository, tag, digest):
        self.tags[f"{repository}:{tag}"] = digest
        self.manifests.add(f"{repository}@{digest}")

    def manifest_digest(self, repository, reference):
        if reference.startswith("sha256:"):
            return reference if f"{repository}@{reference}" in self.manifests else None
        return self.tags.get(f"{repository}:{reference}")

    def push(self, repository, tag, layout, done):
        self.pushed.append(repository)
        self.give(repository, tag, layout.digest)
        return layout.digest

    def tag(self, repository, digest, tag):
        assert f"{repository}@{digest}" in self.manifests
        self.tags[f"{repository}:{tag}"] = digest


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty one, while whatever would build raises."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(folder))

    def build(*_):
        raise AssertionError("something is built")

    for module, name in ((component_builds, "_build"), (released, "_bring"), (packages, "_pack"), (image_steps, "apply")):
        monkeypatch.setattr(module, name, build)
    return folder


@pytest.fixture
def site(tmp_path) -> Site:
    return Site.load("lab", {"repository.baseurl": f"file://{tmp_path}/repository"})


@pytest.fixture(autouse=True)
def record(tmp_path, monkeypatch) -> Path:
    """The record of images that the master would have, on this machine."""
    path = tmp_path / "images.json"
    for module in (registry, site_stack):
        monkeypatch.setattr(module, "IMAGES", str(path))
    return path


@pytest.fixture
def client(monkeypatch) -> Registry:
    client = Registry()
    for name in ("site_password", "pull_password"):
        monkeypatch.setattr(registry, name, lambda session: "password")
    monkeypatch.setattr(registry, "registry_client", lambda *_: client)
    return client


def session(site: Site, host: Host) -> SimpleNamespace:
    """One whose hosts are all this machine; what the site file leaves open is built."""
    hosts = {"master": host, "registry_host": host}
    chosen = site.sources.releases
    own = SimpleNamespace(site=site, planned={}, releases=chosen, why_built=("because",), vault=Vault(host), **hosts)
    own.stack = partial(stacks.load, site)
    return own


def done(step, site: Site, planning: bool, packaging: Packaging = DEB):
    """The items of a step's resources, but for those below /etc of this machine."""
    host = Host()
    host.session = session(site, host)
    vault = SimpleNamespace(repository_key=KEYS.__getitem__)
    target = SimpleNamespace(
        site=site,
        session=host.session,
        vault=vault,
        node=site.master,
        fan_out=None,
        facts={},
        settings=SETTINGS,
        packaging=packaging,
    )
    wanted = [one for one in step.resources(target) if one.label != SAME and not getattr(one, "path", "").startswith("/etc/")]
    outcome = converge(host.session, host, lambda: wanted, planning, lambda *_: None)
    if outcome.error:
        raise outcome.error
    return {item.label: item for item in outcome.items}


def small_package(package, target) -> None:
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
    assert (first.status, first.summary) == ("would change", "build, about 8 min")
    assert "kubernetes 1.36.3, about 4 min\n" in first.detail and "package kubernetes-node, " in first.detail
    assert "coredns" not in first.detail, "it is in no package"
    assert first.detail.endswith("\nbecause\n")
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
    assert {path.name for path in folder.iterdir()} == {*expected, *DEB.format.index_files, DEB.format.signature_file}
    assert "Package: etcd\n" in (folder / "Packages").read_text()


def test_a_plan_for_an_rpm_host_names_the_same_and_builds_nothing_either(cache, site, monkeypatch):
    def not_yet(path):
        raise NotYet("the key of the package repository is made")

    for keys in (KEYS, {}):
        monkeypatch.setitem(globals(), "KEYS", SimpleNamespace(__getitem__=keys.__getitem__ if keys else not_yet))
        items = done(install.repository, site, planning=True, packaging=RPM)
        assert items["packages on this machine"].summary == "build, about 8 min"
        assert {item.status for item in items.values()} == {"would change"}
        folder = site.repository.folder
        labels = [f"{folder}/{name}" for name in (*RPM.format.index_files, RPM.format.signature_file)]
        assert all(f"file {path}" in items for path in labels) and f"file {folder}/Packages" not in items
        assert f"file {folder}/etcd-{catalogue.PACKAGE['etcd'].version}-1.x86_64.rpm" in items
    assert list(cache.iterdir()) == []


def test_packages_of_releases_are_planned_packed_and_listed_instead_of_builds(cache, tmp_path, monkeypatch):
    site = Site.load("lab", {"repository.baseurl": f"file://{tmp_path}/repository", "sources": {"kubernetes": "release"}})
    detail = done(install.repository, site, planning=True)["packages on this machine"].detail
    assert "kubernetes 1.36.3, its release, about 5 s\n" in detail and "kubernetes 1.36.3, about" not in detail
    assert "etcd 3.6.16, about" in detail and list(cache.iterdir()) == []
    monkeypatch.setattr(packages, "_pack", small_package)
    done(install.repository, site, planning=False)
    listed = (tmp_path / "repository" / "Packages").read_text()
    wanted = catalogue.versions_of(site, site.master, ("kubernetes",))
    assert all(f"Package: {name}\nVersion: {version}\n" in listed for name, version in wanted.items())
    builds = {name: catalogue.PACKAGE[name].whole_version for name in wanted}
    assert {name for name in wanted if wanted[name] != builds[name]} == {name for name in wanted if name.startswith("kubernetes")}
    again = done(install.repository, site, planning=False)
    assert {item.status for item in again.values()} == {"ok"}


def test_a_release_without_a_digest_is_refused_before_anything_is_built(cache, tmp_path, monkeypatch):
    (tmp_path / "lock.yaml").write_text("")
    monkeypatch.setattr(releases, "LOCK", tmp_path / "lock.yaml")
    site = Site.load("lab", {"repository.baseurl": f"file://{tmp_path}/repository", "sources": {"etcd": "release"}})
    for planning in (True, False):
        with pytest.raises(SiteError, match="no sha256 of these releases is known") as failed:
            done(install.repository, site, planning)
    assert failed.value.where == "site.sources.etcd" and "etcd: build" in failed.value.remedy
    assert list(cache.iterdir()) == [] and not (tmp_path / "repository").exists()


def test_a_damaged_package_in_the_cache_is_built_again(cache, site, monkeypatch):
    monkeypatch.setattr(packages, "_pack", small_package)
    packages.make(["etcd"])
    packages.path(catalogue.PACKAGE["etcd"]).write_bytes(b"damaged")
    assert "package etcd" in packages.pending(["etcd"])
    with pytest.raises(NotYet, match="the package etcd is built"):
        packages.built("etcd")
    packages.make(["etcd"])
    assert packages.pending(["etcd"]) == {} and control_of(packages.built("etcd").path).startswith("Package: etcd\n")


def test_a_plan_of_the_images_names_what_would_be_built(cache, site, client):
    items = done(registry.images, site, planning=True)
    first = items.pop("images on this machine")
    assert (first.status, first.summary) == ("would change", "build, about 2 min")
    for name in ("coredns 1.15.0", "image base", "image mariadb", "image pause"):
        assert f"{name}, about " in first.detail
    last = items.pop(next(label for label in items if label.endswith("images.json")))
    assert {(item.status, item.summary) for item in items.values()} == {("would change", "push")}
    assert last.summary == "known after the image coredns is in the registry"
    assert list(cache.iterdir()) == []


def test_the_image_of_a_release_is_planned_and_named_otherwise_than_that_of_a_build(cache, tmp_path, client, monkeypatch):
    url = releases.urls(COMPONENTS["coredns"])["coredns"]
    entry = {"version": COMPONENTS["coredns"].version, "files": {url: "ab" * 32}}
    (tmp_path / "lock.yaml").write_text(json.dumps({"coredns": entry}))
    monkeypatch.setattr(releases, "LOCK", tmp_path / "lock.yaml")
    site = Site.load("lab", {"sources": {"coredns": "release"}})
    detail = done(registry.images, site, planning=True)["images on this machine"].detail
    assert "coredns 1.15.0, its release, about" in detail and "coredns 1.15.0, about" not in detail
    tags = {name: image.tag for name, image in registry.site_images(site).items()}
    builds = {name: image.tag for name, image in registry.site_images(Site.load("lab")).items()}
    assert {name for name in tags if tags[name] != builds[name]} == {"coredns"} and list(cache.iterdir()) == []


def test_the_image_of_a_release_has_its_program_where_that_of_a_build_is(cache, tmp_path, monkeypatch):
    (tmp_path / "coredns").write_bytes(b"of the release")
    monkeypatch.setattr(released, "obtain", lambda component: tmp_path)
    recipe = images._with_releases(replace(BY_NAME["coredns"], released=("coredns",)))
    monkeypatch.undo()  # of `apply`
    image_steps.apply(recipe, tmp_path / "root")
    program = tmp_path / "root" / "coredns"
    assert program.read_bytes() == b"of the release" and program.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [NotYet("the registry's password is made"), RegistryError("refused", retryable=True)])
def test_a_plan_names_what_would_be_built_before_there_is_a_registry(cache, site, monkeypatch, error):
    def password(session):
        raise error

    monkeypatch.setattr(registry, "pull_password", password)
    items = done(registry.images, site, planning=True)
    assert items["images on this machine"].summary == "build, about 2 min"
    assert items["image toolbox"].summary.startswith("known after the registry")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("planning", [True, False])
def test_nothing_is_built_or_pushed_where_the_registry_has_every_image(cache, site, client, record, planning):
    there = {image.name: digest(name) for name, image in registry.site_images(site).items()}
    record.write_text(json.dumps(there, indent=1) + "\n")
    record.chmod(0o600)
    for name, image in registry.site_images(site).items():
        client.give(name, image.tag, digest(name))
    assert {item.status for item in done(registry.images, site, planning).values()} == {"ok"}
    assert list(cache.iterdir()) == [] and client.pushed == []


def test_what_a_registry_has_is_recorded_where_no_machine_knows_better(cache, site, client, record):
    """A site that was made before there was a record, from a machine that never built its images."""
    for name, image in registry.site_images(site).items():
        client.give(name, image.tag, digest(name))
    assert [item.summary for item in done(registry.images, site, planning=True).values() if item.status != "ok"] == ["create"]
    assert not record.exists()
    done(registry.images, site, planning=False)
    assert json.loads(record.read_text())[registry.site_images(site)["toolbox"].name] == digest("toolbox")
    assert record.stat().st_mode & 0o777 == 0o600
    assert {item.status for item in done(registry.images, site, planning=True).values()} == {"ok"}
    assert list(cache.iterdir()) == []


def test_a_tag_that_somebody_overwrote_refers_to_the_recorded_image_again(cache, site, client, record):
    for name, image in registry.site_images(site).items():
        client.give(name, image.tag, digest(name))
    done(registry.images, site, planning=False)
    image = registry.site_images(site)["toolbox"]
    client.give("toolbox", image.tag, digest("evil"))
    planned = done(registry.images, site, planning=True)["image toolbox"]
    assert (planned.status, planned.summary) == ("would change", "tag again")
    assert f"{digest('evil')} → {digest('toolbox')}" in planned.detail
    done(registry.images, site, planning=False)
    assert client.tags[image.name] == digest("toolbox") == json.loads(record.read_text())[image.name]
    assert list(cache.iterdir()) == [] and client.pushed == []


def test_a_run_builds_only_what_the_registry_lacks(cache, site, client, record, monkeypatch):
    tags = {name: image.tag for name, image in registry.site_images(site).items()}
    for name, tag in tags.items():
        if name not in ("toolbox", "pause"):
            client.give(name, tag, digest("of another workstation"))
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
        f"file {record}",
    }
    assert {item.status for item in done(registry.images, site, planning=False).values()} == {"ok"}

    client.tags[f"toolbox:{tags['toolbox']}"] = digest("another build")
    client.manifests.clear()  # as after the registry's folder was lost
    planned = done(registry.images, site, planning=True)["image toolbox"]
    assert (planned.status, planned.summary) == ("would change", "push again")
    assert f"{digest('another build')} → {images.built('toolbox')}" in planned.detail


def first_pods(site, monkeypatch) -> dict[str, KubeObject]:
    monkeypatch.setattr(
        registry, "pull_secret", lambda session, namespace: KubeObject({"kind": "Secret", "metadata": {"name": ""}})
    )
    target = SimpleNamespace(site=site, session=session(site, Host()), node=site.master)
    return {one.name: one for one in registry.system_pods.resources(target) if images_of(getattr(one, "manifest", {"kind": ""}))}


def test_the_first_pods_are_known_after_their_images(cache, site, record, monkeypatch):
    wanted = first_pods(site, monkeypatch)
    assert {name: one.unknown for name, one in wanted.items()} == {
        "coredns": "the image coredns is in the registry",
        "netcheck": "the image toolbox is in the registry",
    }
    for planning in (True, False):
        with pytest.raises(NotYet, match="the image coredns is in the registry"):
            wanted["coredns"].ask(Context(Host(), None, planning))

    record.write_text(json.dumps({image.name: digest(name) for name, image in registry.site_images(site).items()}))
    wanted = first_pods(site, monkeypatch)
    assert images_of(wanted["coredns"].manifest) == [
        f"{site.registry_address}/coredns:{images.tag('coredns')}@{digest('coredns')}"
    ]
    assert wanted["coredns"].unknown == wanted["netcheck"].unknown == "" and list(cache.iterdir()) == []


def test_a_build_of_this_machine_does_not_replace_what_the_site_runs(cache, site, client, record, monkeypatch):
    """Two machines may build one recipe with other Debian packages: who runs the notebooks does not restart the databases."""
    monkeypatch.setattr(images, "built", lambda name: digest(f"{name}, built here"))
    for name, image in registry.site_images(site).items():
        client.give(name, image.tag, digest(name))
    record.write_text(
        json.dumps({image.name: digest(name) for name, image in registry.site_images(site).items()}, indent=1) + "\n"
    )
    record.chmod(0o600)
    assert {item.status for item in done(registry.images, site, planning=False).values()} == {"ok"}
    assert digest("coredns") in images_of(first_pods(site, monkeypatch)["coredns"].manifest)[0]


def test_containerds_configuration_is_known_after_the_pause_image_and_names_it_by_digest(cache, site, record, monkeypatch):
    def wanted() -> dict:
        target = SimpleNamespace(site=site, session=session(site, Host()), node=site.node("worker"), settings=SETTINGS)
        return {one.label: one for one in install.host_files.resources(target)}

    context = Context(Host(), None, planning=True)
    found = wanted()
    assert found["images on this machine"].change(Found(), context).detail == "image pause, about 2 s\n"
    with pytest.raises(NotYet, match="the image pause is built"):
        found["file /etc/containerd/config.toml"].content()
    assert list(cache.iterdir()) == []

    image = registry.site_images(site)["pause"]
    record.write_text(json.dumps({image.name: digest("pause")}))
    found = wanted()
    assert "images on this machine" not in found, "another machine needs neither a compiler nor the sources"
    assert f"registry.lab:5000/pause@{digest('pause')}" in found["file /etc/containerd/config.toml"].content()
    assert list(cache.iterdir()) == []


def test_a_damaged_record_is_named_with_the_way_on(site, record):
    record.write_text('{"coredns:1": "sha256:12"}')
    with pytest.raises(StepFailed, match="the record of the site's images is damaged") as error:
        site_stack.recorded(session(site, Host()))
    assert "images.json on " in error.value.where and error.value.remedy.startswith("remove it")


def test_preflight_builds_nothing(cache, site):
    offline(site)
    assert list(cache.iterdir()) == []


def test_a_tag_follows_the_recipe_its_settings_and_its_parents(monkeypatch):
    before = {name: images.tag(name) for name in images.NAMES}
    assert len(set(before.values())) == len(before)
    monkeypatch.setitem(BY_NAME, "toolbox", replace(BY_NAME["toolbox"], env=(("LANG", "C"),)))
    assert (
        {name for name in images.NAMES if images.tag(name) != before[name]}
        == {
            "toolbox",
            *(name for name in images.NAMES if BY_NAME["toolbox"] in images.lineage(BY_NAME[name])[:-1]),
        }
        > {"rabbitmq", "stand-in"}
    )
    monkeypatch.undo()
    monkeypatch.setattr(images, "DEBIAN", "2099-01")
    assert all(images.tag(name) != before[name] for name in images.NAMES)
