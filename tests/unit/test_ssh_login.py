"""SSH connections to servers on loopback: algorithms, keys of the user, jump hosts; each failure has its own message."""

import os
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from airavata_runbook.checks import preflight
from airavata_runbook.errors import HostKeyRefused, HostUnreachable
from airavata_runbook.hosts import client, host, known_hosts, user_keys
from airavata_runbook.hosts.client import log_in
from airavata_runbook.hosts.connection import Connection
from airavata_runbook.hosts.hop import Hop
from airavata_runbook.hosts.ssh_transport import CIPHERS, KEX, KEYS, MACS
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node, Ssh
from tests.unit.ssh_servers import Server, accepting, fingerprint, keygen, public, serving, sshd

PASSPHRASE = "canary passphrase 7c21"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    made = {name: keygen(folder / name) for name in ("host", "user", "bastion", "stranger")}
    made |= {"locked": keygen(folder / "locked", passphrase=PASSPHRASE)}
    made |= {"locked-pem": keygen(folder / "locked-pem", "rsa", PASSPHRASE, form="PEM")}
    made |= {"locked-pkcs8": keygen(folder / "locked-pkcs8", "ecdsa", PASSPHRASE, form="PKCS8")}
    return made | {"pem": keygen(folder / "pem", "rsa", form="PEM"), "pkcs8": keygen(folder / "pkcs8", "ecdsa", form="PKCS8")}


@pytest.fixture(scope="module")
def running(keys):
    with serving([keys["host"]], list(keys.values())) as server:
        yield server


@pytest.fixture
def server(running):
    """The server, as at its start."""
    running.delay, running.greeting, running.more, running.allowed, running.options = 0.0, 0.0, False, "publickey", {}
    return running


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user without keys, agent and known hosts."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(known_hosts, "SYSTEM_FILES", ())
    user_keys._passphrase.cache_clear()
    return tmp_path / "home"


def connect(server: Server, **ssh) -> str:
    """The algorithms of a login, which succeeded."""
    settings = {"port": server.port, "fingerprint": fingerprint(server.keys[0])} | {
        name: str(value) if isinstance(value, Path) else value for name, value in ssh.items()
    }
    with log_in(Hop("host one", "127.0.0.1", Ssh(**settings))) as transport:
        assert transport.is_authenticated()
        return transport.negotiated


def refused(server: Server, error: type[HostUnreachable] = HostUnreachable, **ssh) -> str:
    with pytest.raises(error) as raised:
        connect(server, **ssh)
    assert raised.value.remedy and PASSPHRASE not in str(raised.value) and "host one, " in raised.value.where
    return str(raised.value)


@contextmanager
def agent(monkeypatch, tmp_path, *files: Path):
    """An SSH agent of OpenSSH with these keys; encrypted ones are unlocked."""
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    ask.chmod(0o700)
    socket = f"/tmp/agent-{os.getpid()}"  # a longer path than pytest's folder would not fit sun_path
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        for _ in range(100):
            if subprocess.run(["ssh-add", "-l"], capture_output=True).returncode != 2:
                break
        asking = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        for file in files:
            subprocess.run(["ssh-add", "-q", file], env=asking, check=True, stdin=subprocess.DEVNULL)
        yield
    finally:
        process.terminate()
        process.wait(10)


# Algorithms


def test_algorithms_are_those_of_today():
    offered = " ".join((*KEX, *CIPHERS, *MACS, *KEYS))
    for outdated in ("cbc", "3des", "arcfour", "md5", "sha1 ", "-96", "umac-64", "group1-", "exchange", "ssh-rsa", "ssh-dss"):
        assert outdated not in offered, outdated


@pytest.mark.parametrize(
    ("options", "kind", "theirs"),
    [
        ({"ciphers": ("aes128-cbc", "3des-cbc")}, "cipher", "aes128-cbc, 3des-cbc"),
        ({"digests": ("hmac-sha1", "hmac-md5"), "ciphers": ("aes128-ctr",)}, "MAC", "hmac-sha1, hmac-md5"),
        ({"kex": ("diffie-hellman-group-exchange-sha256",)}, "key exchange", "diffie-hellman-group-exchange-sha256"),
    ],
)
def test_outdated_algorithms_are_refused_unless_the_host_is_legacy(server, keys, options, kind, theirs):
    server.options = options
    message = refused(server, key=keys["user"])
    assert "no SSH algorithm in common" in message and "ssh.legacy: true" in message
    assert f"{kind}: the host offers {theirs}; the runbook offers " in message
    assert kind == "key exchange" or theirs.split(", ")[0] in connect(server, key=keys["user"], legacy=True)


