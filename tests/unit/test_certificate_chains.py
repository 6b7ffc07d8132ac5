"""What an admin's own chain may look like: the runbook says what the registry and its clients would say.

The clients' verdicts: Go's (crypto/tls of 1.26, which the registry and containerd are written in) are in the table, as a program
printed them; OpenSSL's, which this package's own client and curl use, are asked for in the tests.
"""

from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from airavata_runbook.pki.chain import check_chain
from tests.unit import certificate_samples as samples
from tests.unit.certificate_samples import NAME, authority, certificate, edited, server, usage, version_1

OLD, ROOT = authority("Old root"), authority("Root")  # Root is on its own, and signed by the old root for older clients
CROSS = authority("Root", OLD, key=ROOT.key)
EXPIRED_CROSS = authority("Root", OLD, key=ROOT.key, end=-2)
MIDDLE = authority("Middle", ROOT)
MIDDLE_OF_OLD = authority("Middle", OLD, key=MIDDLE.key)
LEAF = server(MIDDLE)

RIGHT = {
    "a chain and its root": ([LEAF, MIDDLE, ROOT], []),
    "a chain whose root clients have": ([LEAF, MIDDLE], [ROOT]),
    "an intermediate that clients trust": ([LEAF, MIDDLE], [MIDDLE]),
    "a cross-signed root, and clients have its own": ([LEAF, MIDDLE, CROSS], [ROOT]),
    "a cross-signed root, and clients have the old one": ([LEAF, MIDDLE, CROSS], [OLD]),
    "a cross-signed root with the old one": ([LEAF, MIDDLE, CROSS, OLD], [ROOT]),
    "a cross-signed root beside its own": ([LEAF, MIDDLE, CROSS, ROOT], []),
    "a cross-signed root that has expired": ([LEAF, MIDDLE, EXPIRED_CROSS], [ROOT]),
    "an intermediate of two roots": ([LEAF, MIDDLE_OF_OLD, MIDDLE], [ROOT]),
    "an intermediate of the other root, which clients have": ([LEAF, MIDDLE_OF_OLD, MIDDLE], [OLD]),
    "an intermediate of a root that clients lack, beside the right one": ([LEAF, MIDDLE, MIDDLE_OF_OLD], [OLD]),
}


def chain_with(leaf_options=None, **options):
    """Leaf, an intermediate with these options, root."""
    middle = authority("Middle", ROOT, **options)
    return [server(middle, **(leaf_options or {})), middle, ROOT]


def names(**subtrees):
    """Name constraints of an intermediate, critical as RFC 5280 wants them."""
    return chain_with(critical=[x509.NameConstraints(**{"permitted_subtrees": None, "excluded_subtrees": None, **subtrees})])


DNS, IP = x509.DNSName, x509.IPAddress
# The beginning of an RSA key of 2048 bits: rsaEncryption, and id-RSASSA-PSS without parameters.
PSS_KEY = (bytes.fromhex("30820122300d06092a864886f70d0101010500"), bytes.fromhex("30820120300b06092a864886f70d01010a"))


def pss_key():
    made = server(ROOT, key=rsa.generate_private_key(65537, 2048))
    return [edited(made, ROOT, *PSS_KEY), ROOT]


def of_root(root, **options):
    return [server(root, **options), root]


def negative_serial():
    return [edited(LEAF, MIDDLE, b"\x02\x02\x03\xe8", b"\x02\x02\x83\xe8"), MIDDLE, ROOT]


def version_1_root():
    bare = certificate("Bare", basic=False)
    return of_root(version_1(bare, bare))


def version_1_middle():
    middle = version_1(certificate("Middle", ROOT, basic=False), ROOT)
    return [server(middle), middle, ROOT]


