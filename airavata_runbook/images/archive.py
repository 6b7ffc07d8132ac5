"""The files of an image archive by name, read in place: of a folder, or of a tar without unpacking it.

Nothing is ever written under a name that an archive chose, and no name leads out of it.
"""

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from airavata_runbook.errors import RunbookError
from airavata_runbook.local import paths

SMALL = 4 << 20  # bytes: the largest manifest, index or configuration that is read, as registries have it


class BadImage(RunbookError):
    """An image, archive or manifest that cannot be used as it is."""


class Files(Protocol):
    """where: the archive's path. size: bytes of a file, None when there is none. open: a stream of it."""

    where: Path

    def size(self, name: str) -> int | None: ...

    def open(self, name: str) -> BinaryIO: ...


def open_files(path: Path) -> Files:
    """The files of a folder, a .tar or a .tar.gz. Raises BadImage."""
    return Folder(path) if path.is_dir() else Tar(path)


def read_small(files: Files, name: str) -> bytes:
    """A file whole, of at most 4 MiB. Raises BadImage."""
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
        return path.stat().st_size if path.is_file() else None

    def open(self, name: str) -> BinaryIO:
        try:
            return self._inside(name).open("rb")
        except OSError as error:
            raise BadImage(
                "a file of the image cannot be read", where=f"{self.where}, {name}", found=error.strerror or str(error)
            ) from None

    def _inside(self, name: str) -> Path:
        _refuse_escape(name, self.where)
        path = (self.where / name).resolve()
        if not path.is_relative_to(self.where.resolve()):
            raise _escape(name, self.where)  # by a symbolic link
        return path


class Tar:
    """A tar archive: an index of where each file begins, made once; then files are read side by side."""

    def __init__(self, path: Path):
        self.where = path
        self._file = _plain(path)
        self._index: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for member in tar:
                    name = _normal(member.name, path)
                    if member.isreg() and not member.issparse():
                        self._index[name] = (member.offset_data, member.size)
                    elif member.issym():
                        links[name] = _normal(os.path.normpath(f"{PurePosixPath(name).parent}/{member.linkname}"), path)
                    elif member.islnk():
                        links[name] = _normal(member.linkname, path)
        except (tarfile.TarError, EOFError) as error:
            raise BadImage(
                "an image archive cannot be read",
                where=str(path),
                found=str(error),
                needed="an uncompressed tar, or one compressed by gzip",
            ) from None
        # `docker save` links equal layers to each other; a link to a link is none of its doing.
        self._index |= {name: self._index[target] for name, target in links.items() if target in self._index}

    def size(self, name: str) -> int | None:
        return self._index[name][1] if name in self._index else None

    def open(self, name: str) -> BinaryIO:
        if name not in self._index:
            raise BadImage("a file of the archive is missing", where=f"{self.where}, {name}")
        return io.BufferedReader(_Window(self._file, *self._index[name]), 1 << 18)


class _Window(io.RawIOBase):
    """Bytes [start, start + size) of a file, by pread: many windows on one file do not disturb each other."""

    def __init__(self, file: BinaryIO, start: int, size: int):
        super().__init__()
        self._file, self._position, self._end = file, start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = os.pread(self._file.fileno(), min(len(buffer), self._end - self._position), self._position)
        self._position += len(data)
        buffer[: len(data)] = data
        return len(data)


def _plain(path: Path) -> BinaryIO:
    """The archive itself, or what gzip packed, in a file that has no name and vanishes with its last reader."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadImage("an image archive cannot be read", where=str(path), found=error.strerror or str(error)) from None
    if os.pread(file.fileno(), 2, 0) != b"\x1f\x8b":
        return file
    unpacked = tempfile.TemporaryFile(dir=paths.cache_dir())  # noqa: SIM115 - the archive keeps it open
    try:
        with file, gzip.open(file) as stream:
            shutil.copyfileobj(stream, unpacked, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise BadImage("a compressed image archive cannot be read", where=str(path), found=str(error)) from None
    unpacked.seek(0)
    return unpacked


def _normal(name: str, where: Path) -> str:
    _refuse_escape(name, where)
    return os.path.normpath(name)


def _refuse_escape(name: str, where: Path) -> None:
    if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
        raise _escape(name, where)


def _escape(name: str, where: Path) -> BadImage:
    return BadImage(
        "a name in the image leads out of it",
        where=str(where),
        found=repr(name),
        needed="names below the archive's top",
        remedy="do not use this archive: it is damaged or hostile",
    )
