"""A tar archive, compressed by gzip or not, as files that are read in place."""

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from airavata_runbook.errors import counted
from airavata_runbook.images.archive import BadImage, compression, normal
from airavata_runbook.local import paths
from airavata_runbook.local.files import open_regular

MEMBERS = 10_000  # files in an archive; an image has some hundred
HEADERS = 64 << 20  # bytes of all headers, which are held in memory
# The largest content of an archive: 100 bytes for each of its own, and this. Layers of real images unpack to less than 20.
EXPANSION, SPARE = 100, 256 << 20
FREE = 1 << 30  # bytes that stay free on the disk
CHUNK = 1 << 20  # bytes
UNREADABLE = (tarfile.TarError, EOFError, OSError, ValueError, LookupError, ArithmeticError, RecursionError)


class Extent(NamedTuple):
    """A part of a file that is stored: its position in the file, its size, its offset in the archive. The rest is zeros."""

    position: int
    size: int
    offset: int


class Tar:
    """A tar archive: the place of each file is looked up once; then files are read in parallel. Raises BadImage."""

    def __init__(self, path: Path):
        self.where = path
        self._file = _uncompressed(path)
        self._index: dict[str, tuple[int, list[Extent]]] = {}  # name → size, extents
        links: dict[str, str] = {}
        try:
            for member in self._members():
                name = normal(member.name, path)
                if member.isreg():
                    self._index[name] = member.size, _extents(member)
                elif member.issym():
                    links[name] = normal(os.path.normpath(f"{PurePosixPath(name).parent}/{member.linkname}"), path)
                elif member.islnk():
                    links[name] = normal(member.linkname, path)
        except UNREADABLE as error:
            start = os.pread(self._file.fileno(), 8, 0)
            how = compression(start)
            raise BadImage(
                "an image archive is unreadable",
                where=str(path),
                found=f"compressed by {how}" if how else "an HTML or XML page" if start.startswith(b"<") else str(error),
                needed="an uncompressed tar, or one compressed by gzip",
                remedy=f"decompress it: {how} -d" if how else "",
            ) from None
        self._check_size()
        # `docker save` links equal layers to each other; it makes no link to a link.
        self._index |= {name: self._index[target] for name, target in links.items() if target in self._index}

    def size(self, name: str) -> int | None:
        return self._index[name][0] if name in self._index else None

    def open(self, name: str) -> BinaryIO:
        if name not in self._index:
            raise BadImage("a file of the archive is missing", where=f"{self.where}, {name}")
        return io.BufferedReader(_Window(self._file, *self._index[name]), 1 << 18)

    def _members(self) -> Iterator[tarfile.TarInfo]:
        with tarfile.open(fileobj=_Headers(self._file), mode="r:") as tar:  # type: ignore[call-overload]
            for number, member in enumerate(tar):
                if number == MEMBERS:
                    raise tarfile.ReadError(f"more than {counted(MEMBERS, 'file')}")
                yield member

    def _check_size(self) -> None:
        """Sparse files can be larger than their archive."""
        packed, size = os.fstat(self._file.fileno()).st_size, sum(size for size, _ in self._index.values())
        if size > _most(packed):
            raise _endless(self.where, packed)


def _extents(member: tarfile.TarInfo) -> list[Extent]:
    """Where a file's content is stored: in one piece, or as the map of a sparse file says. Raises ValueError."""
    found, offset = [], member.offset_data
    stored: Any = member.sparse if member.issparse() else [(0, member.size)]
    for position, size in stored:
        if size:  # GNU's map is filled up with zeros
            found.append(Extent(position, size, offset))
            offset += size
    ends = [0, *(extent.position + extent.size for extent in found)]
    if any(extent.size < 0 or extent.position < end for extent, end in zip(found, ends, strict=False)) or ends[-1] > member.size:
        raise ValueError("a sparse file with an invalid map")
    return found


class _Headers:
    """An archive as tarfile reads its headers, which may say of themselves that they are as large as they like."""

    def __init__(self, file: BinaryIO):
        self._file, self._left = file, HEADERS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise tarfile.ReadError(f"more than {HEADERS} bytes of headers")
        return self._file.read(size)


class _Window(io.RawIOBase):
    """A file in an archive, by pread: windows of one archive can be read in parallel."""

    def __init__(self, file: BinaryIO, size: int, extents: list[Extent]):
        super().__init__()
        self._file, self._size, self._extents, self._position = file, size, list(reversed(extents)), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        wanted = min(len(buffer), self._size - self._position)
        data = self._stored(wanted) if wanted else b""
        self._position += len(data)
        buffer[: len(data)] = data
        return len(data)

    def _stored(self, wanted: int) -> bytes:
        """At most `wanted` bytes at the present position."""
        while self._extents and self._extents[-1].position + self._extents[-1].size <= self._position:
            self._extents.pop()
        position, size, offset = self._extents[-1] if self._extents else (self._size, 0, 0)
        if self._position < position:
            return bytes(min(wanted, position - self._position))
        inside = self._position - position
        return os.pread(self._file.fileno(), min(wanted, size - inside), offset + inside)


def _uncompressed(path: Path) -> BinaryIO:
    """The archive itself or, where gzip compressed it, a decompressed temporary file without a name."""
    try:
        file = open_regular(path)
    except OSError as error:
        raise BadImage("an image archive is unreadable", where=str(path), found=error.strerror or str(error)) from None
    if compression(os.pread(file.fileno(), 8, 0)) != "gzip":
        return file
    folder = paths.cache_dir()
    unpacked = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the archive keeps it open
    packed, free = os.fstat(file.fileno()).st_size, shutil.disk_usage(folder).free - FREE
    try:
        with file, gzip.open(file) as stream:
            while chunk := stream.read(CHUNK):
                unpacked.write(chunk)
                if unpacked.tell() > _most(packed):
                    raise _endless(path, packed)
                if unpacked.tell() > free:
                    raise BadImage(
                        "an image archive does not fit on this machine's disk",
                        where=str(path),
                        found=f"{max(free, 0)} bytes in {folder}, beside {FREE} that stay free",
                        remedy="free disk space, or give the archive uncompressed",
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise BadImage("a compressed image archive is unreadable", where=str(path), found=str(error)) from None
    unpacked.seek(0)
    return unpacked


def _most(packed: int) -> int:
    """The largest content in bytes of an archive of that many bytes."""
    return SPARE + EXPANSION * packed


def _endless(path: Path, packed: int) -> BadImage:
    return BadImage(
        "an image archive is much larger than its file",
        where=str(path),
        found=f"more than {_most(packed)} bytes in a file of {packed}",
        needed=f"at most {EXPANSION} times the file's size",
        remedy="do not use this archive: it is damaged or malicious",
    )
