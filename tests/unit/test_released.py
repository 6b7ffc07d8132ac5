"""Packages of official releases: archives as upstream has them, from a local server, packed to what a build gives."""

import hashlib
import io
import os
import re
import subprocess
import tarfile
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import yaml

from airavata_runbook.distributions.deb_format import control_of
from airavata_runbook.errors import CannotBuild
from airavata_runbook.images import download
from airavata_runbook.images.download import DownloadFailed
from airavata_runbook.local import paths
from airavata_runbook.mirror import build as component_builds
from airavata_runbook.mirror import catalogue, packages, released, releases
from airavata_runbook.mirror.catalogue import PACKAGE, package_of
from airavata_runbook.mirror.components import BY_NAME, COMPONENTS
from airavata_runbook.mirror.releases import RELEASES, urls
from tests.unit.https_files import HttpsFiles

EVERY = tuple(RELEASES)
NFPM = component_builds.folder(BY_NAME["nfpm"])  # of the cache of this machine


def program(name: str) -> bytes:
    """The head of a program for x86-64, and something of its own."""
    return b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + b"\x3e\0" + name.encode() * 1000


def archive(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as file:
        for name, content in members.items():
            one = tarfile.TarInfo(name)
            one.size, one.mode = len(content), 0o600
            file.addfile(one, io.BytesIO(content))
    return packed.getvalue()


def published(component) -> dict[str, bytes]:
    """What upstream publishes of a component: URL → content. CNI's archive names its members as `./bridge`, as it does."""
    files, member = {}, RELEASES[component.name].member
    for name, url in urls(component).items():
        files.setdefault(url, {})[name] = program(name)
    before = "./" if component.name == "cni" else ""
    return {
        url: archive({before + member.format(version=component.version, program=name): content for name, content in one.items()})
        if member
        else one.popitem()[1]
        for url, one in files.items()
    }


@pytest.fixture
def server(tmp_path, monkeypatch, no_proxy):
    """A server in the place of all upstreams, and a lock file with the digests of what it serves."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0.01)
    (tmp_path / "server").mkdir()
    with HttpsFiles(tmp_path / "server", {}) as files:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files.ca)
        here = {name: replace(one, url=files.url + re.sub("^https://[^/]*", "", one.url)) for name, one in RELEASES.items()}
        for module in (releases, released):
            monkeypatch.setattr(module, "RELEASES", here)
        monkeypatch.setattr(releases, "LOCK", tmp_path / "lock.yaml")
        files.files = {urlsplit(url).path: content for name in EVERY for url, content in published(BY_NAME[name]).items()}
        lock(files)
        yield files


def lock(files: HttpsFiles) -> None:
    """Write the lock file with the digests of what the server has now."""
    known = {
        name: {
            "version": BY_NAME[name].version,
            "files": {url: hashlib.sha256(files.files[urlsplit(url).path]).hexdigest() for url in urls(BY_NAME[name]).values()},
        }
        for name in EVERY
    }
    releases.LOCK.write_text(yaml.safe_dump(known))


@pytest.mark.parametrize("name", EVERY)
def test_the_folder_of_a_release_has_what_a_build_has_for_packages(server, name):
    component = BY_NAME[name]
    folder = released.obtain(component)
    for one in component.programs.values():
        assert (folder / one).read_bytes() == program(one) and (folder / one).stat().st_mode & 0o777 == 0o755
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert component_builds.is_whole(folder) and folder != component_builds.folder(component)
    asked = len(server.requests)
    assert released.obtain(component) == folder and len(server.requests) == asked
    assert [path for path in (paths.cache_dir() / "downloads").iterdir() if path.suffix != ".lock"] == []


def test_a_release_that_was_damaged_in_the_cache_is_fetched_again(server):
    folder = released.obtain(BY_NAME["runc"])
    (folder / "runc").write_bytes(b"damage")
    assert (released.obtain(BY_NAME["runc"]) / "runc").read_bytes() == program("runc")


def test_what_is_not_the_file_of_the_lock_is_never_unpacked(server):
    (path,) = (urlsplit(url).path for url in set(urls(BY_NAME["etcd"]).values()))
    whole = server.files[path]
    for other in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2], whole + b"\n", b"<html>moved</html>"):
        server.files[path] = other
        with pytest.raises(DownloadFailed, match="does not match its sha256"):
            released.obtain(BY_NAME["etcd"])
        assert not released.folder(BY_NAME["etcd"]).exists()
    server.files[path], server.breaks, server.statuses = whole, [len(whole) // 2], [503]
    assert released.obtain(BY_NAME["etcd"]).is_dir()


@pytest.mark.parametrize(
    "content, found",
    [
        (lambda: archive({"bin/runc": program("runc")}), "not there"),
        (lambda: b"no archive", "could not be opened"),
        (lambda: archive({name: b"#!/bin/sh\n" for name in BY_NAME["cni"].programs.values()}), "no program for Linux on x86-64"),
        (
            lambda: archive({name: program(name) for name in BY_NAME["cni"].programs.values()}, "w")[:9000],
            "unexpected end of data",
        ),
    ],
)
def test_a_release_that_is_made_otherwise_than_expected_is_one_clear_error(server, content, found):
    (path,) = (urlsplit(url).path for url in set(urls(BY_NAME["cni"]).values()))
    server.files[path] = content()
    lock(server)
    with pytest.raises(CannotBuild, match="a release is not as expected") as failed:
        released.obtain(BY_NAME["cni"])
    assert found in failed.value.found and failed.value.where.endswith(path)
    assert not released.folder(BY_NAME["cni"]).exists()


def test_a_package_has_the_same_files_of_a_release_and_of_a_build(server):
    for name in PACKAGE:
        built, of_release = PACKAGE[name], package_of(name, EVERY)
        targets = [
            {
                (content["dst"], content["file_info"]["mode"])
                for content in catalogue.description(one, paths.cache_dir())["contents"]
            }
            for one in (built, of_release)
        ]
        assert targets[0] == targets[1] and targets[0] or name == "kubernetes"
        assert of_release.version == built.version and of_release.whole_version != built.whole_version


def test_packages_of_one_release_need_each_other_at_exactly_its_version(server):
    depends = catalogue.description(package_of("kubernetes", EVERY), paths.cache_dir())["depends"]
    assert depends == [f"{name} (= {package_of(name, EVERY).whole_version})" for name in PACKAGE["kubernetes"].needs]


def test_a_package_heeds_the_releases_of_its_own_components_only(server):
    assert package_of("flannel", ["kubernetes", "etcd"]) == PACKAGE["flannel"]
    assert package_of("containerd", ["runc", "etcd"]).released == ("runc",)
    assert len({package_of("containerd", one).whole_version for one in ([], ["runc"], ["runc", "cni"], ["containerd"])}) == 4


def test_a_new_digest_in_the_lock_file_is_another_version(server):
    before = {name: package_of(name, EVERY).whole_version for name in PACKAGE}
    server.files[urlsplit(urls(BY_NAME["kubernetes"])["kubelet"]).path] += b"\0"
    lock(server)
    assert {name for name in PACKAGE if package_of(name, EVERY).whole_version != before[name]} == {
        *(name for name in PACKAGE if name.startswith("kubernetes"))
    }


def test_what_would_be_built_is_the_package_alone_once_its_release_is_here(server, monkeypatch):
    pending = packages.pending(["etcd", "flannel"], ["etcd"])
    assert {name for name in pending if "etcd" in name} == {f"etcd {BY_NAME['etcd'].version}, its release", "package etcd"}
    assert f"flannel {BY_NAME['flannel'].version}" in pending and server.requests == [], "a plan downloads nothing"
    released.obtain(BY_NAME["etcd"])
    assert not any("release" in name for name in packages.pending(["etcd"], ["etcd"]))


@pytest.mark.skipif(not component_builds.is_whole(NFPM), reason="nfpm is not built yet")
def test_the_deb_of_a_release_lies_where_that_of_a_build_does(server, monkeypatch, tmp_path):
    """Both are packed here; the build is STAND-IN: a folder with programs and a licence as a build leaves them."""
    stand_in = tmp_path / "built"
    stand_in.mkdir()
    for name in [*PACKAGE["containerd"].components, "kubernetes"]:
        (stand_in / name).mkdir()
        for one in BY_NAME[name].programs.values():
            (stand_in / name / one).write_bytes(program(one))
        (stand_in / name / "LICENSE").write_text("licence")
    monkeypatch.setattr(component_builds, "build", lambda one: NFPM if one.name == "nfpm" else stand_in / one.name)
    for name in ("containerd", "kubernetes-node", "kubernetes"):
        (of_build,), (of_release,) = packages.make([name]), packages.make([name], releases=EVERY)
        assert of_build.path != of_release.path
        assert contents(of_build.path) == contents(of_release.path)
        assert f"Version: {package_of(name, EVERY).whole_version}\n" in control_of(of_release.path)
        assert packages.built(name, EVERY) == of_release and packages.built(name) == of_build
    with open(os.devnull, "wb") as nothing:
        unpacked = subprocess.run(["dpkg-deb", "-x", of_release.path, tmp_path / "root"], stderr=nothing)
    assert unpacked.returncode == 0


def contents(deb) -> list[tuple[str, str, str]]:
    """Mode, owner and path of each file; licences differ in size only."""
    lines = subprocess.run(["dpkg-deb", "--contents", deb], capture_output=True, text=True, check=True).stdout.splitlines()
    return [(line.split()[0], line.split()[1], line.split()[5]) for line in lines]


def test_every_component_has_the_licence_that_is_packed_with_its_release():
    for component in COMPONENTS:
        assert component.name == "nfpm" or "LICENSE" in component.keep
