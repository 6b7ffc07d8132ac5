"""Keys and signatures as GnuPG reads them (gpgv, which apt of Debian 12 uses)."""

import base64
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airavata_runbook.errors import RunbookError
from airavata_runbook.pki import openpgp
from airavata_runbook.pki.issue import new_signing_key

TEXT = "Origin: here\n- with a dash\n-----BEGIN PGP SIGNATURE-----\nFrom: ü\n\n one more\n"


@pytest.fixture(scope="module", params=["ed25519", "rsa"])
def key(request) -> bytes:
    return openpgp.new_key(request.param)


def verified(tmp_path, public: bytes, signed: bytes, content: bytes | None = None) -> str:
    """The text that gpgv found a good signature of, or of the content beside it. Raises CalledProcessError."""
    ring, message, beside = tmp_path / "ring.gpg", tmp_path / "signed", tmp_path / "content"
    ring.write_bytes(base64.b64decode(b"".join(public.split(b"\n")[2:-3])))
    message.write_bytes(signed)
    beside.write_bytes(content or b"")
    command = ["gpgv", "--homedir", tmp_path, "--keyring", ring, "--output", "-", message, *[beside] * (content is not None)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert 'Good signature from "site lab"' in done.stderr
    return done.stdout


def test_a_signed_text_is_verified_as_it_was(tmp_path, key):
    assert verified(tmp_path, openpgp.public_key(key, "site lab"), openpgp.clear_sign(key, TEXT)) == TEXT


def test_the_signature_of_a_file_is_one_of_this_file_only(tmp_path, key):
    public, signature = openpgp.public_key(key, "site lab"), openpgp.detached_signature(key, b"\xff\r\n content\n")
    verified(tmp_path, public, signature, b"\xff\r\n content\n")
    with pytest.raises(subprocess.CalledProcessError):
        verified(tmp_path, public, signature, b"\xff\n content\n")
    assert signature == openpgp.detached_signature(key, b"\xff\r\n content\n")


def test_a_key_is_of_one_algorithm(key):
    assert [openpgp.is_key(key, algorithm) for algorithm in ("ed25519", "rsa")].count(True) == 1


def test_numbers_of_any_length_are_verified(tmp_path):
    """One signature in 128 begins with a zero in one of its two numbers, and one key in 256 has one."""
    key = openpgp.new_key()
    public = openpgp.public_key(key, "site lab")
    signed = [openpgp.clear_sign(key, f"number: {number}\n") for number in range(1500)]
    shortest = sorted(signed, key=len)[:3]
    assert len(shortest[0]) < len(signed[-1]), "none begins with a zero"
    for one in shortest:
        assert verified(tmp_path, public, one).startswith("number: ")
    for _ in range(20):
        key = openpgp.new_key()
        assert verified(tmp_path, openpgp.public_key(key, "site lab"), openpgp.clear_sign(key, TEXT)) == TEXT


@pytest.mark.parametrize("number", [13519, 18397])  # the first with two zero bytes at the beginning of R, and of S
def test_the_shortest_signatures_are_verified(tmp_path, number):
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key, text = private.private_bytes(*form), f"number: {number}\n"
    assert verified(tmp_path, openpgp.public_key(key, "site lab"), openpgp.clear_sign(key, text)) == text


def test_the_same_text_has_the_same_signature_from_any_workstation(key):
    assert openpgp.clear_sign(key, TEXT) == openpgp.clear_sign(key, TEXT)
    assert openpgp.public_key(key, "site lab") == openpgp.public_key(key, "site lab")


def test_another_text_or_key_is_not_verified(tmp_path, key):
    public = openpgp.public_key(key, "site lab")
    signed = openpgp.clear_sign(key, TEXT)
    for other in (signed.replace(b"here", b"there"), openpgp.clear_sign(openpgp.new_key(), TEXT)):
        with pytest.raises(subprocess.CalledProcessError):
            verified(tmp_path, public, other)


@pytest.mark.parametrize("content", [b"", b"nothing", "of tokens", "half"])
def test_what_is_no_key_is_refused(key, content):
    content = {"of tokens": new_signing_key().private, "half": key[:60]}.get(content, content)
    assert not openpgp.is_key(content)
    for use in (lambda: openpgp.clear_sign(content, TEXT), lambda: openpgp.public_key(content, "site lab")):
        with pytest.raises(RunbookError, match="unusable"):
            use()
