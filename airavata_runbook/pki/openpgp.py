"""OpenPGP signatures, by which apt and dnf verify a package repository (RFC 9580; its section numbers are below).

No library of PyPI signs with a given time, which is needed twice. Here it is the same for a key and all its signatures, long ago:
a host accepts them whose clock is behind (Debian 13's sqv allows no second), and as neither ed25519 nor RSA's PKCS #1 v1.5 uses
random numbers, the same content gives the same signature, so that a file with one is compared like any other. Keys and signatures
are of version 4, which GnuPG 2.2 and the rpm of EL 8 know too; of these two only the former knows ed25519.
"""

import base64
import hashlib
from contextlib import suppress
from typing import Literal, TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from airavata_runbook.errors import RunbookError
from airavata_runbook.pki.read import UNREADABLE

Algorithm = Literal["ed25519", "rsa"]
PrivateKey: TypeAlias = Ed25519PrivateKey | rsa.RSAPrivateKey

TIME = 1767225600  # 2026-01-01, seconds since 1970
RSA_BITS = 3072  # as strong as ed25519 (NIST SP 800-57)
RSA = b"\x01"  # the algorithm (9.1)
ED25519 = b"\x16" + b"\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01"  # the algorithm EdDSALegacy, and its curve (9.2)
SHA512 = b"\x0a"
KEY, USER_ID, SIGNATURE = 6, 13, 2  # packets (5)
BINARY, TEXT, CERTIFICATION = b"\x00", b"\x01", b"\x13"  # kinds of signatures (5.2.1)
CREATED, ISSUER_ID, FLAGS, ISSUER = 2, 16, 27, 33  # parts of a signature (5.2.3)
CERTIFIES_AND_SIGNS = b"\x03"


def new_key(algorithm: Algorithm = "ed25519") -> bytes:
    """A new private key, PEM (PKCS 8)."""
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key = Ed25519PrivateKey.generate() if algorithm == "ed25519" else rsa.generate_private_key(65537, RSA_BITS)
    return key.private_bytes(*form)


def is_key(key: bytes, algorithm: Algorithm = "ed25519") -> bool:
    """Whether the other functions can use it, and it is of that algorithm. Only here its numbers are checked (0.3 s for RSA)."""
    try:
        return isinstance(_load(key, check=True), Ed25519PrivateKey) == (algorithm == "ed25519")
    except RunbookError:
        return False


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


def detached_signature(key: bytes, content: bytes) -> bytes:
    """A signature of `content`, armored, for a file of its own. Raises RunbookError when `key` is unusable."""
    return _armor("SIGNATURE", signature_packet(key, content))


def signature_packet(key: bytes, content: bytes) -> bytes:
    """A signature of `content` as one packet (5.2), as rpm has it. Raises RunbookError when `key` is unusable."""
    return _signature(_load(key), BINARY, content)


def _load(key: bytes, check: bool = False) -> PrivateKey:
    with suppress(*UNREADABLE):
        private = serialization.load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=not check)
        if isinstance(private, Ed25519PrivateKey) or (isinstance(private, rsa.RSAPrivateKey) and private.key_size >= RSA_BITS):
            return private
    raise RunbookError(
        "the key that signs the package repository is unusable", needed=f"an ed25519 key, or RSA of {RSA_BITS} bits, PEM"
    )


def _signature(key: PrivateKey, kind: bytes, signed: bytes, parts: bytes = b"") -> bytes:
    """A packet with the signature over `signed` (5.2.3, 5.2.4)."""
    public = _public(key)
    fingerprint = hashlib.sha1(_key_to_hash(public)).digest()
    parts = _part(CREATED, _number(TIME, 4)) + _part(ISSUER, b"\x04" + fingerprint) + parts
    head = b"\x04" + kind + _algorithm(public) + SHA512 + _number(len(parts), 2) + parts
    digest = hashlib.sha512(signed + head + b"\x04\xff" + _number(len(head), 4)).digest()
    issuer = _part(ISSUER_ID, fingerprint[-8:])
    return _packet(SIGNATURE, head + _number(len(issuer), 2) + issuer + digest[:2] + _numbers(key, digest))


def _numbers(key: PrivateKey, sha512: bytes) -> bytes:
    """The signature of a digest: RSA's one number, or r and s (5.2.3.1, 5.2.3.3)."""
    if isinstance(key, rsa.RSAPrivateKey):
        return _integer(key.sign(sha512, padding.PKCS1v15(), Prehashed(hashes.SHA512())))
    r_and_s = key.sign(sha512)
    return _integer(r_and_s[:32]) + _integer(r_and_s[32:])


def _public(key: PrivateKey) -> bytes:
    """The content of its packet (5.5.2)."""
    head = b"\x04" + _number(TIME, 4)
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return head + RSA + b"".join(_integer(one.to_bytes(key.key_size // 8)) for one in (numbers.n, numbers.e))
    return head + ED25519 + _integer(b"\x40" + key.public_key().public_bytes_raw())


def _algorithm(public: bytes) -> bytes:
    """Its octet follows version and time."""
    return public[5:6]


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
