"""What TLS clients demand of the certificates of a chain, one by one: Go's crypto/x509 (the registry, containerd) and OpenSSL.

Sources: RFC 5280 section 6; Go's x509.Certificate.Verify, isValid and CheckSignatureFrom; X509_check_purpose(3).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, PublicKeyAlgorithmOID

from airavata_runbook.pki.problem import Problem
from airavata_runbook.pki.read import UNREADABLE, extension, is_ca, names, title

SERVER_CURVES = ("secp256r1", "secp384r1", "secp521r1")  # those of TLS 1.3 that Go has
CURVES = (*SERVER_CURVES, "secp224r1")
RSA_BITS = range(2048, 8193)  # OpenSSL's security level 2; Go's client refuses larger ones
HASHES = ("sha256", "sha384", "sha512")
# The extensions that Go accepts as critical: id-ce 15 to 54 of them.
CRITICAL = {f"2.5.29.{number}" for number in (15, 17, 19, 30, 31, 32, 33, 36, 37, 54)}
NEW_ONE = "have it issued again"


def path_problems(path: Sequence[x509.Certificate], now: datetime) -> list[Problem]:
    """What is wrong with a chain from the server's certificate to its root, apart from the name."""
    return [problem for rule in (_dates, _issuers, _identifiers, _signatures, _contents) for problem in rule(path, now)] + [
        *_key_problems(path),
        *_constraint_problems(path),
    ]


def server_problems(leaf: x509.Certificate, name: str) -> Iterator[Problem]:
    """What is wrong with a certificate as that of a server with this name."""
    dns, ips = names(leaf)
    if not _matches(name, dns, ips):
        yield Problem(
            "the server's certificate is for another name",
            ", ".join(sorted(dns | {str(ip) for ip in ips})) or f"no subjectAltName, only {title(leaf)}",
            f"subjectAltName {name}",
            "set registry.name to a name that it has, or have it issued for this one",
        )
    if not _serves(leaf):
        found, remedy = "no serverAuth in its extended key usage", "have a server certificate issued"
        yield Problem("the server's certificate is not for servers", found, "serverAuth", remedy)
    usage = extension(leaf, x509.KeyUsage)
    if usage and not (usage.digital_signature or usage.key_encipherment or usage.key_agreement):
        found, remedy = "no digitalSignature in its key usage", "have a server certificate issued"
        yield Problem("the server's certificate is not for servers", found, "digitalSignature", remedy)


def _serves(cert: x509.Certificate) -> bool:
    """Whether its extended key usage allows TLS servers. OpenSSL does not take anyExtendedKeyUsage for that; Go does."""
    usages = extension(cert, x509.ExtendedKeyUsage)
    return usages is None or ExtendedKeyUsageOID.SERVER_AUTH in usages


def _dates(path: Sequence[x509.Certificate], now: datetime) -> Iterator[Problem]:
    for cert in path:
        start, end, needed = cert.not_valid_before_utc, cert.not_valid_after_utc, f"valid at {now:%Y-%m-%d %H:%M} UTC"
        if now > end:
            yield Problem(f"{title(cert)} has expired", f"valid until {end:%Y-%m-%d %H:%M} UTC", needed, "renew it")
        elif now < start:
            remedy = "wait, or check this machine's clock"
            yield Problem(f"{title(cert)} is not valid yet", f"valid from {start:%Y-%m-%d %H:%M} UTC", needed, remedy)


