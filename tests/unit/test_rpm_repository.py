"""What rpm and dnf, the real ones, take from the runbook's repository, and what createrepo_c would have written of it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, parse

import pytest

from airavata_runbook.distributions.rpm import RPM, Rpm
from airavata_runbook.distributions.rpm_file import HEADER_MAGIC, LEAD_MAGIC
from airavata_runbook.distributions.rpm_format import RPM_FORMAT
from airavata_runbook.errors import CannotBuild, StepFailed
from airavata_runbook.local.files import digest
from airavata_runbook.mirror import packages
from airavata_runbook.mirror.catalogue import package_of
from airavata_runbook.mirror.repository import HostRepository
from airavata_runbook.pki import openpgp
from airavata_runbook.resources import Packages
from airavata_runbook.site.parts import Repository
from tests.unit.rpm_host import RpmHost
from tests.unit.test_apt import done

TOOLS = ("dnf", "rpmbuild", "createrepo_c")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="apt-get install dnf rpm createrepo-c")
KEY, OTHER = openpgp.new_key("rsa"), openpgp.new_key("rsa")
NAMES = ["kubernetes-client", "kubernetes-master"]  # the latter needs the former in exactly its version
WANTED = {name: package_of(name, format=RPM_FORMAT).whole_version for name in NAMES}
OURS = Packages(WANTED, "ours", RPM)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Iterator[Path]:
    """A cache with small packages, which rpmbuild made of what the catalogue says."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        builder = RpmHost(folder / "builder", patch)

        def pack(package, target: Path) -> None:
            needs = [RPM_FORMAT.dependency(need, WANTED[need]) for need in package.needs if need in WANTED]
            builder.publish("base", package.name, package.whole_version, ", ".join(needs)).rename(target)

        patch.setattr(packages, "_pack", pack)
        patch.setenv("AIRAVATA_RUNBOOK_CACHE", str(folder))
        packages.make(NAMES, format=RPM_FORMAT)
        foreign = "%post -p <lua>\nprint('foreign')"
        builder.publish("base", "kubernetes-client", WANTED["kubernetes-client"], scripts=foreign).rename(folder / "foreign.rpm")
    yield folder


class OurHost(RpmHost):
    """A host whose repository "ours" is the runbook's. foreign: a package of the same name and version, which nobody signed."""

    def __init__(self, root: Path, monkeypatch, cache: Path):
        super().__init__(root, monkeypatch)
        monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(cache))
        monkeypatch.setattr(Rpm, "keyring", str(root / "key.asc"))
        self.folder, self.foreign = root / "ours", cache / "foreign.rpm"
        shutil.rmtree(self.folder)
        (root / "etc/yum.repos.d/ours.repo").write_text(RPM.entry(Repository(id="ours", baseurl=f"file://{self.folder}")))
        self.bring()

    def bring(self, key: bytes = KEY, packages_key: bytes | None = None) -> None:
        """Everything that a run brings there. packages_key: that signs the packages, if not the same."""
        repository = HostRepository(NAMES, (), RPM_FORMAT, lambda: packages_key or key)
        for name in NAMES:
            source, head = repository.source(name), repository.head(name)
            self._write(repository.file_name(name), head.content + source.read_bytes()[head.instead :])
            assert digest(self.folder / repository.file_name(name)) == repository.sha256(name)
        for name in RPM_FORMAT.index_files:
            self._write(name, repository.index(name).encode())
        (self.root / "key.asc").write_bytes(openpgp.public_key(key, "site lab"))
        self._write(
            RPM_FORMAT.signature_file, RPM_FORMAT.sign({name: repository.index(name) for name in RPM_FORMAT.index_files}, key)
        )

    def _write(self, name: str, content: bytes) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)

    def package(self, name: str = "kubernetes-client") -> Path:
        (found,) = self.folder.glob(f"{name}-[0-9]*.rpm")
        return found

    def sign_index(self, key: bytes = KEY) -> None:
        """Sign what createrepo_c finds in the folder."""
        self.index("ours")
        index = self.folder / "repodata/repomd.xml"
        index.with_name("repomd.xml.asc").write_bytes(openpgp.detached_signature(key, index.read_bytes()))


@pytest.fixture
def host(tmp_path, monkeypatch, cache) -> OurHost:
    return OurHost(tmp_path / "host", monkeypatch, cache)


def refused(host: OurHost, match: str) -> None:
    with pytest.raises(StepFailed, match=match):
        done(OURS)
    assert not any(row.startswith("kube") for row in host.state())


def test_dnf_installs_from_it(host):
    assert done(OURS).status == "changed"
    assert [row for row in host.state() if row.startswith("kube")] == [f"{name} {version}" for name, version in WANTED.items()]
    assert done(OURS).status == "ok"
    assert "kubernetes" not in host.sh("dnf -q repoquery kubernetes-client"), "no other command enables it"


