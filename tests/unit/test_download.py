"""Files by URL and sha256: fetched once, continued after a break, and never used when they are others."""

import hashlib
import os
import time
from contextlib import contextmanager
from email.utils import formatdate

import pytest

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images import download
from airavata_runbook.images.download import DownloadFailed
from tests.unit.https_files import HttpsFiles, Proxy

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, no_proxy):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0.01)
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "server").mkdir()
    with HttpsFiles(tmp_path / "server", {"/a/server.jar": CONTENT}) as files:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files.ca)
        yield files


def test_a_file_is_fetched_once(server, cache):
    file = download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert file.read_bytes() == CONTENT
    assert download.fetch(f"{server.url}/a/server.jar", SHA256) == file and len(server.requests) == 1
    assert [path.name for path in file.parent.iterdir() if not path.name.endswith(".lock")] == [SHA256]


def test_a_download_that_breaks_goes_on_where_it_ended(server):
    server.breaks = [1_000_000, 500_000]
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_server_without_ranges_sends_it_from_the_start(server):
    server.ranges, server.breaks = False, [1_000_000]
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT


def test_the_next_run_goes_on(server):
    server.breaks = [1_000_000] + [0] * 3  # the first try brings something: three more do not
    with pytest.raises(DownloadFailed, match="could not be downloaded") as failed:
        download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert "goes on with what arrived" in failed.value.remedy and not download.is_here(SHA256)
    server.requests.clear()
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == ["bytes=1000000-"]


def test_what_arrived_of_another_file_is_fetched_anew(server):
    download.cached(SHA256).parent.mkdir(parents=True)
    download.cached(SHA256).with_name(f".{SHA256}.part").write_bytes(b"of another file")
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(server):
    file = download.fetch(f"{server.url}/a/server.jar", SHA256)
    file.write_bytes(CONTENT[:-1] + b"x")
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT


def test_another_file_is_refused_and_removed(server, cache):
    with pytest.raises(DownloadFailed, match="does not match its sha256") as failed:
        download.fetch(f"{server.url}/a/server.jar", "0" * 64)
    assert failed.value.found == SHA256 and failed.value.needed == "0" * 64
    assert [path.suffix for path in (cache / "downloads").iterdir()] == [".lock"]


def test_a_busy_server_is_asked_again_and_one_that_refuses_is_not(server):
    server.statuses = [503, 429]
    download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert len(server.requests) == 3
    with pytest.raises(DownloadFailed, match="refuses a download") as failed:
        download.fetch(f"{server.url}/gone.jar?token=canary-token", "0" * 64)
    assert "404" in failed.value.found and "canary-token" not in str(failed.value) and len(server.requests) == 4


def test_a_download_that_gets_on_is_not_given_up_however_often_it_breaks(server):
    server.breaks = [300_000] * 9
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT
    assert len(server.requests) == 10


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_limits_its_rate_is_left_alone_as_long_as_it_asks(server, form, capsys):
    server.statuses, server.retry_after = [429], "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    started = time.monotonic()
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT
    assert time.monotonic() - started >= 0.9 and len(server.requests) == 2
    assert "download server.jar: HTTP 429 Too Many Requests; another try in " in capsys.readouterr().err, "nobody waits unawares"


def test_a_server_that_asks_for_a_longer_wait_than_there_is_time_is_not_waited_for(server):
    server.statuses, server.retry_after = [503], "86400"
    with pytest.raises(DownloadFailed, match="could not be downloaded") as failed:
        download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert "503" in failed.value.found and "wait 86400 s" in failed.value.found and len(server.requests) == 1


def test_what_a_server_says_in_no_known_form_is_no_wait(server):
    server.statuses, server.retry_after = [503], "soon"
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT


def test_a_slow_server_has_until_the_deadline_and_the_next_run_goes_on(server, monkeypatch):
    server.pace = 0.05
    monkeypatch.setattr(download, "DEADLINE", 0.5)
    with pytest.raises(DownloadFailed, match="could not be downloaded") as failed:
        download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert "bytes in 0 s" in failed.value.found or "bytes in 1 s" in failed.value.found
    arrived = download.cached(SHA256).with_name(f".{SHA256}.part").stat().st_size
    assert 0 < arrived < len(CONTENT)
    server.pace = 0
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={arrived}-"


def test_a_server_that_falls_silent_is_asked_again(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (1, 0.2))
    server.pace = 0.5
    with pytest.raises(DownloadFailed, match="could not be downloaded") as failed:
        download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert "timed out" in failed.value.found and len(server.requests) == download.TRIES


def test_a_file_that_is_cut_where_its_length_is_not_said_is_refused(server):
    server.said, server.breaks = False, [2_000_000]
    with pytest.raises(DownloadFailed, match="does not match its sha256"):
        download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert not download.is_here(SHA256)
    assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT


