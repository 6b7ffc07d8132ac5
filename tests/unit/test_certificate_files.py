"""The files that an admin has: what is certain is written as Go's reader needs it, what is not is named with the file."""

import base64
import os
import random
import re
import socket
import ssl

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from cryptography.x509 import CertificateSigningRequestBuilder

from airavata_runbook.checks.references import (
    IDENTITY_CA,
    authorities,
    check_references,
    registry_certificate,
    trusted_certificates,
)
from airavata_runbook.errors import SiteError
from airavata_runbook.pki.chain import check_chain
from airavata_runbook.pki.formats import recognise
from airavata_runbook.site import Site
from tests.unit.certificate_samples import NAME, authority, private, server
from tests.unit.test_stacks import lab

ROOT = authority("Root")
MIDDLE = authority("Middle", ROOT)
LEAF = server(MIDDLE)
CHAIN = MIDDLE.pem + ROOT.pem
BOM = b"\xef\xbb\xbf"


def indented(content: bytes) -> bytes:
    return b"".join(b"  " + line for line in content.splitlines(keepends=True))


def relabelled(content: bytes) -> bytes:
    return content.replace(b"CERTIFICATE-----", b"X509 CERTIFICATE-----").replace(b"BEGIN CERT", b"BEGIN X509 CERT")


# Name → change of a file that leaves the content certain, and whether Go's reader finds a block in it (as a program printed).
SAME = {
    "unchanged": (lambda content: content, True),
    "a byte order mark": (lambda content: BOM + content, False),
    "indented": (indented, False),
    "indented by a tab": (lambda content: indented(content).replace(b"  ", b"\t"), False),
    "only BEGIN indented": (lambda content: content.replace(b"-----BEGIN", b" -----BEGIN"), False),
    "only END indented": (lambda content: content.replace(b"-----END", b"  -----END"), False),
    "only the body indented": (lambda content: re.sub(rb"^(?=[A-Za-z0-9])", b"  ", content, flags=re.MULTILINE), True),
    "lines of Windows": (lambda content: content.replace(b"\n", b"\r\n"), True),
    "lines of old Macs": (lambda content: content.replace(b"\n", b"\r"), False),
    "text around it": (lambda content: b"subject=CN = x\n\n" + content + b"\nthe end\n", True),
    "quoted in a mail": (lambda content: content.replace(b"-----BEGIN", b"> -----BEGIN"), False),
    "spaces after the lines": (lambda content: content.replace(b"-----\n", b"-----  \n"), True),
    "no newline at its end": (bytes.rstrip, True),
    "in one line": (lambda content: re.sub(rb"(?<=[\w+/=])\n(?=[\w+/=])", b"", content), True),
}
OLD_LABEL = {"an older label": (relabelled, False)}


@pytest.fixture
def site(tmp_path):
    """A site with its own certificate, whose files are written by the call: certificate, chain, key."""

    def write(certificate: bytes = LEAF.pem, chain: bytes = CHAIN, key: bytes = LEAF.key_pem) -> Site:
        for name, content in (("my.crt", certificate), ("ca.pem", chain), ("my.key", key)):
            (tmp_path / name).write_bytes(content)
            (tmp_path / name).chmod(0o600)
        return Site.load(
            {
                "name": "own",
                "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}],
                "registry": {
                    "name": NAME,
                    "certificate": {
                        "certificate": str(tmp_path / "my.crt"),
                        "chain": str(tmp_path / "ca.pem"),
                        "key": f"file:{tmp_path / 'my.key'}",
                    },
                },
            }
        )

    return write


def written(site: Site) -> tuple[bytes, bytes]:
    return registry_certificate(site, site.registry.certificate)


def problem(site: Site) -> str:
    [found] = [one for one in check_references(site) if one.field == "registry.certificate"]
    return " ".join((found.problem, found.needed, found.remedy)) if found.problem else ""


def verified(folder, chain: bytes, key: bytes, roots: bytes) -> None:
    """A TLS handshake in memory, by OpenSSL."""
    (folder / "pair.pem").write_bytes(chain + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    client = ssl.create_default_context(cadata=roots.decode("ascii"))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(back, there, server_hostname=NAME),
        context.wrap_bio(there, back, server_side=True),
    )
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert sides[0].getpeercert()


@pytest.mark.parametrize("case", [*SAME, *OLD_LABEL])
def test_certain_content_is_written_as_go_reads_it(tmp_path, site, case):
    change, _ = (SAME | OLD_LABEL)[case]
    own = site(change(LEAF.pem), change(CHAIN))
    assert problem(own) == ""
    assert written(own) == (LEAF.pem + CHAIN, LEAF.key_pem)
    assert trusted_certificates(own.registry.certificate) == CHAIN
    verified(tmp_path, *written(own), trusted_certificates(own.registry.certificate))


