"""The site's certificates and keys as pure functions: PEM bytes in, PEM bytes out, no file, no host.

Keys are ECDSA P-256, except the one that signs service-account tokens. Sources: Kubernetes' "PKI certificates and
requirements"; LAB.md for which certificates a cluster of systemd services needs; the POC's rows 9 and 10.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from airavata_runbook.errors import RunbookError
from airavata_runbook.pki.read import UNREADABLE, USAGES, is_ca, names, signed_by, title, usages
from airavata_runbook.pki.types import Pair, SigningKey, Subject

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# A host whose clock is a little slow must accept a certificate that was just issued.
CLOCK_SKEW = timedelta(hours=1)


def new_ca(common_name: str, days: int = 3650) -> Pair:
    """A new certificate authority, valid from an hour ago for `days` days; it signs no other CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(Subject(common_name))
    return _signed(name, key, name, key, datetime.now(UTC) + timedelta(days=days), ca=True)


def issue(ca: Pair, subject: Subject, days: int = 365) -> Pair:
    """A new key and a certificate for `subject`, signed by `ca`, for `days` days but not beyond the CA's own end.

    Raises RunbookError when `ca` is not a CA certificate and its key, or when the subject is invalid (a CN over 64
    characters, an invalid address).
    """
    authority, authority_key = _authority(ca)
    end = min(datetime.now(UTC) + timedelta(days=days), authority.not_valid_after_utc)
    extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([USAGES[use] for use in subject.usages])]
    if alternatives := _alternatives(subject):
        extensions.append(x509.SubjectAlternativeName(alternatives))
    key = ec.generate_private_key(ec.SECP256R1())
    return _signed(_name(subject), key, authority.subject, authority_key, end, extensions)


def new_signing_key() -> SigningKey:
    """A key pair for service-account tokens: RSA of 2048 bits, private in PKCS 8 and public in PKIX PEM.

    Kubernetes also accepts ECDSA; RSA is kubeadm's choice, because every external verifier of such tokens knows RS256.
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
    """The reasons to issue a certificate of the site again, a sentence each; empty: none.

    Checked: its dates; and where given, that the key matches, that the CA signed it, and that CN, O, names, addresses and
    usages are exactly the subject's. now: an aware datetime, default the present.
    """
    try:
        cert = x509.load_pem_x509_certificate(cert_pem)
        ca = x509.load_pem_x509_certificate(ca_pem) if ca_pem else None
    except UNREADABLE as error:
        return [f"the certificate or its authority's could not be parsed: {error}"]
    found = _date_problems(cert, ca, now or datetime.now(UTC), timedelta(days=renew_within_days))
    if key_pem is not None:
        found += _key_problems(cert, key_pem)
    if ca is not None and not signed_by(cert, ca):
        found.append(f"not signed by the authority {title(ca)}")
    try:
        return found + (_subject_problems(cert, subject) if subject else [])
    except UNREADABLE as error:
        return [*found, f"its extensions could not be parsed: {error}"]


def end_of(cert_pem: bytes) -> datetime:
    """When a certificate expires, aware. Raises RunbookError when it could not be parsed."""
    try:
        return x509.load_pem_x509_certificate(cert_pem).not_valid_after_utc
    except ValueError as error:
        raise RunbookError("a certificate could not be parsed", found=str(error), needed="PEM") from None


def _authority(ca: Pair) -> tuple[x509.Certificate, PrivateKey]:
    try:
        cert = x509.load_pem_x509_certificate(ca.cert)
        key = serialization.load_pem_private_key(ca.key, None)
    except (ValueError, TypeError) as error:
        raise RunbookError(
            "a certificate authority could not be parsed", found=str(error), needed="PEM, its key unencrypted"
        ) from None
    if not is_ca(cert):
        found = "no CA certificate"
    elif cert.public_key() != key.public_key():
        found = "the key of another certificate"
    elif not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        found = f"a key of type {type(key).__name__}"
    else:
        return cert, key
    raise RunbookError(
        "a certificate authority cannot sign",
        where=title(cert),
        found=found,
        needed="a CA certificate and its own key, RSA or ECDSA",
    )


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    end: datetime,
    extensions: Sequence[x509.ExtensionType] = (),
    ca: bool = False,
) -> Pair:
    """The key and its certificate, valid from an hour ago; extensions: further ones, none of them critical."""
    usage = x509.KeyUsage(
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
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    cert = builder.sign(issuer_key, hashes.SHA256())
    return Pair(cert.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def _name(subject: Subject) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, subject.organization), (NameOID.COMMON_NAME, subject.common_name)]
    try:
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text is not None])
    except ValueError as error:
        raise RunbookError(
            "invalid name for a certificate",
            where=subject.common_name,
            found=str(error),
            needed="1 to 64 characters (RFC 5280)",
        ) from None


def _alternatives(subject: Subject) -> list[x509.GeneralName]:
    try:
        return [*map(x509.DNSName, subject.dns), *map(x509.IPAddress, _addresses(subject))]
    except ValueError as error:
        raise RunbookError("invalid DNS name for a certificate", where=subject.common_name, found=str(error)) from None


def _addresses(subject: Subject) -> list[IPv4Address | IPv6Address]:
    try:
        return [ip_address(ip) for ip in subject.ips]
    except ValueError as error:
        raise RunbookError("invalid address for a certificate", where=subject.common_name, found=str(error)) from None


def _private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _date_problems(cert: x509.Certificate, ca: x509.Certificate | None, now: datetime, ahead: timedelta) -> list[str]:
    end = cert.not_valid_after_utc
    if now > end:
        return [f"expired on {end:%Y-%m-%d}"]
    if now < cert.not_valid_before_utc:
        return [f"not valid before {cert.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"]
    # A leaf expires with its authority at the latest: then issuing it again would not extend it.
    if now + ahead > end and not (ca and end >= ca.not_valid_after_utc):
        return [f"expires on {end:%Y-%m-%d}"]
    return []


def _key_problems(cert: x509.Certificate, key_pem: bytes) -> list[str]:
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        return ["its key could not be parsed"]
    return [] if key.public_key() == cert.public_key() else ["its key belongs to another certificate"]


def _subject_problems(cert: x509.Certificate, subject: Subject) -> list[str]:
    found = []
    for label, oid, expected in (
        ("CN", NameOID.COMMON_NAME, subject.common_name),
        ("O", NameOID.ORGANIZATION_NAME, subject.organization),
    ):
        actual = ", ".join(str(attribute.value) for attribute in cert.subject.get_attributes_for_oid(oid))
        if actual != (expected or ""):
            found.append(f"{label} is {actual or 'empty'}, not {expected or 'empty'}")
    dns, ips = names(cert)
    expected_names = {*subject.dns, *map(str, _addresses(subject))}
    actual_names = dns | {str(ip) for ip in ips}
    found += [f"does not name {name}" for name in sorted(expected_names - actual_names)]
    found += [f"names {name}, which it should not" for name in sorted(actual_names - expected_names)]
    if usages(cert) != set(subject.usages):
        found.append(f"is for {_listed(usages(cert))}, not for {_listed(set(subject.usages))}")
    return found + (["is a CA certificate, which it should not be"] if is_ca(cert) else [])


def _listed(usages: set[str]) -> str:
    return " and ".join(sorted(usages)) or "nothing"
