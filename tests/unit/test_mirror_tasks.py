"""What `airavata-runbook mirror` does, in which order, and that it is only what the site needs."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from airavata_runbook import Site, cli
from airavata_runbook.chapters.site_stack import site_images
from airavata_runbook.lab import image as host_image
from airavata_runbook.local import scheduler
from airavata_runbook.mirror import build, catalogue, everything, images, packages, released, releases
from airavata_runbook.mirror.components import BY_NAME, COMPONENTS

PACKAGES = set(catalogue.PACKAGE) - {"cni-plugins"}  # these are for hosts with a containerd of their own


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def planned(monkeypatch):
    """The tasks that the scheduler would run: name → task, without needs that the cache has. Nothing is built."""
    tasks = {}

    def run(title, work, pools, together):
        names = {task.name for task in work}
        assert len(names) == len(work) and {task.pool for task in work} <= set(pools)
        tasks.update((task.name, replace(task, needs=task.needs & names)) for task in work)

    monkeypatch.setattr(scheduler, "run", run)
    monkeypatch.setattr(packages, "make", lambda names, releases=(), format=None: None)
    monkeypatch.setattr(images, "build", lambda names, releases=(): None)
    monkeypatch.setattr(everything.build, "build", lambda component: None)
    return tasks


def of_images(planned) -> set[str]:
    return {name.removeprefix("image ") for name in planned if name.startswith("image ")}


def needed_by(name: str, planned) -> set[str]:
    """The names of all tasks that must be done before one, directly or not."""
    return set().union(*({need} | needed_by(need, planned) for need in planned[name].needs))


def test_the_lab_needs_its_own_images_and_host_image_and_no_others(planned):
    assert cli.main(["mirror", "lab"]) == 0
    assert of_images(planned) == {
        *("base", "pause", "coredns", "toolbox", "mariadb", "rabbitmq", "java", "zookeeper", "stand-in"),
    }
    assert {name.removeprefix("package ") for name in planned if name.startswith("package ")} == set(catalogue.PACKAGE) - {
        "cni-plugins"
    }
    assert "lab host image" in planned
    planned.clear()
    assert cli.main(["mirror"]) == 0
    assert {"haproxy", "airavata-setup", "unified-stand-in"} < of_images(planned)
    assert not {"kafka", "keycloak"} & of_images(planned), "those are built when a site needs them"


def test_a_site_without_a_lab_and_with_a_repository_of_its_own_builds_no_packages_and_no_host_image(planned):
    site = Site.load("lab").model_copy(update={"lab": None})
    site = site.model_copy(update={"repository": site.repository.model_copy(update={"baseurl": "https://packages.example.org"})})
    everything.build_for(site, ["coredns", "toolbox"], ())
    assert set(planned) == {
        *("modules of coredns 1.15.0", "build coredns 1.15.0", "image base", "image coredns", "image toolbox"),
    }


def test_each_task_waits_for_all_that_it_is_made_of(planned):
    everything.build_everything()
    for component in COMPONENTS:
        version = f"{component.name} {component.version}"
        assert planned[f"build {version}"].needs == {f"modules of {version}"}
    for package in catalogue.PACKAGES:
        made_of = {f"build {name} {BY_NAME[name].version}" for name in ["nfpm", *package.components]}
        assert planned[f"package {package.name}"].needs == made_of
    assert needed_by("image coredns", planned) == {"build coredns 1.15.0", "modules of coredns 1.15.0"}
    assert planned["image pause"].needs == {"modules of kubernetes 1.36.3"}

    assert needed_by("image rabbitmq", planned) == {"image toolbox", "image base"}


def test_builds_compute_while_modules_and_releases_are_downloaded(planned):
    everything.build_everything()
    pools = {name.partition(" ")[0]: task.pool for name, task in planned.items()}
    assert pools == {"modules": "download", "build": "build", "package": "build", "image": "image", "lab": "image"}
    assert set(pools.values()) == set(everything.POOLS)
    builds = [name for name in planned if name.startswith("build ")]
    assert builds[:2] == ["build nfpm 2.45.2", "build kubernetes 1.36.3"], "the longest first, so that all end together"


def test_what_the_cache_has_is_not_done_again_and_nothing_waits_for_it(planned):
    for name in ("nfpm", "etcd"):
        build.folder(BY_NAME[name]).mkdir(parents=True)
    host_image.path().mkdir(parents=True)
    everything.build_everything()
    assert not {"build nfpm 2.45.2", "modules of etcd 3.6.16", "build etcd 3.6.16", "lab host image"} & set(planned)
    assert planned["package etcd"].needs == frozenset() and planned["package flannel"].needs == {"build flannel 0.28.10"}


def test_a_release_is_downloaded_and_not_built(planned, tmp_path, monkeypatch):
    urls = {name: list(releases.urls(BY_NAME[name]).values()) for name in ("etcd", "kubernetes")}
    lock = {name: {"version": BY_NAME[name].version, "files": dict.fromkeys(of, "ab" * 32)} for name, of in urls.items()}
    (tmp_path / "lock.yaml").write_text(json.dumps(lock))
    monkeypatch.setattr(releases, "LOCK", tmp_path / "lock.yaml")
    site = Site.load("lab", {"sources": {"etcd": "release", "kubernetes": "release"}})
    names = {image.mirrored for image in site_images(site).values()} - {""}
    everything.build_for(site, names, site.sources.releases)
    assert planned["release etcd 3.6.16"].pool == "download" and planned["release etcd 3.6.16"].needs == frozenset()
    assert not [name for name in planned if name in ("build etcd 3.6.16", "modules of etcd 3.6.16", "build kubernetes 1.36.3")]
    assert planned["package etcd"].needs == {"release etcd 3.6.16", "build nfpm 2.45.2"}
    assert "modules of kubernetes 1.36.3" not in planned, "the image pause brings the one with its source itself"
    released.folder(BY_NAME["etcd"]).mkdir(parents=True)
    planned.clear()
    everything.build_for(site, names, site.sources.releases)
    assert "release etcd 3.6.16" not in planned and planned["package etcd"].needs == {"build nfpm 2.45.2"}


GO = """#!/bin/sh
# Stands in for Go: makes a program for each package, named as `go build` does (go help build); `go list` names a folder.
echo "$@" >> "$LOG"
case $1 in
list) echo "$SOURCE"; exit ;;
esac
while [ "$1" != -o ]; do shift; done
folder=$2; shift 2
for package; do
    [ "$package" = . ] && package=$(pwd)
    name=${package##*/}
    case $name in v[0-9]) package=${package%/*}; name=${package##*/} ;; esac
    echo "$name" > "$folder$name"
