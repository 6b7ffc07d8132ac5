"""The registry client against a TLS server in this process; against the real registry: tests/lab."""

import json
import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from airavata_runbook.images import source as images
from airavata_runbook.images import transfer
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.http import Connection, RegistryError
from airavata_runbook.images.layout import Cancelled, open_archive
from airavata_runbook.images.registry import Registry
from airavata_runbook.pki import issue as pki
from airavata_runbook.site.parts import ImageSource
from tests.unit import image_samples as samples
from tests.unit.tls_registry import NAME, TlsRegistry

BASE, TOP = samples.layer("base", 500_000), samples.layer("top")


@pytest.fixture
def layout(tmp_path):
    return open_archive(samples.write_tar(tmp_path / "api.tar", samples.files_of(*samples.image(BASE, TOP))))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("airavata_runbook.images.transfer.PAUSE", 0.01)


def client(server, **options):
    settings = {"name": NAME, "ca": server.ca.cert, "user": server.user, "password": server.password, **options}
    return Registry(Connection(server.url, **settings))


def hold(server, repository, manifest, blobs, tag="1", kind=samples.OCI + "manifest.v1+json"):
    server.blobs.setdefault(repository, {}).update(blobs)
    server.manifests.setdefault(repository, {}).update({tag: (kind, manifest), samples.sha(manifest): (kind, manifest)})


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
@pytest.mark.parametrize("absolute", [True, False])
def test_push_and_pull_through_a_forward(tmp_path, layout, auth, absolute):
    with TlsRegistry(auth=auth, absolute=absolute) as server:
        registry = client(server)
        assert registry.manifest_digest("airavata/api", "1") is None
        assert registry.push("airavata/api", "1", layout) == layout.digest
        assert server.blobs["airavata/api"] == samples.image(BASE, TOP)[1]
        assert registry.manifest_digest("airavata/api", "1") == layout.digest
        assert registry.manifest_digest("airavata/api", layout.digest) == layout.digest
        pulled = registry.pull("airavata/api", "1", tmp_path / "pulled")
        pulled.verify()
        assert pulled.manifest == layout.manifest
        assert {headers["Host"] for _, path, headers in server.requests if "/token" not in path} == {NAME}


def test_what_is_there_is_not_sent_again(tmp_path, layout):
    with TlsRegistry() as server:
        registry = client(server)
        registry.push("a", "1", layout)
        server.requests.clear()
        registry.push("a", "1", layout)
        assert [method for method, *_ in server.requests] == ["HEAD"], "one look, nothing sent"
        registry.push("a", "2", layout)
        assert server.methods("PUT") == ["/v2/a/manifests/2"], "another tag needs no blob"
        other = open_archive(samples.write_tar(tmp_path / "o.tar", samples.files_of(*samples.image(BASE))))
        server.requests.clear()
        registry.push("b", "1", other)
        shared = other.blobs[1].digest
        assert f"/v2/b/blobs/uploads/?mount={shared}&from=a" in server.methods("POST")
        assert len(server.methods("PUT")) == 2, "the configuration and the manifest; the layer is mounted"


def test_a_layer_of_images_that_are_pushed_side_by_side_is_sent_once(tmp_path):
    layouts = [
        open_archive(samples.write_tar(tmp_path / name, samples.files_of(*samples.image(BASE, samples.layer(name)))))
        for name in "abcdef"
    ]
    shared = layouts[0].blobs[1].digest
    counts: Counter[str] = Counter()
    with TlsRegistry() as server, ThreadPoolExecutor(6) as pool:
        registry = client(server)
        pushes = [
            pool.submit(
                registry.push, layout.where.name, "1", layout, lambda size, name=layout.where.name: counts.update({name: size})
            )
            for layout in layouts
        ]
        assert [push.result() for push in pushes] == [layout.digest for layout in layouts]
    sent = [path for path in server.methods("PUT") if shared.replace(":", "%3A") in path or shared in path]
    assert len(sent) == 1 and len([path for path in server.methods("POST") if f"mount={shared}" in path]) == 5
    assert counts == {layout.where.name: layout.size for layout in layouts}, "progress ends at the whole size"


