"""What a file is that should hold certificates or a key as PEM, and does not: its format, and the command that converts it."""

import base64
import binascii
from contextlib import suppress

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from airavata_runbook.pki import pem
from airavata_runbook.pki.problem import Problem
from airavata_runbook.pki.read import UNREADABLE

PKCS12 = (
    "openssl pkcs12 -in {file} -clcerts -nokeys -out CERTIFICATE, the same with -cacerts -nokeys -out CHAIN, "
    "and with -nocerts -nodes -out KEY (keep it in mode 600)"
)
SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")  # the object identifier of PKCS 7 signedData (RFC 2315)
# First bytes → format, remedy.
STARTS: dict[bytes, tuple[str, str]] = {
    b"\xff\xfe": ("UTF-16 text", "iconv -f UTF-16 -t ASCII {file} > NEW"),
    b"\xfe\xff": ("UTF-16 text", "iconv -f UTF-16 -t ASCII {file} > NEW"),
    b"-\0": ("UTF-16 text", "iconv -f UTF-16LE -t ASCII {file} > NEW"),
    b"\0-": ("UTF-16 text", "iconv -f UTF-16BE -t ASCII {file} > NEW"),
    b"PK\x03\x04": ("a zip archive", "unzip {file}, and name the file in it"),
    b"\x1f\x8b": ("compressed by gzip", "gunzip {file}"),
    b"\xfe\xed\xfe\xed": (
        "a Java keystore",
        "keytool -importkeystore -srckeystore {file} -destkeystore NEW.p12 -deststoretype PKCS12; then " + PKCS12,
    ),
    b"PuTTY-User-Key-File": ("a key of PuTTY, for SSH", "name the key that the signing request was made with"),
    b"ssh-": ("a public key for SSH", "name the key that the signing request was made with"),
}
# Label of a PEM block → format, remedy.
BLOCKS: dict[str, tuple[str, str]] = {
    "PKCS7": ("a PKCS 7 bundle", "openssl pkcs7 -print_certs -in {file} -out NEW"),
    "CMS": ("a PKCS 7 bundle", "openssl pkcs7 -print_certs -in {file} -out NEW"),
    "CERTIFICATE REQUEST": ("a signing request", "send it to the CA, and name the certificate that the CA returns"),
    "NEW CERTIFICATE REQUEST": ("a signing request", "send it to the CA, and name the certificate that the CA returns"),
    "TRUSTED CERTIFICATE": ("a certificate with OpenSSL's trust settings", "openssl x509 -in {file} -out NEW"),
    "X509 CRL": ("a list of revoked certificates", "name the file with the certificate"),
    "PUBLIC KEY": ("a public key", "name the file with the certificate, or the private key"),
    "OPENSSH PRIVATE KEY": ("a private key in OpenSSH's format", "ssh-keygen -p -m PEM -N '' -f COPY, with a copy of it"),
}


def recognise(content: bytes, file: str = "FILE") -> tuple[str, str] | None:
    """The format of a file without a PEM block that could be used, and the remedy; None when it is unknown.

    file: its name in the remedy.
    """
    known = _recognised(content.removeprefix(pem.BOM))
    return known and (known[0], known[1].replace("{file}", file))


def certificate_file_problems(content: bytes, file: str = "FILE") -> list[Problem]:
    """Why a file cannot be read as one PEM certificate or more; empty: it can. file: its name in the remedy."""
    try:
        blocks = pem.blocks(content)
    except ValueError as error:
        return [_glued() if b"----------BEGIN" in content else _unparsed("the certificates could not be parsed", str(error))]
    found, labels = [], [block.label for block in blocks]
    if pem.CERTIFICATE not in labels and (known := recognise(content, file)):
        what, remedy = known
        message = "the certificate is not text" if what.endswith("DER") else "the certificates could not be parsed"
        found.append(Problem(message, what, "PEM: text with a BEGIN CERTIFICATE line", remedy))
    elif "TRUSTED CERTIFICATE" in labels:
        what, remedy = BLOCKS["TRUSTED CERTIFICATE"]
        found.append(Problem(f"the file holds {what}", "TRUSTED CERTIFICATE", "CERTIFICATE", remedy.replace("{file}", file)))
    if any(block.is_key for block in blocks):
        keep = "keep the key in a file of its own, mode 600"
        found.append(Problem("a private key is in the certificate file", needed="certificates only", remedy=keep))
    if b"----------BEGIN" in content:
        found.append(_glued())
    if pem.CERTIFICATE not in labels and not found:
        found.append(_unparsed("the certificates could not be parsed", "no BEGIN CERTIFICATE line"))
    return found


