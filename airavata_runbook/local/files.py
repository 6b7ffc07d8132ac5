"""Files that appear whole or not at all, and what identifies their content."""

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from airavata_runbook.errors import CannotBuild


class Head(NamedTuple):
    """What the copy of a file begins with, in place of the file's own first bytes. instead: how many of these."""

    content: bytes
    instead: int


AS_IT_IS = Head(b"", 0)


class Readable(Protocol):
    """What can be read from its beginning to its end."""

    def read(self, size: int, /) -> bytes: ...


class Watched:
    """`content`, but each number of bytes that is read of it is told to `done`."""

    def __init__(self, content: Readable, done: Callable[[int], None]):
        self.content, self.done = content, done

    def read(self, size: int, /) -> bytes:
        part = self.content.read(size)
        self.done(len(part))
        return part


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Raises CannotBuild when the block finds the disk that has `folder` full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CannotBuild(
            "this machine's disk is full",
            where=str(folder),
            found=os.strerror(error.errno),
            remedy="free disk space, or set AIRAVATA_RUNBOOK_CACHE to a folder with more of it; then run again",
        ) from None


def write_file(path: Path, content: bytes | Iterable[bytes], mode: int = 0o600) -> None:
    """Create or replace `path` atomically with that content (or its chunks) and mode, whatever the umask.

    Its folder is made when missing; a link is replaced, not followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:  # mode 600
        try:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def open_regular(path: Path, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading. Anything else (FIFO, device, socket, folder) is an OSError, and is not waited for.

    follow: a symbolic link, too.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises OSError."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
    return content


def replace_link(link: Path, target: str | Path) -> None:
    """Create or replace a symbolic link atomically: another process may use it, or do the same."""
    part = link.with_name(f".{link.name}-{os.getpid()}")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(link)


def digest(path: Path, head: Head = AS_IT_IS) -> str:
    """The sha256 of a file, or of its copy with that head, hexadecimal."""
    with path.open("rb") as file:
        file.seek(head.instead)
        return hashlib.file_digest(file, lambda: hashlib.sha256(head.content)).hexdigest()
