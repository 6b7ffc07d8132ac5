"""A backup's file: what was written is read, by whoever has the key; and nothing that was cut or altered is."""

import io
import json
import subprocess
import tarfile

import pytest

from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.run import backup_file
from airavata_runbook.run.backup_file import MANIFEST, Key, Lock

pyrage = pytest.importorskip("pyrage")
ABOUT = {"site": "lab", "made": "2026-12-01T00:00:00+00:00"}
PASSPHRASE = "a-passphrase-of-this-test"
IDENTITY = pyrage.x25519.Identity.generate()
LOCKS = {"passphrase": Lock(passphrase=PASSPHRASE), "recipient": Lock((IDENTITY.to_public(),))}
KEYS = {"passphrase": Key(passphrase=PASSPHRASE), "recipient": Key((IDENTITY,))}
CONTENT = {"etcd.db": b"one" * 100_000, "empty": b"", "mariadb.sql": bytes(range(256)) * 1000}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(backup_file, "PIECE", 70_000)


def parts(content=CONTENT):
    """The parts in blocks of another size than their pieces."""
    return ((name, iter([data[at : at + 33_333] for at in range(0, len(data), 33_333)])) for name, data in content.items())


def read_back(path, key) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part, piece in backup_file.read(path, key):
        found[part] = found.get(part, b"") + piece
    return found


@pytest.fixture(params=["passphrase", "recipient"])
def made(request, tmp_path):
    path = tmp_path / "site.backup"
    backup_file.write(path, LOCKS[request.param], ABOUT, parts())
    return path, KEYS[request.param]


def test_what_was_written_is_read_and_nobody_else_may_read_the_file(made):
    path, key = made
    about, sums = backup_file.verify(path, key)
    assert about == {"format": 1, **ABOUT} and {name: one["bytes"] for name, one in sums.items()} == {
        name: len(data) for name, data in CONTENT.items()
    }
    assert read_back(path, key) == CONTENT
    assert path.stat().st_mode & 0o777 == 0o600 and [one.name for one in path.parent.iterdir()] == ["site.backup"]
    assert b"oneoneone" not in path.read_bytes() and PASSPHRASE not in repr((key, LOCKS["passphrase"]))


def test_a_file_that_is_cut_anywhere_is_refused(made):
    path, key = made
    whole = path.read_bytes()
    if key.passphrase:  # which takes a second each time
        whole_key = whole.index(b"-----END")
        cuts = [whole_key // 2, whole_key + 40, len(whole) - 1]
    else:
        cuts = [
            0,
            1,
            30,
            200,
            len(whole) // 2,
            len(whole) - 65_552,
            len(whole) - 17,
            len(whole) - 1,
            *range(1000, len(whole), 65_000),
        ]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(StepFailed, match="this backup is refused"):
            backup_file.verify(path, key)


def test_a_file_that_is_altered_anywhere_is_refused(made):
    path, key = made
    whole = path.read_bytes()
    for at in [300, len(whole) - 1] if key.passphrase else [*range(0, 900, 37), len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StepFailed, match="this backup is refused"):
            backup_file.verify(path, key)
    path.write_bytes(whole + b"x")
    with pytest.raises(StepFailed, match="this backup is refused"):
        backup_file.verify(path, key)


@pytest.mark.parametrize("key", [Key(passphrase="another"), Key((pyrage.x25519.Identity.generate(),))])
def test_another_key_and_another_kind_of_key_are_refused(made, key):
    with pytest.raises(StepFailed, match="this backup is refused"):
        backup_file.verify(made[0], key)


def of_members(path, *members: tuple[str, bytes]) -> None:
    """A file that is encrypted well, with other members than a backup's."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(pyrage.encrypt(archive.getvalue(), [IDENTITY.to_public()]))


def manifest(**sums: dict) -> tuple[str, bytes]:
    return MANIFEST, json.dumps({"parts": sums}).encode()


FIRST = ("about.json", b'{"format": 1}')
EMPTY = {"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([FIRST, ("a/000000", b"")], "no manifest"),
        ([], "no manifest"),
        ([FIRST, ("a/000000", b"x"), manifest(a=EMPTY)], "not as the manifest says"),
        ([FIRST, ("a/000000", b""), manifest(a=EMPTY, b=EMPTY)], "not as the manifest says"),
        ([FIRST, ("a/000000", b""), ("b/000000", b""), manifest(a=EMPTY)], "not as the manifest says"),
        ([FIRST, ("a/000001", b""), manifest(a=EMPTY)], "where piece 0 should be"),
        ([FIRST, manifest(), ("a/000000", b"")], "a/000000 where it cannot be"),
        ([("a/000000", b""), FIRST, manifest(a=EMPTY)], "a/000000 where it cannot be"),
        ([("about.json", b'{"format": 2}'), manifest()], "format 2"),
        ([("about.json", b"[1"), manifest()], "no JSON"),
        ([FIRST, ("a/000000", bytes(70_001)), manifest()], "no piece"),
    ],
)
def test_an_archive_that_is_no_backup_is_refused(tmp_path, members, said):
    of_members(tmp_path / "file", *members)
    with pytest.raises(StepFailed, match=said):
        backup_file.verify(tmp_path / "file", KEYS["recipient"])
    of_members(tmp_path / "file", FIRST, ("a/000000", b""), manifest(a=EMPTY))
    assert backup_file.verify(tmp_path / "file", KEYS["recipient"])[1] == {"a": EMPTY}, "the others differ in what they say"


@pytest.mark.parametrize("error", [StepFailed("the host refuses"), KeyboardInterrupt()])
def test_a_part_that_fails_leaves_no_file_and_its_own_error(tmp_path, error):
    def broken():
        yield b"some"
        raise error

    with pytest.raises(type(error)) as caught:
        backup_file.write(tmp_path / "file", LOCKS["recipient"], ABOUT, [("etcd.db", broken())])
    assert caught.value is error and list(tmp_path.iterdir()) == []


def test_a_file_is_not_written_over(tmp_path):
    (tmp_path / "file").write_text("somebody's")
    with pytest.raises(SiteError, match="a file of this name"):
        backup_file.write(tmp_path / "file", LOCKS["recipient"], ABOUT, parts())
    assert (tmp_path / "file").read_text() == "somebody's"


def test_keys_of_ssh_and_files_of_keys_are_taken_and_others_refused(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    (tmp_path / "keys").write_text(f"# two\n{IDENTITY.to_public()}\n{(tmp_path / 'id.pub').read_text()}")
    (tmp_path / "age").write_text(f"# created: today\n{IDENTITY}\n")
    backup_file.write(tmp_path / "file", backup_file.lock_for([str(tmp_path / "keys")]), ABOUT, parts())
    for name in ("id", "age"):
        assert read_back(tmp_path / "file", backup_file.key_of(tmp_path / name)) == CONTENT
    for text in ("age1canary", "ssh-ed25519 canary", "/no/such/file"):
        with pytest.raises(SiteError, match="no public key"):
            backup_file.lock_for([text])
    key = f"{IDENTITY}"
    for content in (key[:-1] + ("Q" if key.endswith("X") else "X"), "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n"):
        (tmp_path / "bad").write_text(content)
        with pytest.raises(SiteError, match="no private key") as refused:
            backup_file.key_of(tmp_path / "bad")
        assert content.split("\n")[-1][:20] not in str(refused.value) or not content.split("\n")[-1]
