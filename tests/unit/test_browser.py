"""The portal in a browser: whom it trusts, what it reaches, and what is said where it cannot be used."""

import base64
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import portal_page, verify
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed
from airavata_runbook.local import browser
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from tests.unit.test_chapters import stack_for
from tests.unit.tls_server import TlsServer

ADDRESS, PORT = "10.98.0.11", 30443
PAGE = """<!doctype html><title>Science gateway</title><p>STAND-IN</p><table><tr><td id=x></td></tr></table>
<img src="https://elsewhere.example/canary.png"><script>document.getElementById("x").textContent = "default"</script>"""
needs_chromium = pytest.mark.skipif(not browser.find_browser(), reason=f"no Chromium: {browser.INSTALL}")


@pytest.fixture(scope="module")
def ca():
    return pki.new_ca("Test CA")


@contextmanager
def portal(ca, page: str = PAGE) -> Iterator[tuple[int, list[str]]]:
    """A portal with a certificate for ADDRESS on a port of this machine, as behind a forward; (port, hosts it was asked for)."""
    pair = pki.issue(ca, Subject("portal", ips=(ADDRESS,), usages=("server",)))
    asked = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["Host"])
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    with TlsServer(Page, pair) as server:
        yield server.server_port, asked


def session_for(monkeypatch, ca, port: int) -> Session:
    """A session of the lab whose master forwards to that port."""
    site = Site.load("lab")
    stack_for(monkeypatch, site)
    session = Session(site)
    monkeypatch.setattr(session.vault, "authority", lambda name: ca)
    monkeypatch.setattr(session.master, "forward", lambda port_of_host, address: port)
    return session


@needs_chromium
def test_the_page_is_shown_after_its_scripts_ran_with_a_screenshot(monkeypatch, ca):
    with portal(ca) as (port, asked):
        rows, picture = verify.browser.look(session_for(monkeypatch, ca, port))
    assert rows[1] == [
        f"https://{ADDRESS}:{Site.load('lab').airavata.portal_node_port}/",
        "shown by Chromium, names gateway default",
        "STAND-IN",
    ]
    image = base64.b64decode(picture.png)
    assert image.startswith(b"\x89PNG") and 1000 < len(image) < browser.LARGE and picture.name == "portal.png"
    assert set(asked) == {f"{ADDRESS}:{Site.load('lab').airavata.portal_node_port}"}, "it was asked under its own address"


@needs_chromium
def test_another_key_is_not_trusted_by_the_browser(ca):
    other = base64.b64encode(b"x" * 32).decode()
    with portal(ca) as (port, asked), pytest.raises(StepFailed, match="could not show") as caught:
        browser.show_page(browser.find_browser(), ADDRESS, PORT, port, other)
    assert "ERR_CERT" in caught.value.found and asked == []


def test_a_portal_of_another_authority_is_refused_before_a_browser_sees_it(monkeypatch, ca):
    monkeypatch.setattr(portal_page, "show_page", lambda *_: pytest.fail("the browser was started"))
    with portal(pki.new_ca("Another CA")) as (port, _), pytest.raises(StepFailed, match="no page received") as caught:
        portal_page.page_in_browser(session_for(monkeypatch, ca, port), "chromium")
    assert "certificate verify failed" in caught.value.found


@pytest.mark.parametrize("page", ["<p>STAND-IN</p>", "<style>default STAND-IN</style>", ""])
def test_a_page_that_does_not_name_the_gateway_is_a_problem(monkeypatch, ca, page):
    monkeypatch.setattr(portal_page, "show_page", lambda *_: browser.Shown(page, b""))
    with portal(ca) as (port, _), pytest.raises(StepFailed, match="unexpected page") as caught:
        portal_page.page_in_browser(session_for(monkeypatch, ca, port), "chromium")
    assert "default" in caught.value.needed and caught.value.found


def test_a_machine_without_chromium_is_told_how_to_get_it_and_the_check_passes(monkeypatch, ca):
    monkeypatch.setenv("PATH", "/nowhere")
    head, (_, why) = verify.browser.look(session_for(monkeypatch, ca, 1))
    assert head == ["not verified", "reason"] and browser.INSTALL in why


def fake(tmp_path: Path, script: str) -> str:
    """A browser that is a shell script."""
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "message", "found"),
    [
        ("echo cannot open display >&2; exit 21", "could not show the page", "exit status 21\ncannot open display"),
        ("echo '<html></html>'", "took no screenshot", "<html></html>"),
    ],
)
def test_a_browser_that_cannot_be_run_says_why(tmp_path, script, message, found):
    with pytest.raises(StepFailed, match=message) as caught:
        browser.show_page(fake(tmp_path, script), ADDRESS, PORT, 1, "")
    assert found in caught.value.found


def test_a_browser_that_hangs_is_ended_with_its_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "TIMEOUT", 0.5)
    pids = tmp_path / "pids"
    with pytest.raises(StepFailed, match="did not end within"):
        browser.show_page(fake(tmp_path, f"sleep 60 & echo $$ $! > {pids}; wait"), ADDRESS, PORT, 1, "")
    end = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in pids.read_text().split()):
        assert time.monotonic() < end, "a process of the browser is left"
        time.sleep(0.05)


def test_a_large_screenshot_is_taken_again_at_half_the_size(tmp_path):
    log = tmp_path / "log"
    script = f"""echo "$@" >> {log}
for word in "$@"; do case $word in --screenshot=*) image=${{word#*=}};; *factor=0.5) small=1;; esac; done
if [ "$small" ]; then size=9; else size={browser.LARGE + 1}; fi
head -c $size /dev/zero > $image; echo page"""
    shown = browser.show_page(fake(tmp_path, script), ADDRESS, PORT, 1, "KEY")
    assert len(shown.png) == 9 and len(log.read_text().splitlines()) == 2
    command = log.read_text().splitlines()[0]
    assert "--ignore-certificate-errors-spki-list=KEY" in command and "--ignore-certificate-errors " not in command
    assert f"MAP {ADDRESS}:{PORT} 127.0.0.1:1, MAP * ~NOTFOUND" in command
