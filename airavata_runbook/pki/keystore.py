"""Keystores for Java: PKCS #12 files (RFC 7292), as OpenJDK 17 reads them.

A store is made from its content alone: equal keys and passwords give equal bytes on any machine, so that a Secret that holds
one changes only when they do. Salts and initialisation vectors are derived from the content (HKDF, RFC 5869) in place of
random ones. No library writes a secret key into such a file; OpenJDK's own form is a SecretBag that holds an encrypted PKCS #8
structure with the algorithm AES (sun.security.pkcs12.PKCS12KeyStore, JDK 17).
"""

import hashlib
import hmac
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

ROUNDS = 10_000  # of both key derivations, as OpenJDK 17 has by default
BLOCK = 64  # bytes that SHA-256 takes at a time

DATA = "1.2.840.113549.1.7.1"
KEY_BAG = "1.2.840.113549.1.12.10.1.2"  # pkcs8ShroudedKeyBag
CERTIFICATE_BAG = "1.2.840.113549.1.12.10.1.3"
SECRET_BAG = "1.2.840.113549.1.12.10.1.5"
X509_CERTIFICATE = "1.2.840.113549.1.9.22.1"
FRIENDLY_NAME = "1.2.840.113549.1.9.20"
LOCAL_KEY_ID = "1.2.840.113549.1.9.21"
TRUSTED_KEY_USAGE = "2.16.840.1.113894.746875.1.1"  # of Oracle: a certificate with it is trusted
ANY_USAGE = "2.5.29.37.0"
AES = "2.16.840.1.101.3.4.1"
AES_256_CBC = "2.16.840.1.101.3.4.1.42"
PBES2 = "1.2.840.113549.1.5.13"
PBKDF2 = "1.2.840.113549.1.5.12"
HMAC_SHA256 = "1.2.840.113549.2.9"
SHA256 = "2.16.840.1.101.3.4.2.1"


def secret_key_store(key: bytes, alias: str, password: str) -> bytes:
    """A store with one AES key: what a credential store encrypts with. password: of the store and of the key."""
    wrapped = _shrouded(_key_info(AES, key), password, key)
    same = _attribute(LOCAL_KEY_ID, _octets(b"1"))  # without one, OpenJDK does not read the bag
    bag = _bag(SECRET_BAG, _sequence(_identifier(KEY_BAG), _explicit(_octets(wrapped))), _named(alias) + same)
    return _store([bag], password, key)


def server_store(certificates: bytes, key: bytes, alias: str, password: str) -> bytes:
    """A store with a server's key and its chain. certificates, key: PEM, the server's own certificate first."""
    private = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = x509.load_pem_x509_certificates(certificates)
    same = _attribute(LOCAL_KEY_ID, _octets(hashlib.sha256(_der(chain[0])).digest()))
    bags = [_bag(KEY_BAG, _shrouded(private, password, private), _named(alias) + same)]
    bags += [_certificate(one, same if one is chain[0] else b"") for one in chain]
    return _store(bags, password, private)


def trust_store(certificates: bytes) -> bytes:
    """A store with the certificates of authorities, PEM, which a server trusts. It holds nothing secret and has no password."""
    usage = _attribute(TRUSTED_KEY_USAGE, _identifier(ANY_USAGE))
    found = enumerate(x509.load_pem_x509_certificates(certificates))
    return _store([_certificate(one, _named(f"authority-{number}") + usage) for number, one in found])


def _store(bags: Sequence[bytes], password: str | None = None, secret: bytes = b"") -> bytes:
    """A PFX of these bags, with a check of its integrity where it has a password."""
    content = _sequence(_content_info(_sequence(*bags)))
    parts = [_integer(3), _content_info(content)]
    if password is not None:
        salt = _derived(secret, password, "mac", 20)
        code = hmac.new(_mac_key(password, salt), content, "sha256").digest()
        parts.append(_sequence(_sequence(_algorithm(SHA256, _null()), _octets(code)), _octets(salt), _integer(ROUNDS)))
    return _sequence(*parts)


def _shrouded(info: bytes, password: str, secret: bytes) -> bytes:
    """A PKCS #8 structure, encrypted (PBES2 with PBKDF2, HMAC-SHA256 and AES-256-CBC; RFC 8018)."""
    salt, vector = _derived(secret, password, "salt", 20), _derived(secret, password, "iv", 16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, ROUNDS).derive(password.encode())
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    encrypted = encryptor.update(padder.update(info) + padder.finalize()) + encryptor.finalize()
    derivation = _algorithm(PBKDF2, _sequence(_octets(salt), _integer(ROUNDS), _integer(32), _algorithm(HMAC_SHA256, _null())))
    scheme = _sequence(derivation, _algorithm(AES_256_CBC, _octets(vector)))
    return _sequence(_algorithm(PBES2, scheme), _octets(encrypted))


def _mac_key(password: str, salt: bytes) -> bytes:
    """The key of the integrity check (RFC 7292, appendix B.2, with SHA-256: one block is enough)."""
    parts = (_filled(salt), _filled(password.encode("utf-16-be") + b"\0\0"))
    digest = hashlib.sha256(bytes([3]) * BLOCK + b"".join(parts)).digest()
    for _ in range(ROUNDS - 1):
        digest = hashlib.sha256(digest).digest()
    return digest


def _filled(part: bytes) -> bytes:
    """Copies of `part`, the last one cut, that fill whole blocks of SHA-256."""
    length = BLOCK * -(-len(part) // BLOCK)
    return (part * (length // len(part) + 1))[:length]


def _derived(secret: bytes, password: str, purpose: str, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, password.encode(), f"airavata-runbook keystore {purpose}".encode()).derive(secret)


def _key_info(algorithm: str, key: bytes) -> bytes:
    return _sequence(_integer(0), _algorithm(algorithm), _octets(key))


def _certificate(certificate: x509.Certificate, attributes: bytes) -> bytes:
    return _bag(CERTIFICATE_BAG, _sequence(_identifier(X509_CERTIFICATE), _explicit(_octets(_der(certificate)))), attributes)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _bag(kind: str, value: bytes, attributes: bytes) -> bytes:
    return _sequence(_identifier(kind), _explicit(value), *([_tagged(0x31, attributes)] if attributes else []))


def _named(alias: str) -> bytes:
    return _attribute(FRIENDLY_NAME, _tagged(0x1E, alias.encode("utf-16-be")))


def _attribute(kind: str, value: bytes) -> bytes:
    return _sequence(_identifier(kind), _tagged(0x31, value))


def _content_info(content: bytes) -> bytes:
    return _sequence(_identifier(DATA), _explicit(_octets(content)))


def _algorithm(identifier: str, parameters: bytes = b"") -> bytes:
    return _sequence(_identifier(identifier), parameters)


# DER (X.690): a tag, the length and the content.
def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(size)]) + size + content


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, b"".join(parts))


def _explicit(content: bytes) -> bytes:
    return _tagged(0xA0, content)


def _octets(content: bytes) -> bytes:
    return _tagged(0x04, content)


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def _null() -> bytes:
    return _tagged(0x05, b"")


def _identifier(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    return _tagged(0x06, b"".join(map(_base_128, (first * 40 + second, *rest))))


def _base_128(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    return bytes(reversed(digits))
