"""OpenPGP signatures, by which apt verifies a package repository (RFC 9580; its section numbers are below).

No library of PyPI signs with a given time, which is needed twice. Here it is the same for a key and all its signatures, long ago:
a host accepts them whose clock is behind (Debian 13's sqv allows no second), and as ed25519 uses no random numbers, the same
text gives the same signature, so that a file with one is compared like any other. Keys and signatures are of version 4, which
GnuPG 2.2 knows too.
"""

import base64
import hashlib
from contextlib import suppress

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airavata_runbook.errors import RunbookError
from airavata_runbook.pki.read import UNREADABLE

TIME = 1767225600  # 2026-01-01, seconds since 1970
ED25519 = b"\x16" + b"\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01"  # the algorithm EdDSALegacy, and its curve (9.2)
SHA512 = b"\x0a"
KEY, USER_ID, SIGNATURE = 6, 13, 2  # packets (5)
TEXT, CERTIFICATION = b"\x01", b"\x13"  # kinds of signatures (5.2.1)
CREATED, ISSUER_ID, FLAGS, ISSUER = 2, 16, 27, 33  # parts of a signature (5.2.3)
CERTIFIES_AND_SIGNS = b"\x03"


def new_key() -> bytes:
    """A new private key, PEM (PKCS 8)."""
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(*form)


def is_key(key: bytes) -> bool:
    """Whether the other functions can use it."""
    try:
        _load(key)
    except RunbookError:
        return False
    return True


def public_key(key: bytes, owner: str) -> bytes:
    """The public half of a key, armored. owner: its user ID. Raises RunbookError when `key` is unusable."""
    private, user = _load(key), owner.encode()
    public = _public(private)
    certified = _key_to_hash(public) + b"\xb4" + _number(len(user), 4) + user
    signature = _signature(private, CERTIFICATION, certified, _part(FLAGS, CERTIFIES_AND_SIGNS))
    return _armor("PUBLIC KEY BLOCK", _packet(KEY, public) + _packet(USER_ID, user) + signature)


def clear_sign(key: bytes, text: str) -> bytes:
    """The text, whose lines have no blanks at their ends, with a signature (7). Raises RunbookError when `key` is unusable."""
    lines = text.removesuffix("\n").split("\n")
    signature = _signature(_load(key), TEXT, "\r\n".join(lines).encode())
    escaped = "".join("- " * line.startswith("-") + line + "\n" for line in lines)
    return f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{escaped}".encode() + _armor("SIGNATURE", signature)


def _load(key: bytes) -> Ed25519PrivateKey:
    with suppress(*UNREADABLE):
        private = serialization.load_pem_private_key(key, None)
        if isinstance(private, Ed25519PrivateKey):
            return private
    raise RunbookError("the key that signs the package repository is unusable", needed="an ed25519 key, PEM")


def _signature(key: Ed25519PrivateKey, kind: bytes, signed: bytes, parts: bytes = b"") -> bytes:
    """A packet with the signature over `signed` (5.2.3, 5.2.4)."""
    fingerprint = hashlib.sha1(_key_to_hash(_public(key))).digest()
    parts = _part(CREATED, _number(TIME, 4)) + _part(ISSUER, b"\x04" + fingerprint) + parts
    head = b"\x04" + kind + ED25519[:1] + SHA512 + _number(len(parts), 2) + parts
    digest = hashlib.sha512(signed + head + b"\x04\xff" + _number(len(head), 4)).digest()
    issuer = _part(ISSUER_ID, fingerprint[-8:])
    r_and_s = key.sign(digest)
    numbers = _integer(r_and_s[:32]) + _integer(r_and_s[32:])
    return _packet(SIGNATURE, head + _number(len(issuer), 2) + issuer + digest[:2] + numbers)


def _public(key: Ed25519PrivateKey) -> bytes:
    """The content of its packet (5.5.2)."""
    return b"\x04" + _number(TIME, 4) + ED25519 + _integer(b"\x40" + key.public_key().public_bytes_raw())


def _key_to_hash(public: bytes) -> bytes:
    return b"\x99" + _number(len(public), 2) + public


def _packet(tag: int, content: bytes) -> bytes:
    return bytes([0xC0 | tag]) + _length(len(content)) + content


def _part(kind: int, content: bytes) -> bytes:
    return _length(len(content) + 1) + bytes([kind]) + content


def _length(length: int) -> bytes:
    """In one octet, or in two (4.2.1)."""
    return bytes([length]) if length < 192 else _number(length - 192 + (192 << 8), 2)


def _integer(content: bytes) -> bytes:
    """A number with its length in bits before it (3.2)."""
    content = content.lstrip(b"\0")
    return _number(int.from_bytes(content).bit_length(), 2) + content


def _number(value: int, octets: int) -> bytes:
    return value.to_bytes(octets)


def _armor(kind: str, content: bytes) -> bytes:
    """In base64, with the checksum that new programs may leave out (6.1): without it GnuPG takes a `==` at the end for one that
    is broken, and one signature in 30000 has that, whose numbers begin with 16 zero bits.
    """
    text = base64.b64encode(content).decode()
    lines = "".join(f"{text[start : start + 64]}\n" for start in range(0, len(text), 64))
    checksum = base64.b64encode(_number(_crc24(content), 3)).decode()
    return f"-----BEGIN PGP {kind}-----\n\n{lines}={checksum}\n-----END PGP {kind}-----\n".encode()


def _crc24(content: bytes) -> int:
    """The checksum of an armor (6.1.1)."""
    crc = 0xB704CE
    for octet in content:
        crc ^= octet << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc
