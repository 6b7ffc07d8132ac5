"""Keystores for Java: read by OpenJDK's own keytool and by `cryptography`, equal for equal content."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from airavata_runbook.pki import issue as pki
from airavata_runbook.pki import keystore
from airavata_runbook.pki.types import Subject

KEY, PASSWORD = bytes(range(32)), "a-password-of-the-site"
needs_java = pytest.mark.skipif(not shutil.which("keytool"), reason="OpenJDK is not installed")


@pytest.fixture(scope="module")
def authority():
    return pki.new_ca("Services of lab")


@pytest.fixture(scope="module")
def server(authority):
    return pki.issue(authority, Subject("airavata-server", dns=("airavata-server",), usages=("server",)))


def keytool(*arguments: str | Path) -> str:
    done = subprocess.run(["keytool", *map(str, arguments)], capture_output=True, text=True, input="\n")
    return f"{done.stdout}{done.stderr}exit {done.returncode}"


def written(folder: Path, content: bytes) -> Path:
    path = folder / "store.p12"
    path.write_bytes(content)
    return path


@needs_java
def test_java_decrypts_the_secret_key(tmp_path):
    path = written(tmp_path, keystore.secret_key_store(KEY, "airavata", PASSWORD))
    assert "airavata," in (listed := keytool("-list", "-keystore", path, "-storepass", PASSWORD)) and "SecretKeyEntry" in listed
    # keytool has to decrypt the key to encrypt it again.
    copied = keytool(
        *("-importkeystore", "-noprompt", "-srckeystore", path, "-srcstorepass", PASSWORD),
        *("-destkeystore", tmp_path / "copy.p12", "-deststorepass", "another-password", "-deststoretype", "PKCS12"),
    )
    assert "successfully imported" in copied, copied


@needs_java
def test_java_refuses_another_password_and_a_changed_store(tmp_path):
    content = keystore.secret_key_store(KEY, "airavata", PASSWORD)
    assert "exit 1" in keytool("-list", "-keystore", written(tmp_path, content), "-storepass", "not-the-password")
    position = content.index("airavata".encode("utf-16-be"))
    changed = content[:position] + "Bíravata".encode("utf-16-be") + content[position + 16 :]
    assert "exit 1" in keytool("-list", "-keystore", written(tmp_path, changed), "-storepass", PASSWORD)


@needs_java
def test_java_reads_a_servers_key_with_its_chain(tmp_path, authority, server):
    path = written(tmp_path, keystore.server_store(server.cert + authority.cert, server.key, "server", PASSWORD))
    listed = keytool("-list", "-v", "-keystore", path, "-storepass", PASSWORD)
    assert "PrivateKeyEntry" in listed and "chain length: 2" in listed, listed


@needs_java
def test_java_trusts_an_authority_without_a_password(tmp_path, authority):
    listed = keytool("-list", "-keystore", written(tmp_path, keystore.trust_store(authority.cert)))
    assert "trustedCertEntry" in listed and "exit 0" in listed, listed


@needs_java
def test_java_trusts_it_too_where_a_store_of_another_kind_is_expected_and_with_any_password(tmp_path, authority):
    """Airavata 0.17 loads trust.store with Java's default kind, which was JKS, and trust.store.password."""
    path = written(tmp_path, keystore.trust_store(authority.cert))
    listed = keytool("-list", "-keystore", path, "-storetype", "JKS", "-storepass", "any-text")
    assert "trustedCertEntry" in listed and "exit 0" in listed, listed


def test_another_library_reads_the_same_key_and_certificate(server):
    store = keystore.server_store(server.cert, server.key, "server", PASSWORD)
    key, certificate, _ = pkcs12.load_key_and_certificates(store, PASSWORD.encode())
    assert key and certificate and key.public_key() == certificate.public_key()
    with pytest.raises(ValueError):
        pkcs12.load_key_and_certificates(store, b"not-the-password")


def test_equal_content_gives_equal_bytes_and_nothing_plain_shows(server):
    first = keystore.secret_key_store(KEY, "airavata", PASSWORD)
    assert first == keystore.secret_key_store(KEY, "airavata", PASSWORD)
    assert first != keystore.secret_key_store(KEY, "airavata", "another-password")
    assert KEY not in first
    assert keystore.server_store(server.cert, server.key, "a", PASSWORD) == keystore.server_store(
        server.cert, server.key, "a", PASSWORD
    )


def test_two_keys_share_no_salt_and_no_vector():
    """Else equal beginnings of two keys would show as such."""
    one, two = (keystore.secret_key_store(KEY[:16] + end, "airavata", PASSWORD) for end in (bytes(16), bytes([1] * 16)))
    marks = [content[content.index(bytes.fromhex("060960864801650304012a")) :][:29] for content in (one, two)]
    assert marks[0] != marks[1]