def test_the_manifest_comes_last_and_a_broken_push_is_healed(layout):
    with TlsRegistry(broken=100) as server:
        registry = client(server)
        with pytest.raises(RegistryError) as raised:
            registry.push("a", "1", layout)
        assert raised.value.retryable and not server.manifests.get("a"), "no tag for half an image"
        server.broken = 0
        assert registry.push("a", "1", layout) == layout.digest
        assert server.requests[-1][:2] == ("PUT", "/v2/a/manifests/1")


def test_one_lost_connection_costs_no_more_than_a_second_try(layout):
    with TlsRegistry(broken=1) as server:
        assert client(server).push("a", "1", layout) == layout.digest


def test_a_changed_blob_is_never_sent_whole(tmp_path):
    manifest, blobs = samples.image(BASE, TOP)
    folder = samples.write_folder(tmp_path / "image", samples.files_of(manifest, blobs))
    layout = open_archive(folder)
    blob = max(layout.blobs, key=lambda blob: blob.size)
    (folder / "blobs" / blob.digest.replace(":", "/")).write_bytes(bytes(blob.size))
    with TlsRegistry() as server, pytest.raises(BadImage, match="does not match its digest") as raised:
        client(server).push("a", "1", layout)
    assert str(folder) in str(raised.value)
    assert blob.digest not in server.blobs["a"] and not server.manifests["a"]


def test_an_interrupt_stops_the_other_blobs_too(tmp_path, monkeypatch):
    layers = [samples.layer(str(number)) for number in range(40)]
    layout = open_archive(samples.write_tar(tmp_path / "i.tar", samples.files_of(*samples.image(*layers))))

    def interrupted(futures):  # as by Ctrl-C in the thread that waits
        next(as_completed(futures)).result()
        raise KeyboardInterrupt

    as_completed = transfer.as_completed
    monkeypatch.setattr(transfer, "as_completed", interrupted)
    with TlsRegistry() as server:
        with pytest.raises(KeyboardInterrupt):
            client(server).push("a", "1", layout)
        assert not server.manifests.get("a") and len(server.blobs.get("a", {})) < 41


def test_a_blob_that_is_being_read_is_cancelled_with_the_others(layout):
    stop = threading.Event()
    with closing(layout.open(max(layout.blobs, key=lambda blob: blob.size), stop)) as reader:
        assert reader.read(10)
        stop.set()
        with pytest.raises(Cancelled):
            reader.read(10)


# --- pulling -------------------------------------------------------------------------------------------------


def test_one_platform_of_an_index_is_pulled(tmp_path):
    amd, arm = samples.image(BASE), samples.image(TOP, architecture="arm64")
    top = samples.index(
        *(
            samples.descriptor(made[0], platform={"os": "linux", "architecture": name})
            for name, made in (("arm64", arm), ("amd64", amd))
        )
    )
    with TlsRegistry(auth="bearer") as server:
        hold(server, "library/api", *amd)
        hold(server, "library/api", *arm)
        hold(server, "library/api", top, {}, "1", samples.OCI + "index.v1+json")
        pulled = client(server).pull("library/api", samples.sha(top), tmp_path / "pulled")
        assert pulled.digest == samples.sha(amd[0]) and samples.sha(top) in pulled.digests
        assert not set(arm[1]) & {path.rsplit("/")[-1] for path in server.methods("GET")}, "nothing else is fetched"
        with pytest.raises(BadImage, match="linux/amd64, linux/arm64"):
            client(server).pull("library/api", "1", tmp_path / "other", "linux/riscv64")


def test_docker_media_types_keep_the_digest(tmp_path):
    manifest, blobs = samples.image(BASE)
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    body = json.dumps(json.loads(manifest) | {"mediaType": kind}).encode()
    with TlsRegistry(quiet=True) as server:
        hold(server, "a", body, blobs, kind=kind)
        assert client(server).manifest_digest("a", "1") == samples.sha(body)
        pulled = client(server).pull("a", "1", tmp_path / "pulled")
        assert (pulled.digest, pulled.media_type) == (samples.sha(body), kind)


