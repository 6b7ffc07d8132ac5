"""Certificates, keys and passwords of a site as pure functions: PEM bytes in, PEM bytes out, no file, no host.

Keys are ECDSA P-256, except the one that signs service-account tokens. Sources: Kubernetes' "PKI certificates and
requirements"; LAB.md for which certificates a cluster of systemd services needs; the POC's rows 9 and 10.
"""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from airavata_runbook.errors import RunbookError
from airavata_runbook.pki.chain import Problem, bundle, check_chain
from airavata_runbook.pki.read import USAGES, is_ca, names, signed_by, title, usages
from airavata_runbook.pki.types import Pair, SigningKey, Subject

__all__ = ["Problem", "bundle", "check_chain", "describe", "issue", "new_ca", "new_signing_key", "problems"]

# A host whose clock is a little behind must not refuse a certificate that was made a moment ago.
CLOCK_SKEW = timedelta(hours=1)


def new_ca(common_name: str, days: int = 3650) -> Pair:
    """A new certificate authority, valid from an hour ago for `days` days; it signs leaves only, no other CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(Subject(common_name))
    start = datetime.now(UTC)
    builder = _builder(name, name, key.public_key(), start, start + timedelta(days=days), key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(ca=True), critical=True)
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _private_pem(key))


def issue(ca: Pair, subject: Subject, days: int = 365) -> Pair:
    """A new key and a certificate for `subject`, signed by `ca`, for `days` days but not beyond the CA's own end.

    Raises RunbookError when the authority's files are not a CA certificate and its key, or when the subject cannot
    be put into a certificate (a CN over 64 characters, something that is no address).
    """
    authority, authority_key = _authority(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.now(UTC)
    end = min(start + timedelta(days=days), authority.not_valid_after_utc)
    builder = _builder(_name(subject), authority.subject, key.public_key(), start, end, authority.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(ca=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([USAGES[use] for use in subject.usages]), critical=False)
    if alternatives := _alternatives(subject):
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return Pair(_pem(builder.sign(authority_key, hashes.SHA256())), _private_pem(key))


def new_signing_key() -> SigningKey:
    """A key pair for service-account tokens. The API server and the controller-manager take RSA (RS256) and ECDSA
    (ES256 and up), private in PKCS 8 and public in PKIX PEM; this one is RSA of 2048 bits, as kubeadm's, because every
    outside verifier of such tokens knows RS256.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return SigningKey(_private_pem(key), public)


def problems(
    cert_pem: bytes,
    *,
    key_pem: bytes | None = None,
    ca_pem: bytes | None = None,
    subject: Subject | None = None,
    now: datetime | None = None,
    renew_within_days: int = 30,
) -> list[str]:
    """Why a certificate of the site must be made again, one sentence a reason; empty: it is fine.

    Looked at: dates; and where given, the key (does it match?), the CA (did it sign?), the subject (CN, O, names,
    addresses and uses are exactly these). now: an aware datetime, default the present.
    """
    try:
        cert = x509.load_pem_x509_certificate(cert_pem)
        ca = x509.load_pem_x509_certificate(ca_pem) if ca_pem else None
    except ValueError as error:
        return [f"the certificate or its authority's cannot be read: {error}"]
    found = _date_problems(cert, ca, now or datetime.now(UTC), timedelta(days=renew_within_days))
    if key_pem is not None:
        found += _key_problems(cert, key_pem)
    if ca is not None and not signed_by(cert, ca):
        found.append(f"not signed by the authority {title(ca)}")
    try:
        return found + (_subject_problems(cert, subject) if subject else [])
    except ValueError as error:
        return [*found, f"its extensions cannot be read: {error}"]


def describe(cert_pem: bytes) -> dict[str, object]:
    """What to show of a certificate: subject, issuer, dns, ips, usages, ca, not_before, not_after (aware datetimes).

    The serial number is left out: it is random and says nothing. Raises RunbookError when it cannot be read.
    """
    try:
        cert = x509.load_pem_x509_certificate(cert_pem)
    except ValueError as error:
        raise RunbookError("a certificate cannot be read", found=str(error), needed="PEM") from None
    dns, ips = names(cert)
    return {
        "subject": cert.subject.rfc4514_string(),
        "issuer": cert.issuer.rfc4514_string(),
        "dns": sorted(dns),
        "ips": sorted(str(ip) for ip in ips),
        "usages": sorted(usages(cert)),
        "ca": is_ca(cert),
        "not_before": cert.not_valid_before_utc,
        "not_after": cert.not_valid_after_utc,
    }


