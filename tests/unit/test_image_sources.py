"""Images from archives, references and folders: right ones are read as they are, wrong and hostile ones are refused."""

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from airavata_runbook.checks.references import check_references
from airavata_runbook.errors import RunbookError
from airavata_runbook.hosts.host import Host
from airavata_runbook.images import source as images
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.http import RegistryError
from airavata_runbook.images.layout import open_archive
from airavata_runbook.images.reference import Reference
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Certificate, ImageSource
from tests.unit import image_samples as samples
from tests.unit.image_samples import sha
from tests.unit.tls_registry import TlsRegistry

LAYERS = (samples.layer("base", 100_000), samples.layer("top"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def good():
    return samples.image(*LAYERS, Cmd=["run"])


def content(layout, blob):
    with closing(layout.open(blob)) as reader:
        return b"".join(reader)


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz"])
def test_an_oci_layout_is_read_in_place(tmp_path, good, kind):
    manifest, blobs = good
    files = samples.files_of(manifest, blobs)
    path = (
        samples.write_folder(tmp_path / "image", files)
        if kind == "folder"
        else samples.write_tar(tmp_path / f"image.{kind}", files, "w:gz" if kind == "tar.gz" else "w")
    )
    layout = open_archive(path)
    assert (layout.digest, layout.manifest) == (samples.sha(manifest), manifest)
    assert {blob.digest: content(layout, blob) for blob in layout.blobs} == blobs
    assert layout.config["config"] == {"Cmd": ["run"]} and layout.size == sum(map(len, blobs.values()))
    layout.verify()


def test_blobs_are_read_side_by_side(tmp_path, good):
    layout = open_archive(samples.write_tar(tmp_path / "image.tar", samples.files_of(*good)))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda blob: samples.sha(content(layout, blob)) == blob.digest, layout.blobs * 20))
    assert all(read)


def test_names_with_a_leading_dot_are_the_same_names(tmp_path, good):
    files = {f"./{name}": body for name, body in samples.files_of(*good).items()}
    assert open_archive(samples.write_tar(tmp_path / "image.tar", files)).digest == samples.sha(good[0])


def test_docker_save_becomes_the_same_image_every_time(tmp_path):
    layers = (*LAYERS, LAYERS[0])
    files = samples.docker_files(*layers)
    last = f"{2:064x}/layer.tar"
    linked = {name: body for name, body in files.items() if name != last}
    one = open_archive(samples.write_tar(tmp_path / "one.tar", files))
    two = open_archive(samples.write_tar(tmp_path / "two.tar", linked, links={last: f"../{0:064x}/layer.tar"}))
    assert one.digest == two.digest and len(one.blobs) == 3, "config and two different layers"
    manifest = json.loads(one.manifest)
    assert [entry["digest"] for entry in manifest["layers"]] == [samples.sha(body) for body in layers]
    assert manifest["layers"][0]["mediaType"].endswith("layer.v1.tar")
    two.verify()


def test_docker_save_with_other_layers_than_it_says(tmp_path):
    files = samples.docker_files(*LAYERS)
    changed = files | {f"{1:064x}/layer.tar": samples.layer("changed")}
    with pytest.raises(BadImage, match="does not match its digest"):
        open_archive(samples.write_tar(tmp_path / "a.tar", changed))
    entry = json.loads(files["manifest.json"])[0]
    fewer = files | {"manifest.json": json.dumps([entry | {"Layers": entry["Layers"][:1]}]).encode()}
    with pytest.raises(BadImage, match="1 layers"):
        open_archive(samples.write_tar(tmp_path / "b.tar", fewer))
    two = files | {"manifest.json": json.dumps([entry, entry]).encode()}
    with pytest.raises(BadImage, match="one image"):
        open_archive(samples.write_tar(tmp_path / "c.tar", two))
    outside = files | {"manifest.json": json.dumps([entry | {"Layers": ["/etc/passwd", "../../etc/passwd"]}]).encode()}
    with pytest.raises(BadImage, match="missing"):
        open_archive(samples.write_tar(tmp_path / "d.tar", outside))


