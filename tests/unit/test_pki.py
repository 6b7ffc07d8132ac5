"""Certificates: what is issued is accepted, what is wrong is named, and no key or password shows."""

import base64
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from airavata_runbook.cluster import kubeconfig
from airavata_runbook.errors import RunbookError
from airavata_runbook.pki import htpasswd, read
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.chain import bundle, check_chain
from airavata_runbook.pki.types import Pair, Subject

NOW = datetime.now(UTC)
APISERVER = Subject(
    "kube-apiserver", dns=("kubernetes", "kubernetes.default"), ips=("10.254.0.1", "127.0.0.1"), usages=("server",)
)


@pytest.fixture(scope="module")
def ca():
    return pki.new_ca("Lab CA")


def make(cn, issuer=None, *, ca=False, dns=(), start=-1, end=365, key=None, issuer_name=None, digest=None):
    """A hand-made certificate (x509, key) with what pki.issue refuses to make; start and end in days from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    issuer_cert, issuer_key = issuer or (None, key)
    builder = x509.CertificateBuilder(
        issuer_name or (issuer_cert.subject if issuer_cert else name),
        name,
        key.public_key(),
        1000,
        NOW + timedelta(days=start),
        NOW + timedelta(days=end),
    )
    builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in dns]), False)
    if isinstance(issuer_key, ed25519.Ed25519PrivateKey):
        return builder.sign(issuer_key, None), key
    return builder.sign(issuer_key, digest or hashes.SHA256()), key


def pem(*certs):
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert, _ in certs)


def key_pem(made):
    return made[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@pytest.fixture(scope="module")
def chain():
    root = make("Root", ca=True, end=3000)
    middle = make("Middle", root, ca=True, end=2000)
    leaf = make("registry.lab", middle, dns=("registry.lab", "*.example.org"))
    return root, middle, leaf


def messages(found):
    return [problem.message for problem in found]


def check(certs, leaf, name="registry.lab", **options):
    return check_chain(pem(*certs), key_pem(leaf), name, **{"roots_pem": b"", **options})


# --- issuing -------------------------------------------------------------------------------------------------


def test_an_issued_certificate_serves_tls_under_its_names_and_no_other(ca, tmp_path):
    pair = pki.issue(ca, Subject("registry.lab", dns=("registry.lab",), usages=("server",)))
    (tmp_path / "pair.pem").write_bytes(pair.cert + pair.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "pair.pem")
    client = ssl.create_default_context(cadata=ca.cert.decode())
    assert handshake(client, server, "registry.lab") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(client, server, "other.lab")


def handshake(client, server, name):
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    c = client.wrap_bio(back, there, server_hostname=name)
    s = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (c, s):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return c.version()


def test_what_is_issued_says_what_was_asked(ca):
    pair = pki.issue(ca, Subject("admin", "system:masters", usages=("client",)), days=90)
    cert = x509.load_pem_x509_certificate(pair.cert)
    assert read.title(cert) == "CN=admin,O=system:masters" and cert.issuer.rfc4514_string() == "CN=Lab CA"
    assert read.usages(cert) == {"client"} and not read.is_ca(cert) and read.names(cert) == (set(), set())
    assert timedelta(days=89) < pki.end_of(pair.cert) - NOW <= timedelta(days=90, hours=1)
    assert cert.not_valid_before_utc < NOW - timedelta(minutes=50), "a clock a little behind must accept it"
    cert = x509.load_pem_x509_certificate(pki.issue(ca, APISERVER).cert)
    assert read.names(cert) == (
        {"kubernetes", "kubernetes.default"},
        {ip_address("10.254.0.1"), ip_address("127.0.0.1")},
    )


def test_a_leaf_never_outlives_its_authority():
    short = pki.new_ca("short", days=10)
    leaf = pki.issue(short, APISERVER, days=365)
    assert pki.end_of(leaf.cert) == pki.end_of(short.cert)
    # It expires within 30 days, but making it again would not change that: no endless renewal.
    assert pki.problems(leaf.cert, key_pem=leaf.key, ca_pem=short.cert, subject=APISERVER) == []
    late = datetime.now(UTC) + timedelta(days=11)
    assert pki.problems(leaf.cert, ca_pem=short.cert, now=late)[0].startswith("expired on")


@pytest.mark.parametrize(
    "subject, word",
    [
        (Subject("x" * 65), "64"),
        (Subject(""), "64"),
        (Subject("a", ips=("10.0.0.256",)), "10.0.0.256"),
        (Subject("a", dns=("registré",)), "DNS"),
    ],
)
def test_a_subject_that_does_not_fit_is_refused(ca, subject, word):
    with pytest.raises(RunbookError, match=word):
        pki.issue(ca, subject)


def test_only_an_authority_with_its_own_key_issues(ca):
    leaf, other = pki.issue(ca, APISERVER), pki.new_ca("Other")
    for broken, word in (
        (leaf, "no CA"),
        (Pair(ca.cert, other.key), "another certificate"),
        (Pair(b"garbage", ca.key), "parsed"),
        (Pair(ca.cert, b"garbage"), "parsed"),
    ):
        with pytest.raises(RunbookError, match=word):
            pki.issue(broken, APISERVER)


def test_an_authority_with_a_key_that_tls_clients_reject_does_not_issue():
    authority = make("Edwards", ca=True, key=ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(RunbookError, match="Ed25519"):
        pki.issue(Pair(pem(authority), key_pem(authority)), APISERVER)


def test_no_repr_shows_a_key(ca):
    signing = pki.new_signing_key()
    for text in (repr(ca), repr(signing), str(ca)):
        assert "PRIVATE" not in text
    assert b"BEGIN PRIVATE KEY" in signing.private and b"BEGIN PUBLIC KEY" in signing.public


def test_the_signing_key_signs_what_its_public_half_verifies():
    signing = pki.new_signing_key()
    key = serialization.load_pem_private_key(signing.private, None)
    assert isinstance(key, rsa.RSAPrivateKey) and key.key_size == 2048
    signature = key.sign(b"token", padding.PKCS1v15(), hashes.SHA256())
    serialization.load_pem_public_key(signing.public).verify(signature, b"token", padding.PKCS1v15(), hashes.SHA256())


# --- why one must be made again ------------------------------------------------------------------------------


def test_a_fresh_certificate_has_no_problem(ca):
    pair = pki.issue(ca, APISERVER)
    assert pki.problems(pair.cert, key_pem=pair.key, ca_pem=ca.cert, subject=APISERVER) == []
    reordered = Subject(
        "kube-apiserver",
        dns=("kubernetes.default", "kubernetes"),
        ips=(ip_address("127.0.0.1"), ip_address("10.254.0.1")),
        usages=("server",),
    )
    assert pki.problems(pair.cert, subject=reordered) == []


def test_every_reason_is_named_at_once(ca):
    pair = pki.issue(ca, Subject("old", "old-org", dns=("kubernetes", "gone"), usages=("client",)))
    other = pki.new_ca("Other CA")
    assert pki.problems(pair.cert, key_pem=other.key, ca_pem=other.cert, subject=APISERVER) == [
        "its key belongs to another certificate",
        "not signed by the authority CN=Other CA",
        "CN is old, not kube-apiserver",
        "O is old-org, not empty",
        "does not name 10.254.0.1",
        "does not name 127.0.0.1",
        "does not name kubernetes.default",
        "names gone, which it should not",
        "is for client, not for server",
    ]


def test_an_authority_of_the_same_name_is_another_authority(ca):
    pair = pki.issue(ca, APISERVER)
    assert pki.problems(pair.cert, ca_pem=pki.new_ca("Lab CA").cert) == ["not signed by the authority CN=Lab CA"]


def test_dates(ca):
    pair = pki.issue(ca, APISERVER, days=100)
    end = pki.end_of(pair.cert)

    def at(moment):
        return pki.problems(pair.cert, now=moment)

    assert at(end - timedelta(days=31)) == [] and at(end - timedelta(days=29)) == [f"expires on {end:%Y-%m-%d}"]
    assert at(end + timedelta(seconds=1)) == [f"expired on {end:%Y-%m-%d}"]
    assert at(NOW - timedelta(days=2))[0].startswith("not valid before")
    assert pki.problems(pair.cert, now=end - timedelta(days=29), renew_within_days=7) == []


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_garbage_is_a_reason_and_no_crash(ca, garbage):
    pair = pki.issue(ca, APISERVER)
    assert "could not be parsed" in pki.problems(garbage)[0]
    assert pki.problems(pair.cert, key_pem=garbage) == ["its key could not be parsed"]
    with pytest.raises(RunbookError):
        pki.end_of(garbage)


# --- an admin's own certificate ------------------------------------------------------------------------------


def test_good_files_pass(chain):
    root, middle, leaf = chain
    assert check([leaf, middle, root], leaf) == []
    assert check([leaf, middle], leaf, roots_pem=pem(root)) == []
    assert check([leaf, middle, root], leaf, "pga.example.org") == []


@pytest.mark.parametrize("order", [(1, 2, 0), (0, 1, 2), (2, 0, 1), (0, 2, 1), (1, 0, 2)])
def test_a_wrong_order_is_told_with_the_right_one(chain, order):
    found = check([chain[i] for i in order], chain[2])
    assert messages(found) == ["the certificates are in the wrong order"]
    assert found[0].needed == "1. CN=registry.lab, 2. CN=Middle, 3. CN=Root"


def test_a_missing_intermediate(chain):
    root, _, leaf = chain
    for roots in (b"", pem(root), None):
        found = check([leaf], leaf, roots_pem=roots)
        assert messages(found) == ["an intermediate certificate is missing"] and "CN=Middle" in found[0].needed
    assert messages(check([leaf, root], leaf)) == [
        "CN=Root does not belong to the chain",
        "an intermediate certificate is missing",
    ]


def test_an_intermediate_of_the_right_name_and_the_wrong_key(chain):
    root, _, leaf = chain
    found = check([leaf, make("Middle", root, ca=True)], leaf)
    assert "has the issuer's name but another key" in str(found[0])
    assert "missing" in found[1].message


def test_two_leaves_and_the_key_decides_which_is_meant(chain):
    root, middle, leaf = chain
    old = make("registry-2024.lab", middle, dns=("registry.lab",))
    found = check([leaf, old, middle, root], leaf)
    assert messages(found) == ["more than one server certificate is in the file"]
    assert found[0].remedy == "remove CN=registry-2024.lab"
    assert check([leaf, old, middle, root], old)[0].remedy == "remove CN=registry.lab"


def test_the_key_of_another_certificate(chain):
    root, middle, leaf = chain
    found = check_chain(pem(leaf, middle, root), key_pem(make("x")), "registry.lab")
    assert messages(found) == ["the key does not match any certificate in the file"]


def test_a_self_signed_leaf():
    leaf = make("registry.lab", dns=("registry.lab",))
    assert messages(check([leaf], leaf)) == ["the server's certificate is self-signed"]
    both = make("registry.lab", dns=("registry.lab",), ca=True)
    assert messages(check([both], both)) == [
        "the server's certificate is a CA certificate",
        "the server's certificate is self-signed",
    ]


def test_dates_of_every_certificate_count():
    root = make("Root", ca=True, start=-900, end=3000)
    middle = make("Middle", root, ca=True, start=-800, end=-2)
    leaf = make("registry.lab", middle, dns=("registry.lab",), start=2)
    assert messages(check([leaf, middle, root], leaf)) == ["CN=registry.lab is not valid yet", "CN=Middle has expired"]
    before = check([leaf, middle, root], leaf, now=NOW - timedelta(days=1000))
    assert len(before) == 3 and all("not valid yet" in problem.message for problem in before)


def test_names(chain):
    root, middle, leaf = chain
    for name in ("registry", "registry.lab.evil", "10.0.0.1", "example.org", "a.b.example.org"):
        found = check([leaf, middle, root], leaf, name)
        assert messages(found) == ["the server's certificate is for another name"], name
        assert found[0].found == "*.example.org, registry.lab" and name in found[0].needed
    bare = make("registry.lab", middle)
    assert "no subjectAltName" in check([bare, middle, root], bare)[0].found, "a CN alone is no name"


def test_an_address_as_name():
    ca = pki.new_ca("CA")
    pair = pki.issue(ca, Subject("r", ips=("10.98.0.11",)))
    assert check_chain(pair.cert + ca.cert, pair.key, "10.98.0.11") == []
    assert len(check_chain(pair.cert + ca.cert, pair.key, "10.98.0.12")) == 1


def test_a_certificate_for_clients_only_serves_nothing():
    ca = pki.new_ca("CA")
    pair = pki.issue(ca, Subject("r", dns=("r",), usages=("client",)))
    found = check_chain(pair.cert + ca.cert, pair.key, "r")
    assert messages(found) == ["the server's certificate is not for servers"]


def test_a_signer_that_is_no_authority(chain):
    root, middle, leaf = chain
    forged = make("victim.lab", leaf, dns=("victim.lab",))
    found = messages(check([forged, leaf, middle, root], forged, "victim.lab"))
    assert "CN=registry.lab has signed another certificate but is not a CA" in found


def test_a_short_key_is_refused(chain):
    root, middle, _ = chain
    leaf = make("registry.lab", middle, dns=("registry.lab",), key=rsa.generate_private_key(65537, 1024))
    assert messages(check([leaf, middle, root], leaf)) == ["the server's key is too short"]


def test_what_is_no_certificate_file(chain):
    root, middle, leaf = chain
    good_key = key_pem(leaf)
    der = leaf[0].public_bytes(serialization.Encoding.DER)
    glued = pem(leaf).strip() + pem(middle)
    cases = [
        (b"", "could not be parsed"),
        (b"\x00\xff" * 50, "could not be parsed"),
        (pem(leaf)[:200], "could not be parsed"),
        (der, "not text"),
        (b"-----BEGIN PKCS7-----\nAA==\n-----END PKCS7-----\n", "PKCS 7"),
        (good_key, "private key is in"),
        (glued, "without a newline"),
    ]
    for content, words in cases:
        found = check_chain(content, good_key, "registry.lab", roots_pem=pem(root))
        assert words in str(found[0]), content[:30]
        assert "PRIVATE KEY-----" not in str(found)
    with_key = check_chain(pem(leaf, middle, root) + good_key, good_key, "registry.lab")
    assert messages(with_key) == ["a private key is in the certificate file"]


def test_what_is_no_key(chain):
    root, middle, leaf = chain
    locked = leaf[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"canary")
    )
    for content, words in (
        (b"", "could not be parsed"),
        (b"garbage", "could not be parsed"),
        (pem(leaf), "could not be parsed"),
        (locked, "protected by a password"),
    ):
        found = check_chain(pem(leaf, middle, root), content, "registry.lab")
        assert len(found) == 1 and words in found[0].message


def test_a_copy_in_the_file_is_named(chain):
    root, middle, leaf = chain
    assert messages(check([leaf, middle, middle, root], leaf)) == ["CN=Middle is in the file more than once"]


def test_bundle_is_cat_with_the_newline_that_cat_forgets(chain):
    root, middle, leaf = chain
    joined = bundle(pem(leaf).rstrip(b"\n"), pem(middle, root))
    assert joined == pem(leaf, middle, root)
    assert check_chain(joined, key_pem(leaf), "registry.lab") == []
    assert bundle(pem(leaf)) == pem(leaf)


# --- kubeconfig and htpasswd ---------------------------------------------------------------------------------


def test_kubeconfig_holds_everything(ca):
    pair = pki.issue(ca, Subject("admin", "system:masters"))
    config = yaml.safe_load(kubeconfig.kubeconfig("https://127.0.0.1:1", ca.cert, pair, "admin", "lab"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    assert config["current-context"] == config["contexts"][0]["name"] == "admin@lab"
    assert config["contexts"][0]["context"] == {"cluster": "lab", "user": "admin"}
    assert cluster["server"] == "https://127.0.0.1:1"
    assert base64.b64decode(cluster["certificate-authority-data"]) == ca.cert
    assert base64.b64decode(user["client-key-data"]) == pair.key


def test_htpasswd():
    entry = htpasswd.htpasswd_entry("admin", "canary-1", rounds=4)
    assert entry.startswith("admin:$2b$04$") and "\n" not in entry and "canary" not in entry
    assert htpasswd.htpasswd_matches(entry + "\n", "admin", "canary-1")
    for user, password in (("admin", "canary-2"), ("root", "canary-1"), ("admin", ""), ("admin", "x" * 100)):
        assert not htpasswd.htpasswd_matches(entry, user, password)
    for line in ("", "admin", "admin:", "admin:plain", "admin:$apr1$x$y", "admin:{SHA}abc"):
        assert not htpasswd.htpasswd_matches(line, "admin", "plain")


@pytest.mark.parametrize(
    "user, password", [("a:b", "x"), ("", "x"), ("a\nb", "x"), ("a", ""), ("a", "canary" * 13), ("a", "canary\0x")]
)
def test_htpasswd_refuses_what_the_line_cannot_carry(user, password):
    with pytest.raises(RunbookError) as raised:
        htpasswd.htpasswd_entry(user, password, rounds=4)
    assert "canary" not in str(raised.value)
