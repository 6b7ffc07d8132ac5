"""Packages as they are described: what is in them, what they need, and how a repository lists them."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airavata_runbook import Site
from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.deb_format import DEB_FORMAT, control_of, release_of
from airavata_runbook.distributions.rpm_format import RPM_FORMAT
from airavata_runbook.errors import CannotBuild, SiteError
from airavata_runbook.mirror import catalogue, packages
from airavata_runbook.mirror.catalogue import PACKAGE, PACKAGES, check_versions, description, package_of, with_needs
from airavata_runbook.site.parts import Repository

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_holds_binaries_units_and_licences_and_nothing_under_etc(package):
    for content in description(package, Path("/built"))["contents"]:
        assert content["dst"].startswith(("/usr/bin/", "/opt/cni/bin/", "/usr/lib/systemd/system/", "/usr/share/doc/"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_starts_nothing_when_it_is_installed(package):
    assert "scripts" not in description(package, Path("/built"))


@pytest.mark.parametrize(("format", "written"), [(DEB_FORMAT, "{} (= {})"), (RPM_FORMAT, "{} = {}")])
def test_packages_of_one_component_go_together_at_one_version(format, written):
    described = description(package_of("kubernetes", format=format), Path("/built"))
    parts = [package_of(f"kubernetes-{part}", format=format) for part in ("master", "node", "client")]
    assert described["depends"] == [written.format(part.name, part.whole_version) for part in parts]


def test_a_name_that_differs_between_the_families_is_each_familys_own():
    depends = {
        format: description(package_of("kubernetes-node", format=format), Path("/built"))["depends"]
        for format in (DEB_FORMAT, RPM_FORMAT)
    }
    assert "conntrack" in depends[DEB_FORMAT] and "conntrack-tools" in depends[RPM_FORMAT]


# What packages of others put where ours do, from their file lists (dpkg-deb --contents): Debian 12's, and those of
# download.docker.com and pkgs.k8s.io, in 2026-11. /lib is /usr/lib there.
OTHERS = {
    "containerd": "/usr/bin/containerd /usr/bin/containerd-shim-runc-v2 /usr/bin/ctr /usr/lib/systemd/system/containerd.service",
    "containerd.io": "/usr/bin/containerd /usr/bin/containerd-shim-runc-v2 /usr/bin/ctr /usr/bin/runc "
    "/usr/lib/systemd/system/containerd.service",
    "runc": "/usr/bin/runc /usr/sbin/runc",
    "crun": "/usr/bin/crun",
    "containernetworking-plugins": "/usr/lib/cni/bridge /usr/lib/cni/host-local /usr/lib/cni/loopback /usr/lib/cni/portmap",
    "kubernetes-cni": "/opt/cni/bin/bridge /opt/cni/bin/host-local /opt/cni/bin/loopback /opt/cni/bin/portmap",
    "etcd-server": "/usr/bin/etcd /usr/lib/systemd/system/etcd.service",
    "etcd-client": "/usr/bin/etcdctl",
    "docker-registry": "/usr/bin/docker-registry /usr/lib/systemd/system/docker-registry.service",
    "kubernetes-client": "/usr/bin/kubectl",
    "kubectl": "/usr/bin/kubectl",
    "cri-tools": "/usr/bin/crictl",
    "kubelet": "/usr/bin/kubelet /usr/lib/systemd/system/kubelet.service",
}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_what_would_overwrite_a_file_of_another_package_is_said_to_conflict_with_it(package):
    """Else dpkg stops in the midst of its work: "trying to overwrite '/usr/bin/runc', which is also in package runc"."""
    ours = {content["dst"] for content in description(package, Path("/built"))["contents"]}
    for other, files in OTHERS.items():
        # One of the same name is replaced, as by any newer version.
        if ours.intersection(files.split()) and other != package.name:
            assert other in description(package, Path("/built"))["conflicts"], other


def test_what_a_package_needs_comes_with_it():
    assert with_needs(["kubernetes"]) == ["containerd", "kubernetes", "kubernetes-client", "kubernetes-master", "kubernetes-node"]


def test_versions_that_the_mirror_does_not_build_are_refused_all_at_once():
    check_versions(Site.load("lab").versions)
    site = Site.load("lab", {"versions.kubernetes": "1.30.0", "versions.etcd": "3.5.1"})
    with pytest.raises(SiteError) as caught:
        check_versions(site.versions)
    assert "kubernetes: 1.30.0" in caught.value.found and "etcd: 3.5.1" in caught.value.found
    assert "repository.baseurl" in caught.value.remedy


def test_the_cache_key_of_a_package_does_not_depend_on_where_the_project_lies(monkeypatch, tmp_path):
    before = catalogue.recipe(PACKAGE["etcd"])
    (tmp_path / "etcd.service").write_bytes((catalogue.UNITS / "etcd.service").read_bytes())
    monkeypatch.setattr(catalogue, "UNITS", tmp_path)
    assert catalogue.recipe(PACKAGE["etcd"]) == before
    (tmp_path / "etcd.service").write_text("[Unit]\n")
    assert catalogue.recipe(PACKAGE["etcd"]) != before


def test_another_recipe_is_another_version_for_apt_also_of_what_needs_it_exactly(monkeypatch, tmp_path):
    before = {package.name: package.whole_version for package in PACKAGES}
    assert all(re.fullmatch(r"\d[\d.]+-1\+[0-9a-f]{8}", version) for version in before.values())
    shutil.copytree(catalogue.UNITS, tmp_path / "units")
    monkeypatch.setattr(catalogue, "UNITS", tmp_path / "units")
    with (tmp_path / "units" / "kube-scheduler.service").open("a") as unit:
        unit.write("# mended\n")
    changed = {package.name for package in PACKAGES if package.whole_version != before[package.name]}
    assert changed == {"kubernetes-master", "kubernetes"}


def test_the_version_does_not_tell_the_machine_that_built_it(tmp_path):
    """The notebooks' outputs have it, and hosts compare it: another checkout and another user's cache make no other one."""
    shutil.copytree(
        PROJECT / "airavata_runbook", tmp_path / "elsewhere" / "airavata_runbook", ignore=shutil.ignore_patterns("__pycache__")
    )
    told = "from airavata_runbook.mirror.catalogue import PACKAGES; print(*(package.whole_version for package in PACKAGES))"
    there = subprocess.run(
        [sys.executable, "-c", told],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        check=True,
        env={
            "HOME": str(tmp_path),
            "AIRAVATA_RUNBOOK_CACHE": str(tmp_path / "cache"),
            "PYTHONHASHSEED": "7",
            "PYTHONPATH": str(tmp_path / "elsewhere"),
            "TZ": "Asia/Tokyo",
        },
    )
    assert there.stdout.split() == [package.whole_version for package in PACKAGES]


SIGNED = {
    "repository.gpgcheck": True,
    "repository.gpgkey": "/etc/apt/keyrings/site.gpg",
    "repository.baseurl": "https://packages.example.org/debian",
}


def test_a_host_gets_whole_versions_of_what_the_mirror_builds_and_the_sites_own_of_another_repository():
    site = Site.load("lab")
    worker = catalogue.versions_of(site, site.node("worker"), ())
    assert sorted(worker) == catalogue.of_host(site, site.node("worker"))
    assert worker["flannel"] == PACKAGE["flannel"].whole_version
    rpm = catalogue.versions_of(site, site.node("worker"), (), RPM_FORMAT)
    assert rpm["flannel"] == package_of("flannel", format=RPM_FORMAT).whole_version != worker["flannel"], "of another recipe"
    with pytest.raises(SiteError, match="does not build"):
        catalogue.versions_of(Site.load("lab", {"versions.flannel": "0.27.0"}), site.node("worker"), ())
    own = Site.load("lab", SIGNED | {"versions.flannel": "0.27.0"})
    assert catalogue.versions_of(own, own.node("worker"), ())["flannel"] == "0.27.0"


def test_a_package_that_is_built_anew_takes_the_old_ones_place_in_the_folder():
    version = PACKAGE["etcd"].version
    assert packages.file_name(PACKAGE["etcd"]) == f"etcd_{version}-1_amd64.deb"
    assert packages.file_name(package_of("etcd", format=RPM_FORMAT)) == f"etcd-{version}-1.x86_64.rpm"


def test_an_rpm_package_has_its_own_folders_which_dpkg_removes_by_itself():
    def folders(name: str, format) -> list[str]:
        contents = description(package_of(name, format=format), Path("/built"))["contents"]
        return [one["dst"] for one in contents if one.get("type") == "dir"]

    assert folders("containerd", RPM_FORMAT) == ["/opt/cni", "/opt/cni/bin", "/usr/share/doc/containerd"]
    assert folders("kubernetes", RPM_FORMAT) == folders("containerd", DEB_FORMAT) == []


def test_a_repositorys_index_lists_each_package_and_is_itself_vouched_for():
    files = release_of(["Package: one\n", "Package: two\n"])
    assert files["Packages"] == "Package: one\n\nPackage: two\n\n"
    digest = hashlib.sha256(files["Packages"].encode()).hexdigest()
    assert f" {digest} {len(files['Packages'])} Packages\n" in files["Release"]


@pytest.mark.parametrize("compression", ["gzip", "xz", "none"])
def test_what_a_package_says_of_itself_is_read_from_the_package(tmp_path, compression):
    control = tmp_path / "tool" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: tool\nVersion: 1\nArchitecture: all\nMaintainer: Jürgen\nDescription: test\n")
    deb = tmp_path / "tool.deb"
    subprocess.run(["dpkg-deb", "--uniform-compression", "-Z", compression, "-b", tmp_path / "tool", deb], check=True)
    assert control_of(deb) == control.read_text()
    deb.write_bytes(deb.read_bytes()[:68])
    with pytest.raises(CannotBuild, match="no control file"):
        control_of(deb)


@pytest.mark.parametrize("gpgcheck", [True, False])
def test_the_runbooks_own_repository_is_verified_whatever_the_site_file_says(gpgcheck):
    text = DEB.entry(Site.load("lab", {"repository.gpgcheck": gpgcheck}).repository)
    assert "deb [signed-by=/etc/apt/keyrings/airavata-runbook.asc] copy:/opt/airavata-runbook/repository ./\n" in text
    assert "gpgcheck=1" in text and ("gpgcheck is false in the site file" in text) != gpgcheck


def test_another_repository_is_verified_with_the_key_that_the_site_names():
    assert (
        "deb [signed-by=/etc/apt/keyrings/site.gpg] https://packages.example.org/debian ./"
        in DEB.entry(Site.load("lab", SIGNED).repository).splitlines()
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_unsigned_repository_on_the_network_is_refused_and_never_trusted(scheme):
    url = f"{scheme}://packages.example.org/debian"
    with pytest.raises(SiteError, match="repository.gpgcheck: needs true .* sign the repository and set gpgkey"):
        Site.load("lab", {"repository.baseurl": url, "repository.gpgcheck": False})
    with pytest.raises(SiteError, match="repository.gpgcheck: true needs gpgkey"):
        Site.load("lab", {"repository.baseurl": url})
    assert "trusted" not in DEB.entry(Repository(baseurl=url))
