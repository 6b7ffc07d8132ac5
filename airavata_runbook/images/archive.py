"""The files of an image archive by name, read in place: of a folder, or of a tar without unpacking it (tar.py).

Nothing is ever written to a path that an archive names, no path outside it is read, and only regular files are opened.
"""

import os
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from airavata_runbook.errors import RunbookError
from airavata_runbook.local.files import open_regular

SMALL = 4 << 20  # bytes: the largest manifest, index or configuration that is read; registries have the same limit
# First bytes → what a file is, where that is no tar.
STARTS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
}


class BadImage(RunbookError):
    """An invalid or unusable image, archive, manifest or reference."""


class Files(Protocol):
    """where: the archive's path. size: bytes of a file, None when there is none. open: its content as a stream."""

    where: Path

    def size(self, name: str) -> int | None: ...

    def open(self, name: str) -> BinaryIO: ...


def compression(start: bytes) -> str:
    """By what a file is compressed, of its first bytes; "" for nothing known."""
    return next((name for magic, name in STARTS.items() if start.startswith(magic)), "")


def read_small(files: Files, name: str) -> bytes:
    """The content of a file of at most 4 MiB. Raises BadImage."""
    size = files.size(name)
    if size is None or size > SMALL:
        raise BadImage(
            "a file of the archive is missing" if size is None else "a file of the archive is too large",
            where=f"{files.where}, {name}",
            found="nothing" if size is None else f"{size} bytes",
            needed=f"at most {SMALL} bytes",
        )
    with closing(files.open(name)) as stream:
        return stream.read(size)


class Folder:
    """An unpacked OCI layout."""

    def __init__(self, path: Path):
        self.where = path

    def size(self, name: str) -> int | None:
        path = self._inside(name)
        try:
            return path.stat().st_size if path.is_file() else None
        except OSError as error:
            raise self._unreadable(name, error) from None

    def open(self, name: str) -> BinaryIO:
        try:
            return open_regular(self._inside(name), follow=False)
        except OSError as error:
            raise self._unreadable(name, error) from None

    def _inside(self, name: str) -> Path:
        try:
            path = (self.where / normal(name, self.where)).resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links that lead to each other
            raise self._unreadable(name, error) from None
        if not path.is_relative_to(self.where.resolve()):
            raise traversal(name, self.where)  # by a symbolic link
        return path

    def _unreadable(self, name: str, error: Exception) -> BadImage:
        found = getattr(error, "strerror", None) or str(error)
        return BadImage("a file of the image is unreadable", where=f"{self.where}, {name}", found=found)


def normal(name: str, where: Path) -> str:
    """A name without `.` and doubled slashes. Raises BadImage for one that leads out of the archive."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
        raise traversal(name, where)
    return os.path.normpath(name)


def traversal(name: str, where: Path) -> BadImage:
    return BadImage(
        "path traversal in an image archive",
        where=str(where),
        found=repr(name),
        needed="names below the archive's top",
        remedy="do not use this archive: it is damaged or malicious",
    )