def test_openssh_s_server_with_outdated_algorithms_is_refused_unless_it_is_legacy(keys, tmp_path):
    with sshd(tmp_path, [keys["host"]], keys["user"], "Ciphers aes256-cbc", "MACs hmac-sha1") as port:
        server = Server([keys["host"]], port=port)
        message = refused(server, key=keys["user"])
        assert "cipher: the host offers aes256-cbc;" in message and "MAC: the host offers hmac-sha1;" in message
        assert connect(server, key=keys["user"], legacy=True).endswith("cipher aes256-cbc, MAC hmac-sha1")


def test_openssh_s_server_of_today_is_reached_with_its_best(keys, tmp_path):
    with sshd(tmp_path, [keys["host"]], keys["user"], "KexAlgorithms curve25519-sha256") as port:
        negotiated = connect(Server([keys["host"]], port=port), key=keys["user"])
    assert negotiated == "key exchange curve25519-sha256, host key ssh-ed25519 (256 bits), cipher aes128-gcm@openssh.com"


def test_short_rsa_keys_of_host_and_user_are_refused_unless_it_is_legacy(keys, tmp_path):
    short = keygen(tmp_path / "short", "rsa", bits=1024)
    with serving([short], [short, keys["user"]]) as server:
        message = refused(server, HostKeyRefused, key=keys["user"])
        assert "the host key is too short" in message and "1024 bits" in message
        assert "rsa-sha2-512 (1024 bits)" in connect(server, key=keys["user"], legacy=True)
        assert connect(server, key=short, legacy=True)
    with serving([keys["host"]], [short]) as server:
        assert "the private key is too short" in refused(server, key=short)


def test_check_notes_the_algorithms_of_a_legacy_host(keys, monkeypatch):
    node = {"name": "one", "address": "192.0.2.11", "role": "master"}
    with serving([keys["host"]], [keys["user"]], options={"ciphers": ("aes256-cbc",)}) as server:
        ssh = {"host": "127.0.0.1", "port": server.port, "key": str(keys["user"]), "fingerprint": fingerprint(keys["host"])}
        site = Site.load({"name": "old", "nodes": [{**node, "ssh": {**ssh, "legacy": True}}]})
        hosts = preflight.session_of(site).hosts
        (finding,) = preflight._connections(hosts.values())
        assert (finding.check, finding.host) == ("ssh-algorithms", "one") and "cipher aes256-cbc" in finding.found
        assert finding.note and not finding.failed and "  (note)" in preflight.format_findings([finding])
        preflight.session_of(site).close()


# Keys of the user


@pytest.mark.parametrize("name", ["user", "pem", "pkcs8"])
def test_a_key_in_any_format_of_ssh_keygen_works(server, keys, name):
    assert connect(server, key=keys[name])


@pytest.mark.parametrize("name", ["locked", "locked-pem", "locked-pkcs8"])
def test_an_encrypted_key_is_used_from_the_agent_or_with_its_passphrase(server, keys, tmp_path, monkeypatch, name):
    message = refused(server, key=keys[name])
    assert "the private key is encrypted" in message, message
    assert f"ssh-add {keys[name]}" in message and "ssh.passphrase" in message
    monkeypatch.setenv("KEY_PASSPHRASE", PASSPHRASE)
    assert connect(server, key=keys[name], passphrase="env:KEY_PASSPHRASE")  # K04
    with agent(monkeypatch, tmp_path, keys["stranger"], keys[name]):
        assert connect(server, key=keys[name])  # A03
        server.users, users = [public(keys[name])], server.users  # the stranger's is not even tried
        assert connect(server, key=keys[name], passphrase="env:NOT_SET")
        server.users = users