def _issuers(path: Sequence[x509.Certificate], now: datetime) -> Iterator[Problem]:
    for below, cert in enumerate(path[1:]):  # below: CA certificates between it and the server's
        if not may_be_ca(cert):
            remedy = "use the chain that the CA sent along"
            yield Problem(f"{title(cert)} has signed another certificate but is not a CA", "CA:FALSE", "CA:TRUE", remedy)
        usage = extension(cert, x509.KeyUsage)
        if usage and not usage.key_cert_sign:
            yield Problem(
                f"{title(cert)} is not allowed to sign certificates",
                "no keyCertSign in its key usage",
                "keyCertSign",
                "have the server's certificate issued by a CA that may, and use the chain that it sends along",
            )
        constraints = extension(cert, x509.BasicConstraints)
        if constraints and constraints.path_length is not None and constraints.path_length < below:
            yield Problem(
                f"{title(cert)} allows fewer CA certificates below it",
                f"{below} below it, path length {constraints.path_length}",
                "a chain within its path length",
                "have the server's certificate issued by a CA that this one allows",
            )
        if not _serves(cert):
            yield Problem(
                f"{title(cert)} may not certify servers",
                "no serverAuth in its extended key usage",
                "serverAuth, or no extended key usage",
                "have the server's certificate issued by a CA for servers",
            )


def _identifiers(path: Sequence[x509.Certificate], now: datetime) -> Iterator[Problem]:
    for cert, issuer in zip(path, path[1:], strict=False):
        named, own = extension(cert, x509.AuthorityKeyIdentifier), extension(issuer, x509.SubjectKeyIdentifier)
        if named and own and named.key_identifier not in (None, own.digest):
            yield Problem(
                f"{title(cert)} names another key of its issuer",
                "its authority key identifier is not the subject key identifier of the issuer",
                "the issuer's certificate that it was signed with",
                "use the chain that the CA sent along: OpenSSL compares the two",
            )


def _signatures(path: Sequence[x509.Certificate], now: datetime) -> Iterator[Problem]:
    for cert in path:
        if cert.issuer != cert.subject and (found := _weak_signature(cert)):
            remedy = f"{NEW_ONE}: TLS clients reject it"
            yield Problem(f"{title(cert)} is signed with {found}", needed="SHA-256 or better", remedy=remedy)


def _weak_signature(cert: x509.Certificate) -> str:
    """The name of a signature's algorithm that clients reject; "" for a good one."""
    try:
        digest = cert.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return f"the unknown algorithm {cert.signature_algorithm_oid.dotted_string}"
    return digest.name if digest is not None and digest.name not in HASHES else ""


def _contents(path: Sequence[x509.Certificate], now: datetime) -> Iterator[Problem]:
    for cert in path:
        if cert.serial_number < 0:
            yield Problem(f"{title(cert)} has a negative serial number", needed="a positive one", remedy=NEW_ONE)
        if unknown := [
            one.oid.dotted_string for one in cert.extensions if one.critical and one.oid.dotted_string not in CRITICAL
        ]:
            yield Problem(
                f"{title(cert)} has an extension marked critical that TLS clients do not know",
                ", ".join(unknown),
                "such an extension not critical",
                NEW_ONE,
            )


def _key_problems(path: Sequence[x509.Certificate]) -> Iterator[Problem]:
    for place, cert in enumerate(path):
        owner = title(cert) if place else "the server"
        curves = CURVES if place else SERVER_CURVES
        try:
            key = cert.public_key()
        except UNREADABLE as error:
            yield Problem(f"{owner}'s key cannot be used by TLS clients", str(error)[:200], "RSA or ECDSA", NEW_ONE)
            continue
        if cert.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            yield Problem(f"{owner}'s key cannot be used by TLS clients", "RSA for PSS only", "RSA (rsaEncryption)", NEW_ONE)
        elif isinstance(key, rsa.RSAPublicKey):
            if key.key_size not in RSA_BITS:
                size = "short" if key.key_size < RSA_BITS.start else "long"
                yield Problem(f"{owner}'s key is too {size}", f"RSA of {key.key_size} bits", "2048 to 8192 bits", NEW_ONE)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            if key.curve.name not in curves:
                found = f"ECDSA on the curve {key.curve.name}"
                yield Problem(f"{owner}'s key cannot be used by TLS clients", found, "P-256, P-384 or P-521, or RSA", NEW_ONE)
        elif not isinstance(key, ed25519.Ed25519PublicKey):
            yield Problem(f"{owner}'s key cannot be used by TLS clients", type(key).__name__, "RSA or ECDSA", NEW_ONE)


