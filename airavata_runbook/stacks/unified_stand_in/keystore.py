"""STAND-IN: the keystores of Airavata's server, which are Java's (PKCS #12): the server's own key, and a secret key."""

import hashlib
import os
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12


def server_context(path: str, password: str) -> ssl.SSLContext:
    """TLS with the key and the certificates of a store. Raises ValueError, OSError."""
    key, certificate, others = pkcs12.load_key_and_certificates(Path(path).read_bytes(), password.encode())
    if not key or not certificate:
        raise ValueError(f"{path}: no key with its certificate")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, *others))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # OpenSSL takes files only; this one is in memory.
    file = os.memfd_create("server")
    try:
        os.write(file, pem)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context


def secret_key(path: str, password: str) -> bytes:
    """The key in a store with one secret key, in the form of the runbook's own and of keytool. Raises ValueError, OSError."""
    try:
        # PFX, authenticated safe, content info, safe contents, secret bag, and its octets: each is in the one before.
        scheme, encrypted = _parts(_at(Path(path).read_bytes(), 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0))
        derivation, cipher = _parts(_at(scheme, 1))
        salt, rounds = _parts(_parts(derivation)[1])[:2]
        key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, int.from_bytes(rounds, "big"), 32)
        decryptor = Cipher(algorithms.AES(key), modes.CBC(_parts(cipher)[1])).decryptor()
        plain = decryptor.update(encrypted) + decryptor.finalize()
        return _at(plain[: -plain[-1]], 0, 2)
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path}: no secret key that this password decrypts ({error})") from None


def _at(der: bytes, *positions: int) -> bytes:
    for position in positions:
        der = _parts(der)[position]
    return der


def _parts(der: bytes) -> list[bytes]:
    """The contents of the elements that follow each other in DER (X.690)."""
    found = []
    while der:
        length, start = der[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start], "big")
        if start + length > len(der):
            raise ValueError("cut")
        found.append(der[start : start + length])
        der = der[start + length :]
    return found
