"""Validates an admin's own certificate, chain and key for the registry (POC row 10), before anything is copied to a host.

`cat my-cert.crt DigiCertCA.crt > registry-cert.crt` is where such set-ups fail: wrong order, a missing newline, a missing
intermediate, the key of last year's certificate. Rules: RFC 8446 section 4.4.2 (the server's certificate first, each next
one certifies one before), and rules.py.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from airavata_runbook.pki import formats, pem
from airavata_runbook.pki.problem import Problem
from airavata_runbook.pki.read import UNREADABLE, signed_by, title
from airavata_runbook.pki.rules import may_be_ca, path_problems, server_problems

CERTIFICATES = 100  # in a file; Go's TLS client reads 256 KiB of them
SIGNATURE_CHECKS = 100  # as many as Go makes for a chain; the certificates of a file can be made to need many more
STEPS = 1000  # from a certificate to one of its issuers, in the search for a path


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old serial numbers, in some public roots too: what matters is a Problem
        return _problems(leaf_and_chain_pem, key_pem, name, now or datetime.now(UTC), roots_pem)


def _problems(content: bytes, key_pem: bytes, name: str, now: datetime, roots_pem: bytes | None) -> list[Problem]:
    certs, found = _read_certificates(content)
    key, key_problems = _read_key(key_pem)
    found += key_problems
    if not certs:
        return found
    try:
        leaf = _leaf(certs, key)
        signers = _Signers(certs, roots_pem)
        path, wrong = _best_path(signers, leaf, now)
        for problems in (
            _leaf_problems(leaf, certs, key),
            _foreign_problems(certs, leaf, signers),
            _order_problems(certs, leaf, signers),
            _root_problems(path[-1], signers),
            wrong,
            server_problems(leaf, name),
        ):
            found += problems
    except UNREADABLE as error:  # extensions or names that could not be parsed
        found.append(Problem("a certificate in the file is malformed", str(error), remedy="have it issued again"))
    return found


def _read_certificates(content: bytes) -> tuple[list[x509.Certificate], list[Problem]]:
    if found := formats.certificate_file_problems(content):
        with suppress(*UNREADABLE):
            return _parsed(pem.blocks(content)), found
        return [], found
    blocks = [block for block in pem.blocks(content) if block.label == pem.CERTIFICATE]
    for unseen in dict.fromkeys(block.unseen for block in blocks if block.unseen):
        rewrite = "openssl x509 -in FILE -out NEW, for each certificate in the file"
        found.append(Problem("Go's TLS does not see a certificate in the file", unseen, "plain PEM", rewrite))
    if len(blocks) > CERTIFICATES:
        needed, remedy = "the server's certificate and its chain", "remove the others"
        return [], [*found, Problem("too many certificates are in the file", f"{len(blocks)}", needed, remedy)]
    try:
        return _parsed(blocks), found
    except UNREADABLE as error:
        text, remedy = str(error).split("\n")[0], "check that no block is truncated or changed, or have it issued again"
        return [], [*found, Problem("the certificates could not be parsed", text, "X.509 certificates", remedy)]


def _parsed(blocks: Sequence[pem.Block]) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(block.der) for block in blocks if block.label == pem.CERTIFICATE]


def _read_key(content: bytes) -> tuple[PrivateKeyTypes | None, list[Problem]]:
    if found := formats.key_file_problems(content):
        return None, found
    block = next(block for block in pem.blocks(content) if block.is_key)
    if block.unseen:
        remedy = "openssl pkey -in FILE -out NEW, and keep NEW in mode 600"
        found.append(Problem("Go's TLS does not see the key in the file", block.unseen, "plain PEM", remedy))
    try:
        return serialization.load_pem_private_key(pem.key(content), None), found
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, [*found, Problem("the key could not be parsed", needed="a PEM private key, RSA or ECDSA")]


def _belongs_to(key: PrivateKeyTypes | None, cert: x509.Certificate) -> bool:
    with suppress(*UNREADABLE):  # a key that is unusable is a problem of its own
        return key is not None and cert.public_key() == key.public_key()
    return False


def _leaf(certs: Sequence[x509.Certificate], key: PrivateKeyTypes | None) -> x509.Certificate:
    """The server's certificate: the key's own, else the first that is not a CA, else the first."""
    own = [cert for cert in certs if _belongs_to(key, cert)]
    return [*own, *(cert for cert in certs if not may_be_ca(cert)), *certs][0]


def _leaf_problems(leaf: x509.Certificate, certs: Sequence[x509.Certificate], key: PrivateKeyTypes | None) -> Iterator[Problem]:
    if key is not None and not _belongs_to(key, leaf):
        yield Problem(
            "the key does not match any certificate in the file",
            f"the server's certificate is {title(leaf)}",
            "the key that its signing request was made with",
            "use that key",
        )
    others = [cert for cert in certs if not may_be_ca(cert) and cert != leaf]
    if others:
        yield Problem(
            "more than one server certificate is in the file",
            " and ".join(title(cert) for cert in [leaf, *others]),
            "one, then its chain",
            f"remove {', '.join(title(cert) for cert in others)}",
        )
    self_signed = leaf.issuer == leaf.subject and signed_by(leaf, leaf)
    if may_be_ca(leaf):
        needed, remedy = "CA:FALSE", "have a server certificate issued"
        yield Problem("the server's certificate is a CA certificate", f"{title(leaf)} has CA:TRUE", needed, remedy)
    if self_signed:
        remedy = "have it signed by a CA, or leave registry.certificate out: then the site's own CA issues one"
        yield Problem("the server's certificate is self-signed", title(leaf), "signed by a CA", remedy)


class _Signers:
    """Who signed whom among the certificates of a file and the roots; at most SIGNATURE_CHECKS signatures are verified."""

    def __init__(self, certs: Sequence[x509.Certificate], roots_pem: bytes | None):
        self.certs, self._roots_pem = list(dict.fromkeys(certs)), roots_pem
        self._known: dict[tuple[x509.Certificate, x509.Certificate], bool] = {}

    @cached_property
    def roots(self) -> list[x509.Certificate]:
        content = self._roots_pem
        if content is None:
            import certifi  # the CAs that requests trusts

            content = Path(certifi.where()).read_bytes()
        return list(_roots(content))

    @property
    def exhausted(self) -> bool:
        return len(self._known) >= SIGNATURE_CHECKS

    def signed(self, cert: x509.Certificate, issuer: x509.Certificate) -> bool:
        if cert.issuer != issuer.subject:
            return False
        if (cert, issuer) not in self._known and not self.exhausted:
            self._known[cert, issuer] = signed_by(cert, issuer)
        return self._known.get((cert, issuer), False)

    def is_root(self, cert: x509.Certificate) -> bool:
        """Whether a path can end here: at its own issuer, or at a certificate that clients trust."""
        return cert.issuer == cert.subject or cert in self.roots

    def paths(self, leaf: x509.Certificate) -> Iterator[list[x509.Certificate]]:
        """Every path from the leaf upwards: those that end at a root, and those that go no further."""
        left, open_ends = STEPS, [[leaf]]
        while open_ends and left:
            path = open_ends.pop()
            if self.is_root(path[-1]):
                yield path
                continue
            candidates = [*self.certs, *(root for root in self.roots if root not in self.certs)]
            issuers = [one for one in candidates if one not in path and self.signed(path[-1], one)]
            if not issuers:
                yield path
            open_ends += [[*path, issuer] for issuer in reversed(issuers)]  # the file's order first
            left -= 1


def _best_path(signers: _Signers, leaf: x509.Certificate, now: datetime) -> tuple[list[x509.Certificate], list[Problem]]:
    """The path that clients would find: one without a problem, if there is one. With the problems of the path."""
    best: tuple[tuple, list[x509.Certificate], list[Problem]] | None = None
    for path in signers.paths(leaf):
        wrong = path_problems(path, now)
        whole = signers.is_root(path[-1])
        if whole and not wrong:
            return path, []
        rank = (not whole, len(wrong) if whole else -len(path))
        if best is None or rank < best[0]:
            best = rank, path, wrong
    return (best[1], best[2]) if best else ([leaf], [])


def _above(leaf: x509.Certificate, signers: _Signers) -> list[x509.Certificate]:
    """The leaf and those of the file above it, each after one that it has signed: the order for a server's file."""
    found = [leaf]
    while following := next(
        (one for one in signers.certs if one not in found and any(signers.signed(cert, one) for cert in found)), None
    ):
        found.append(following)
    return found


