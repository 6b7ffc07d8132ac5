"""The packages as a host gets them, inspected with Debian's own tools."""

import subprocess

import pytest

from airavata_runbook.mirror import packages
from airavata_runbook.mirror.build import build
from airavata_runbook.mirror.catalogue import PACKAGE, PACKAGES
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.mirror.packages import make


@pytest.fixture(scope="module")
def built():
    """Every package of the mirror as a deb, by name."""
    return {one.name: one for one in make([package.name for package in PACKAGES])}


def contents(path) -> list[list[str]]:
    lines = subprocess.run(["dpkg-deb", "--contents", path], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split() for line in lines]


@pytest.mark.parametrize("name", sorted(PACKAGE))
def test_a_debs_control_file_matches_the_repositorys_index(built, name):
    control = subprocess.run(["dpkg-deb", "--field", built[name].path], capture_output=True, text=True, check=True).stdout
    fields = dict(line.split(": ", 1) for line in control.splitlines() if ": " in line)
    listed = dict(line.split(": ", 1) for line in built[name].control.splitlines())
    for field in ("Package", "Version", "Architecture", "Depends", "Conflicts"):
        assert fields.get(field) == listed.get(field)
    assert fields["Version"] == PACKAGE[name].whole_version


@pytest.mark.parametrize("name", sorted(PACKAGE))
def test_a_deb_has_files_of_root_nothing_under_etc_and_no_maintainer_scripts(built, name):
    for mode, owner, *_, path in contents(built[name].path):
        assert owner == "root/root" and not path.startswith("./etc") and mode[8] != "w"
        assert not path.startswith("./usr/bin/") or path == "./usr/bin/" or mode == "-rwxr-xr-x"
    scripts = subprocess.run(["dpkg-deb", "--ctrl-tarfile", built[name].path], capture_output=True, check=True).stdout
    assert not any(script in scripts for script in (b"postinst", b"preinst", b"prerm", b"postrm"))


def test_the_same_input_gives_the_same_package(built, tmp_path, monkeypatch):
    before = built["etcd"].sha256
    binaries = {name: build(BY_NAME[name]) for name in ("etcd", "nfpm")}
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path))  # an empty cache: the package is built again
    monkeypatch.setattr(packages.component_builds, "build", lambda component: binaries[component.name])
    (again,) = make(["etcd"])
    assert again.path.is_relative_to(tmp_path) and again.sha256 == before


def test_an_rpm_is_built_from_the_same_description():
    (built,) = make(["kubernetes-node"], "rpm")
    head = built.path.read_bytes()[:65536]
    assert head.startswith(b"\xed\xab\xee\xdb")  # rpm's magic number
    assert all(word in head for word in (b"kubernetes-node", b"conntrack-tools", b"kubelet.service", b"/usr/bin/"))