def test_a_wrong_passphrase_is_told_as_that_and_read_only_once(server, keys, monkeypatch):
    monkeypatch.setenv("KEY_PASSPHRASE", "wrong")
    message = refused(server, key=keys["locked"], passphrase="env:KEY_PASSPHRASE")
    assert "the passphrase of the private key is wrong" in message and "env:KEY_PASSPHRASE" in message
    monkeypatch.delenv("KEY_PASSPHRASE")
    refused(server, key=keys["locked"], passphrase="env:KEY_PASSPHRASE")
    user_keys._passphrase.cache_clear()
    message = refused(server, key=keys["locked"], passphrase="env:KEY_PASSPHRASE")
    assert "is not available" in message and "environment variable is not set" in message and "export KEY_PASSPHRASE" in message


def content(name: str, keys) -> bytes:
    """A file that is no private key, as other programs write it."""
    return {
        "empty": b"",
        "blank": b"\n \n",
        "public": Path(f"{keys['user']}.pub").read_bytes(),
        "ppk": b"PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\n",
        "ssh2": b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nAAAA\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\n",
        "certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "text": b"this is no key",
        "truncated": keys["user"].read_bytes()[:200],
        "binary": bytes(range(256)),
        "utf-16": keys["user"].read_text().encode("utf-16"),
        "large": b"x" * (1 << 20),
        "dsa": b"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n",
    }[name]


@pytest.mark.parametrize(
    ("name", "file", "message", "remedy"),
    [
        ("empty", "id", "the private key file is empty", "copy the key again"),
        ("blank", "id", "the private key file is empty", "copy the key again"),
        ("public", "id_work.pub", "ssh.key names a public key", "id_work"),
        ("public", "id", "ssh.key names a public key", "the file without .pub"),
        ("ppk", "id.ppk", "the private key is in PuTTY's format", "puttygen"),
        ("ssh2", "id", "the private key is in ssh.com's format", "ssh-keygen -i -f"),
        ("certificate", "id", "ssh.key names a certificate", "an SSH private key"),
        ("text", "id", "the private key file is invalid", "correct ssh.key"),
        ("truncated", "id", "the private key file is invalid", "correct ssh.key"),
        ("binary", "id", "the private key file is invalid", "correct ssh.key"),
        ("utf-16", "id", "the private key file is UTF-16 text", "save it as ASCII"),
        ("large", "id", "the private key file is invalid", "correct ssh.key"),
        ("dsa", "id", "the private key file is invalid", "correct ssh.key"),
    ],
)
def test_a_file_that_is_no_private_key_has_its_own_message(server, keys, tmp_path, name, file, message, remedy):
    path = tmp_path / file
    path.write_bytes(content(name, keys))
    told = refused(server, key=path)
    assert told.startswith(message + "\n") and str(path) in told and remedy in told.partition("remedy:")[2]
    site = {"name": "far", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}], "ssh": {"key": str(path)}}
    findings = [one.found for one in preflight.offline(Site.load(site)) if one.check == "sources"]
    assert any("ssh.key" in found and message in found for found in findings), findings


def test_the_command_for_putty_s_format_names_the_files(server, keys, tmp_path):
    (tmp_path / "id.ppk").write_bytes(content("ppk", keys))
    assert f"puttygen {tmp_path}/id.ppk -O private-openssh -o {tmp_path}/id`" in refused(server, key=tmp_path / "id.ppk")


def test_missing_unreadable_and_special_files_are_told_as_that(server, keys, tmp_path, monkeypatch):
    assert "the private key file is missing" in refused(server, key=tmp_path / "nowhere")
    assert "not a regular file" in refused(server, key=tmp_path)
    os.mkfifo(tmp_path / "fifo")  # opening it would wait for ever
    assert "not a regular file" in refused(server, key=tmp_path / "fifo")

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)  # root may read everything
    message = refused(server, key=keys["user"])
    assert "the private key file is unreadable" in message and "Permission denied" in message


