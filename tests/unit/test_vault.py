"""What of the master's keys and secrets this machine remembers, and for how long."""

import base64
import http.server
import os
import shlex
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import kernel_env, wellknown
from airavata_runbook.chapters import airavata
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster import kube, session
from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine import step
from airavata_runbook.engine.target import Target
from airavata_runbook.errors import NotYet, SiteError, StepFailed
from airavata_runbook.hosts import vault
from airavata_runbook.hosts.host import Result
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Pair, Subject
from airavata_runbook.resources import KubeObject
from airavata_runbook.resources.kube_object import secret_manifest
from airavata_runbook.site import Site
from airavata_runbook.stacks import secrets_of
from tests.unit.sessions import FakeHost, open_session


class Master(FakeHost):
    """Stands in for the master: files by path, and a command that reads one of them."""

    name = "one"

    def __init__(self, site: Site):
        self.node, self.files = site.master, {}
        self.trips = 0

    def run_batch(self, fragments) -> dict[str, Result]:
        self.trips += 1
        return {name: self.run(script) for name, script in fragments.items()}

    def run(self, script: str, **_) -> Result:
        content = self.files.get(script.removeprefix("cat "))
        return Result(b"", 1, b"No such file") if content is None else Result(content)


@pytest.fixture
def site(monkeypatch):
    loaded = Site.load({"name": "vaulted", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}]})
    open_session(monkeypatch, loaded, {"one": Master(loaded)})
    monkeypatch.setenv(kernel_env.LOCK_HELD, "1")
    return loaded


@pytest.fixture
def master(site):
    return session_of(site).master


def test_a_secret_of_any_content_is_read_as_it_is(site, tmp_path):
    keystore = tmp_path / "keystore"
    keystore.write_bytes(b"\xef\xbb\xbf\x00\xff\xfe\n\n")
    keystore.chmod(0o600)
    read = session_of(site).vault.content
    assert read(f"file:{keystore}") == b"\xef\xbb\xbf\x00\xff\xfe\n\n"
    keystore.write_bytes(b"")
    with pytest.raises(SiteError, match="a secret is empty"):
        read(f"file:{keystore}")
    keystore.write_bytes(bytes(vault.LARGEST + 1))
    with pytest.raises(SiteError, match="which a Secret cannot hold"):
        read(f"file:{keystore}")


def test_a_keystore_of_any_content_is_in_a_secret_of_its_own(monkeypatch, tmp_path, site, master):
    for name, content in (
        ("keystore", b"\xfe\xed\xfe\xed\x00\x02"),
        ("properties", b"credential.store.keystore.alias=airavata\n"),
    ):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    own = Site.load(
        site,
        {
            "airavata.images": {"credential-store": {"pull": f"registry.example/credential-store@sha256:{'a' * 64}"}},
            "airavata.secrets": {
                "credential-store-keystore": f"file:{tmp_path}/keystore",
                "airavata-server": f"file:{tmp_path}/properties",
            },
        },
    )
    vaulted = open_session(monkeypatch, own, {"one": master})
    monkeypatch.setattr(airavata, "pull_secret", lambda _, namespace: KubeObject(secret_manifest("registry", namespace, {})))
    pair, stack = pki.new_ca("services"), stack_of(own)
    for keys in stack.secrets.values():
        master.files |= {f"{wellknown.SECRETS}/{one.partition(':')[2]}": b"generated" for one in keys.values()}
    for stem in (f"{wellknown.PKI}/{wellknown.SERVICES_CA}", *(f"{airavata.SERVICES}/{name}" for name in stack.certificates)):
        master.files |= {f"{stem}.crt": pair.cert, f"{stem}.key": pair.key}
    master.files = {shlex.quote(path): content for path, content in master.files.items()}
    sent = {one.manifest["metadata"]["name"]: one.manifest for one in airavata.namespace.resources(Target(vaulted, master))}
    assert base64.b64decode(sent["credential-store"]["data"]["keystore"]) == (tmp_path / "keystore").read_bytes()


def give(master: Master, stack, pair: Pair, password: str) -> None:
    """Have all secrets and certificates of a stack on the master."""
    names = [one.partition(":")[2] for keys in stack.secrets.values() for one in keys.values()]
    files = {f"{wellknown.SECRETS}/{name}": f"{name}-{password}".encode() for name in names}
    for stem in (f"{wellknown.PKI}/{wellknown.SERVICES_CA}", *(f"{airavata.SERVICES}/{name}" for name in stack.certificates)):
        files |= {f"{stem}.crt": pair.cert, f"{stem}.key": pair.key}
    master.files = {shlex.quote(path): content for path, content in files.items()}


def test_settings_have_the_passwords_of_their_moment_and_their_pods_are_replaced_with_them(monkeypatch, site, master):
    lab = Site.load("lab")
    vaulted = open_session(monkeypatch, lab, {node.name: master for node in lab.nodes})
    monkeypatch.setattr(airavata, "pull_secret", lambda _, namespace: KubeObject(secret_manifest("registry", namespace, {})))
    pair, stack, target = pki.new_ca("services"), stack_of(lab), Target(vaulted, master)

    workloads = {one["metadata"]["name"]: one for part in stack.components for one in part.objects if secrets_of(one)}

    def sent(password: str) -> tuple[str, dict[str, dict]]:
        """The file of settings, and the workloads as they are sent."""
        give(master, stack, pair, password)
        vaulted.vault.forget()
        data = airavata._secret_data(target, stack)
        made = {name: airavata._stamped(one, data, vaulted.vault) for name, one in workloads.items()}
        return data["airavata-server"]["airavata-server.properties"].decode(), made

    first, before = sent("one")
    second, after = sent("two")
    assert "amqps://airavata:rabbitmq-airavata-one@rabbitmq:5671/messaging" in first
    assert "credential.store.jdbc.password=mariadb-airavata-two" in second and "-one" not in second
    replaced = {name for name in workloads if before[name] != after[name]}
    assert {"gfac", "orchestrator", "registry-server", "api-server", "mariadb"} <= replaced and before == sent("one")[1]


def test_a_rollback_sends_the_secrets_that_the_pods_of_the_servers_are_stamped_with_and_no_others(monkeypatch, site, master):
    """Else a Secret that changed since the last run would be sent by the next one, to pods that have its stamp already."""
    lab = Site.load("lab")
    vaulted = open_session(monkeypatch, lab, {node.name: master for node in lab.nodes})
    monkeypatch.setattr(airavata, "references", lambda session: None)
    give(master, stack_of(lab), pki.new_ca("services"), "one")
    target, there = Target(vaulted, master), set()
    stamped = set(airavata._secret_data(target, stack_of(lab)))
    for one in airavata.earlier_servers.resources(target):
        manifest = one.manifest if isinstance(one, KubeObject) else {"kind": "", "metadata": {"name": ""}}
        there |= {manifest["metadata"]["name"]} if manifest["kind"] == "Secret" else set()
        assert secrets_of(manifest) & stamped <= there, manifest["metadata"]["name"]
    assert "airavata-server" in there and not {"mariadb", "rabbitmq", "zookeeper-tls"} & there


def test_a_step_finds_what_a_reset_and_a_run_from_elsewhere_have_made_anew(site, master):
    seen = []

    @step.step("Reads")
    def reads(target):
        seen.append((target.vault.secret("generated:password"), target.vault.authority().cert))
        return ()

    master.files = {
        f"{wellknown.SECRETS}/password": b"first\n",
        f"{wellknown.PKI}/ca.crt": b"old",
        f"{wellknown.PKI}/ca.key": b"old key",
    }
    reads(site)
    master.files = {
        f"{wellknown.SECRETS}/password": b"second\n",
        f"{wellknown.PKI}/ca.crt": b"new",
        f"{wellknown.PKI}/ca.key": b"new key",
    }
    reads(site)
    assert seen == [("first", b"old"), ("second", b"new")]


def test_a_secret_is_masked_in_every_form_and_after_the_step_that_read_it(site, master):
    key = pki.new_ca("Test CA").key
    master.files = {
        f"{wellknown.SECRETS}/password": b'it is "s3cret" / 100 %\n',
        f"{wellknown.PKI}/ca.crt": b"a certificate",
        f"{wellknown.PKI}/ca.key": key,
    }
    ours = session_of(site).vault
    ours.secret("generated:password")
    ours.authority()
    ours.forget()
    for form in ('it is "s3cret" / 100 %', 'it is \\"s3cret\\" / 100 %', "it%20is%20%22s3cret%22%20%2F%20100%20%25"):
        assert ours.mask(f"no login with {form}.") == "no login with (a secret)."
    indented = "\n".join(f"    {line}" for line in key.decode().splitlines())
    assert not any(line in ours.mask(indented) for line in key.decode().splitlines()[1:-1])