def test_pull_by_reference_is_done_once_and_goes_on_after_a_break(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    manifest, blobs = samples.image(BASE, TOP)
    digest = samples.sha(manifest)
    with TlsRegistry(auth="bearer", dns=("localhost",), ips=("127.0.0.1",)) as server:
        hold(server, "team/api", manifest, blobs)
        lost = server.blobs["team/api"].pop(json.loads(manifest)["layers"][1]["digest"])
        source = ImageSource(pull=f"localhost:{server.server.server_port}/team/api:1@{digest}")

        (tmp_path / "ca.pem").write_bytes(server.ca.cert)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))

        def resolve():
            return images.resolve(source, auth="admin:canary-password")

        with pytest.raises(RegistryError, match="BLOB_UNKNOWN"):
            resolve()
        server.blobs["team/api"][samples.sha(lost)] = lost
        server.requests.clear()
        [folder] = (tmp_path / "cache/images/pulled").iterdir()
        missing = [name for name in blobs if not (folder / "blobs" / name.replace(":", "/")).exists()]
        assert samples.sha(lost) in missing
        assert resolve().digest == digest
        asked = [path.rpartition("/")[2] for path in server.methods("GET") if "/blobs/" in path]
        assert sorted(set(asked)) == sorted(missing), "only what was missing"
        server.requests.clear()
        resolve().verify()
        assert not server.requests, "the second time nothing is asked"
        path = folder / "blobs" / samples.sha(lost).replace(":", "/")
        for damaged in (path.read_bytes()[:-1], bytes(path.stat().st_size)):
            path.write_bytes(damaged)
            resolve().verify()


def test_content_that_is_not_what_was_asked_for(tmp_path):
    manifest, blobs = samples.image(BASE)
    with TlsRegistry(tamper=b" ") as server:
        hold(server, "a", manifest, blobs)
        for reference in (samples.sha(manifest), "1"):
            with pytest.raises(BadImage, match="does not match its digest"):
                client(server).pull("a", reference, tmp_path / "pulled")
    with TlsRegistry() as server:
        hold(server, "a", manifest, {digest: bytes(len(body)) for digest, body in blobs.items()})
        with pytest.raises(BadImage, match="does not match its digest"):
            client(server).pull("a", "1", tmp_path / "pulled")
    assert not (tmp_path / "pulled/index.json").exists(), "half an image is none"
    assert not list((tmp_path / "pulled").rglob(".part-*"))


def test_blobs_kept_elsewhere_are_fetched_without_our_credentials(tmp_path, monkeypatch):
    manifest, blobs = samples.image(BASE)
    with TlsRegistry(dns=("localhost",)) as store, TlsRegistry(auth="basic") as server:
        (tmp_path / "ca.pem").write_bytes(store.ca.cert)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        server.redirect = f"https://localhost:{store.server.server_port}/v2/store/blobs"
        hold(store, "store", manifest, blobs)
        hold(server, "a", manifest, blobs)
        client(server).pull("a", "1", tmp_path / "pulled").verify()
        assert len(store.requests) == 2
        assert not any("Authorization" in headers or headers["Host"] == NAME for *_, headers in store.requests)
        server.redirect = "http://localhost:1/x"
        with pytest.raises(RegistryError, match="without TLS") as raised:
            client(server).pull("a", "1", tmp_path / "second")
        assert "canary" not in str(raised.value)


# --- trust and secrets ---------------------------------------------------------------------------------------


def test_ping_tells_whether_the_credentials_are_good():
    with TlsRegistry(auth="basic") as server:
        assert client(server).ping() == 200
        assert client(server, user=None, password=None).ping() == 401
        assert client(server, password="wrong").ping() == 401


def test_another_name_or_authority_is_refused_before_any_credential_is_sent():
    with TlsRegistry(auth="basic") as server:
        for options in ({"name": "other.lab:5000"}, {"ca": pki.new_ca("Other").cert}, {"name": "127.0.0.1"}):
            with pytest.raises(RegistryError, match="certificate is not trusted") as raised:
                client(server, **options).ping()
            assert "canary" not in str(raised.value) and not raised.value.retryable
        assert not server.requests
        with pytest.raises(RegistryError, match="Hostname mismatch"):
            client(server, name="other.lab:5000").ping()


