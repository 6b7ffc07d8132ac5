"""Lists of digests that upstream signs: what GnuPG verifies, by whom, and what of it is used."""

import re
import shutil
import subprocess
from contextlib import suppress

import pytest

from airavata_runbook.errors import CannotBuild
from airavata_runbook.mirror.releases import RELEASES
from airavata_runbook.mirror.signatures import signed_text

pytestmark = pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg")
TEXT = f"{'ab' * 32} *runc.amd64\n"


class Signer:
    """A key pair of GnuPG in a folder. expires: as gpg takes it."""

    def __init__(self, home, expires: str = "never", *options: str):
        home.mkdir(mode=0o700)
        self.command = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--passphrase", "", "--pinentry-mode", "loopback"]
        self.run(*options, "--quick-generate-key", "signer <signer@example.org>", "ed25519", "sign", expires)
        self.fingerprint = re.search("^fpr:+([0-9A-F]{40}):", self.run("--with-colons", "--fingerprint"), re.MULTILINE)[1]
        self.public = self.run("--armor", "--export")

    def run(self, *words: str, text: str = "") -> str:
        return subprocess.run([*self.command, *words], input=text, check=True, capture_output=True, text=True).stdout

    def sign(self, text: str, *options: str) -> str:
        return self.run(*options, "--clear-sign", text=text)

    def end(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.command[2], "--kill", "all"], capture_output=True)


@pytest.fixture
def signer(tmp_path):
    made = Signer(tmp_path / "one")
    yield made
    made.end()


@pytest.fixture
def other(tmp_path):
    made = Signer(tmp_path / "other")
    yield made
    made.end()


def test_what_a_known_key_signed_is_read_and_nothing_around_it(signer):
    message = f"{'00' * 32}  runc.amd64\n{signer.sign(TEXT)}{'11' * 32}  runc.amd64\n"
    assert signed_text(signer.sign(TEXT), signer.public, [signer.fingerprint], "here") == TEXT
    with suppress(CannotBuild):  # as some versions of gpg refuse it whole
        assert signed_text(message, signer.public, [signer.fingerprint], "here") == TEXT


def test_one_of_several_signers_is_enough(signer, other):
    keys = signer.public + other.public
    assert signed_text(other.sign(TEXT), keys, [signer.fingerprint, other.fingerprint], "here") == TEXT


def test_a_changed_text_is_refused(signer):
    with pytest.raises(CannotBuild, match="no good signature") as failed:
        signed_text(signer.sign(TEXT).replace("abab", "cdcd", 1), signer.public, [signer.fingerprint], "https://here/sums")
    assert failed.value.where == "https://here/sums" and signer.fingerprint in failed.value.needed


def test_keys_that_came_with_the_list_do_not_make_a_signer(signer, other):
    with pytest.raises(CannotBuild, match="not signed by whom") as failed:
        signed_text(other.sign(TEXT), signer.public + other.public, [signer.fingerprint], "here")
    assert failed.value.found == other.fingerprint and failed.value.needed == signer.fingerprint


def test_a_key_that_is_not_there_is_refused(signer, other):
    with pytest.raises(CannotBuild, match="no good signature"):
        signed_text(other.sign(TEXT), signer.public, [other.fingerprint], "here")


@pytest.mark.parametrize("text", ["", TEXT, "<html>moved</html>"])
def test_what_is_not_signed_is_refused(signer, text):
    with pytest.raises(CannotBuild, match="no good signature|not signed by whom"):
        signed_text(text, signer.public, [signer.fingerprint], "here")


def test_a_key_that_has_expired_is_refused(tmp_path):
    signer = Signer(tmp_path / "old", "20200201T000000", "--faked-system-time", "20200101T000000")
    try:
        message = signer.sign(TEXT, "--faked-system-time", "20200115T000000")
        with pytest.raises(CannotBuild) as failed:
            signed_text(message, signer.public, [signer.fingerprint], "here")
        assert "expired" in failed.value.found
    finally:
        signer.end()


def test_the_signers_of_a_release_are_whole_fingerprints():
    signers = [signer for release in RELEASES.values() for signer in release.signers]
    assert signers and all(re.fullmatch("[0-9A-F]{40}", signer) for signer in signers)