def test_the_progress_names_bytes_and_counts_what_is_still_to_come(server, monkeypatch):
    shown = []

    @contextmanager
    def progress(title, total=0):
        yield lambda text, done=0: shown.append((title, total, text, done))

    monkeypatch.setattr(download, "SMALL", 0)
    monkeypatch.setattr(download, "progress", progress)
    server.breaks = [1_500_000]
    download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert {total for _, total, *_ in shown} == {3_000_000, 0, 1_500_000}  # 0: the pause between
    assert shown[-1] == ("download server.jar", 1_500_000, "3 of 3 MB", 1_500_000)


def test_a_small_text_is_read_anew_and_a_large_one_is_refused(server):
    server.files["/sums"], server.breaks = b"digest  name\n", [5]
    assert download.read(f"{server.url}/sums") == "digest  name\n"
    with pytest.raises(DownloadFailed, match="too large"):
        download.read(f"{server.url}/a/server.jar")


def test_a_proxy_is_used_but_for_the_hosts_that_need_none(server, monkeypatch):
    with Proxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT
        assert proxy.connected == [server.url.removeprefix("https://")]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        download.check(f"{server.url}/a/server.jar")
        assert len(proxy.connected) == 1


def test_a_proxy_with_a_login_gets_it_and_its_refusal_does_not_show_it(server, monkeypatch):
    with Proxy(login="me:canary-password") as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//me:canary-password@"))
        assert download.fetch(f"{server.url}/a/server.jar", SHA256).read_bytes() == CONTENT
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//me:canary-wrong@"))
        with pytest.raises(DownloadFailed, match="could not be downloaded") as failed:
            download.fetch(f"{server.url}/a/server.jar", "0" * 64)
    assert "407" in failed.value.found and "HTTPS_PROXY" in failed.value.remedy and "canary" not in str(failed.value)


def test_a_login_is_sent_and_a_wrong_one_is_never_shown(server):
    server.login = "ci:canary-password"
    download.check(f"{server.url}/a/server.jar", ("ci", "canary-password"))
    with pytest.raises(DownloadFailed, match="refuses a download") as failed:
        download.fetch(f"{server.url}/a/server.jar", SHA256, ("ci", "canary-wrong"))
    assert "401" in failed.value.found and "auth" in failed.value.remedy and "canary" not in str(failed.value)
    assert download.fetch(f"{server.url}/a/server.jar", SHA256, ("ci", "canary-password")).read_bytes() == CONTENT


def test_redirects_are_followed_but_never_to_plain_http(server):
    server.redirect = {"/latest": f"{server.url}/a/server.jar", "/plain": "http://127.0.0.1:1/server.jar"}
    assert download.fetch(f"{server.url}/latest", SHA256).read_bytes() == CONTENT
    with pytest.raises(DownloadFailed, match="without TLS"):
        download.check(f"{server.url}/plain")


def test_a_server_that_redirects_in_a_circle_is_asked_once(server):
    server.redirect = {"/here": f"{server.url}/there", "/there": f"{server.url}/here"}
    with pytest.raises(DownloadFailed, match="could not be downloaded") as failed:
        download.fetch(f"{server.url}/here", SHA256)
    assert f"{download.REDIRECTS} redirects" in failed.value.found and len(server.requests) == download.REDIRECTS + 1


def test_a_server_whose_authority_is_not_trusted(server, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with pytest.raises(DownloadFailed, match="could not be downloaded") as failed:
        download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert "certificate" in failed.value.found and "REQUESTS_CA_BUNDLE" in failed.value.remedy


def test_what_is_too_large_is_not_begun(server, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1_000_000)
    for ask in (download.check, lambda url: download.fetch(url, SHA256)):
        with pytest.raises(DownloadFailed, match="too large"):
            ask(f"{server.url}/a/server.jar")
    assert not download.is_here(SHA256)


def test_a_disk_without_room_for_it(server, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadFailed, match="does not fit on this machine's disk") as failed:
        download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert "1000 bytes free" in failed.value.found and "3000000 bytes" in failed.value.needed


def test_a_disk_that_is_full_meanwhile(server, monkeypatch):
    class Full:
        def __getattr__(self, name):
            return lambda *_: None

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, chunk):
            raise OSError(28, "No space left on device")

    real = download.Path.open
    monkeypatch.setattr(download.Path, "open", lambda self, mode="r", *more: Full() if mode == "wb" else real(self, mode, *more))
    with pytest.raises(CannotBuild, match="disk is full") as failed:
        download.fetch(f"{server.url}/a/server.jar", SHA256)
    assert "AIRAVATA_RUNBOOK_CACHE" in failed.value.remedy
