"""Which mirror a Debian root is made from: read from apt's own files, of both notations."""

import base64
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local import debian

DEB822 = """# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
# inside a paragraph
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/other
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://inline.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
"""
ONE_LINE = """deb http://one.example/debian bookworm main # the mirror
deb [arch=amd64 signed-by=/etc/apt/keyrings/two.gpg] http://two.example/debian bookworm-security main contrib
deb-src http://one.example/debian bookworm main
# deb http://off.example/debian bookworm main
"""


@pytest.fixture
def apt(tmp_path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/old.list.save").write_text("deb http://saved.example/debian bookworm main\n")
    return tmp_path


def test_both_notations_are_read(apt):
    keyring = debian.KEYRING
    assert debian.machine_sources(apt) == [
        debian.Source("http://one.example/debian", "bookworm", ("main",), keyring),
        debian.Source("http://two.example/debian", "bookworm-security", ("main", "contrib"), Path("/etc/apt/keyrings/two.gpg")),
        debian.Source("http://mirror.example/debian", "bookworm", ("main", "contrib"), keyring),
        debian.Source("http://mirror.example/debian", "bookworm-updates", ("main", "contrib"), keyring),
        debian.Source("http://inline.example/debian", "bookworm", ("main",), keyring),
    ]


def test_a_suite_without_a_mirror_is_explained(monkeypatch, apt, tmp_path):
    other = debian.Source("http://one.example/debian", "sid", ("main",))
    monkeypatch.setattr(debian, "machine_sources", lambda: [other])
    monkeypatch.setattr(debian.shutil, "which", lambda program: f"/usr/sbin/{program}")
    with pytest.raises(CannotBuild, match="no Debian mirror for bookworm") as caught:
        debian.bootstrap(tmp_path / "root", [])
    assert "suites sid" in str(caught.value) and not (tmp_path / "root").exists()


def test_a_folder_that_holds_no_debian_is_refused(tmp_path):
    with pytest.raises(CannotBuild, match="holds no Debian"):
        debian.install(tmp_path, ["curl"])


@pytest.fixture
def mirror():
    """The address of a mirror that has nothing, and the logins that it was asked with."""
    asked: set[str] = set()

    class Mirror(BaseHTTPRequestHandler):
        def do_GET(self):
            kind, _, login = self.headers.get("Authorization", "").partition(" ")
            asked.add(base64.b64decode(login).decode() if kind == "Basic" else "")
            self.send_error(404 if asked - {""} else 401)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/debian", asked
    server.shutdown()
    server.server_close()


def files_with(folder: Path, word: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and word in path.read_bytes()]


@pytest.mark.parametrize("name", ["auth.conf", "auth.conf.d/mirror.conf"])
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mmdebstrap"), reason="needs root and mmdebstrap")
def test_logins_of_this_machine_reach_the_mirror_and_no_root(tmp_path, monkeypatch, mirror, name):
    address, asked = mirror
    logins = tmp_path / "apt" / name
    logins.parent.mkdir(parents=True)
    logins.write_text(f"machine {address} login me password canary-hunter2\n")
    logins.chmod(0o600)
    monkeypatch.setattr(debian, "APT", tmp_path / "apt")
    monkeypatch.setattr(debian, "machine_sources", lambda: [debian.Source(address, "bookworm", ("main",))])
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "root"
    with pytest.raises(CannotBuild, match="the bootstrap of bookworm failed") as bootstrapped:
        debian.bootstrap(root, [])
    assert "me:canary-hunter2" in asked and "canary" not in str(bootstrapped.value)
    asked.clear()
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/os-release").write_text("VERSION_CODENAME=bookworm\n")
    for place in ("proc", "dev", "run", "usr/sbin", "var/lib/dpkg", "etc/apt"):
        (root / place).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    with pytest.raises(CannotBuild, match="the installation of curl failed"):
        debian.install(root, ["curl"])
    assert "me:canary-hunter2" in asked
    assert files_with(tmp_path, b"canary") == [logins] and logins.stat().st_mode & 0o777 == 0o600
