"""Certificates and keys as bytes, and whom they name. Separate from issue.py, which is imported only where it is used: the
cryptography library takes a while to load, and most steps need no certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, PEM. The repr does not show the key."""

    cert: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class SigningKey:
    """A private key and its public key, PEM (PKCS 8 and PKIX). The repr does not show the private one."""

    private: bytes = field(repr=False)
    public: bytes


@dataclass(frozen=True)
class Subject:
    """What a certificate is issued for: CN, O, DNS names and addresses, and extended key usage ("client", "server")."""

    common_name: str
    organization: str | None = None
    dns: Sequence[str] = ()
    ips: Sequence[str | IPv4Address | IPv6Address] = ()
    usages: Sequence[str] = ("client", "server")