# --- platforms -----------------------------------------------------------------------------------------------


def test_the_platform_is_chosen_from_an_index_and_every_digest_is_known(tmp_path):
    amd, arm = samples.image(LAYERS[0]), samples.image(LAYERS[1], architecture="arm64")
    note = samples.descriptor(
        b"{}",
        platform={"os": "unknown", "architecture": "unknown"},
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    inner = samples.index(
        samples.descriptor(arm[0], platform={"os": "linux", "architecture": "arm64"}),
        samples.descriptor(amd[0], platform={"os": "linux", "architecture": "amd64"}),
        note,
    )
    files = samples.files_of(*amd) | samples.files_of(*arm)
    files["blobs/" + samples.sha(inner).replace(":", "/")] = inner
    files["index.json"] = samples.index(samples.descriptor(inner, samples.OCI + "index.v1+json"))
    path = samples.write_folder(tmp_path / "multi", files)
    layout = open_archive(path)
    assert layout.digest == samples.sha(amd[0]) and layout.digests == {samples.sha(amd[0]), samples.sha(inner)}
    assert open_archive(path, "linux/arm64").digest == samples.sha(arm[0])
    with pytest.raises(BadImage, match=r"linux/amd64, linux/arm64") as raised:
        open_archive(path, "linux/s390x")
    assert "exactly one for linux/s390x" in str(raised.value)
    source = ImageSource(archive="multi", digest=samples.sha(inner))
    assert images.resolve(source).digest == samples.sha(amd[0])


def test_an_image_for_another_machine_is_refused_even_when_the_index_is_silent(tmp_path):
    arm = samples.files_of(*samples.image(LAYERS[0], architecture="arm64"))
    with pytest.raises(BadImage, match="linux/arm64"):
        open_archive(samples.write_folder(tmp_path / "arm", arm))


# --- wrong and hostile archives ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/etc/cron.d/evil", "../../evil", "blobs/../../evil"])
def test_names_that_leave_the_archive(tmp_path, good, name):
    files = samples.files_of(*good) | {name: b"evil"}
    with pytest.raises(BadImage, match="path traversal"):
        open_archive(samples.write_tar(tmp_path / "evil.tar", files))
    assert not any(path.name == "evil" for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("target", ["../../../../etc/passwd", "../../../../../../etc/passwd"])
def test_links_that_leave_the_archive(tmp_path, good, target):
    manifest, blobs = good
    name = "blobs/" + json.loads(manifest)["layers"][0]["digest"].replace(":", "/")
    files = samples.files_of(manifest, blobs)
    del files[name]
    with pytest.raises(BadImage, match="path traversal"):
        open_archive(samples.write_tar(tmp_path / "evil.tar", files, links={name: target}))
    folder = samples.write_folder(tmp_path / "evil", files)
    os.symlink("/etc/passwd", folder / name)
    with pytest.raises(BadImage, match="path traversal"):
        open_archive(folder)


def test_a_digest_that_is_a_path(tmp_path, good):
    manifest, blobs = good
    for digest in ("sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "md5:00", "", None, 5):
        wrong = json.loads(manifest)
        wrong["layers"][0]["digest"] = digest
        body = json.dumps(wrong).encode()
        with pytest.raises(BadImage, match="sha256 digest"):
            open_archive(samples.write_tar(tmp_path / "evil.tar", samples.files_of(body, blobs)))


def test_missing_cut_and_changed_blobs(tmp_path, good):
    manifest, blobs = good
    digest = json.loads(manifest)["layers"][0]["digest"]
    name = "blobs/" + digest.replace(":", "/")
    files = samples.files_of(manifest, blobs)
    folder = samples.write_folder(tmp_path / "image", files)
    (folder / name).write_bytes(files[name][:-1] + b"x")
    with pytest.raises(BadImage, match="does not match its digest"):
        open_archive(folder).verify()
    (folder / name).write_bytes(files[name][:-1])
    with pytest.raises(BadImage, match="wrong size"):
        open_archive(folder)
    (folder / name).unlink()
    with pytest.raises(BadImage, match="missing") as raised:
        open_archive(folder)
    assert digest in str(raised.value) and str(folder) in str(raised.value)


def test_the_last_bytes_of_changed_content_are_never_handed_out(tmp_path, good):
    manifest, blobs = good
    files = samples.files_of(manifest, blobs)
    folder = samples.write_folder(tmp_path / "image", files)
    layout = open_archive(folder)
    blob = max(layout.blobs, key=lambda blob: blob.size)
    path = folder / ("blobs/" + blob.digest.replace(":", "/"))
    path.write_bytes(bytes(blob.size))
    got = b""
    with closing(layout.open(blob)) as reader, pytest.raises(BadImage):
        while chunk := reader.read(64):
            got += chunk
    assert len(got) < blob.size
    path.write_bytes(bytes(blob.size // 2))
    with closing(layout.open(blob)) as reader, pytest.raises(BadImage, match="truncated"):
        list(reader)


def test_a_changed_manifest(tmp_path, good):
    manifest, blobs = good
    files = samples.files_of(manifest, blobs)
    files["blobs/" + samples.sha(manifest).replace(":", "/")] = manifest.replace(b'"size": 1', b'"size": 2', 1)
    with pytest.raises(BadImage, match="does not match its digest"):
        open_archive(samples.write_tar(tmp_path / "image.tar", files))


@pytest.mark.parametrize("body", [b"", b"garbage" * 1000, b"\x1f\x8bgarbage", b"\x1f\x8b\x08\x00" + b"\0" * 30])
def test_what_is_no_archive(tmp_path, body):
    (tmp_path / "x.tar").write_bytes(body)
    with pytest.raises(BadImage, match=r"x\.tar"):
        open_archive(tmp_path / "x.tar")


@pytest.mark.parametrize(
    "top",
    [
        b"",
        b"[]",
        b"{}",
        b'{"manifests": 5}',
        b'{"manifests": []}',
        b"[" * 100_000,
        b'{"manifests": [5]}',
        b'{"manifests": [{"digest": "sha256:1"}]}',
        b"\xff\xfe",
    ],
)
def test_a_broken_index(tmp_path, top):
    with pytest.raises(BadImage):
        open_archive(samples.write_tar(tmp_path / "x.tar", {"index.json": top}))


def test_an_index_that_points_to_itself_for_ever_ends(tmp_path):
    # A true cycle cannot be made (its digest would have to be known); a long ladder can.
    files, below = {}, samples.image(LAYERS[0])[0]
    for _ in range(20):
        below = samples.index(samples.descriptor(below, samples.OCI + "index.v1+json"))
        files["blobs/" + samples.sha(below).replace(":", "/")] = below
    files["index.json"] = samples.index(samples.descriptor(below, samples.OCI + "index.v1+json"))
    with pytest.raises(BadImage, match="not an image"):
        open_archive(samples.write_tar(tmp_path / "x.tar", files))


# --- sources -------------------------------------------------------------------------------------------------


def test_an_archive_is_checked_against_the_digest_of_the_site(tmp_path, good):
    samples.write_tar(tmp_path / "api.tar", samples.files_of(*good))
    digest = samples.sha(good[0])
    assert images.resolve(ImageSource(archive="api.tar", digest=digest)).digest == digest
    with pytest.raises(BadImage, match="does not match the digest in the site file") as raised:
        images.resolve(ImageSource(archive="api.tar", digest="sha256:" + "0" * 64))
    assert digest in str(raised.value) and "api.tar" in str(raised.value)
    with pytest.raises(BadImage, match="no such image archive"):
        images.resolve(ImageSource(archive="gone.tar"))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("mariadb", ("docker.io", "library/mariadb", None)),
        ("mariadb:11", ("docker.io", "library/mariadb", "11")),
        ("team/api:1.0", ("docker.io", "team/api", "1.0")),
        ("quay.io/team/api", ("quay.io", "team/api", None)),
        ("localhost:5000/api:1", ("localhost:5000", "api", "1")),
        ("localhost/api", ("localhost", "api", None)),
        ("registry.lab:5000/a/b/c:x", ("registry.lab:5000", "a/b/c", "x")),
    ],
)
def test_references(text, expected):
    digest = "sha256:" + "a" * 64
    reference = Reference.parse(f"{text}@{digest}")
    assert (reference.host, reference.repository, reference.tag, reference.digest) == (*expected, digest)
    assert Reference.parse(text).digest is None


@pytest.mark.parametrize("text", ["", "a@sha256:12", "a@md5:" + "a" * 32, "user@host:5000/x", "evil.org?x/y"])
def test_what_is_no_reference(text):
    with pytest.raises(BadImage):
        Reference.parse(text)


def test_docker_hub_answers_under_another_name():
    assert Reference.parse("mariadb").url == "https://registry-1.docker.io"
    assert Reference.parse("quay.io/a").url == "https://quay.io"


# --- building ------------------------------------------------------------------------------------------------


def engine(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def builder(folder: Path, made: Path, first: str = "") -> None:
    """Stands in for buildah: whatever it builds becomes the archive `made`. first: what it does before."""
    script = """
case "$1" in
build) echo sha256:cafe > "$3" ;;
push) cp MADE "${3#oci-archive:}" ;;
esac"""
    engine(folder, "buildah", first + script.replace("MADE", str(made)))


@pytest.fixture
def context(tmp_path):
    return samples.write_folder(tmp_path / "context", {"Dockerfile": b"FROM scratch\n", "app/run": b"1"})


@pytest.fixture
def tools(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(
        images.shutil, "which", lambda name: path if os.path.exists(path := str(tmp_path / "bin" / name)) else None
    )
    return tmp_path / "bin"


def test_a_folder_is_built_once_with_the_first_engine_that_answers(tmp_path, context, tools, good):
    made = samples.write_tar(tmp_path / "made.tar", samples.files_of(*good))
    engine(tools, "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    builder(tools, made, f'echo "$@" >> {tmp_path}/calls')
    source = ImageSource(build="context")
    first, again = (images.resolve(source) for _ in range(2))
    assert first.digest == again.digest == samples.sha(good[0])
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["version", "build", "push", "rmi"], "the second time nothing is built"
    assert calls[1].endswith(str(context)) and calls[2].split()[1] == "sha256:cafe"
    (context / "app/run").write_text("2")
    images.resolve(source)
    assert len((tmp_path / "calls").read_text().splitlines()) == 8, "another content is built anew"


def test_no_engine_is_one_clear_message(tmp_path, context, tools):
    engine(tools, "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    with pytest.raises(RunbookError) as raised:
        images.resolve(ImageSource(build="context"))
    text = str(raised.value)
    assert "buildah: not installed" in text and "docker: Cannot connect to the Docker daemon" in text
    assert "apt-get install buildah" in text and "archive:" in text and str(context) in text


def test_a_damaged_archive_of_a_folder_is_built_again(tmp_path, context, tools, good, cache):
    made = samples.write_tar(tmp_path / "made.tar", samples.files_of(*good))
    builder(tools, made)
    images.resolve(ImageSource(build="context"))
    [kept] = (cache / "images/built").glob("*.tar")
    kept.write_bytes(kept.read_bytes().replace(zipped_layer := max(good[1].values(), key=len), bytes(len(zipped_layer))))
    again = images.resolve(ImageSource(build="context"))
    again.verify()
    assert again.digest == sha(good[0])


def test_a_failed_build_shows_its_last_words_and_leaves_nothing(tmp_path, context, tools, cache):
    engine(tools, "podman", 'test "$1" = version || { echo "step 3: no such package"; exit 7; }')
    with pytest.raises(RunbookError, match="no such package"):
        images.resolve(ImageSource(build="context"))
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_folder_without_recipe(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadImage, match="Dockerfile"):
        images.resolve(ImageSource(build="empty"))


def test_tags_change_exactly_when_the_source_does(tmp_path, context, good):
    samples.write_tar(tmp_path / "api.tar", samples.files_of(*good))
    digest = samples.sha(good[0])
    assert images.tag(ImageSource(archive="api.tar")) == "sha-" + digest[7:23]
    assert images.tag(ImageSource(pull=f"api@{digest}")) == "sha-" + digest[7:23]
    assert images.tag(ImageSource(pull="api:1", digest=digest)) == "sha-" + digest[7:23]
    built = images.tag(ImageSource(build="context"))
    assert built == images.tag(ImageSource(build="context"))
    (context / "app/run").chmod(0o755)
    assert built != images.tag(ImageSource(build="context"))


def test_a_registry_is_asked_whether_it_has_an_image_before_it_is_wanted(tmp_path, monkeypatch):
    manifest = b'{"schemaVersion": 2}'
    with TlsRegistry(auth="basic", ips=("127.0.0.1",)) as registry:
        registry.manifests["a/portal"] = {sha(manifest): ("application/vnd.oci.image.manifest.v1+json", manifest)}
        host = registry.url.removeprefix("https://")
        (tmp_path / "ca.pem").write_bytes(registry.ca.cert)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        images.check_pull(ImageSource(pull=f"{host}/a/portal@{sha(manifest)}"), "admin:canary-password")
        with pytest.raises(BadImage, match="no such image in the registry"):
            images.check_pull(ImageSource(pull=f"{host}/a/portal@sha256:{'0' * 64}"), "admin:canary-password")
        with pytest.raises(RegistryError) as refused:
            images.check_pull(ImageSource(pull=f"{host}/a/portal@{sha(manifest)}"), "admin:wrong")
        assert "wrong" not in str(refused.value).replace("wrong password", "")


def test_a_registry_is_not_asked_for_an_image_that_is_here_already(cache):
    digest = f"sha256:{'a' * 64}"
    (cache / f"images/pulled/sha256-{'a' * 64}-linux-amd64").mkdir(parents=True)
    (cache / f"images/pulled/sha256-{'a' * 64}-linux-amd64/index.json").write_text("{}")
    here = ImageSource(pull=f"127.0.0.1:1/portal@{digest}")
    images.check_pull(here)
    assert [folder / "index.json" for folder in images.kept(here)] == list(cache.rglob("index.json"))
    with pytest.raises(RegistryError):
        images.check_pull(ImageSource(pull=f"127.0.0.1:1/portal@sha256:{'b' * 64}"))


def test_registries_that_never_answer_are_given_up_side_by_side(monkeypatch):
    monkeypatch.setattr(images, "LOOKUP_TIMEOUT", (1, 1))
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:  # takes connections and says nothing
        pull = f"127.0.0.1:{silent.getsockname()[1]}/portal@sha256:{'0' * 64}"
        site = Site.load(
            {
                "name": "far",
                "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}],
                "airavata": {"images": dict.fromkeys(("portal", "gfac", "mariadb", "rabbitmq"), {"pull": pull})},
            }
        )
        begun = time.monotonic()
        told = [one for one in check_references(site, registries=True) if one.problem]
        assert len(told) == 4 and all(one.remedy for one in told) and time.monotonic() - begun < 60


def test_a_registry_is_not_asked_with_a_password_that_is_missing_or_still_to_be_typed_in():
    pull = f"127.0.0.1:1/portal@sha256:{'0' * 64}"
    for auth in ("env:NOT_SET_ANYWHERE", "prompt:registry"):
        site = Site.load(
            {
                "name": "far",
                "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}],
                "airavata": {"images": {"portal": {"pull": pull, "auth": auth}}},
            }
        )
        found = {one.field: one for one in check_references(site, registries=True)}
        assert found["airavata.images.portal"].problem == "" and found["airavata.images.portal.auth"].problem


def of_images(**named: dict) -> dict[str, str]:
    """Field → problem of a site with these images, registries not asked."""
    site = Site.load(
        {"name": "far", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}], "airavata": {"images": named}}
    )
    return {one.field.removeprefix("airavata.images."): one.problem for one in check_references(site) if "images" in one.field}


def test_an_archive_that_is_not_there_or_another_is_found_though_its_digest_is_given(tmp_path, good):
    path = str(samples.write_tar(tmp_path / "api.tar", samples.files_of(*good)))
    assert of_images(portal={"archive": path, "digest": sha(good[0])}) == {"portal": ""}
    found = of_images(
        portal={"archive": "/nowhere/api.tar", "digest": sha(good[0])}, gfac={"archive": path, "digest": f"sha256:{'0' * 64}"}
    )
    assert "no such image archive" in found["portal"] and "does not match the digest in the site file" in found["gfac"]


def test_a_folder_that_cannot_be_built_is_found_before_it_is_wanted(tmp_path, context, tools, good):
    (tmp_path / "empty").mkdir()
    found = of_images(portal={"build": str(tmp_path / "empty")}, gfac={"build": str(context)})
    assert "without a recipe to build an image from" in found["portal"]
    assert "no engine on this machine can build an image" in found["gfac"]
    made = samples.write_tar(tmp_path / "made.tar", samples.files_of(*good))
    builder(tools, made)
    assert of_images(gfac={"build": str(context)}) == {"gfac": ""}
    images.resolve(ImageSource(build=str(context)))
    (tools / "buildah").unlink()
    assert of_images(gfac={"build": str(context)}) == {"gfac": ""}, "what was built once needs no engine any more"


def test_a_reference_that_is_none_is_found_without_asking():
    assert "invalid image reference" in of_images(portal={"pull": "Team/API", "digest": f"sha256:{'0' * 64}"})["portal"]


@pytest.mark.parametrize("ask", [False, True])
def test_no_host_is_asked_for_a_secret_whatever_the_reference(monkeypatch, tmp_path, ask):
    monkeypatch.setattr(Host, "run", lambda *_: pytest.fail("a host was asked"))
    site = Site.load(
        {
            "name": "far",
            "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}],
            "airavata": {"images": {"portal": {"pull": f"127.0.0.1:1/portal@sha256:{'0' * 64}"}}},
        }
    )
    for kind in ("env", "file", "prompt", "keyring"):  # the site's model rejects generated
        own = Certificate.model_construct(certificate="/nowhere/my.crt", chain=None, key=f"{kind}:not-there")
        image = site.airavata.images["portal"].model_copy(update={"auth": f"{kind}:not-there"})
        wrong = site.model_copy(
            update={
                "registry": site.registry.model_copy(update={"certificate": own}),
                "airavata": site.airavata.model_copy(update={"images": {"portal": image}}),
            }
        )
        found = {one.field: one.problem for one in check_references(wrong, ask)}
        assert "/nowhere/my.crt" in found["registry.certificate"] and found["airavata.images.portal.auth"], kind
        assert found["airavata.images.portal"] == "", "a registry is not asked without its password"


def test_an_unreachable_registry_is_found_by_a_check_and_not_by_an_offline_one():
    site = Site.load(
        {
            "name": "far",
            "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}],
            "airavata": {"images": {"portal": {"pull": f"127.0.0.1:1/portal@sha256:{'0' * 64}"}}},
        }
    )
    assert [one.problem for one in check_references(site) if "portal" in one.field] == [""]
    assert "127.0.0.1:1" in next(one for one in check_references(site, registries=True) if "portal" in one.field).target
    assert next(one for one in check_references(site, registries=True) if "portal" in one.field).problem
