"""Fields of a certificate: names, extended key usage, CA or not, issuer. Shared by issue and chain."""

from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

Extension = TypeVar("Extension", bound=x509.ExtensionType)
# What the library raises for a certificate that it cannot read, when it is loaded or when a field is used.
UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
USAGES = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}


def extension(cert: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """The extension of a kind, or None. Raises ValueError when the certificate's extensions are malformed."""
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except x509.DuplicateExtension as error:
        raise ValueError(str(error)) from None


def names(cert: x509.Certificate) -> tuple[set[str], set[IPv4Address | IPv6Address]]:
    """DNS names and addresses of the subjectAltName; the CN is not a server name (Go and browsers ignore it)."""
    found = extension(cert, x509.SubjectAlternativeName)
    if found is None:
        return set(), set()
    ips = {ip for ip in found.get_values_for_type(x509.IPAddress) if isinstance(ip, (IPv4Address, IPv6Address))}
    return set(found.get_values_for_type(x509.DNSName)), ips


def usages(cert: x509.Certificate) -> set[str]:
    """Which of "client" and "server" the extended key usage lists; empty when there is none."""
    listed = extension(cert, x509.ExtendedKeyUsage) or ()
    return {name for name, oid in USAGES.items() if oid in listed}


def is_ca(cert: x509.Certificate) -> bool:
    """Whether basicConstraints has CA:TRUE."""
    constraints = extension(cert, x509.BasicConstraints)
    return bool(constraints and constraints.ca)


def signed_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` is the certificate's issuer by name and its key verifies the signature."""
    try:
        cert.verify_directly_issued_by(issuer)
    except (*UNREADABLE, TypeError, InvalidSignature):
        return False
    return True


def title(cert: x509.Certificate) -> str:
    """The subject, for messages: `CN=registry.lab,O=Lab`."""
    return cert.subject.rfc4514_string() or "(empty subject)"