done
"""


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_all_programs_of_a_component_are_built_at_once_and_have_their_names(component, tmp_path, monkeypatch):
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "LICENSE").touch()
    monkeypatch.setattr(build, "go_command", lambda: str(go))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("SOURCE", str(tmp_path / "source"))
    folder = build.build(replace(component, keep=("LICENSE",)))
    assert {path.name for path in folder.iterdir()} == {*component.programs.values(), "LICENSE", "digests.json"}
    assert [line.split()[0] for line in Path(os.environ["LOG"]).read_text().splitlines()] == ["build", "list"]
    build.download(component)
    assert Path(os.environ["LOG"]).read_text().splitlines()[-1].startswith("list -deps ")


def test_of_a_lab_that_mixes_deb_and_rpm_each_host_s_packages_are_made_in_its_format(planned):
    site = Site.load("lab", {"lab.hosts": {"worker": {"packages": "rpm"}}})
    everything.build_for(site, [], ())
    assert {"package etcd", "package kubernetes", "rpm package kubernetes-node", "rpm package containerd"} < planned.keys()
    assert "rpm package etcd" not in planned, "the worker has none"
    assert planned["rpm package containerd"].needs == planned["package containerd"].needs


def test_a_package_and_an_image_are_made_by_their_tasks_from_where_the_site_says(planned, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(packages, "make", lambda names, releases, format: made.append((names, releases)))
    monkeypatch.setattr(images, "build", lambda names, releases=(): made.append((names, releases)))
    site, path = Site.load("lab", {"sources": {"runc": "release"}}), tmp_path / "site.yaml"
    path.write_text(json.dumps({"site": site.model_dump(mode="json", exclude_unset=True)}))
    assert cli.main(["mirror", str(path)]) == 0
    assert [set(names) for names, _ in made] == [
        set(catalogue.PACKAGE) - {"cni-plugins"},
        {image.mirrored for image in site_images(site).values()},
    ]
    made.clear()
    for name in ("package containerd", "image toolbox"):
        planned[name].work()
    assert made == [(["containerd"], ("runc",)), (["toolbox"], ("runc",))]
    assert planned["package containerd"].needs >= {"release runc 1.5.2", "build cni 1.9.1"}
