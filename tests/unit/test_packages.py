"""Packages as they are described: what is in them, what they need, and how a repository lists them."""

import hashlib
from pathlib import Path

import pytest

from airavata_runbook import Site
from airavata_runbook.configs.repository import apt_source
from airavata_runbook.errors import SiteError
from airavata_runbook.mirror import packages
from airavata_runbook.mirror.packages import PACKAGE, PACKAGES, Built, check_versions, description, index, with_needs


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_holds_binaries_units_and_licences_and_nothing_under_etc(package):
    for content in description(package, Path("/built"))["contents"]:
        assert content["dst"].startswith(("/usr/bin/", "/opt/cni/bin/", "/usr/lib/systemd/system/", "/usr/share/doc/"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_starts_nothing_when_it_is_installed(package):
    assert "scripts" not in description(package, Path("/built"))


def test_packages_of_one_component_go_together_at_one_version():
    described = description(PACKAGE["kubernetes"], Path("/built"))
    assert described["depends"] == [f"kubernetes-{part} (= {described['version']}-1)" for part in ("master", "node", "client")]


def test_a_name_that_differs_between_the_families_is_each_familys_own():
    described = description(PACKAGE["kubernetes-node"], Path("/built"))
    assert "conntrack" in described["depends"] and "conntrack-tools" in described["overrides"]["rpm"]["depends"]


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
    before = packages._recipe(PACKAGE["etcd"])
    (tmp_path / "etcd.service").write_bytes((packages.UNITS / "etcd.service").read_bytes())
    monkeypatch.setattr(packages, "UNITS", tmp_path)
    assert packages._recipe(PACKAGE["etcd"]) == before
    (tmp_path / "etcd.service").write_text("[Unit]\n")
    assert packages._recipe(PACKAGE["etcd"]) != before


def test_a_repositorys_index_lists_each_package_and_is_itself_vouched_for():
    files = index([Built("one", "1.0", Path("one.deb"), "a" * 64, "Package: one\n"),
                   Built("two", "2.0", Path("two.deb"), "b" * 64, "Package: two\n")])
    assert files["Packages"] == "Package: one\n\nPackage: two\n"
    digest = hashlib.sha256(files["Packages"].encode()).hexdigest()
    assert f" {digest} {len(files['Packages'])} Packages\n" in files["Release"]


def test_a_repository_without_signatures_says_so_and_one_with_is_checked():
    site = Site.load("lab")
    assert "deb [trusted=yes] file:///opt/airavata-runbook/repository ./" in apt_source(site.repository)
    signed = Site.load("lab", {"repository.gpgcheck": True, "repository.gpgkey": "/etc/apt/keyrings/site.gpg",
                               "repository.baseurl": "https://packages.example.org/debian"})
    text = apt_source(signed.repository)
    assert "trusted=yes" not in text and "signed-by=/etc/apt/keyrings/site.gpg" in text
