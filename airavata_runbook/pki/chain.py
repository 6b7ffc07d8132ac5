"""The check of an admin's own certificate, chain and key for the registry (POC row 10), before anything is sent.

`cat my-cert.crt DigiCertCA.crt > registry-cert.crt` is where such set-ups went wrong: the order, a missing newline,
a missing intermediate, a key of last year's certificate. Rules: RFC 8446 section 4.4.2 (the server's certificate
first, each next one certifies the one before), RFC 5280, and what Go's TLS client (containerd) refuses.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from airavata_runbook.pki.read import extension, is_ca, names, signed_by, title

SERVING = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a certificate file: what, what was found, what is needed, what to do about it."""

    message: str
    found: str = ""
    needed: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        parts = (("found", self.found), ("needed", self.needed), ("remedy", self.remedy))
        return "; ".join([self.message, *(f"{name}: {text}" for name, text in parts if text)])


def bundle(cert: bytes, chain: bytes = b"") -> bytes:
    """`cat cert chain`, PEM, except that a missing newline at a file's end does not glue two certificates together."""
    return b"".join(part.strip() + b"\n" for part in (cert, chain) if part.strip())


def check_chain(
    leaf_and_chain_pem: bytes, key_pem: bytes, name: str, now: datetime | None = None, roots_pem: bytes | None = None
) -> list[Problem]:
    """Everything wrong with a server's certificate file (leaf first, then its chain) and key; empty: use it.

    name: the DNS name or address that clients use, without a port. now: aware, default the present. roots_pem:
    authorities that the clients trust already and that the file may therefore leave out; None: the public ones.
    """
    now = now or datetime.now(UTC)
    certs, broken = _read(leaf_and_chain_pem)
    key, key_problems = _read_key(key_pem)
    if not certs:
        return broken + key_problems
    found = broken + key_problems
    try:
        leaf, leaf_problems = _leaf(certs, key)
        path = _path(leaf, certs)
        found += leaf_problems + _belongs(certs, path) + _order(certs, path) + _end(path, roots_pem)
        found += [problem for cert in path for problem in _dates(cert, now)] + _authorities(path)
        return found + _serves(leaf, name)
    except ValueError as error:  # extensions that cannot be parsed
        return [*found, Problem("a certificate in the file is malformed", str(error), remedy="get it issued again")]


def _read(pem: bytes) -> tuple[list[x509.Certificate], list[Problem]]:
    if pem[:2] == b"\x30\x82":
        return [], [Problem("the certificate is not text", "DER", "PEM", "openssl x509 -inform der -in FILE")]
    kinds = [kind.decode() for kind in BLOCK.findall(pem)]
    found = []
    if "PKCS7" in kinds:
        found.append(
            Problem("the file is a PKCS 7 bundle", "BEGIN PKCS7", "PEM certificates", "openssl pkcs7 -print_certs -in FILE")
        )
    if any(kind.endswith("PRIVATE KEY") for kind in kinds):
        found.append(
            Problem(
                "a private key is in the certificate file",
                needed="certificates only",
                remedy="keep the key in a file of its own, mode 600",
            )
        )
    if b"----------BEGIN" in pem:  # some readers guess, Go's silently skips what follows
        found.append(
            Problem(
                "two certificates are joined without a newline",
                "-----END CERTIFICATE----------BEGIN …",
                "a newline after each END CERTIFICATE line",
                "add it, or give the files one by one",
            )
        )
    try:
        return x509.load_pem_x509_certificates(pem), found
    except ValueError as error:
        damaged = Problem(
            "the certificates cannot be read",
            str(error).split("\n")[0],
            "one BEGIN CERTIFICATE … END CERTIFICATE block or more",
            "check that no block is cut, and that a newline stands between two files that are joined",
        )
        return [], found or [damaged]


def _read_key(pem: bytes) -> tuple[object | None, list[Problem]]:
    try:
        return serialization.load_pem_private_key(pem, None), []
    except TypeError:
        return None, [
            Problem(
                "the key is protected by a password",
                needed="a key that a service can read at start",
                remedy="openssl pkey -in FILE -out NEW, and keep NEW in mode 600",
            )
        ]
    except (ValueError, UnsupportedAlgorithm):
        return None, [Problem("the key cannot be read", needed="a PEM private key, RSA or ECDSA")]


def _leaf(certs: Sequence[x509.Certificate], key) -> tuple[x509.Certificate, list[Problem]]:
    """The server's certificate: the key's own, else the first that is no authority, else the first."""
    leaves = [cert for cert in certs if not is_ca(cert)]
    own = [cert for cert in certs if key is not None and cert.public_key() == key.public_key()]
    leaf = (own or leaves or list(certs))[0]
    found = []
    if key is not None and not own:
        found.append(
            Problem(
                "the key belongs to none of the certificates",
                f"the server's certificate is {title(leaf)}",
                "the key whose request was signed",
                "take the key that was made with this request",
            )
        )
    others = [cert for cert in leaves if cert != leaf]
    if others:
        found.append(
            Problem(
                "more than one server's certificate is in the file",
                " and ".join(title(cert) for cert in [leaf, *others]),
                "one, then its chain",
                f"remove {', '.join(title(cert) for cert in others)}",
            )
        )
    if is_ca(leaf):
        found.append(
            Problem(
                "the server's certificate is an authority's",
                f"{title(leaf)} says CA:TRUE",
                "CA:FALSE",
                "have a server's certificate issued",
            )
        )
    if leaf.issuer == leaf.subject and signed_by(leaf, leaf):
        found.append(
            Problem(
                "the server's certificate is signed by itself",
                title(leaf),
                "signed by an authority",
                "have it signed, or leave registry.certificate out: the site's own authority issues one",
            )
        )
    return leaf, found