# Name → certificates, whether Go accepts them, what the runbook says ("" for nothing).
CASES = {
    "keyCertSign": (lambda: chain_with(critical=[usage("key_cert_sign", "crl_sign")]), True, ""),
    "no keyCertSign": (lambda: chain_with(critical=[usage("digital_signature", "crl_sign")]), False, "no keyCertSign"),
    "a root without keyCertSign": (lambda: of_root(authority("R", critical=[usage("crl_sign")])), False, "no keyCertSign"),
    "name excluded": (lambda: names(excluded_subtrees=[DNS("lab")]), False, "excluded: lab"),
    "name excluded, with a dot": (lambda: names(excluded_subtrees=[DNS(".lab")]), False, "excluded: .lab"),
    "another name excluded": (lambda: names(excluded_subtrees=[DNS("try.lab"), DNS("gistry.lab")]), True, ""),
    "name permitted": (lambda: names(permitted_subtrees=[DNS("example.org"), DNS("Lab")]), True, ""),
    "name permitted, with a dot": (lambda: names(permitted_subtrees=[DNS(".lab")]), True, ""),
    "its own name with a dot": (lambda: names(permitted_subtrees=[DNS(".registry.lab")]), False, "permitted: .registry.lab"),
    "only another name permitted": (lambda: names(permitted_subtrees=[DNS("example.org")]), False, "permitted: example.org"),
    "only addresses constrained": (lambda: names(permitted_subtrees=[IP(ip_network("10.0.0.0/8"))]), True, ""),
    "constraints of mail": (lambda: names(permitted_subtrees=[x509.RFC822Name("example.org")]), True, ""),
    "constraints of the subject": (
        lambda: names(permitted_subtrees=[x509.DirectoryName(LEAF.cert.subject)]),
        False,
        "name constraints that Go",
    ),
    "a wildcard with an excluded name": (
        lambda: [
            server(
                middle := authority(
                    "M", ROOT, critical=[x509.NameConstraints(permitted_subtrees=None, excluded_subtrees=[DNS("a.lab")])]
                ),
                sans=[DNS(NAME), DNS("*.lab")],
            ),
            middle,
            ROOT,
        ],
        False,
        "may not certify *.lab",
    ),
    "an intermediate for clients only": (
        lambda: chain_with(extensions=[samples.CLIENTS]),
        False,
        "Middle may not certify servers",
    ),
    "a root for clients only": (lambda: of_root(authority("R", extensions=[samples.CLIENTS])), False, "may not certify servers"),
    "an intermediate for servers": (
        lambda: chain_with(
            extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])]
        ),
        True,
        "",
    ),
    "path length 0 at the intermediate": (lambda: chain_with(length=0), True, ""),
    "path length 0 at the root": (
        lambda: [server(middle := authority("M", root := authority("R", length=0))), middle, root],
        False,
        "path length 0",
    ),
    "an unknown critical extension": (lambda: chain_with(critical=[samples.UNKNOWN]), False, "1.3.6.1.4.1.55555.1"),
    "one in the server's": (lambda: chain_with({"critical": [samples.UNKNOWN]}), False, "1.3.6.1.4.1.55555.1"),
    "an unknown extension": (lambda: chain_with(extensions=[samples.UNKNOWN]), True, ""),
    "brainpool": (lambda: of_root(ROOT, key=ec.generate_private_key(ec.BrainpoolP256R1())), False, "brainpoolP256r1"),
    "secp256k1": (lambda: of_root(ROOT, key=ec.generate_private_key(ec.SECP256K1())), False, "secp256k1"),
    "brainpool of the CA": (
        lambda: of_root(authority("R", key=ec.generate_private_key(ec.BrainpoolP384R1()))),
        False,
        "CN=R's key cannot be used by TLS clients",
    ),
    "P-224": (lambda: of_root(ROOT, key=ec.generate_private_key(ec.SECP224R1())), False, "secp224r1"),
    "P-224 of the CA": (lambda: of_root(authority("R", key=ec.generate_private_key(ec.SECP224R1()))), True, ""),
    "P-521": (lambda: of_root(ROOT, key=ec.generate_private_key(ec.SECP521R1())), True, ""),
    "Ed25519 of the CA": (lambda: of_root(authority("R", key=samples.edwards())), True, ""),
    "Ed448 of the CA": (lambda: of_root(authority("R", key=ed448.Ed448PrivateKey.generate())), False, "Ed448"),
    "DSA of the CA": (lambda: of_root(authority("R", key=dsa.generate_private_key(2048))), False, "DSA"),
    "RSA for PSS only": (pss_key, False, "PSS only"),
    "signed with SHA-224": (lambda: [server(MIDDLE, digest=hashes.SHA224), MIDDLE, ROOT], False, "signed with sha224"),
    "a negative serial number": (negative_serial, False, "negative serial number"),
    "a root of version 1": (version_1_root, True, ""),
    "an intermediate of version 1": (version_1_middle, False, "is not a CA"),
    "a CA without basicConstraints": (lambda: of_root(certificate("R", basic=False)), False, "not a CA"),
    "a key usage of CAs": (lambda: of_root(ROOT, critical=[usage("crl_sign")]), True, "no digitalSignature"),  # not so OpenSSL
    "any extended key usage": (lambda: of_root(ROOT, extensions=[samples.ANY]), True, "no serverAuth"),  # not so OpenSSL
    "RSA of 1024 bits of the CA": (
        lambda: of_root(authority("R", key=rsa.generate_private_key(65537, 1024))),
        True,  # not so OpenSSL
        "CN=R's key is too short",
    ),
    "Ed25519": (lambda: of_root(ROOT, key=samples.edwards()), True, ""),
    "a key for encryption only": (
        lambda: of_root(ROOT, key=rsa.generate_private_key(65537, 2048), critical=[usage("key_encipherment")]),
        True,
        "",
    ),
    "another key of the issuer": (  # not so OpenSSL
        lambda: [
            server(
                middle := authority("M", ROOT, extensions=[x509.SubjectKeyIdentifier(b"a" * 20)]),
                extensions=[x509.AuthorityKeyIdentifier(b"b" * 20, None, None)],
            ),
            middle,
            ROOT,
        ],
        True,
        "names another key of its issuer",
    ),
    "a wildcard below a top-level domain": (lambda: of_root(ROOT, sans=[DNS("*.lab")]), True, "another name"),  # not so OpenSSL
    "a name with a dot at its end": (lambda: of_root(ROOT, sans=[DNS("registry.lab.")]), False, "another name"),
    "a part of a label as a wildcard": (lambda: of_root(ROOT, sans=[DNS("reg*.lab")]), False, "another name"),
    "a name in capitals": (lambda: of_root(ROOT, sans=[DNS("Registry.LAB")]), True, ""),
    "a critical extension that is known": (
        lambda: of_root(ROOT, critical=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]),
        True,
        "",
    ),
    "an expired root": (lambda: of_root(authority("R", end=-3)), False, "CN=R has expired"),
}


