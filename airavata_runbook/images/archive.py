"""The files of an image archive by name, read in place: of a folder, or of a tar without unpacking it.

Nothing is ever written to a path that an archive names, and no path outside it is read.
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

SMALL = 4 << 20  # bytes: the largest manifest, index or configuration that is read; registries have the same limit


class BadImage(RunbookError):
    """An invalid or unusable image, archive, manifest or reference."""


class Files(Protocol):
    """where: the archive's path. size: bytes of a file, None when there is none. open: its content as a stream."""

    where: Path

    def size(self, name: str) -> int | None: ...

    def open(self, name: str) -> BinaryIO: ...


def open_files(path: Path) -> Files:
    """The files of a folder, a .tar or a .tar.gz. Raises BadImage."""
    return Folder(path) if path.is_dir() else Tar(path)


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
        return path.stat().st_size if path.is_file() else None

    def open(self, name: str) -> BinaryIO:
        try:
            return self._inside(name).open("rb")
        except OSError as error:
            raise BadImage(
                "a file of the image is unreadable", where=f"{self.where}, {name}", found=error.strerror or str(error)
            ) from None

    def _inside(self, name: str) -> Path:
        path = (self.where / _normal(name, self.where)).resolve()
        if not path.is_relative_to(self.where.resolve()):
            raise _traversal(name, self.where)  # by a symbolic link
        return path


class Tar:
    """A tar archive: the offset of each file is looked up once; then files are read in parallel."""

    def __init__(self, path: Path):
        self.where = path
        self._file = _uncompressed(path)
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
                "an image archive is unreadable",
                where=str(path),
                found=str(error),
                needed="an uncompressed tar, or one compressed by gzip",
            ) from None
        # `docker save` links equal layers to each other; it makes no link to a link.
        self._index |= {name: self._index[target] for name, target in links.items() if target in self._index}

    def size(self, name: str) -> int | None:
        return self._index[name][1] if name in self._index else None

    def open(self, name: str) -> BinaryIO:
        if name not in self._index:
            raise BadImage("a file of the archive is missing", where=f"{self.where}, {name}")
        return io.BufferedReader(_Window(self._file, *self._index[name]), 1 << 18)


class _Window(io.RawIOBase):
    """Bytes [start, start + size) of a file, by pread: windows of one file can be read in parallel."""

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


def _uncompressed(path: Path) -> BinaryIO:
    """The archive itself or, where gzip compressed it, a decompressed temporary file without a name."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadImage("an image archive is unreadable", where=str(path), found=error.strerror or str(error)) from None
    if os.pread(file.fileno(), 2, 0) != b"\x1f\x8b":
        return file
    unpacked = tempfile.TemporaryFile(dir=paths.cache_dir())  # noqa: SIM115 - the archive keeps it open
    try:
        with file, gzip.open(file) as stream:
            shutil.copyfileobj(stream, unpacked, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise BadImage("a compressed image archive is unreadable", where=str(path), found=str(error)) from None
    unpacked.seek(0)
    return unpacked


def _normal(name: str, where: Path) -> str:
    """A name without `.` and doubled slashes. Raises BadImage for one that leads out of the archive."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
        raise _traversal(name, where)
    return os.path.normpath(name)


def _traversal(name: str, where: Path) -> BadImage:
    return BadImage(
        "path traversal in an image archive",
        where=str(where),
        found=repr(name),
        needed="names below the archive's top",
        remedy="do not use this archive: it is damaged or malicious",
    )