def key_file_problems(content: bytes, file: str = "FILE") -> list[Problem]:
    """Why a text cannot be read as a private key; empty: it can. file: its name in the remedy. No part of it is shown."""
    needed = "a PEM private key, RSA or ECDSA"
    try:
        found = pem.blocks(content)
    except ValueError:
        return [Problem("the key could not be parsed", "a truncated block, or one that is not base64", needed)]
    keys = [block for block in found if block.is_key]
    if keys and (keys[0].encrypted or keys[0].label == "ENCRYPTED PRIVATE KEY"):
        decrypt = f"openssl pkey -in {file} -out NEW, and keep NEW in mode 600"
        return [Problem("the key is protected by a password", needed="an unencrypted key", remedy=decrypt)]
    if keys and keys[0].label != "OPENSSH PRIVATE KEY":
        return []
    if any(block.label == pem.CERTIFICATE for block in found):
        what, remedy = "a certificate", "name the file with its private key"
    else:
        fallback = ("no BEGIN PRIVATE KEY line", "name the key that the signing request was made with")
        what, remedy = recognise(content, file) or fallback
    return [Problem("the key could not be parsed", what, needed, remedy)]


def _recognised(content: bytes) -> tuple[str, str] | None:
    text = content.strip()
    if not text:
        return "empty", "name the file that the CA sent"
    for start, format_and_remedy in STARTS.items():
        if content.startswith(start):
            return format_and_remedy
    if text.startswith(b"<"):
        return "an HTML or XML page", "download the certificate itself: what was saved is a page, perhaps that of a login"
    for label in pem.BEGIN.findall(content):
        if known := BLOCKS.get(label.decode()):
            return known
    if b"BEGIN CERTIFICATE" in content or "BEGIN CERTIFICATE".encode("utf-16-le") in content:
        return "text whose BEGIN line is damaged", "restore -----BEGIN CERTIFICATE-----, with five hyphens on either side"
    if known := _der(content):
        return known
    with suppress(binascii.Error, ValueError):
        if inner := _der(base64.b64decode(b"".join(text.split()), validate=True)):
            return f"base64 without BEGIN and END lines, of {inner[0]}", "base64 -d {file} > NEW; then, with NEW, " + inner[1]
    return None


def _der(content: bytes) -> tuple[str, str] | None:
    """The format of binary content by its first fields (ASN.1 in DER or BER)."""
    if content[:1] != b"\x30" or len(content) < 4:
        return None
    header = 2 + (content[1] & 0x7F if content[1] & 0x80 else 0)
    inside = content[header : header + 24]
    if inside.startswith(b"\x02\x01\x03\x30"):  # version 3, then authSafe (RFC 7292)
        return "a PKCS 12 keystore (.p12, .pfx)", PKCS12
    if inside.startswith(SIGNED_DATA):
        return "a PKCS 7 bundle in DER", "openssl pkcs7 -inform der -print_certs -in {file} -out NEW"
    for load, what, remedy in (
        (x509.load_der_x509_certificate, "a certificate in DER", "openssl x509 -inform der -in {file} -out NEW"),
        (x509.load_der_x509_csr, "a signing request in DER", "name the certificate that the CA returns"),
        (x509.load_der_x509_crl, "a list of revoked certificates in DER", "name the file with the certificate"),
    ):
        with suppress(*UNREADABLE):
            load(content)
            return what, remedy
    key = "a private key in DER", "openssl pkey -inform der -in {file} -out NEW, and keep NEW in mode 600"
    try:
        serialization.load_der_private_key(content, None)
    except TypeError:  # encrypted
        return key
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key


def _glued() -> Problem:
    return Problem(
        "two certificates are joined without a newline",
        "-----END CERTIFICATE----------BEGIN …",
        "a newline after each END CERTIFICATE line",
        "add it, or give the files one by one",
    )


def _unparsed(message: str, found: str) -> Problem:
    return Problem(
        message,
        found,
        "one BEGIN CERTIFICATE … END CERTIFICATE block or more",
        "check that no block is truncated, and that a newline separates two files that are joined",
    )
