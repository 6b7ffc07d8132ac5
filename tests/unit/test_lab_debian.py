"""Which mirror a Debian root is made from: read from apt's own files, of both notations."""

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
