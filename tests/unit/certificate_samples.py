"""Certificates for tests, right and wrong in one respect each, and OpenSSL as their judge."""

import subprocess
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)
NAME = "registry.lab"


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    cert: x509.Certificate
    key: object = field(repr=False)

    @property
    def pem(self) -> bytes:
        return self.cert.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.cert.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return private(self.key)


def private(key, form=serialization.PrivateFormat.PKCS8, encoding=serialization.Encoding.PEM, password: bytes = b"") -> bytes:
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(encoding, form, locked)


USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in USAGES})


CLIENTS, ANY = (
    x509.ExtendedKeyUsage([oid]) for oid in (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def certificate(
    cn,
    issuer=None,
    *,
    ca=False,
    sans=(),
    key=None,
    extensions=(),
    critical=(),
    basic=True,
    length=None,
    end=365,
    digest=hashes.SHA256,
) -> Made:
    """extensions, critical: further ones. basic: with basicConstraints. length: of a CA's path. end: days from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    builder = x509.CertificateBuilder(
        issuer.cert.subject if issuer else name,
        name,
        key.public_key(),
        1000,
        NOW - timedelta(days=900),
        NOW + timedelta(days=end),
    )
    if basic:
        builder = builder.add_extension(x509.BasicConstraints(ca, length), True)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(sans)), False)
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    for extension in critical:
        builder = builder.add_extension(extension, True)
    signer = issuer.key if issuer else key
    hashed = None if isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)) else digest()
    return Made(builder.sign(signer, hashed), key)


def authority(cn, issuer=None, **options) -> Made:
    return certificate(cn, issuer, ca=True, **{"end": 3000, **options})


def server(issuer, name: str = NAME, **options) -> Made:
    return certificate(name, issuer, **{"sans": (x509.DNSName(name),), **options})


@cache
def edwards() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def edited(made: Made, issuer: Made, old: bytes, new: bytes) -> Made:
    """With other bytes in what is signed, signed again (ECDSA): for what the library does not make."""
    tbs = made.cert.tbs_certificate_bytes
    assert old in tbs
    header = 2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0)
    body = tbs[header:].replace(old, new, 1)
    signed = _tagged(0x30, body)
    signature = issuer.key.sign(signed, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    der = _tagged(0x30, signed + algorithm + _tagged(0x03, b"\0" + signature))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what such tests are about
        return Made(x509.load_der_x509_certificate(der), made.key)


def version_1(made: Made, issuer: Made) -> Made:
    """Without version and, therefore, of version 1; only for a certificate without extensions."""
    return edited(made, issuer, bytes.fromhex("a003020102"), b"")


def _tagged(tag: int, body: bytes) -> bytes:
    size = len(body)
    return (
        bytes([tag])
        + (bytes([size]) if size < 128 else b"\x81%c" % size if size < 256 else b"\x82" + size.to_bytes(2, "big"))
        + body
    )


def openssl_refuses(folder: Path, certs: list[Made], roots: list[Made], name: str = NAME) -> str:
    """What `openssl verify` says against a server's certificate with its chain, in a file's order; "" for nothing."""
    files = {"leaf": certs[:1], "chain": certs[1:], "roots": roots}
    for file, content in files.items():
        (folder / file).write_bytes(b"".join(made.pem for made in content))
    call = ["openssl", "verify", "-purpose", "sslserver", "-auth_level", "2", "-no-CApath", "-no-CAstore", "-partial_chain"]
    call += ["-verify_hostname", name, "-CAfile", str(folder / "roots")]
    call += ["-untrusted", str(folder / "chain")] if certs[1:] else []
    done = subprocess.run([*call, str(folder / "leaf")], capture_output=True, text=True)
    return (done.stdout + done.stderr) if done.returncode else ""