def verdict(certs, roots=(), name=NAME):
    content = b"".join(made.pem for made in certs)
    return "; ".join(map(str, check_chain(content, certs[0].key_pem, name, roots_pem=b"".join(made.pem for made in roots))))


@pytest.mark.parametrize("case", RIGHT)
def test_a_chain_that_clients_build_is_a_chain(tmp_path, case):
    certs, roots = RIGHT[case]
    assert verdict(certs, roots) == ""
    assert samples.openssl_refuses(tmp_path, certs, [*certs[1:], *roots]) == "", "with the chain, as this package's client"


@pytest.mark.parametrize("case", CASES)
def test_a_chain_that_clients_refuse_is_refused_with_the_reason(tmp_path, case):
    build, go_accepts, words = CASES[case]
    certs = build()
    found = verdict(certs)
    assert words in found if words else not found, found
    refused = not go_accepts or samples.openssl_refuses(tmp_path, certs, certs[-1:])
    assert bool(refused) == bool(words), "what a client refuses, and nothing else, is refused here"


def test_an_alternative_without_a_root_is_no_chain():
    found = verdict([LEAF, MIDDLE, CROSS], [])
    assert "an intermediate certificate is missing" in found and "CN=Old root" in found


def test_a_file_of_certificates_without_end_is_given_up_soon():
    assert "too many certificates are in the file" in verdict([LEAF, *[MIDDLE] * 100])
    keys = {name: authority(name) for name in (f"CA {number}" for number in range(9))}
    web = [authority(one, by, key=keys[one].key) for one in keys for other, by in keys.items() if one != other]
    assert "too many certificates in the file have the same names" in verdict([server(keys["CA 0"]), *web])
