"""Where components come from when the site file leaves it open: chosen once for a new site, and kept as recorded."""

import hashlib
import json
import re
import socket
import time
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import yaml

from airavata_runbook import Site, cli
from airavata_runbook.chapters import site_sources
from airavata_runbook.chapters.site_sources import choice_for, releases_of
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import CannotBuild, NotYet, StepFailed
from airavata_runbook.hosts.host import Result
from airavata_runbook.mirror import build, choice, released, releases
from airavata_runbook.mirror.choice import choose
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.mirror.releases import RELEASES, download_url, urls
from airavata_runbook.resources import SiteRecord
from airavata_runbook.run.reset import _record_without
from airavata_runbook.site.life import record
from tests.unit.https_files import HttpsFiles

REAL = {
    "name": "real",
    "nodes": [{"name": "one", "address": "10.0.0.11", "interface": "eth0", "role": "master"}],
}
ASK = choice._silent
KNOWN = sorted(yaml.safe_load(releases.LOCK.read_text()))  # their digests are in the committed lock file


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, no_release_host, no_proxy):
    """An empty one. Release hosts are asked again: the servers of these tests."""
    monkeypatch.setattr(choice, "_silent", ASK)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server that has every file of the lock file, below the host and path of its own URL."""
    (tmp_path / "server").mkdir()
    with HttpsFiles(tmp_path / "server", {}) as files:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files.ca)
        monkeypatch.setenv("AIRAVATA_RUNBOOK_RELEASES", f"{files.url}/files/")
        files.files = {
            f"/files/{url.removeprefix('https://')}": b"x" for name in RELEASES for url in urls(BY_NAME[name]).values()
        }
        yield files


@pytest.fixture
def closed(monkeypatch):
    """Nobody listens where the releases would be."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AIRAVATA_RUNBOOK_RELEASES", f"https://127.0.0.1:{free.getsockname()[1]}")
        yield


def session(site, recorded="", state="not"):
    """One whose master has this record and state."""

    def read(path, made):
        if not recorded:
            raise NotYet(made)
        return recorded.encode()

    master = SimpleNamespace(name="one", run=lambda script: Result(f"{state}\n{recorded}".encode()))
    return SimpleNamespace(site=site, releases=None, why_built=(), master=master, vault=SimpleNamespace(read=read))


# --- a new site ------------------------------------------------------------------------------------------------


def test_outside_a_lab_releases_are_the_default_and_what_has_no_digest_is_built_with_a_note(closed):
    found = choose(Site.load(REAL))
    assert list(found.releases) == KNOWN and "kubernetes" in KNOWN
    (note,) = found.notes
    assert note.startswith("no sha256 of their releases is known, so that they are built: ")
    assert all(f"{name} {BY_NAME[name].version}" in note for name in set(RELEASES) - set(KNOWN))


def test_the_site_file_counts_before_the_choice():
    site = Site.load(REAL | {"sources": {"kubernetes": "build", "etcd": "release"}})
    assert set(choose(site).releases) == {*KNOWN, "etcd"} - {"kubernetes"}
    every = dict.fromkeys((name.replace("-", "_") for name in RELEASES), "build")
    assert choose(Site.load(REAL | {"sources": every})) == choice.Choice(())


def test_packages_of_a_repository_of_the_sites_own_are_no_choice():
    own = {"baseurl": "https://example.org/repository", "gpgkey": "/etc/key"}
    assert choice.left_open(Site.load(REAL | {"repository": own})) == ["coredns"]


def test_a_lab_takes_releases_where_their_host_answers(mirror):
    assert list(choose(Site.load("lab")).releases) == KNOWN
    assert len(mirror.requests) == 1, "each host once"


def test_a_lab_builds_where_no_release_host_answers_and_says_so(closed):
    started = time.monotonic()
    found = choose(Site.load("lab"))
    assert found.releases == () and time.monotonic() - started < choice.SECONDS
    assert re.fullmatch(r"127\.0\.0\.1:\d+ did not answer within 3 s, so that they are built: cni .*, runc 1.*", found.notes[1])


