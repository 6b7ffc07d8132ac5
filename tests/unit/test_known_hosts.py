"""Files of known host keys, judged by OpenSSH: its client on the same files and server, and ssh-keygen -F."""

import os
import subprocess
from pathlib import Path

import pytest

from airavata_runbook.checks.preflight import offline
from airavata_runbook.errors import HostKeyRefused, SiteError
from airavata_runbook.hosts import known_hosts
from airavata_runbook.hosts.client import log_in
from airavata_runbook.hosts.hop import Hop
from airavata_runbook.hosts.known_hosts import KnownHosts
from airavata_runbook.site import Site
from airavata_runbook.site.node import Ssh
from tests.unit.ssh_servers import KINDS, fingerprint, keygen, openssh, public, serving, sshd

GONE = "ssh-dss AAAAB3NzaC1kc3MAAAABAQ=="
SSH1 = "1024 35 " + "7" * 309


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Files by name: host keys of each kind, the user's, another host's of each kind, and two authorities'."""
    folder = tmp_path_factory.mktemp("keys")
    made = {name: keygen(folder / name, name) for name in KINDS}
    made |= {f"other-{name}": keygen(folder / f"other-{name}", name) for name in KINDS}
    return made | {name: keygen(folder / name) for name in ("user", "authority", "other-authority")}


@pytest.fixture(scope="module")
def server(keys):
    """A server with a key of each kind."""
    with serving([keys[name] for name in KINDS], [keys["user"]]) as server:
        yield server


@pytest.fixture
def known(tmp_path, monkeypatch):
    """The file of known hosts; there is no system-wide one."""
    monkeypatch.setattr(known_hosts, "SYSTEM_FILES", ())
    return tmp_path / "known_hosts"


def connect(port: int, keys, address: str = "127.0.0.1", **ssh) -> str:
    """The type of the host key with which a connection was made. Raises HostKeyRefused."""
    hop = Hop("host one", address, Ssh(port=port, key=str(keys["user"]), **ssh))
    with log_in(hop) as transport:
        return transport.get_remote_server_key().get_name()


def refused(port: int, keys, **ssh) -> str:
    with pytest.raises(HostKeyRefused) as error:
        connect(port, keys, **ssh)
    return str(error.value)


# Lines of known_hosts; %(NAME)s is a public key, %(port)d the server's.
ACCEPTED = [
    "[127.0.0.1]:%(port)d %(ed25519)s",
    "[127.0.0.1]:%(port)d %(rsa)s",
    "[127.0.0.1]:%(port)d %(ecdsa)s a comment of several words",
    "  [127.0.0.1]:%(port)d\t\t%(ed25519)s\r",
    "127.0.0.1 %(ed25519)s",  # S14: without a port
    "127.0.0.* %(ed25519)s",  # S07
    "* %(rsa)s",
    "127.0.0.?,elsewhere %(ed25519)s",
    "[127.0.0.?]:* %(ecdsa)s",
    "!10.*,127.* %(ed25519)s",
    "[127.0.0.1]:%(port)d %(other-ed25519)s\n[127.0.0.1]:%(port)d %(ed25519)s",  # S15: an old and a new line
    "[127.0.0.1]:%(port)d %(ed25519)s\n[127.0.0.1]:%(port)d %(other-ed25519)s",
    f"[127.0.0.1]:%(port)d {GONE}\n[127.0.0.1]:%(port)d %(rsa)s",  # S19
    f"[127.0.0.1]:%(port)d {SSH1}\n[127.0.0.1]:%(port)d %(ed25519)s",
    "@cert-authority *.example.org %(authority)s\n[127.0.0.1]:%(port)d %(ed25519)s",  # S17
    "@cert-authority * %(authority)s\n[127.0.0.1]:%(port)d %(ed25519)s",
    "@revoked * %(other-ed25519)s\n[127.0.0.1]:%(port)d %(ed25519)s",  # S18
    "@revoked elsewhere %(ed25519)s\n[127.0.0.1]:%(port)d %(ed25519)s",
    "@unknown * %(ed25519)s\n[127.0.0.1]:%(port)d %(ed25519)s",
    "one ssh-ed25519 AAA\n\xff\xfe\x00 binary\n|1|c2hvcnQ=|c2hvcnQ= %(rsa)s\none\n\n# comment\n[127.0.0.1]:%(port)d %(ed25519)s",
    "elsewhere %(other-ed25519)s\n127.0.0.1 %(ed25519)s",
]
REFUSED = [
    "",
    "elsewhere %(ed25519)s",
    "[127.0.0.1]:1 %(ed25519)s",
    "[127.0.0.1]:%(port)d %(other-ed25519)s",
    "127.0.0.1 %(other-ed25519)s",
    "[127.0.0.1]:%(port)d %(other-ed25519)s\n127.0.0.1 %(ed25519)s",  # a line with the port decides
    "!127.0.0.1,127.* %(ed25519)s",
    "127.*,!127.0.0.1 %(ed25519)s",
    "@revoked * %(ed25519)s\n[127.0.0.1]:%(port)d %(ed25519)s",
    "@cert-authority * %(ed25519)s",  # its plain key is none that an authority vouches for
    "[127.0.0.1]:%(port)d ssh-rsa %(ed25519)s",
    "[127.0.0.1] %(ed25519)s",
]