def test_a_pair_is_read_in_one_round_trip_once(master):
    ours = vault.Vault(master)
    master.files = {f"{wellknown.PKI}/{name}.{end}": name.encode() for name in ("ca", "admin") for end in ("crt", "key")}
    ours.fetch([f"{wellknown.PKI}/ca", f"{wellknown.PKI}/admin"])
    assert (ours.authority(), ours.admin(), master.trips) == (Pair(b"ca", b"ca"), Pair(b"admin", b"admin"), 1)
    ours.forget()
    assert (ours.authority(), ours.authority(), master.trips) == (Pair(b"ca", b"ca"), Pair(b"ca", b"ca"), 2)


def test_half_a_pair_is_not_remembered(master):
    """The step that completes it makes both files anew."""
    ours, stem = vault.Vault(master), f"{wellknown.PKI}/ca"
    master.files = {f"{stem}.key": b"old"}
    with pytest.raises(NotYet):
        ours.authority()
    master.files = {f"{stem}.key": b"new", f"{stem}.crt": b"new"}
    assert ours.authority() == Pair(b"new", b"new")


def test_a_value_that_is_part_of_many_words_masks_none(site, monkeypatch):
    monkeypatch.setenv("SHORT", "1")
    ours = session_of(site).vault
    ours.secret("env:SHORT")
    assert ours.mask("1 of 10 items") == "1 of 10 items"


def test_the_user_is_asked_once_by_hosts_that_want_the_answer_at_the_same_time(site, monkeypatch):
    asked = []

    def slowly(name: str) -> bytes:
        asked.append(name)
        time.sleep(0.2)
        return f"answer {len(asked)}".encode()

    monkeypatch.setattr(vault, "_from_prompt", slowly)
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(session_of(site).vault.secret("prompt:registry"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["registry"] and answers == ["answer 1"] * 4


def test_threads_that_want_the_same_file_of_the_master_read_it_once(site, master, monkeypatch):
    """An SSH server takes few commands at a time on one connection."""
    trips = []
    run = master.run

    def slowly(script: str, **_) -> Result:
        trips.append(script)
        time.sleep(0.05)
        return run(script)

    monkeypatch.setattr(master, "run", slowly)
    master.files = {f"{wellknown.SECRETS}/password": b"word\n"}
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: session_of(site).vault.secret("generated:password"), range(8))) == {"word"}
    assert len(trips) == 1


