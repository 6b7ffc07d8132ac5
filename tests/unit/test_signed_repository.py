"""What the real apt takes from the runbook's repository when its folder was changed, on a host that is a folder."""

import hashlib
import subprocess

import pytest

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.deb_format import DEB_FORMAT, release_of
from airavata_runbook.distributions.rpm_format import RPM_FORMAT
from airavata_runbook.errors import StepFailed
from airavata_runbook.pki import openpgp
from airavata_runbook.resources import Packages, RepositoryKey, repository_key
from airavata_runbook.site.parts import Repository
from tests.unit.apt_host import AptHost
from tests.unit.test_apt import done

TOOL = Packages({"tool": "1.0-1"}, "ours")


class SignedHost(AptHost):
    """A host whose repository "ours" is the runbook's, with a key of its own."""

    key = openpgp.new_key()

    def __init__(self, root, monkeypatch):
        super().__init__(root, monkeypatch)
        self.folder, self.keyring = root / "ours", root / "ours.asc"
        monkeypatch.setattr(DEB, "keyring", str(self.keyring), raising=False)
        (root / "etc/apt/sources.list.d/debian.list").unlink()
        self.publish("ours", "tool")
        self.sign()
        self.source_of_ours()

    def source_of_ours(self) -> None:
        text = DEB.entry(Repository(baseurl=f"file://{self.folder}"))
        (self.root / "etc/apt/sources.list.d/ours.list").write_text(text)

    def index(self) -> dict[str, str]:
        """Of the packages as they lie in the folder."""
        debs = sorted(self.folder.glob("*.deb"))
        return release_of(map(self.entry, debs))

    def entry(self, deb) -> str:
        control = subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True).stdout
        sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
        return f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha256}\n"

    def write_index(self) -> str:
        """Packages and Release; returns Release."""
        files = self.index()
        for name, content in files.items():
            (self.folder / name).write_text(content)
        return files["Release"]

    def sign(self, key: bytes = key) -> None:
        """As a run does."""
        (self.folder / "InRelease").write_bytes(openpgp.clear_sign(key, self.write_index()))
        self.keyring.write_bytes(openpgp.public_key(self.key, "site lab"))

    def exchange(self) -> None:
        """Another package in the tool's place, and an index that lists it."""
        foreign = self.root / "build" / "tool-1.0-1"
        (foreign / "foreign").write_text("foreign")
        subprocess.run(["dpkg-deb", "-b", foreign, self.folder / "tool.deb"], check=True, capture_output=True)
        self.write_index()


@pytest.fixture
def host(tmp_path, monkeypatch) -> SignedHost:
    return SignedHost(tmp_path / "host", monkeypatch)


def refused(host: SignedHost, match: str) -> None:
    for _ in range(2):  # the first may leave something for the second
        with pytest.raises(StepFailed, match=match):
            done(TOOL)
    assert host.state() == {} and not (host.root / "foreign").exists()


def test_apt_installs_from_it_without_a_warning_and_keeps_no_second_copy(host):
    for _ in range(2):
        said = host.sh("apt-get update 2>&1")
        assert not {"W:", "E:", "N:", "Err:"}.intersection(said.split()), said
    assert done(TOOL).status == "changed" and host.state() == {"tool": "ii 1.0-1"}
    assert not list((host.root / "var/cache/apt/archives").glob("*.deb"))


@pytest.mark.parametrize("fetched", [True, False])
def test_an_exchanged_package_and_index_are_refused(host, fetched):
    if fetched:
        host.sh("apt-get -qq update")
    host.exchange()
    refused(host, "Hashes of received file")
    host.sign()
    assert done(TOOL).status == "changed"


@pytest.mark.parametrize("fetched", [True, False])
def test_a_foreign_key_is_refused(host, fetched):
    if fetched:
        host.sh("apt-get -qq update")
    host.exchange()
    host.sign(openpgp.new_key())
    refused(host, "NO_PUBKEY|public key is not available")


@pytest.mark.parametrize("fetched", [True, False])
def test_a_stripped_signature_is_refused(host, fetched):
    if fetched:
        host.sh("apt-get -qq update")
    host.exchange()
    (host.folder / "InRelease").unlink()
    refused(host, "signed")
    (host.folder / "InRelease").write_text(host.index()["Release"])
    refused(host, "signed")


def test_a_new_key_replaces_the_old_one(host, monkeypatch):
    assert done(TOOL).status == "changed"
    monkeypatch.setattr(SignedHost, "key", openpgp.new_key())
    host.sign(host.key)
    assert not host.sh("apt-get -qq update 2>&1")


def test_a_source_that_was_trusted_is_taken_over_and_verified_from_then_on(host):
    """apt has a link to the unsigned index in its lists, and would go on using it."""
    earlier = host.index()["Packages"].removesuffix("\n")
    (host.folder / "Packages").write_text(earlier)
    release = host.index()["Release"].replace("Suite: airavata-runbook\n", "").splitlines()[:-1]
    release.append(f" {hashlib.sha256(earlier.encode()).hexdigest()} {len(earlier)} Packages")
    (host.folder / "Release").write_text("\n".join(release) + "\n")
    (host.folder / "InRelease").unlink()
    host.source("ours", f"file:{host.folder}")
    host.sh("apt-get -qq update")
    assert any(path.is_symlink() for path in (host.root / "var/lib/apt/lists").iterdir())

    host.sign()
    host.source_of_ours()
    assert not host.sh("apt-get -qq update 2>&1")
    host.exchange()
    refused(host, "Hashes of received file")


# --- the key -------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(repository_key, "SECRETS", str(tmp_path / "secrets"))
    for format in (DEB_FORMAT, RPM_FORMAT):
        monkeypatch.setattr(format, "key", str(tmp_path / "secrets" / "repository.key"), raising=False)
    return tmp_path / "secrets" / "repository.key"


@pytest.mark.parametrize("format", [DEB_FORMAT, RPM_FORMAT], ids=lambda format: format.name)
def test_the_key_is_made_once_for_root_only(path, format):
    resource = RepositoryKey(format)
    assert done(resource, planning=True).status == "would change" and not path.parent.exists()
    made = done(resource)
    assert made.status == "changed" and "PRIVATE" not in made.detail + made.command
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    key = path.read_bytes()
    assert openpgp.is_key(key, format.algorithm) and done(resource).status == "ok"
    path.chmod(0o644)
    assert done(resource).status == "changed" and path.read_bytes() == key
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_unusable_key_is_told_and_kept(path):
    path.parent.mkdir()
    path.write_text("canary\n")
    with pytest.raises(StepFailed, match="an existing one is never replaced") as raised:
        done(RepositoryKey())
    assert "canary" not in str(raised.value) and path.read_text() == "canary\n"


def test_a_key_of_another_algorithm_is_no_key_for_rpm(path):
    """rpm of EL 8 and 9 does not know ed25519."""
    done(RepositoryKey())
    with pytest.raises(StepFailed, match="is unusable") as raised:
        done(RepositoryKey(RPM_FORMAT))
    assert "rsa" in raised.value.needed