def may_be_ca(cert: x509.Certificate) -> bool:
    """Whether a certificate may be an issuer's: CA:TRUE, or a root of version 1, which has no extensions."""
    return is_ca(cert) or (cert.version is x509.Version.v1 and cert.issuer == cert.subject)


def _matches(name: str, dns: set[str], ips: set) -> bool:
    try:
        return ip_address(name) in ips
    except ValueError:
        pass
    name = name.lower().rstrip(".")
    parent = name.partition(".")[2]  # a wildcard is one label, leftmost only (RFC 6125); OpenSSL wants two labels after it
    known = {entry.lower() for entry in dns}
    return name in known or ("." in parent and f"*.{parent}" in known)


# --- name constraints (RFC 5280 section 4.2.1.10) ---------------------------------------------------------------


def _constraint_problems(path: Sequence[x509.Certificate]) -> Iterator[Problem]:
    alternatives = list(extension(path[0], x509.SubjectAlternativeName) or ())
    for cert in path[1:]:
        constraints = extension(cert, x509.NameConstraints)
        if constraints is None:
            continue
        permitted, excluded = list(constraints.permitted_subtrees or ()), list(constraints.excluded_subtrees or ())
        if unknown := {type(entry).__name__ for entry in (*permitted, *excluded)} - {kind.__name__ for kind in COMPARED}:
            yield Problem(
                f"{title(cert)} has name constraints that Go's TLS clients do not know",
                ", ".join(sorted(unknown)),
                "constraints of DNS names and addresses only",
                "have the server's certificate issued by another CA",
            )
        for name in alternatives:
            if hit := [entry for entry in excluded if _within(name, entry, excluding=True)]:
                yield _forbidden(cert, name, f"excluded: {_values(hit)}")
            same = [entry for entry in permitted if type(entry) is type(name)]
            if same and not any(_within(name, entry) for entry in same):
                yield _forbidden(cert, name, f"permitted: {_values(same)}")


def _forbidden(cert: x509.Certificate, name: x509.GeneralName, found: str) -> Problem:
    return Problem(
        f"{title(cert)} may not certify {name.value}",
        f"its name constraints, {found}",
        "a name that every CA of the chain may certify",
        "set registry.name to such a name, or have the certificate issued by another CA",
    )


def _values(entries: Sequence[x509.GeneralName]) -> str:
    return ", ".join(str(entry.value) for entry in entries)


COMPARED = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)


def _within(name: x509.GeneralName, entry: x509.GeneralName, excluding: bool = False) -> bool:
    """Whether a name is in the subtree of a constraint. excluding: a wildcard is when one of its names is."""
    match name, entry:
        case x509.DNSName(value=value), x509.DNSName(value=domain):
            return _in_domain(value, domain, excluding)
        case x509.IPAddress(value=IPv4Address() | IPv6Address() as address), x509.IPAddress(
            value=IPv4Network() | IPv6Network() as network
        ):
            return address in network
        case x509.RFC822Name(value=value), x509.RFC822Name(value=domain):
            return value == domain if "@" in domain else _in_domain(value.rpartition("@")[2], domain)
        case x509.UniformResourceIdentifier(value=value), x509.UniformResourceIdentifier(value=domain):
            return _in_domain(urlsplit(value).hostname or "", domain)
    return False


def _in_domain(name: str, domain: str, any_label: bool = False) -> bool:
    """A domain with a leading dot has no name of its own, only those below it."""
    labels, wanted = name.lower().split(".")[::-1], domain.lower().removeprefix(".").split(".")[::-1] if domain else []
    below = len(labels) > len(wanted) if domain.startswith(".") else len(labels) >= len(wanted)
    pairs = zip(labels, wanted, strict=False)
    return below and all(label == part or (any_label and label == "*") for label, part in pairs)