@contextmanager
def api_server(folder: Path, authority: Pair):
    """The port of a TLS server on loopback that wants a client of the authority; it answers with the client's name."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = dict(pair[0] for pair in self.connection.getpeercert()["subject"])["commonName"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name)

        def log_message(self, *_):
            pass

    server = pki.issue(authority, Subject("server", ips=("127.0.0.1",), usages=("server",)))
    (folder / "server.pem").write_bytes(server.cert + server.key)
    (folder / "ca.pem").write_bytes(authority.cert)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "server.pem")
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield listener.server_port
    finally:
        listener.shutdown()
        listener.server_close()


def test_the_client_of_the_api_shows_the_admins_certificate_and_leaves_its_key_in_no_file(tmp_path, monkeypatch):
    (tmp_path / "files").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    authority = pki.new_ca("Test CA")
    admin = pki.issue(authority, Subject("admin", usages=("client",)))
    with api_server(tmp_path / "files", authority) as port:
        api = kube.Kube(port, authority.cert, admin, "one").api
        for _ in range(2):
            said = api.call_api("GET", f"https://127.0.0.1:{port}/version").read()
            assert said == b"admin"
        left = [path for folder in ("state", "tmp") for path in (tmp_path / folder).rglob("*") if path.is_file()]
        assert left == [], "a kernel that is killed would leave them for good"
        import urllib3

        with pytest.raises(urllib3.exceptions.MaxRetryError):
            other = kube.Kube(port, pki.new_ca("Another").cert, admin, "one")
            other.api.call_api("GET", f"https://127.0.0.1:{port}/version")


def test_a_cluster_that_was_made_anew_gets_another_client(site, master, monkeypatch):
    authority, made = pki.new_ca("Test CA"), []
    master.forward = lambda port: 6443

    def client(port, authority, admin, master):
        made.append(admin.cert)
        return SimpleNamespace(port=port, admin=admin)

    monkeypatch.setattr(session, "Kube", client)

    @step.step("Asks the API")
    def asks(target):
        target.session.kube(), target.session.kube()
        return ()

    pairs = [pki.issue(authority, Subject("admin", usages=("client",))) for _ in range(2)]
    for pair in (pairs[0], pairs[0], pairs[1]):
        master.files = {
            f"{wellknown.PKI}/{name}.{end}": content
            for name, one in (("ca", authority), ("admin", pair))
            for end, content in (("crt", one.cert), ("key", one.key))
        }
        asks(site)
    assert made == [pairs[0].cert, pairs[1].cert]


def test_a_keyring_that_does_not_answer_is_told(site, monkeypatch):
    class KeyringError(Exception):
        pass

    def locked(*_):
        raise KeyringError("the collection is locked")

    errors = SimpleNamespace(KeyringError=KeyringError)  # stands in for the keyring package, which need not be installed
    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=locked, errors=errors))
    with pytest.raises(StepFailed, match="(?s)the keyring is not available.*the collection is locked.*unlock it"):
        session_of(site).vault.secret("keyring:registry")


REFUSED = (SiteError, StepFailed)  # StepFailed: of a generated one, on the master


@pytest.fixture(params=["env", "file", "keyring", "prompt", "generated"])
def secret_of(request, site, master, monkeypatch, tmp_path):
    """What a step reads where an environment variable, a file, the keyring, a prompt or the master has these bytes."""

    def of(content: bytes) -> str:
        if request.param == "env":
            monkeypatch.setitem(os.environb, b"GIVEN", content)
            return session_of(site).vault.secret("env:GIVEN")
        if request.param == "file":
            path = tmp_path / "given"
            path.write_bytes(content)
            path.chmod(0o600)
            return session_of(site).vault.secret(f"file:{path}")
        if request.param == "generated":
            master.files = {f"{wellknown.SECRETS}/given": content}
            return session_of(site).vault.secret("generated:given")
        text = content.decode(errors="surrogateescape")
        errors = SimpleNamespace(KeyringError=ZeroDivisionError)
        monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=lambda *_: text, errors=errors))
        monkeypatch.setattr(vault, "require_prompt", lambda reference: None)
        monkeypatch.setattr("getpass.getpass", lambda prompt: text)
        return session_of(site).vault.secret(f"{request.param}:given")

    return of


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"pass word", "pass word"),
        (b"pass\n", "pass"),
        (b"pass\r\n\n", "pass"),
        (b"\xef\xbb\xbfpass\n", "pass"),
        (b" pass ", " pass "),
        (b"one\ntwo\n", "one\ntwo"),
        ("Schlüssel 🔑".encode(), "Schlüssel 🔑"),
    ],
)
def test_a_secret_is_the_same_wherever_it_comes_from(secret_of, content, value):
    assert secret_of(content) == value


@pytest.mark.parametrize("content", [b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b"  ", b" \t\n"])
def test_a_secret_without_content_is_refused(secret_of, content):
    with pytest.raises(REFUSED, match="a secret is empty"):
        secret_of(content)


def test_a_secret_in_another_encoding_is_refused_and_not_shown(secret_of):
    with pytest.raises(REFUSED, match="a secret is not UTF-8 text") as refused:
        secret_of(b"canary\xe9")
    assert "canary" not in str(refused.value)


def test_an_empty_file_an_unset_variable_and_a_pipe_are_refused(site, monkeypatch, tmp_path):
    secret = session_of(site).vault.secret
    monkeypatch.setenv("GIVEN", "")
    (tmp_path / "empty").touch(0o600)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "utf-16").write_bytes("canary".encode("utf-16-le"))
    (tmp_path / "utf-16").chmod(0o600)
    for reference, said in {
        "env:GIVEN": "a secret is empty",
        "env:NOT_GIVEN": "is not set",
        f"file:{tmp_path}/empty": "a secret is empty",
        f"file:{tmp_path}/pipe": "not a regular file",
        f"file:{tmp_path}/utf-16": "not UTF-8",
    }.items():
        with pytest.raises(SiteError, match=said):
            secret(reference)