def _foreign_problems(certs: Sequence[x509.Certificate], leaf: x509.Certificate, signers: _Signers) -> Iterator[Problem]:
    above = _above(leaf, signers)
    issuers = [cert.issuer for cert in above]
    for cert in certs:
        if may_be_ca(cert) and cert not in above:
            why = "has the issuer's name but another key" if cert.subject in issuers else "has signed no certificate in it"
            remedy = "replace it with the certificate that the CA sent along"
            yield Problem(f"{title(cert)} does not belong to the chain", why, "the issuer of one before", remedy)
    for name in sorted({title(cert) for cert in certs if list(certs).count(cert) > 1}):
        yield Problem(f"{name} is in the file more than once", remedy="remove the copy")


def _order_problems(certs: Sequence[x509.Certificate], leaf: x509.Certificate, signers: _Signers) -> Iterator[Problem]:
    wanted = _above(leaf, signers)
    actual = [cert for cert in dict.fromkeys(certs) if cert in wanted]
    follows = (any(signers.signed(cert, one) for cert in actual[:place]) for place, one in enumerate(actual) if place)
    if actual[0] != leaf or not all(follows):
        remedy = "join them in that order: the server's own first, then each one's issuer"
        yield Problem("the certificates are in the wrong order", _numbered(actual), _numbered(wanted), remedy)


def _numbered(certs: Sequence[x509.Certificate]) -> str:
    return ", ".join(f"{number}. {title(cert)}" for number, cert in enumerate(certs, 1))


def _root_problems(last: x509.Certificate, signers: _Signers) -> Iterator[Problem]:
    if signers.is_root(last):
        return
    if signers.exhausted:
        needed, remedy = "one chain", "keep the server's certificate and its own chain"
        yield Problem("too many certificates in the file have the same names", f"{len(signers.certs)}", needed, remedy)
    else:
        yield Problem(
            "an intermediate certificate is missing",
            f"{title(last)} is the last, and its issuer is unknown",
            f"the certificate of {last.issuer.rfc4514_string()}",
            "append it: the CA offers it as its chain or bundle",
        )


def _roots(content: bytes) -> Iterator[x509.Certificate]:
    for block in pem.blocks(content):
        with suppress(*UNREADABLE):  # a root that this library rejects does not affect the others
            yield x509.load_der_x509_certificate(block.der)