def written(known, text: str, keys, port: int):
    known.write_bytes((text % {"port": port, **{name: public(file) for name, file in keys.items()}}).encode("latin-1") + b"\n")
    return known


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_host_that_openssh_knows_is_known(server, keys, known, text):
    written(known, text, keys, server.port)
    assert openssh(server.port, known, keys["user"])
    assert connect(server.port, keys, known_hosts=str(known))


@pytest.mark.parametrize("text", REFUSED)
def test_a_host_that_openssh_refuses_is_refused(server, keys, known, text):
    written(known, text, keys, server.port)
    assert not openssh(server.port, known, keys["user"])
    refused(server.port, keys, known_hosts=str(known))


def test_any_listed_key_that_the_host_proves_is_right(server, keys, known):
    """OpenSSH gives up at the first type that differs, and prefers no type because of a line without the port."""
    written(known, "[127.0.0.1]:%(port)d %(other-ed25519)s\n[127.0.0.1]:%(port)d %(rsa)s", keys, server.port)
    assert connect(server.port, keys, known_hosts=str(known)) == "ssh-rsa"
    written(known, "127.0.0.1 %(ecdsa)s", keys, server.port)
    assert connect(server.port, keys, known_hosts=str(known)) == "ecdsa-sha2-nistp256"


def test_hashed_names_are_found(server, keys, known):
    written(known, "[127.0.0.1]:%(port)d %(ed25519)s\nelsewhere %(rsa)s", keys, server.port)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text() and openssh(server.port, known, keys["user"])
    assert connect(server.port, keys, known_hosts=str(known)) == "ssh-ed25519"