@pytest.mark.parametrize("case", [name for name in SAME if name != "lines of old Macs"])  # Python reads them as newlines
@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_so_is_a_key(site, case, form):
    change, _ = SAME[case]
    key = private(LEAF.key, getattr(serialization.PrivateFormat, form))
    assert written(site(key=change(key))) == (LEAF.pem + CHAIN, key)


def test_a_key_with_its_parameters_is_read_as_go_reads_it(site):
    key = private(LEAF.key, serialization.PrivateFormat.TraditionalOpenSSL)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert written(site(key=parameters + key))[1] == key
    assert written(site(key=LEAF.pem + key))[1] == key


@pytest.mark.parametrize("case", [*SAME, *OLD_LABEL])
def test_what_go_skips_in_a_file_as_it_is_served_is_a_problem(case):
    change, seen = (SAME | OLD_LABEL)[case]
    key = LEAF.key_pem
    assert bool(check_chain(change(LEAF.pem) + b"\n" + CHAIN, key, NAME)) != seen
    assert bool(check_chain(LEAF.pem + change(MIDDLE.pem) + b"\n" + ROOT.pem, key, NAME)) != seen
    if case in SAME:
        assert bool(check_chain(LEAF.pem + CHAIN, change(key), NAME)) != seen


P12 = pkcs12.serialize_key_and_certificates(b"x", LEAF.key, LEAF.cert, [MIDDLE.cert], serialization.NoEncryption())
CSR = CertificateSigningRequestBuilder(LEAF.cert.subject).sign(LEAF.key, SHA256())
OTHER = {
    "UTF-16": (LEAF.pem.decode().encode("utf-16"), "UTF-16 text", "iconv -f UTF-16 "),
    "UTF-16, big end first": (b"\xfe\xff" + LEAF.pem.decode().encode("utf-16-be"), "UTF-16 text", "iconv -f UTF-16 "),
    "UTF-16 without a mark": (LEAF.pem.decode().encode("utf-16-le"), "UTF-16 text", "iconv -f UTF-16LE "),
    "HTML": (b"\n<!DOCTYPE html><html><body>Please log in</body></html>", "an HTML or XML page", "download the certificate"),
    "HTML with a mark": (BOM + b"<html></html>", "an HTML or XML page", "download the certificate"),
    "PKCS 12": (P12, "PKCS 12", "openssl pkcs12 -in "),
    "DER": (LEAF.der, "a certificate in DER", "openssl x509 -inform der -in "),
    "PKCS 7": (pkcs7.serialize_certificates([LEAF.cert], serialization.Encoding.PEM), "PKCS 7", "openssl pkcs7 -print_certs"),
    "PKCS 7 in DER": (
        pkcs7.serialize_certificates([LEAF.cert], serialization.Encoding.DER),
        "PKCS 7 bundle in DER",
        "openssl pkcs7 -inform der",
    ),
    "a Java keystore": (b"\xfe\xed\xfe\xed\0\0\0\2" + bytes(90), "a Java keystore", "keytool -importkeystore"),
    "zip": (b"PK\x03\x04" + bytes(90), "a zip archive", "unzip"),
    "base64 alone": (base64.encodebytes(LEAF.der), "base64 without BEGIN and END lines", "base64 -d"),
    "a signing request": (CSR.public_bytes(serialization.Encoding.PEM), "a signing request", "the CA returns"),
    "a trusted certificate": (LEAF.pem.replace(b" CERT", b" TRUSTED CERT"), "trust settings", "openssl x509 -in "),
    "hyphens of a word processor": (LEAF.pem.replace(b"-----", "—–––—".encode()), "BEGIN line is damaged", "five hyphens"),
    "empty": (b" \n", "empty", "name the file that the CA sent"),
    "nothing known": (b"hello", "no BEGIN CERTIFICATE line", "truncated"),
    "truncated": (LEAF.pem[:200], "BEGIN CERTIFICATE without END CERTIFICATE", "truncated"),
    "another character": (LEAF.pem.replace(b"MII", b"M\xc2\xa0I"), "not base64", "truncated"),
    "with its key": (LEAF.pem + LEAF.key_pem, "a private key is in the certificate file", "a file of its own"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_file_of_another_format_is_named_with_the_command(tmp_path, site, case):
    content, what, remedy = OTHER[case]
    found = problem(site(certificate=content))
    assert f"{tmp_path}/my.crt: " in found and what in found and remedy in found
    assert "FILE" not in found and "ca.pem:" not in found and "CN=" not in found
    found = problem(site(chain=content))
    assert f"{tmp_path}/ca.pem: " in found and what in found and "my.crt:" not in found
    assert "PRIVATE KEY-----" not in found


@pytest.mark.parametrize("case", ["DER", "PKCS 7 in DER", "PKCS 12"])
def test_the_command_is_right(tmp_path, case):
    content, _, remedy = OTHER[case]
    (tmp_path / "FILE").write_bytes(content)
    command = recognise(content)[1].partition(",")[0]
    command += " -passin pass:" if case == "PKCS 12" else ""
    assert os.system(f"cd {tmp_path}; {command} 2> errors") == 0, (tmp_path / "errors").read_text()
    [made] = [path for path in tmp_path.iterdir() if path.name in ("NEW", "CERTIFICATE")]
    assert LEAF.pem in made.read_bytes()


KEYS = {
    "encrypted": (private(LEAF.key, password=b"canary"), "protected by a password", "openssl pkey -in "),
    "encrypted, older form": (
        private(LEAF.key, serialization.PrivateFormat.TraditionalOpenSSL, password=b"canary"),
        "protected by a password",
        "openssl pkey -in ",
    ),
    "DER": (private(LEAF.key, encoding=serialization.Encoding.DER), "a private key in DER", "openssl pkey -inform der -in "),
    "PKCS 12": (P12, "PKCS 12", "openssl pkcs12 -in "),
    "UTF-16": (LEAF.key_pem.decode().encode("utf-16"), "UTF-16 text", "iconv"),
    "of OpenSSH": (
        private(LEAF.key, serialization.PrivateFormat.OpenSSH),
        "OpenSSH's format",
        "ssh-keygen -p -m PEM",
    ),
    "a certificate": (LEAF.pem, "a certificate", "its private key"),
    "a public key": (
        LEAF.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "a public key",
        "the private key",
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_of_another_format_is_named(tmp_path, site, case):
    content, what, remedy = KEYS[case]
    found = problem(site(key=content))
    assert f"{tmp_path}/my.key" in found and what in found and remedy in found
    assert not any(line in found for line in LEAF.key_pem.decode().splitlines()[1:-1])


def test_a_key_that_the_servers_tls_cannot_use_is_told_as_such(site):
    for key in (ec.generate_private_key(ec.BrainpoolP256R1()), ec.generate_private_key(ec.SECP256K1())):
        leaf = server(MIDDLE, key=key)
        assert f"ECDSA on the curve {key.curve.name}" in problem(site(leaf.pem, key=leaf.key_pem))
    leaf = server(MIDDLE, key=rsa.generate_private_key(65537, 1024))
    assert "RSA of 1024 bits" in problem(site(leaf.pem, key=leaf.key_pem))


def test_a_problem_of_the_chain_names_both_files(tmp_path, site):
    own = site(chain=ROOT.pem)
    with pytest.raises(SiteError) as raised:
        written(own)
    assert f"{tmp_path}/my.crt and {tmp_path}/ca.pem" in str(raised.value)
    [found] = [one for one in check_references(own) if one.field == "registry.certificate"]
    assert found.target == f"{tmp_path}/my.crt and {tmp_path}/ca.pem" and "intermediate certificate is missing" in found.problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ROOT.pem + MIDDLE.pem, ""),
        (b"-----BEGIN CERTIFICATE-----\n", "the certificates could not be parsed"),
        (ROOT.pem + ROOT.key_pem, "a private key is in the certificate file"),
        (b"", "the certificates could not be parsed"),
    ],
    ids=["two", "cut off", "with a key", "empty"],
)
def test_the_authorities_of_an_identity_server_are_certificates(tmp_path, content, said):
    (tmp_path / "ca.pem").write_bytes(content)
    own = lab(identity_server={"url": "https://iam.example.org", "ca": f"{tmp_path}/ca.pem"})
    [found] = [one for one in check_references(own) if one.field == IDENTITY_CA]
    assert said in found.problem and bool(said) == bool(found.problem)
    if not said:
        assert authorities(f"{tmp_path}/ca.pem", IDENTITY_CA).count(b"BEGIN CERTIFICATE") == 2


def test_only_regular_files_are_opened_and_none_without_end(tmp_path, site):
    own = site()
    for make in (
        os.mkfifo,
        os.mkdir,
        lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
        lambda path: path.symlink_to("/dev/zero"),
    ):
        path = tmp_path / "my.crt"
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        assert "unreadable" in problem(own) and "my.crt" in problem(own)
    path.unlink()
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)
    assert "larger than" in problem(own)


def test_a_file_of_a_million_beginnings_is_answered_soon():
    assert check_chain(b"-----BEGIN A-----" * 60_000, LEAF.key_pem, NAME)
    assert check_chain(b"-----BEGIN A-----\n-----END A-----\n" * 30_000, LEAF.key_pem, NAME)


def test_damaged_certificates_are_problems_and_no_crash():
    rng = random.Random(7)
    for round_ in range(600):
        der = bytearray((LEAF, MIDDLE)[round_ % 2].der)
        for _ in range(rng.choice((1, 2, 4))):
            der[rng.randrange(len(der))] ^= rng.randrange(1, 256)
        damaged = b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % base64.encodebytes(der)
        content = damaged + CHAIN if round_ % 2 == 0 else LEAF.pem + damaged + ROOT.pem
        assert check_chain(content, LEAF.key_pem, NAME), base64.b64encode(der)
