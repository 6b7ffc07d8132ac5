"""Validates an admin's own certificate, chain and key for the registry (POC row 10), before anything is copied to a host.

`cat my-cert.crt DigiCertCA.crt > registry-cert.crt` is where such set-ups fail: wrong order, a missing newline, a missing
intermediate, the key of last year's certificate. Rules: RFC 8446 section 4.4.2 (the server's certificate first, each next
one certifies the one before), RFC 5280, and what Go's TLS client (containerd) rejects.
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
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from airavata_runbook.pki.read import extension, is_ca, names, signed_by, title

SERVING = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a certificate file: what, what was found, what is needed, how to fix it."""

    message: str
    found: str = ""
    needed: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        parts = (("found", self.found), ("needed", self.needed), ("remedy", self.remedy))
        return "; ".join([self.message, *(f"{name}: {text}" for name, text in parts if text)])


def bundle(cert: bytes, chain: bytes = b"") -> bytes:
    """`cat cert chain`, PEM, with a newline between the two files even where the first one does not end with one."""
    return b"".join(part.strip() + b"\n" for part in (cert, chain) if part.strip())


def check_chain(
    leaf_and_chain_pem: bytes, key_pem: bytes, name: str, now: datetime | None = None, roots_pem: bytes | None = None
) -> list[Problem]:
    """Everything wrong with a server's certificate file (leaf first, then its chain) and key; empty: they are valid.

    name: the DNS name or address that clients use, without a port. now: aware, default the present. roots_pem: CAs that the
    clients trust already and that the file may therefore omit; None: the public ones.
    """
    now = now or datetime.now(UTC)
    certs, found = _read_certificates(leaf_and_chain_pem)
    key, key_problems = _read_key(key_pem)
    found += key_problems
    if not certs:
        return found
    try:
        leaf = _leaf(certs, key)
        path = _path(leaf, certs)
        for problems in (
            _leaf_problems(leaf, certs, key),
            _foreign_problems(certs, path),
            _order_problems(certs, path),
            _root_problems(path[-1], roots_pem),
            *(_date_problems(cert, now) for cert in path),
            _ca_problems(path),
            _server_problems(leaf, name),
        ):
            found += problems
    except ValueError as error:  # extensions that could not be parsed
        found.append(Problem("a certificate in the file is malformed", str(error), remedy="have it issued again"))
    return found


def _read_certificates(content: bytes) -> tuple[list[x509.Certificate], list[Problem]]:
    if content[:2] == b"\x30\x82":
        return [], [Problem("the certificate is not text", "DER", "PEM", "openssl x509 -inform der -in FILE")]
    found = list(_format_problems(content))
    try:
        return x509.load_pem_x509_certificates(content), found
    except ValueError as error:
        unreadable = Problem(
            "the certificates could not be parsed",
            str(error).split("\n")[0],
            "one BEGIN CERTIFICATE … END CERTIFICATE block or more",
            "check that no block is truncated, and that a newline separates two files that are joined",
        )
        return [], found or [unreadable]


def _format_problems(content: bytes) -> Iterator[Problem]:
    kinds = [kind.decode() for kind in BLOCK.findall(content)]
    if "PKCS7" in kinds:
        convert = "openssl pkcs7 -print_certs -in FILE"
        yield Problem("the file is a PKCS 7 bundle", "BEGIN PKCS7", "PEM certificates", convert)
    if any(kind.endswith("PRIVATE KEY") for kind in kinds):
        keep = "keep the key in a file of its own, mode 600"
        yield Problem("a private key is in the certificate file", needed="certificates only", remedy=keep)
    if b"----------BEGIN" in content:  # some parsers accept it, Go's silently skips what follows
        yield Problem(
            "two certificates are joined without a newline",
            "-----END CERTIFICATE----------BEGIN …",
            "a newline after each END CERTIFICATE line",
            "add it, or give the files one by one",
        )


def _read_key(pem: bytes) -> tuple[PrivateKeyTypes | None, list[Problem]]:
    try:
        return serialization.load_pem_private_key(pem, None), []
    except TypeError:
        decrypt = "openssl pkey -in FILE -out NEW, and keep NEW in mode 600"
        return None, [Problem("the key is protected by a password", needed="an unencrypted key", remedy=decrypt)]
    except (ValueError, UnsupportedAlgorithm):
        return None, [Problem("the key could not be parsed", needed="a PEM private key, RSA or ECDSA")]


def _leaf(certs: Sequence[x509.Certificate], key: PrivateKeyTypes | None) -> x509.Certificate:
    """The server's certificate: the key's own, else the first that is not a CA, else the first."""
    own = [cert for cert in certs if key is not None and cert.public_key() == key.public_key()]
    return [*own, *(cert for cert in certs if not is_ca(cert)), *certs][0]


def _leaf_problems(leaf: x509.Certificate, certs: Sequence[x509.Certificate], key: PrivateKeyTypes | None) -> Iterator[Problem]:
    if key is not None and leaf.public_key() != key.public_key():
        yield Problem(
            "the key does not match any certificate in the file",
            f"the server's certificate is {title(leaf)}",
            "the key that its signing request was made with",
            "use that key",
        )
    others = [cert for cert in certs if not is_ca(cert) and cert != leaf]
    if others:
        yield Problem(
            "more than one server certificate is in the file",
            " and ".join(title(cert) for cert in [leaf, *others]),
            "one, then its chain",
            f"remove {', '.join(title(cert) for cert in others)}",
        )
    if is_ca(leaf):
        needed, remedy = "CA:FALSE", "have a server certificate issued"
        yield Problem("the server's certificate is a CA certificate", f"{title(leaf)} has CA:TRUE", needed, remedy)
    if leaf.issuer == leaf.subject and signed_by(leaf, leaf):
        remedy = "have it signed by a CA, or leave registry.certificate out: then the site's own CA issues one"
        yield Problem("the server's certificate is self-signed", title(leaf), "signed by a CA", remedy)