def test_a_release_host_that_is_silent_is_waited_for_a_few_seconds_once(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AIRAVATA_RUNBOOK_RELEASES", f"https://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(choice, "SECONDS", 0.5)
        started = time.monotonic()
        assert choose(Site.load("lab")).releases == ()
        assert 0.4 < time.monotonic() - started < 2


def test_a_lab_takes_what_the_cache_has_and_then_asks_nobody(mirror):
    for name in RELEASES:
        build.folder(BY_NAME[name]).mkdir(parents=True)
    assert choose(Site.load("lab")) == choice.Choice(())
    build.folder(BY_NAME["runc"]).rmdir()
    released.folder(BY_NAME["runc"]).mkdir(parents=True)
    assert choose(Site.load("lab")).releases == ("runc",)
    assert mirror.requests == []


# --- a site that is there --------------------------------------------------------------------------------------


def test_the_choice_is_recorded_and_stays_whether_release_hosts_answer_or_not(mirror, monkeypatch):
    site = Site.load("lab")
    first = session(site)
    chosen = releases_of(first)
    assert list(chosen) == KNOWN and first.why_built[0].startswith("no sha256 of their releases is known")
    context = Context(SimpleNamespace(name="master"), first, False, set())
    written = SiteRecord(site, chosen).change(Found(b"not\n"), context).detail
    assert json.loads(written)["releases"] == KNOWN
    assert SiteRecord(site, chosen).change(Found(f"living\n{written}".encode()), context) is None
    mirror.requests.clear()
    monkeypatch.setenv("AIRAVATA_RUNBOOK_RELEASES", "https://127.0.0.1:1")
    assert releases_of(session(site, written, "living")) == chosen and mirror.requests == []


def test_a_site_that_was_there_before_there_was_a_choice_keeps_its_builds(mirror):
    site = Site.load("lab")
    assert "releases" not in json.loads(record(site)), "the record of a site of builds is as it was"
    for state, recorded in (("living", record(site)), ("living", ""), ("not", record(site))):
        assert releases_of(session(site, recorded, state)) == ()
    assert releases_of(session(Site.load("lab", {"sources.runc": "release"}), record(site), "living")) == ("runc",)
    assert mirror.requests == []


def test_the_choice_of_a_process_is_the_same_in_all_of_its_steps(mirror):
    one = session(Site.load("lab"))
    assert releases_of(one) == releases_of(one) and len(mirror.requests) == 1


def test_a_recorded_release_whose_digest_is_not_known_any_more_is_built():
    site = Site.load(REAL)
    assert releases_of(session(site, record(site, releases=["etcd", "runc"]), "living")) == ("runc",)


def test_a_host_that_leaves_takes_no_choice_with_it():
    site = Site.load("lab")
    master = SimpleNamespace(run=lambda script: Result(f"living\n{record(site, releases=['runc'])}".encode()))
    left = json.loads(_record_without(SimpleNamespace(site=site, master=master), "worker"))
    assert left["releases"] == ["runc"] and "worker" not in left["hosts"].values()


def test_a_damaged_record_is_one_clear_error():
    with pytest.raises(StepFailed, match="the record of the site is damaged"):
        releases_of(session(Site.load("lab"), "{", "living"))


def test_the_mirror_of_a_real_site_asks_its_master_and_where_that_is_silent_takes_the_default(monkeypatch):
    site = Site.load(REAL)
    monkeypatch.setattr(site_sources, "session_of", lambda site: session(site, record(site, releases=["runc"]), "living"))
    assert choice_for(site) == choice.Choice(("runc",))

    def unreachable(site):
        raise StepFailed("no answer")

    monkeypatch.setattr(site_sources, "session_of", unreachable)
    assert list(choice_for(site).releases) == KNOWN


# --- where they are fetched ------------------------------------------------------------------------------------


def test_files_of_a_mirror_are_fetched_below_their_hosts_and_need_the_same_digest(mirror, tmp_path, monkeypatch):
    program = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + b"\x3e\0" + b"runc"
    (url,) = urls(BY_NAME["runc"]).values()
    lock = tmp_path / "own.lock.yaml"
    lock.write_text(
        yaml.safe_dump({"runc": {"version": BY_NAME["runc"].version, "files": {url: hashlib.sha256(program).hexdigest()}}})
    )
    monkeypatch.setenv("AIRAVATA_RUNBOOK_RELEASES_LOCK", str(lock))
    mirror.files[f"/files/{url.removeprefix('https://')}"] = program
    assert (released.obtain(BY_NAME["runc"]) / "runc").read_bytes() == program
    assert mirror.requests == [(f"/files/github.com{urlsplit(url).path}", "")]


def test_a_mirror_without_tls_is_refused(monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_RELEASES", "http://127.0.0.1")
    with pytest.raises(CannotBuild, match="by TLS only"):
        download_url("https://example.org/file")


def test_a_lock_file_that_is_missing_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_RELEASES_LOCK", str(tmp_path / "none"))
    with pytest.raises(CannotBuild, match="the lock file of releases cannot be read"):
        choose(Site.load(REAL))


def test_digests_are_written_to_the_lock_file_that_counts(mirror, tmp_path, monkeypatch):
    lock, url = tmp_path / "own.lock.yaml", f"{mirror.url}/cni"
    lock.write_text("")
    monkeypatch.setenv("AIRAVATA_RUNBOOK_RELEASES_LOCK", str(lock))
    monkeypatch.setattr(releases, "RELEASES", {"cni": replace(RELEASES["cni"], url=url)})
    mirror.files["/cni.sha256"] = b"ab" * 32
    assert cli.main(["lock"]) == 0 and yaml.safe_load(lock.read_text())["cni"]["files"] == {url: "ab" * 32}