NAMES = ["web", "WEB.example.org", "10.0.0.1", "[web]:2222", "fe80::1"]
PATTERNS = [
    "web",
    "Web",
    "w*",
    "?eb",
    "*.example.org",
    "!web,*",
    "*,!w*",
    "10.0.0.?",
    "[web]:2222",
    "[*]:2222",
    "[w]eb",
    "w.b",
    "fe80::*",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_names_match_as_ssh_keygen_finds_them(keys, known, pattern):
    known.write_text(f"{pattern} {public(keys['ed25519'])}\n")
    (line,) = KnownHosts.read([known]).lines
    for name in NAMES:
        found = subprocess.run(["ssh-keygen", "-F", name, "-f", known], capture_output=True).returncode == 0
        assert line.is_for(name) == found, name


def test_a_pattern_of_many_asterisks_ends(keys, known):
    known.write_text(f"{'*a' * 40}b {public(keys['ed25519'])}\n")
    (line,) = KnownHosts.read([known]).lines
    assert not line.is_for("a" * 200)


def test_a_file_that_has_changed_is_read_again(server, keys, known):
    refused(server.port, keys, known_hosts=str(written(known, "", keys, 0)))
    assert connect(server.port, keys, known_hosts=str(written(known, "127.0.0.1 %(ed25519)s", keys, 0)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pinned_key_of_any_type_is_asked_for(server, keys, known, kind):
    before = server.connections
    name = connect(server.port, keys, fingerprint=fingerprint(keys[kind]))  # S16
    assert kind in name and server.connections - before <= len(KINDS)


def test_a_fingerprint_of_another_host_is_refused_with_all_keys_of_this_one(server, keys, known):
    before = server.connections
    message = refused(server.port, keys, fingerprint="SHA256:" + "A" * 43)
    assert all(fingerprint(keys[kind]) in message for kind in KINDS) and server.connections - before == len(KINDS)
    assert "ssh.fingerprint is SHA256:AAA" in message and "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in message


def test_a_changed_key_names_its_line(server, keys, known):
    message = refused(server.port, keys, known_hosts=str(written(known, "\n127.0.0.1 %(other-rsa)s", keys, 0)))
    assert "has changed: another machine may be answering" in message and f"{known}, line 2" in message


def test_a_key_of_another_type_is_unknown_not_changed(keys, known):
    with serving([keys["ecdsa"]], [keys["user"]]) as server:
        message = refused(server.port, keys, known_hosts=str(written(known, "127.0.0.1 %(ed25519)s", keys, 0)))
    assert "the host key is unknown" in message and "of other types: ssh-ed25519" in message
    assert fingerprint(keys["ecdsa"]) in message


def test_a_revoked_key_is_told_as_that(server, keys, known):
    written(known, "127.0.0.1 %(ed25519)s\n@revoked 127.* %(ed25519)s", keys, 0)
    message = refused(server.port, keys, known_hosts=str(known))
    assert "the host key is revoked" in message and f"{known}, line 2" in message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("one ssh-ed25519 AAA", "invalid base64"),
        ("one ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAA/IOarEmxF", "invalid key"),
        ("one ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOarEmxFbFIsYZQ9XOzF", "invalid key"),
        ("\xff\xfe\x00\x01 binary", "not a host"),
        ("@other * %(ed25519)s", "unknown marker"),
        ("|1|c2hvcnQ=|c2hvcnQ= %(ed25519)s", "invalid hashed name"),
        ("|1| %(ed25519)s", "invalid hashed name"),
        ("one ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA", "not of the type"),
        ("one", "not a host"),
        ("@revoked", "not a host"),
    ],
)
def test_a_line_that_cannot_be_parsed_is_skipped_and_named(server, keys, known, line, reason):
    written(known, f"# hosts\n\nelsewhere %(ed25519)s\n{line}", keys, 0)
    message = refused(server.port, keys, known_hosts=str(known))
    assert "the host key is unknown" in message and f"skipped: {known}, line 4: " in message and reason in message


@pytest.mark.parametrize(
    "line",
    ["", "# a comment", f"one {GONE}", f"one {SSH1}", "one sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t"],
)
def test_lines_without_a_usable_key_are_in_nobody_s_way(known, line):
    known.write_text(f"{line}\n")
    assert KnownHosts.read([known]) == KnownHosts((), ())


def test_what_is_no_readable_file_is_named(server, keys, known, monkeypatch):
    os.mkfifo(known)  # opening it would wait for ever
    assert f"skipped: {known}: not a regular file" in refused(server.port, keys, known_hosts=str(known))
    assert KnownHosts.read([known.with_name("missing")]) == KnownHosts((), ())


def test_a_file_that_may_not_be_read_is_named(server, keys, known, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    written(known, "127.0.0.1 %(ed25519)s", keys, 0)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)  # root may read everything
        (skipped,) = KnownHosts.read([known]).skipped
    assert skipped == f"{known}: Permission denied"


def test_paths_start_at_the_project_s_folder(server, keys, known, tmp_path, monkeypatch):
    for folder in ("parameters", "notebooks", "keys"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    written(tmp_path / "hosts", "127.0.0.1 %(ed25519)s", keys, 0)
    (tmp_path / "keys" / "site").write_bytes(keys["user"].read_bytes())
    with log_in(Hop("host one", "127.0.0.1", Ssh(port=server.port, key="keys/site", known_hosts="hosts"))) as transport:
        assert transport.is_authenticated()
    with pytest.raises(SiteError, match="invalid path"):
        log_in(Hop("host one", "127.0.0.1", Ssh(port=server.port, key="~nosuchuser/id", known_hosts="hosts")))


def test_check_notes_the_lines_that_it_skips(keys, known, monkeypatch):
    written(known, "one ssh-ed25519 AAA\ntwo %(ed25519)s", keys, 0)
    nodes = [{"name": "one", "address": "192.0.2.11", "role": "master", "ssh": {"known_hosts": str(known)}}]
    (note,) = [one for one in offline(Site.load({"name": "far", "nodes": nodes})) if one.check == "known-hosts"]
    assert f"{known}, line 1: invalid base64" in note.found and note.note and not note.failed
    nodes[0]["ssh"]["fingerprint"] = fingerprint(keys["rsa"])
    assert not [one for one in offline(Site.load({"name": "far", "nodes": nodes})) if one.check == "known-hosts"]


def test_the_system_wide_file_counts(server, keys, known, tmp_path, monkeypatch):
    system = written(tmp_path / "ssh_known_hosts", "127.0.0.1 %(ed25519)s", keys, 0)
    monkeypatch.setattr(known_hosts, "SYSTEM_FILES", (system,))
    monkeypatch.setattr(known_hosts, "USER_FILES", (str(known),))
    assert connect(server.port, keys) == "ssh-ed25519"  # S20
    written(known, "@revoked * %(ed25519)s", keys, 0)
    assert "revoked" in refused(server.port, keys)


def certificate(keys, kind: str, names: str, authority: str = "authority", *options: str) -> str:
    """The line of sshd_config for a certificate of a host key, made by ssh-keygen."""
    call = ["ssh-keygen", "-q", "-s", keys[authority], "-I", "host", *(options or ("-h",)), "-n", names, f"{keys[kind]}.pub"]
    subprocess.run(call, check=True)
    return f"HostCertificate {keys[kind]}-cert.pub"


CA = "@cert-authority 127.0.0.* %(authority)s\n"


def test_a_host_certificate_is_verified_by_openssh_s_server(keys, known, tmp_path):
    written(known, CA, keys, 0)
    with sshd(tmp_path, [keys["ed25519"]], keys["user"], certificate(keys, "ed25519", "web,127.0.0.1")) as port:
        assert openssh(port, known, keys["user"]) and connect(port, keys, known_hosts=str(known)) == "ssh-ed25519"
        written(known, CA + "@revoked * %(authority)s", keys, 0)
        assert not openssh(port, known, keys["user"]) and "revoked" in refused(port, keys, known_hosts=str(known))
        written(known, "@cert-authority * %(other-authority)s", keys, 0)
        assert not openssh(port, known, keys["user"])
        assert "signed by an unknown authority" in refused(port, keys, known_hosts=str(known))
        written(known, "@cert-authority * %(other-authority)s\n127.0.0.1 %(ed25519)s", keys, 0)
        assert connect(port, keys, known_hosts=str(known))  # its plain key is listed


@pytest.mark.parametrize(
    ("names", "options", "reason"),
    [
        ("web", ["-h"], "it is for web"),
        ("127.0.0.1", ["-h", "-V", "-2d:-1d"], "it is not valid now"),
        ("127.0.0.1", ["-V", "+1d"], "it is no host certificate"),
    ],
)
def test_a_host_certificate_that_openssh_refuses_is_refused(keys, known, tmp_path, names, options, reason):
    line = certificate(keys, "ecdsa", names, "authority", *options)
    written(known, CA, keys, 0)
    with sshd(tmp_path, [keys["ecdsa"]], keys["user"], line) as port:
        assert not openssh(port, known, keys["user"])
        assert reason in refused(port, keys, known_hosts=str(known))


def test_a_host_without_a_certificate_is_told_that_known_hosts_has_only_an_authority(server, keys, known):
    message = refused(server.port, keys, known_hosts=str(written(known, CA, keys, 0)))
    assert "no certificate of its certificate authority" in message and "ssh-keygen -h -s" in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_pinned_key_of_openssh_s_server_is_asked_for(keys, known, tmp_path, kind):
    with sshd(tmp_path, [keys[name] for name in KINDS], keys["user"]) as port:
        assert kind in connect(port, keys, fingerprint=fingerprint(keys[kind]))