def test_without_ssh_key_the_agent_and_the_usual_files_are_tried(server, keys, home, tmp_path, monkeypatch):
    message = refused(server)  # A05
    assert "there is no usable private key on this machine" in message and "no key in ~/.ssh" in message
    (home / ".ssh" / "id_rsa").write_bytes(b"")
    (home / ".ssh" / "id_ed25519").write_bytes(keys["locked"].read_bytes())
    message = refused(server)
    assert "is empty" in message and "the private key is encrypted" in message
    (home / ".ssh" / "id_rsa").write_bytes(keys["pem"].read_bytes())
    assert connect(server)
    (home / ".ssh" / "id_rsa").unlink()
    with agent(monkeypatch, tmp_path, keys["user"]):
        assert connect(server)


def test_a_public_key_file_stands_for_the_key_in_the_agent(server, keys, tmp_path, monkeypatch):
    with agent(monkeypatch, tmp_path, keys["stranger"], keys["user"]):
        assert connect(server, key=f"{keys['user']}.pub")  # as IdentityFile does


def test_an_agent_that_does_not_work_is_in_nobody_s_way(server, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nowhere"))
    assert connect(server, key=keys["user"])
    with socket.create_server(str(tmp_path / "a"), family=socket.AF_UNIX) as listener:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "a"))
        with accepting(listener, lambda: listener.accept()[0].close()):
            assert connect(server, key=keys["user"])


def test_a_certificate_beside_the_key_is_presented(keys, tmp_path):
    user, authority = keygen(tmp_path / "user"), keygen(tmp_path / "authority")
    subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "me", "-n", "root", f"{user}.pub"], check=True)
    lines = [f"TrustedUserCAKeys {authority}.pub"]
    with sshd(tmp_path, [keys["host"]], keys["user"], *lines) as port:
        assert connect(Server([keys["host"]], port=port), key=user)


def test_a_user_who_is_not_let_in_is_told_which_keys_were_refused(keys):
    with serving([keys["host"]], []) as server:
        message = refused(server, key=keys["user"], user=r"DOM\user")
    assert "the host refused the login" in message and fingerprint(keys["user"]) in message and r"DOM\user@127.0.0.1" in message


def test_a_host_without_logins_by_key_is_told_as_that(server, keys):
    server.allowed = "password,keyboard-interactive"
    message = refused(server, key=keys["user"])
    assert "the host accepts no public keys" in message and "it allows password, keyboard-interactive" in message


def test_a_second_factor_is_told_as_that(server, keys):
    server.more = True
    message = refused(server, key=keys["user"])
    assert "the host wants more than a key" in message and "keyboard-interactive" in message


def test_too_many_keys_in_the_agent_are_told_as_that(keys, tmp_path, monkeypatch):
    many = [keygen(tmp_path / f"key{number}") for number in range(4)]
    running = sshd(tmp_path, [keys["host"]], keys["user"], "MaxAuthTries 3")
    with running as port, agent(monkeypatch, tmp_path, *many, keys["user"]):
        server = Server([keys["host"]], port=port)
        message = refused(server)
        assert "closed the connection during the login" in message and "set ssh.key" in message
        assert connect(server, key=keys["user"])


# Slow and silent servers


def test_a_slow_login_works(server, keys, monkeypatch):
    assert client.LOGIN_TIMEOUT == host.CONNECT_TIMEOUT == 60
    monkeypatch.setattr(client, "TCP_TIMEOUT", 0.5)
    server.greeting, server.delay = 1.0, 1.0
    assert connect(server, key=keys["user"])


@pytest.mark.parametrize(("slow", "what"), [("greeting", "no greeting of sshd"), ("delay", "no answer to the login")])
def test_a_login_that_is_too_slow_is_told_as_that(server, keys, monkeypatch, slow, what):
    monkeypatch.setattr(client, "LOGIN_TIMEOUT", 1.0)
    setattr(server, slow, 3.0)
    message = refused(server, key=keys["user"])
    assert "the host answers too slowly" in message and f"{what} within 1 s" in message and "UseDNS no" in message


def test_a_port_without_a_server_does_not_answer(keys):
    assert "the host does not answer" in refused(Server([keys["host"]], port=1), key=keys["user"])


