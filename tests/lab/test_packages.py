"""The packages as a host gets them, inspected with Debian's and rpm's own tools."""

import shutil
import subprocess
import tempfile
from pathlib import PurePosixPath

import pytest

from airavata_runbook.distributions.deb_format import DEB_FORMAT, entry
from airavata_runbook.distributions.package_format import PackageFile
from airavata_runbook.distributions.rpm_format import RPM_FORMAT
from airavata_runbook.local.files import AS_IT_IS
from airavata_runbook.mirror import packages
from airavata_runbook.mirror.build import build
from airavata_runbook.mirror.catalogue import PACKAGE, PACKAGES, package_of
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
    one = built[name]
    paragraph = entry(PackageFile(one.path, one.path.name, AS_IT_IS, one.sha256))
    listed = dict(line.split(": ", 1) for line in paragraph.splitlines())
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


@pytest.mark.parametrize("format", [DEB_FORMAT, RPM_FORMAT], ids=lambda format: format.name)
def test_the_same_input_gives_the_same_package(tmp_path, monkeypatch, format):
    (before,) = make(["etcd"], format=format)
    binaries = {name: build(BY_NAME[name]) for name in ("etcd", "nfpm")}
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path))  # an empty cache: the package is built again
    monkeypatch.setenv("GOMAXPROCS", "1")
    monkeypatch.setattr(packages.component_builds, "build", lambda component: binaries[component.name])
    (again,) = make(["etcd"], format=format)
    assert again.path.is_relative_to(tmp_path) and again.sha256 == before.sha256


# --- rpm -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rpms():
    """Every package of the mirror for rpm, by name."""
    return {one.name: one for one in make(PACKAGE, format=RPM_FORMAT)}


def queried(path, *query: str) -> list[str]:
    """By rpm with an empty database, which it makes."""
    with tempfile.TemporaryDirectory() as empty:
        command = ["rpm", "--dbpath", empty, "-qp", *query, path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.skipif(not shutil.which("rpm"), reason="apt-get install rpm")
@pytest.mark.parametrize("name", sorted(PACKAGE))
def test_an_rpm_package_is_the_debs_twin(built, rpms, name):
    package, path = package_of(name, format=RPM_FORMAT), rpms[name].path
    assert queried(path, "--qf", "%{NAME} %{VERSION}-%{RELEASE}.%{ARCH} %{BUILDHOST}\n") == [
        f"{name} {package.whole_version}.x86_64 localhost"
    ]
    files = {row[-1].removeprefix(".") for row in contents(built[name].path) if not row[0].startswith("d")}
    listed = queried(path, "-lv") if files else []
    assert {line.split()[-1] for line in listed if not line.startswith("d")} == files
    folders = {line.split()[-1] for line in listed if line.startswith("d")}  # of its own: rpm removes no other
    above = {str(folder) for file in files for folder in PurePosixPath(file).parents}
    assert folders == {one for one in above if one.startswith(("/opt/", f"/usr/share/doc/{name}"))} - {"/opt"}
    assert all(line.split()[2:4] == ["root", "root"] for line in listed)
    assert queried(path, "--scripts") == [], "nothing is started, and systemd of EL sees new units itself"
    needs = {PACKAGE[need].name: package_of(need, format=RPM_FORMAT) for need in package.needs if need in PACKAGE}
    requires = queried(path, "--requires")
    for need, other in needs.items():
        assert (f"{need} = {other.whole_version}" if other.component == package.component else need) in requires
    assert ("conntrack-tools" in requires) == ("conntrack" in package.needs) and "conntrack" not in requires
    assert sorted(queried(path, "--conflicts")) == sorted(package.conflicts)
