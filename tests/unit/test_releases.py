"""Official releases: their lock file, and how it is refreshed from what upstream publishes."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import yaml

from airavata_runbook import cli
from airavata_runbook.errors import CannotBuild
from airavata_runbook.images import download
from airavata_runbook.mirror import releases
from airavata_runbook.mirror.components import BY_NAME, COMPONENTS
from airavata_runbook.mirror.releases import RELEASES, digest_in, locked, urls
from tests.unit.https_files import HttpsFiles
from tests.unit.test_signatures import Signer

ETCD = BY_NAME["etcd"]
DIGEST = "ab" * 32


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch, no_proxy):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0.01)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server in upstream's place, of etcd and of Kubernetes, with a lock file of its own."""
    (tmp_path / "server").mkdir()
    with HttpsFiles(tmp_path / "server", {}) as files:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files.ca)
        moved = {
            name: replace(
                RELEASES[name], **{field: _here(getattr(RELEASES[name], field), files.url) for field in ("url", "digests")}
            )
            for name in ("etcd", "kubernetes")
        }
        monkeypatch.setattr(releases, "RELEASES", moved)
        monkeypatch.setattr(releases, "LOCK", tmp_path / "lock.yaml")
        releases.LOCK.write_text("")
        base = f"/etcd-io/etcd/releases/download/v{ETCD.version}"
        files.files[f"{base}/SHA256SUMS"] = f"{DIGEST}  etcd-v{ETCD.version}-linux-amd64.tar.gz\n{'0' * 64}  other\n".encode()
        for program in BY_NAME["kubernetes"].programs.values():
            path = f"/release/v{BY_NAME['kubernetes'].version}/bin/linux/amd64/{program}.sha256"
            files.files[path] = hashlib.sha256(program.encode()).hexdigest().encode()
        yield files


def _here(url: str, server: str) -> str:
    return url if url.startswith("{url}") else server + re.sub("^https://[^/]*", "", url)


def test_every_digest_of_the_lock_file_is_of_a_file_that_upstream_publishes_and_says_where_it_was_read():
    for name, entry in yaml.safe_load(releases.LOCK.read_text()).items():
        assert entry["version"] == BY_NAME[name].version and entry["source"]
        assert set(entry["files"]) == set(urls(BY_NAME[name]).values())
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in entry["files"].values())


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_a_release_is_fetched_by_https_only_and_each_program_has_a_url(name):
    assert set(urls(BY_NAME[name])) == set(BY_NAME[name].programs.values())
    for url in [*urls(BY_NAME[name]).values(), RELEASES[name].digests.format(url=urls(BY_NAME[name]).popitem()[1], version="1")]:
        assert urlsplit(url).scheme == "https" and not re.search("[{}]", url) and BY_NAME[name].version in url or "/v1" in url


def test_every_component_but_the_packager_has_a_release():
    assert set(RELEASES) == {component.name for component in COMPONENTS} - {"nfpm"}


def test_a_component_without_a_digest_says_so_with_the_files_that_lack_one(monkeypatch, tmp_path):
    monkeypatch.setattr(releases, "LOCK", tmp_path / "lock.yaml")
    releases.LOCK.write_text("")
    with pytest.raises(CannotBuild, match=f"no sha256 of the release of etcd {ETCD.version} is known") as failed:
        locked(ETCD)
    assert failed.value.found == "no entry" and failed.value.needed.endswith(f"etcd-v{ETCD.version}-linux-amd64.tar.gz")
    assert "airavata-runbook lock" in failed.value.remedy
    releases.LOCK.write_text(yaml.safe_dump({"etcd": {"version": "3.0.0", "files": {urls(ETCD)["etcd"]: DIGEST}}}))
    with pytest.raises(CannotBuild) as failed:
        locked(ETCD)
    assert failed.value.found == "an entry of 3.0.0"


def test_the_lock_file_is_refreshed_from_what_upstream_publishes(server, capsys):
    assert cli.main(["lock"]) == 0
    assert locked(ETCD) == {
        f"{server.url}/etcd-io/etcd/releases/download/v{ETCD.version}/etcd-v{ETCD.version}-linux-amd64.tar.gz": DIGEST
    }
    kubernetes = locked(BY_NAME["kubernetes"])
    assert len(kubernetes) == 6 and {
        hashlib.sha256(url.rpartition("/")[2].encode()).hexdigest() == sha for url, sha in kubernetes.items()
    } == {True}
    assert releases.LOCK.read_text().startswith("# The sha256")
    said = capsys.readouterr().out
    assert "etcd" in said and "not checked: each file, by cosign" in said


@pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg")
def test_digests_that_upstream_signs_are_taken_with_a_good_signature_only(server, tmp_path, monkeypatch, capsys):
    signer, version = Signer(tmp_path / "signer"), BY_NAME["runc"].version
    try:
        keys = f"{server.url}/runc.keyring"
        fields = {field: _here(getattr(RELEASES["runc"], field), server.url) for field in ("url", "digests")}
        runc = replace(RELEASES["runc"], **fields, keys=keys, signers=(signer.fingerprint,))
        monkeypatch.setitem(releases.RELEASES, "runc", runc)
        sums = f"/opencontainers/runc/releases/download/v{version}/runc.sha256sum"
        server.files |= {"/runc.keyring": signer.public.encode(), sums: f"{DIGEST} *runc.amd64\n".encode()}
        assert cli.main(["lock"]) == 1
        assert "no good signature" in capsys.readouterr().err and "runc" not in releases.LOCK.read_text()
        server.files[sums] = signer.sign(f"{DIGEST} *runc.amd64\n").encode()
        assert cli.main(["lock"]) == 0
        assert list(locked(BY_NAME["runc"]).values()) == [DIGEST] and "of the digests, checked" in capsys.readouterr().out
    finally:
        signer.end()


def test_what_cannot_be_read_keeps_its_former_entry_and_the_others_are_written(server, capsys):
    del server.files[f"/etcd-io/etcd/releases/download/v{ETCD.version}/SHA256SUMS"]
    releases.LOCK.write_text(
        yaml.safe_dump({"etcd": {"version": ETCD.version, "files": {urls(ETCD)["etcd"]: DIGEST}, "source": "a"}})
    )
    assert cli.main(["lock"]) == 1
    assert "404" in capsys.readouterr().err
    assert set(locked(ETCD).values()) == {DIGEST} and len(locked(BY_NAME["kubernetes"])) == 6


def test_another_digest_of_the_same_file_is_not_taken_over(server, capsys):
    releases.LOCK.write_text(
        yaml.safe_dump({"etcd": {"version": ETCD.version, "files": {urls(ETCD)["etcd"]: "cd" * 32}, "source": "a"}})
    )
    assert cli.main(["lock"]) == 1
    assert "another sha256 of a file than before" in capsys.readouterr().err
    assert set(locked(ETCD).values()) == {"cd" * 32}


def test_a_lock_file_that_cannot_be_written_is_one_clear_error(server, monkeypatch, capsys):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(releases, "write_file", denied)
    assert cli.main(["lock"]) == 1
    assert "the lock file cannot be written" in (said := capsys.readouterr().err) and "Permission denied" in said


def test_a_list_of_digests_that_is_a_page_is_refused(server, capsys):
    server.files[f"/etcd-io/etcd/releases/download/v{ETCD.version}/SHA256SUMS"] = b"<html>please log in</html>"
    assert cli.main(["lock"]) == 1
    assert "no sha256 is published where it is expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        DIGEST,
        f"{DIGEST}\n",
        f"{DIGEST}  runc.amd64\n",
        f"{'0' * 64} *runc.arm64\n{DIGEST} *runc.amd64\n",
        f"{DIGEST}  /go/src/release/runc.amd64",
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{DIGEST}  runc.amd64\n-----BEGIN PGP SIGNATURE-----\n\niQIz\n=ab\n",
        json.dumps(
            {"assets": [{"name": name, "digest": f"sha256:{sha}"} for name, sha in (("o", "0" * 64), ("runc.amd64", DIGEST))]}
        ),
    ],
)
def test_a_digest_is_found_in_each_form_that_is_published(text):
    assert digest_in(text, "runc.amd64") == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Not Found",
        f"{DIGEST}  runc.arm64",
        f"{DIGEST}\n{'0' * 64}\n",
        '{"message": "Not Found"}',
        "{",
        '{"assets": []}',
        DIGEST[:-1],
    ],
)
def test_what_has_not_exactly_one_digest_of_the_file_is_refused(text):
    with pytest.raises(ValueError):
        digest_in(text, "runc.amd64")