def _authority(ca: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    try:
        cert = x509.load_pem_x509_certificate(ca.cert)
        key = serialization.load_pem_private_key(ca.key, None)
    except (ValueError, TypeError) as error:
        raise RunbookError(
            "a certificate authority cannot be read", found=str(error), needed="PEM, its key unencrypted"
        ) from None
    if not is_ca(cert) or cert.public_key() != key.public_key():
        raise RunbookError(
            "a certificate authority cannot sign",
            where=title(cert),
            found="no CA certificate" if not is_ca(cert) else "a key of another certificate",
            needed="a CA certificate and its own key",
        )
    return cert, key


def _builder(subject: x509.Name, issuer: x509.Name, key, start: datetime, end: datetime, issuer_key) -> x509.CertificateBuilder:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(identifier, critical=False)
    )


def _name(subject: Subject) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, subject.organization), (NameOID.COMMON_NAME, subject.common_name)]
    try:
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text is not None])
    except ValueError as error:
        raise RunbookError(
            "a name does not fit into a certificate",
            where=subject.common_name,
            found=str(error),
            needed="1 to 64 characters (RFC 5280)",
        ) from None


def _alternatives(subject: Subject) -> list[x509.GeneralName]:
    try:
        return [*map(x509.DNSName, subject.dns), *map(x509.IPAddress, _addresses(subject))]
    except ValueError as error:
        raise RunbookError("a DNS name does not fit into a certificate", where=subject.common_name, found=str(error)) from None


def _addresses(subject: Subject) -> list[IPv4Address | IPv6Address]:
    try:
        return [ip_address(ip) for ip in subject.ips]
    except ValueError as error:
        raise RunbookError(
            "a certificate is to name an address that is none", where=subject.common_name, found=str(error)
        ) from None


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _date_problems(cert: x509.Certificate, ca: x509.Certificate | None, now: datetime, ahead: timedelta) -> list[str]:
    end = cert.not_valid_after_utc
    if now > end:
        return [f"expired on {end:%Y-%m-%d}"]
    if now < cert.not_valid_before_utc:
        return [f"not valid before {cert.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"]
    # A leaf ends with its authority at the latest: where it already does, making it again wins no day.
    if now + ahead > end and not (ca and end >= ca.not_valid_after_utc):
        return [f"expires on {end:%Y-%m-%d}"]
    return []


def _key_problems(cert: x509.Certificate, key_pem: bytes) -> list[str]:
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        return ["its key cannot be read"]
    return [] if key.public_key() == cert.public_key() else ["its key belongs to another certificate"]


def _subject_problems(cert: x509.Certificate, subject: Subject) -> list[str]:
    found = []
    for label, oid, wanted in (
        ("CN", NameOID.COMMON_NAME, subject.common_name),
        ("O", NameOID.ORGANIZATION_NAME, subject.organization),
    ):
        actual = ", ".join(str(attribute.value) for attribute in cert.subject.get_attributes_for_oid(oid))
        if actual != (wanted or ""):
            found.append(f"{label} is {actual or 'empty'}, not {wanted or 'empty'}")
    dns, ips = names(cert)
    wanted_names = {*subject.dns, *map(str, _addresses(subject))}
    actual_names = dns | {str(ip) for ip in ips}
    found += [f"does not name {name}" for name in sorted(wanted_names - actual_names)]
    found += [f"names {name}, which it should not" for name in sorted(actual_names - wanted_names)]
    if usages(cert) != set(subject.usages):
        found.append(f"is for {_words(usages(cert))}, not for {_words(set(subject.usages))}")
    return found + (["is a CA certificate, which it should not be"] if is_ca(cert) else [])


def _words(usages: set[str]) -> str:
    return " and ".join(sorted(usages)) or "nothing"