def test_the_public_authorities_do_not_count_for_a_private_registry(monkeypatch, tmp_path):
    with TlsRegistry() as server:
        (tmp_path / "ca.pem").write_bytes(server.ca.cert)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        with pytest.raises(RegistryError, match="certificate is not trusted"):
            client(server, ca=pki.new_ca("Other").cert).ping()
        assert client(server).ping() == 200, "a forward is not looked for behind a proxy"


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000", "https://admin:canary@127.0.0.1", "127.0.0.1:5000", "https://"])
def test_only_tls_and_no_credentials_in_the_address(url):
    with pytest.raises(RegistryError) as raised:
        Connection(url)
    assert "canary" not in str(raised.value)


def test_broken_authority():
    for ca in (b"garbage", b"\xff\xfe", b""):
        with pytest.raises(RegistryError, match="CA is unreadable"):
            Connection("https://127.0.0.1:1", ca=ca)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_wrong_password_is_one_clear_message_and_shows_nowhere(layout, auth, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with TlsRegistry(auth=auth) as server:
        wrong = client(server, password="canary-wrong")
        with pytest.raises(RegistryError, match="refuses the credentials") as raised:
            wrong.push("a", "1", layout)
        assert not raised.value.retryable and "password" in raised.value.remedy
        good = client(server)
        good.push("a", "1", layout)
    error = raised.value
    shown = "".join(
        (
            str(error),
            repr(error),
            repr(error.__context__),
            repr(wrong),
            repr(good),
            repr(vars(good)),
            caplog.text,
            *capfd.readouterr(),
        )
    )
    assert "canary" not in shown and "token-for" not in shown and "Basic " not in shown


def test_a_netrc_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine localhost login stranger password stranger\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with TlsRegistry(dns=("localhost",)) as server:
        (tmp_path / "ca.pem").write_bytes(server.ca.cert)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        assert Registry(Connection(f"https://localhost:{server.server.server_port}")).ping() == 200
        assert "Authorization" not in server.requests[0][2]


def test_an_upload_is_never_sent_to_another_host(layout, monkeypatch):
    with TlsRegistry() as server:
        monkeypatch.setattr(
            "tests.unit.tls_registry._Handler._upload",
            lambda self, parts: self._answer(202, b"", {"Location": "https://evil.example/v2/a/blobs/uploads/7"}),
        )
        with pytest.raises(RegistryError, match=r"redirects an upload to another host[\s\S]*evil\.example"):
            client(server).push("a", "1", layout)


def test_nobody_listens():
    with TlsRegistry() as server:
        url, ca = server.url, server.ca.cert
    with pytest.raises(RegistryError, match="is unreachable") as raised:
        Registry(Connection(url, name=NAME, ca=ca)).ping()
    assert raised.value.retryable and NAME in str(raised.value) and "refused" in str(raised.value)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"token": 5}'])
def test_a_token_service_that_sends_no_token(monkeypatch, answer):
    with TlsRegistry(auth="bearer") as server:
        monkeypatch.setattr("tests.unit.tls_registry._Handler._token", lambda self, query: self._answer(200, answer))
        with pytest.raises(RegistryError, match="sent no token"):
            client(server).manifest_digest("a", "1")


@pytest.mark.parametrize(
    "repository, reference",
    [
        ("A", "1"),
        ("../x", "1"),
        ("a//b", "1"),
        ("a?x", "1"),
        ("", "1"),
        ("a", ""),
        ("a", "../1"),
        ("a", "1?x"),
        ("a", "sha256:12"),
    ],
)
def test_names_that_are_none(repository, reference):
    registry = Registry(Connection("https://127.0.0.1:1", name=NAME))
    with pytest.raises(RegistryError, match="invalid repository name|neither a tag nor a digest"):
        registry.manifest_digest(repository, reference)


def test_threads_push_side_by_side(tmp_path):
    made = [
        open_archive(samples.write_tar(tmp_path / f"{n}.tar", samples.files_of(*samples.image(BASE, samples.layer(str(n))))))
        for n in range(4)
    ]
    with TlsRegistry(auth="bearer") as server:
        registry = client(server)
        threads = [threading.Thread(target=registry.push, args=(f"app{n}", "1", image)) for n, image in enumerate(made)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert time.monotonic() - started < 20
        assert [registry.manifest_digest(f"app{n}", "1") for n in range(4)] == [layout.digest for layout in made]
