"""The digest of a large file is remembered for as long as the file stays as it is."""

import hashlib
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from airavata_runbook.local import digests
from airavata_runbook.local.digests import remembered_digest


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """A file that has not changed for a while. `reads` of the fixture's module counts how often it is read."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED", -1)
    file = tmp_path / "large.deb"
    file.write_bytes(b"content")
    return file


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    read: list[Path] = []
    monkeypatch.setattr(digests, "digest", lambda path, head: read.append(path) or of(path.read_bytes()))
    return read


def of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_read_once(file, reads):
    assert [remembered_digest(file) for _ in range(3)] == [of(b"content")] * 3
    assert reads == [file]


def test_a_changed_file_is_noticed_whatever_its_times_pretend(file, reads):
    remembered_digest(file)
    before = file.stat()
    file.write_bytes(b"CONTENT")  # of the same size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert remembered_digest(file) == of(b"CONTENT")

    other = file.with_name("other")
    other.write_bytes(b"another")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert remembered_digest(file) == of(b"another")
    assert len(reads) == 3


def test_what_may_still_change_unseen_is_not_remembered(file, reads, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED", 3600)
    remembered_digest(file)
    remembered_digest(file)
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file, monkeypatch):
    def read(path: Path, head) -> str:
        content = path.read_bytes()
        path.write_bytes(b"changed")
        return of(content)

    monkeypatch.setattr(digests, "digest", read)
    remembered_digest(file)
    monkeypatch.undo()
    assert remembered_digest(file) == of(b"changed")


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", '{"STATE": "no digest"}', '{"STATE": 7}', "[" * 100_000])
def test_a_damaged_memory_is_none(file, reads, damaged):
    remembered_digest(file)
    memory = digests._file()
    memory.write_text(damaged.replace("STATE", next(iter(json.loads(memory.read_text())))))
    assert remembered_digest(file) == of(b"content")
    assert len(reads) == 2
    assert json.loads(memory.read_text())  # and it is mended


def test_a_memory_that_cannot_be_written_costs_only_time(file, reads):
    digests._file().mkdir(parents=True)
    assert [remembered_digest(file) for _ in range(2)] == [of(b"content")] * 2


def test_it_does_not_grow_without_end(file, monkeypatch):
    monkeypatch.setattr(digests, "MOST", 3)
    for number in range(5):
        os.utime(file, (number, number))
        remembered_digest(file)
    assert len(digests._known()) == 3


def remember_some(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        remembered_digest(path)
        time.sleep(0.001)


def test_several_processes_lose_nothing_of_each_other(file, tmp_path):
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
        for number in range(10):
            (folder / str(number)).write_text(f"{folder} {number}")
    processes = [multiprocessing.get_context("fork").Process(target=remember_some, args=[folder]) for folder in folders]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(digests._known()) == 30