def _path(leaf: x509.Certificate, certs: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """From the leaf upwards as far as the file reaches, whatever order it is in."""
    path = [leaf]
    while True:
        above = [cert for cert in certs if cert not in path and signed_by(path[-1], cert)]
        if not above or path[-1].issuer == path[-1].subject:
            return path
        path.append(above[0])


def _belongs(certs: Sequence[x509.Certificate], path: Sequence[x509.Certificate]) -> list[Problem]:
    strangers = [cert for cert in certs if cert not in path and is_ca(cert)]
    issuers = [cert.issuer for cert in path]
    found = []
    for cert in strangers:
        why = "has the issuer's name but another key" if cert.subject in issuers else "has signed nothing in it"
        found.append(
            Problem(
                f"{title(cert)} does not belong to the chain",
                why,
                "the issuer of the one before",
                "replace it by the certificate that the authority sent along",
            )
        )
    twice = sorted({title(cert) for cert in certs if list(certs).count(cert) > 1})
    return found + [Problem(f"{name} is in the file more than once", remedy="remove the copy") for name in twice]


def _order(certs: Sequence[x509.Certificate], path: Sequence[x509.Certificate]) -> list[Problem]:
    actual = [cert for cert in dict.fromkeys(certs) if cert in path]
    if actual == list(path):
        return []
    needed = ", ".join(f"{number}. {title(cert)}" for number, cert in enumerate(path, 1))
    found = ", ".join(f"{number}. {title(cert)}" for number, cert in enumerate(actual, 1))
    return [
        Problem(
            "the certificates are in the wrong order",
            found,
            needed,
            "join them in that order: the server's own first, then each one's issuer",
        )
    ]


def _end(path: Sequence[x509.Certificate], roots_pem: bytes | None) -> list[Problem]:
    last = path[-1]
    if last.issuer == last.subject:
        return []
    if roots_pem is None:
        import certifi  # the authorities that requests trusts

        roots_pem = Path(certifi.where()).read_bytes()
    if any(root.subject == last.issuer and signed_by(last, root) for root in _roots(roots_pem)):
        return []
    issuer = last.issuer.rfc4514_string()
    return [
        Problem(
            "an intermediate certificate is missing",
            f"{title(last)} is the last; nobody knows its issuer",
            f"the certificate of {issuer}",
            "append it: the authority offers it as its chain or bundle",
        )
    ]


def _roots(pem: bytes) -> Iterator[x509.Certificate]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some public roots are older than today's rules for serial numbers
        for block in CERTIFICATE.findall(pem):
            with suppress(ValueError):  # one root that this library refuses does not spoil the others
                yield x509.load_pem_x509_certificate(block)


def _dates(cert: x509.Certificate, now: datetime) -> list[Problem]:
    start, end = cert.not_valid_before_utc, cert.not_valid_after_utc
    if now > end:
        return [
            Problem(
                f"{title(cert)} has expired",
                f"valid until {end:%Y-%m-%d %H:%M} UTC",
                f"valid at {now:%Y-%m-%d %H:%M} UTC",
                "renew it",
            )
        ]
    if now < start:
        return [
            Problem(
                f"{title(cert)} is not valid yet",
                f"valid from {start:%Y-%m-%d %H:%M} UTC",
                f"valid at {now:%Y-%m-%d %H:%M} UTC",
                "wait, or check this machine's clock",
            )
        ]
    return []


def _authorities(path: Sequence[x509.Certificate]) -> list[Problem]:
    found = [
        Problem(
            f"{title(cert)} has signed another certificate but is no authority",
            "CA:FALSE",
            "CA:TRUE",
            "use the chain that the authority sent along",
        )
        for cert in path[1:]
        if not is_ca(cert)
    ]
    for cert in path:
        hashed = cert.signature_hash_algorithm
        if cert.issuer != cert.subject and hashed is not None and hashed.name in ("md5", "sha1"):
            found.append(
                Problem(
                    f"{title(cert)} is signed with {hashed.name}",
                    needed="SHA-256 or better",
                    remedy="have it issued again: TLS clients refuse it",
                )
            )
    return found


def _serves(leaf: x509.Certificate, name: str) -> list[Problem]:
    found = []
    dns, ips = names(leaf)
    if not _named(name, dns, ips):
        listed = ", ".join(sorted(dns | {str(ip) for ip in ips})) or f"no subjectAltName, only {title(leaf)}"
        found.append(
            Problem(
                "the server's certificate is for another name",
                listed,
                f"subjectAltName {name}",
                "set registry.name to a name that it has, or have it issued for this one",
            )
        )
    uses = extension(leaf, x509.ExtendedKeyUsage)
    if uses is not None and not SERVING & set(uses):
        found.append(
            Problem(
                "the server's certificate is not for servers",
                "no serverAuth in its extended key usage",
                "serverAuth",
                "have a server's certificate issued",
            )
        )
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        found.append(Problem("the server's key is too short", f"RSA of {key.key_size} bits", "2048 bits or more"))
    elif not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        found.append(Problem("the server's key is of a kind that TLS clients may refuse", type(key).__name__, "RSA or ECDSA"))
    return found


def _named(name: str, dns: set[str], ips: set) -> bool:
    try:
        return ip_address(name) in ips
    except ValueError:
        pass
    name = name.lower().rstrip(".")
    wildcard = "*." + name.partition(".")[2]  # one label, leftmost only (RFC 6125)
    known = {entry.lower().rstrip(".") for entry in dns}
    return name in known or ("." in name and wildcard in known)