def _path(leaf: x509.Certificate, certs: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """From the leaf up to the last issuer in the file, whatever order the file is in."""
    path = [leaf]
    while True:
        issuers = [cert for cert in certs if cert not in path and signed_by(path[-1], cert)]
        if not issuers or path[-1].issuer == path[-1].subject:
            return path
        path.append(issuers[0])


def _foreign_problems(certs: Sequence[x509.Certificate], path: Sequence[x509.Certificate]) -> Iterator[Problem]:
    issuers = [cert.issuer for cert in path]
    for cert in certs:
        if is_ca(cert) and cert not in path:
            why = "has the issuer's name but another key" if cert.subject in issuers else "has signed no certificate in it"
            remedy = "replace it with the certificate that the CA sent along"
            yield Problem(f"{title(cert)} does not belong to the chain", why, "the issuer of the one before", remedy)
    for name in sorted({title(cert) for cert in certs if list(certs).count(cert) > 1}):
        yield Problem(f"{name} is in the file more than once", remedy="remove the copy")


def _order_problems(certs: Sequence[x509.Certificate], path: Sequence[x509.Certificate]) -> Iterator[Problem]:
    actual = [cert for cert in dict.fromkeys(certs) if cert in path]
    if actual != list(path):
        remedy = "join them in that order: the server's own first, then each one's issuer"
        yield Problem("the certificates are in the wrong order", _numbered(actual), _numbered(path), remedy)


def _numbered(certs: Sequence[x509.Certificate]) -> str:
    return ", ".join(f"{number}. {title(cert)}" for number, cert in enumerate(certs, 1))


def _root_problems(last: x509.Certificate, roots_pem: bytes | None) -> Iterator[Problem]:
    if last.issuer == last.subject:
        return
    if roots_pem is None:
        import certifi  # the CAs that requests trusts

        roots_pem = Path(certifi.where()).read_bytes()
    if not any(root.subject == last.issuer and signed_by(last, root) for root in _roots(roots_pem)):
        yield Problem(
            "an intermediate certificate is missing",
            f"{title(last)} is the last, and its issuer is unknown",
            f"the certificate of {last.issuer.rfc4514_string()}",
            "append it: the CA offers it as its chain or bundle",
        )


def _roots(pem: bytes) -> Iterator[x509.Certificate]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some public roots are older than today's rules for serial numbers
        for block in CERTIFICATE.findall(pem):
            with suppress(ValueError):  # a root that this library rejects does not affect the others
                yield x509.load_pem_x509_certificate(block)


def _date_problems(cert: x509.Certificate, now: datetime) -> Iterator[Problem]:
    start, end, needed = cert.not_valid_before_utc, cert.not_valid_after_utc, f"valid at {now:%Y-%m-%d %H:%M} UTC"
    if now > end:
        yield Problem(f"{title(cert)} has expired", f"valid until {end:%Y-%m-%d %H:%M} UTC", needed, "renew it")
    elif now < start:
        remedy = "wait, or check this machine's clock"
        yield Problem(f"{title(cert)} is not valid yet", f"valid from {start:%Y-%m-%d %H:%M} UTC", needed, remedy)


def _ca_problems(path: Sequence[x509.Certificate]) -> Iterator[Problem]:
    for cert in path[1:]:
        if not is_ca(cert):
            remedy = "use the chain that the CA sent along"
            yield Problem(f"{title(cert)} has signed another certificate but is not a CA", "CA:FALSE", "CA:TRUE", remedy)
    for cert in path:
        digest = cert.signature_hash_algorithm
        if cert.issuer != cert.subject and digest is not None and digest.name in ("md5", "sha1"):
            remedy = "have it issued again: TLS clients reject it"
            yield Problem(f"{title(cert)} is signed with {digest.name}", needed="SHA-256 or better", remedy=remedy)


def _server_problems(leaf: x509.Certificate, name: str) -> Iterator[Problem]:
    dns, ips = names(leaf)
    if not _matches(name, dns, ips):
        yield Problem(
            "the server's certificate is for another name",
            ", ".join(sorted(dns | {str(ip) for ip in ips})) or f"no subjectAltName, only {title(leaf)}",
            f"subjectAltName {name}",
            "set registry.name to a name that it has, or have it issued for this one",
        )
    usages = extension(leaf, x509.ExtendedKeyUsage)
    if usages is not None and not SERVING & set(usages):
        found, remedy = "no serverAuth in its extended key usage", "have a server certificate issued"
        yield Problem("the server's certificate is not for servers", found, "serverAuth", remedy)
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        yield Problem("the server's key is too short", f"RSA of {key.key_size} bits", "2048 bits or more")
    elif not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        yield Problem("the server's key is of a type that TLS clients may reject", type(key).__name__, "RSA or ECDSA")


def _matches(name: str, dns: set[str], ips: set) -> bool:
    try:
        return ip_address(name) in ips
    except ValueError:
        pass
    name = name.lower().rstrip(".")
    wildcard = "*." + name.partition(".")[2]  # one label, leftmost only (RFC 6125)
    known = {entry.lower().rstrip(".") for entry in dns}
    return name in known or ("." in name and wildcard in known)
