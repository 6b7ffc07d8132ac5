"""Digests of large files, remembered for as long as the files do not change: reading them is most of the work of a plan."""

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from airavata_runbook.local import paths
from airavata_runbook.local.files import AS_IT_IS, Head, digest, write_file
from airavata_runbook.local.once import locked

MOST = 500  # files
SETTLED = 2  # seconds; a file may change twice in one tick of its file system's clock, and then looks as before


def remembered_digest(path: Path, head: Head = AS_IT_IS) -> str:
    """The sha256 of a file, or of its copy with that head, hexadecimal; read again only when its inode, size or times are others
    than then.

    The times include that of the inode's last change (st_ctime), which no program can set. Raises OSError.
    """
    before = _state(path.stat(), head)
    if found := _known().get(before):
        return found
    sha256 = digest(path, head)
    after = path.stat()
    if _state(after, head) == before and time.time() - after.st_ctime > SETTLED:
        with suppress(OSError):  # a cache that cannot be written only costs time
            _remember(before, sha256)
    return sha256


def _state(file: os.stat_result, head: Head) -> str:
    replaced = f" {hashlib.sha256(head.content).hexdigest()} {head.instead}" if head.content else ""
    return f"{file.st_dev} {file.st_ino} {file.st_size} {file.st_mtime_ns} {file.st_ctime_ns}{replaced}"


def _file() -> Path:
    return paths.cache_dir() / "digests.json"


def _known() -> dict[str, str]:
    """State of a file → its digest; what is damaged is as if it had not been remembered."""
    try:
        known = json.loads(_file().read_text())
        return {state: sha256 for state, sha256 in known.items() if re.fullmatch("[0-9a-f]{64}", sha256)}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _remember(state: str, sha256: str) -> None:
    with locked(_file()):
        newest = [*_known().items(), (state, sha256)][-MOST:]
        write_file(_file(), json.dumps(dict(newest), indent=1).encode())
