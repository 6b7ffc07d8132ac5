"""Artefacts of the cache: each is built once, however many threads and processes need it."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from airavata_runbook.local.files import room_in


def build_once(target: Path, is_whole: Callable[[], bool], build: Callable[[Path], None]) -> None:
    """Build the file or folder `target`, unless it is there and `is_whole()`. Of several callers one builds, the others wait.

    build: gets a path in the same folder where nothing is yet, and makes the artefact there. It becomes `target` only when
    `build` has returned: whatever ends a build, no half artefact ever has that name. Raises CannotBuild for a full disk.
    """
    if is_whole():
        return
    with locked(target):
        if is_whole():  # built by another one while this one waited
            return
        part = target.with_name(f".{target.name}.part")
        remove(part)  # of a build that was killed
        try:
            with room_in(target.parent):
                build(part)
            remove(target)
            part.rename(target)
        finally:
            remove(part)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, against other threads and other processes. The kernel releases it when its holder dies.

    The lock is a file beside it that stays: removing it would let two holders lock two files of one name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