def test_every_package_and_its_files_are_found_in_the_metadata(host):
    assert host.sh("dnf -y -q --enablerepo=ours repoquery --list kubernetes-client 2>/dev/null").split() == [
        "/usr/bin/kubernetes-client",
        "/usr/share/doc/kubernetes-client",
    ]
    needs = host.sh("dnf -y -q --enablerepo=ours repoquery --requires kubernetes-master").split("\n")
    assert f"kubernetes-client = {WANTED['kubernetes-client']}" in needs


def test_an_unsigned_package_is_refused_though_the_index_is_signed(host):
    shutil.copy(host.foreign, host.package())
    host.sign_index()
    refused(host, "is not signed")


def test_a_package_of_another_key_is_refused_though_the_index_is_signed(host):
    host.bring(packages_key=OTHER)
    refused(host, "GPG|key")


@pytest.mark.parametrize("fetched", [True, False])
def test_an_exchanged_package_with_an_exchanged_index_is_refused(host, fetched):
    if fetched:
        host.sh("dnf -q -y --enablerepo=ours makecache")
    shutil.copy(host.foreign, host.package())
    refused(host, "checksum")
    host.index("ours")
    refused(host, "GPG signature verification error")
    host.sign_index(OTHER)
    refused(host, "GPG signature verification error")
    host.bring()
    assert done(OURS).status == "changed"


@pytest.mark.parametrize("fetched", [True, False])
def test_a_stripped_signature_is_refused(host, fetched):
    if fetched:
        host.sh("dnf -q -y --enablerepo=ours makecache")
        host.sh(f"find {host.root}/var/cache/dnf -exec touch -d '1 hour ago' {{}} +")  # until it expires dnf asks for none
    (host.folder / "repodata/repomd.xml.asc").unlink()
    refused(host, "repomd.xml.asc")


def test_a_new_key_replaces_the_old_one(host):
    assert done(Packages({"kubernetes-client": WANTED["kubernetes-client"]}, "ours", RPM)).status == "changed"
    host.bring(OTHER)
    assert done(OURS).status == "changed"


# --- the signature of a package ------------------------------------------------------------------------------


def said(host: OurHost, package: Path) -> str:
    return subprocess.run(["rpm", "-K", package], capture_output=True, text=True).stdout.partition(": ")[2].strip()


def test_rpm_verifies_a_package_by_its_header(host):
    host.sh(f"rpm --import {host.root}/key.asc")
    package = host.package()
    assert said(host, package) == "digests signatures OK"
    whole = package.read_bytes()
    for place in (len(whole) - 1, whole.index(b"kubernetes-client", 200)):  # the payload, the header
        package.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert "NOT OK" in said(host, package)
    host.bring(packages_key=OTHER)
    assert "NOT OK" in said(host, package)


def test_a_signature_is_the_same_each_time_and_replaces_another(host):
    source = HostRepository(NAMES, (), RPM_FORMAT, lambda: KEY).source(NAMES[0])
    first = RPM_FORMAT.head(source, lambda: KEY)
    assert first == RPM_FORMAT.head(source, lambda: KEY) != RPM_FORMAT.head(source, lambda: OTHER)
    assert RPM_FORMAT.head(host.package(), lambda: KEY).content == first.content


@pytest.mark.parametrize("content", [b"", b"no package", LEAD_MAGIC + bytes(92) + HEADER_MAGIC + b"\xff" * 8])
def test_what_is_no_rpm_package_is_said(tmp_path, content):
    (tmp_path / "tool.rpm").write_bytes(content)
    with pytest.raises(CannotBuild, match="no rpm package"):
        RPM_FORMAT.head(tmp_path / "tool.rpm", lambda: KEY)


# --- as createrepo_c writes it -------------------------------------------------------------------------------


def described(index: Path, kind: str) -> list[object]:
    """The packages in a list of the repository, in comparable form, sorted."""

    def comparable(element: Element) -> object:
        name = element.tag.rpartition("}")[2]
        attributes = {key: value for key, value in element.items() if (name, key) != ("time", "file")}
        return name, attributes, (element.text or "").strip(), [comparable(child) for child in element]

    (path,) = index.glob(f"repodata/*{kind}.xml")
    return sorted((comparable(package) for package in parse(path).getroot()), key=str)


@pytest.mark.parametrize("kind", ["primary", "filelists", "other"])
def test_the_metadata_are_those_that_createrepo_c_writes(host, kind):
    theirs = host.root / "theirs"
    theirs.mkdir()
    for package in host.folder.glob("*.rpm"):
        shutil.copy(package, theirs)
    subprocess.run(["createrepo_c", "-q", "--general-compress-type=gz", theirs], check=True)
    for packed in theirs.glob("repodata/*.xml.gz"):
        subprocess.run(["gunzip", packed], check=True)
    assert described(host.folder, kind) == described(theirs, kind) != []