@pytest.mark.parametrize(
    ("greeting", "message"),
    [
        (b"", "no SSH server answers at that port"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no SSH server answers at that port"),
        (b"Exceeded MaxStartups\r\n", "no SSH server answers at that port"),
        (b"x" * 100_000, "no SSH server answers at that port"),
        (b"SSH-2.0-old\r\n", "sshd refused the connection"),
        (b"SSH-1.5-old\r\n", "sshd refused the connection"),
        (b"SSH-2.0-odd\r\n" + bytes(range(256)) * 64, "sshd refused the connection"),
    ],
)
def test_a_port_with_another_server_is_told_as_that(keys, greeting, message):
    def answer(listener: socket.socket) -> None:
        with listener.accept()[0] as connection, suppress(OSError):
            connection.sendall(greeting)
            connection.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as listener, accepting(listener, lambda: answer(listener)):
        told = refused(Server([keys["host"]], port=listener.getsockname()[1]), key=keys["user"])
    assert told.startswith(message) and "MaxStartups" in told and len(told) < 1000


# Jump hosts


@pytest.fixture
def bastion(keys):
    with serving([keys["bastion"]], [keys["user"]]) as server:
        yield server


def through(server: Server, bastion: Server, keys, **ssh) -> Connection:
    jump = f"me@127.0.0.1:{bastion.port}"
    settings = {"host": "127.0.0.1", "port": server.port, "key": str(keys["user"]), "jump": jump, **ssh}
    return Connection("one", Node(name="one", address="192.0.2.11", ssh=Ssh(**settings)))


def test_a_jump_host_is_pinned_like_a_host(server, bastion, keys):
    pinned = {"fingerprint": fingerprint(keys["host"]), "jump_fingerprint": fingerprint(keys["bastion"])}
    through(server, bastion, keys, **pinned).close()
    assert bastion.logins == ["me"]
    with pytest.raises(HostKeyRefused, match=r"ssh.jump_fingerprint is SHA256:") as wrong:
        through(server, bastion, keys, **{**pinned, "jump_fingerprint": pinned["fingerprint"]})
    assert "jump host 127.0.0.1, me@127.0.0.1" in wrong.value.where and bastion.logins == ["me"]


def test_the_remedy_for_an_unknown_key_of_a_jump_host_reaches_it(server, bastion, keys, tmp_path):
    known = tmp_path / "known_hosts"
    settings = {"fingerprint": fingerprint(keys["host"]), "known_hosts": str(known)}
    with pytest.raises(HostKeyRefused, match="the host key is unknown") as unknown:  # J01
        through(server, bastion, keys, **settings)
    assert "set ssh.jump_fingerprint" in unknown.value.remedy and "jump host" in unknown.value.where
    command = unknown.value.remedy.partition("`")[2].partition("`")[0]
    assert command == f"ssh -oUserKnownHostsFile={known} -p {bastion.port} me@127.0.0.1"
    options = ["-oStrictHostKeyChecking=accept-new", "-oBatchMode=yes", "-Fnone", "-i", str(keys["user"])]
    subprocess.run([*command.split(), *options, "true"], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    through(server, bastion, keys, **settings).close()


def test_the_remedy_for_an_unknown_key_behind_a_jump_host_goes_through_it(server, bastion, keys, tmp_path):
    with pytest.raises(HostKeyRefused, match="the host key is unknown") as unknown:
        through(server, bastion, keys, jump_fingerprint=fingerprint(keys["bastion"]))
    assert f"-J me@127.0.0.1:{bastion.port} root@127.0.0.1`" in unknown.value.remedy and "ssh.fingerprint" in unknown.value.remedy


def test_a_host_behind_a_jump_host_is_asked_for_other_types_of_key(bastion, keys, tmp_path):
    rsa = keygen(tmp_path / "rsa", "rsa")
    with serving([keys["host"], rsa], [keys["user"]]) as server:
        through(server, bastion, keys, fingerprint=fingerprint(rsa), jump_fingerprint=fingerprint(keys["bastion"])).close()


def test_a_host_that_the_jump_host_does_not_reach_is_told_as_that(bastion, keys):
    nowhere = Server([keys["host"]], port=1)
    with pytest.raises(HostUnreachable, match="the jump host cannot reach the host") as failed:
        through(nowhere, bastion, keys, jump_fingerprint=fingerprint(keys["bastion"]))
    assert f"me@127.0.0.1:{bastion.port}" in failed.value.where
