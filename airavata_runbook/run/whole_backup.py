"""A backup that was read to its end and found whole, and whether it is one of the site that is to be restored from it."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.images.manifest import DIGEST
from airavata_runbook.run import backup_file
from airavata_runbook.run.backup import ETCD, MASTER, REGISTRY, watched
from airavata_runbook.run.backup_file import ABOUT, MANIFEST, Key
from airavata_runbook.site import Site
from airavata_runbook.site.life import RECORD, departures
from airavata_runbook.wellknown import IMAGES


@dataclass(frozen=True)
class Backup:
    """A whole backup. about, parts: as `backup_file.verify` returns them. record: of its site. images: digests of the images that
    the site runs, hexadecimal."""

    path: Path
    key: Key
    about: dict
    parts: dict
    record: str
    images: tuple[str, ...]

    @property
    def id(self) -> str:
        """Identifies it: a digest of its parts' digests."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        return f"the backup of {self.about['made']}"

    def blocks(self, wanted: str) -> Iterator[bytes]:
        """A part. Raises StepFailed at its end when it is not the one that was verified: the file was exchanged meanwhile."""
        digest, begun = hashlib.sha256(), False
        with closing(backup_file.read(self.path, self.key)) as pieces:
            for part, piece in pieces:
                if part == wanted:
                    begun = True
                    digest.update(piece)
                    yield piece
                elif begun:
                    break
        if digest.hexdigest() != self.parts[wanted]["sha256"]:
            raise StepFailed("the backup is another one than before", where=str(self.path), needed="a file that stays as it is")


def examine(path: Path, key: Key) -> Backup:
    """A backup, after all of it was read and compared. Raises as `backup_file.read`, and StepFailed for one that lacks a part."""
    seen: dict[str, dict] = {}
    master = bytearray()

    def pieces() -> Iterator[bytes]:
        for part, piece in backup_file.read(path, key, lambda name, content: seen.update({name: content})):
            master.extend(piece if part == MASTER else b"")
            yield piece

    for _ in watched(f"checking {path.name}", pieces(), path.stat().st_size if path.is_file() else 0):
        pass
    parts = seen[MANIFEST]["parts"]
    if lacking := sorted({ETCD, MASTER, REGISTRY} - parts.keys()):
        raise StepFailed("the backup lacks a part", where=str(path), found=f"no {', '.join(lacking)}")
    record = _file_of(bytes(master), RECORD, path)
    images = [DIGEST.fullmatch(digest) for digest in json.loads(_file_of(bytes(master), IMAGES, path)).values()]
    return Backup(path, key, seen[ABOUT], parts, record, tuple(one[0].removeprefix("sha256:") for one in images if one))


def _file_of(archive: bytes, name: str, path: Path) -> str:
    """The content of a file of the master."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            file = tar.extractfile(name.lstrip("/"))
            return file.read().decode() if file else ""
    except (tarfile.TarError, KeyError, UnicodeDecodeError):
        raise StepFailed("the backup lacks a file of the master", where=str(path), found=f"no {name}") from None


def refuse_other_site(site: Site, backup: Backup) -> None:
    """Raises SiteError when the backup is another site's, or the site file departs from the record in it."""
    if backup.about.get("site") != site.name:
        raise SiteError(
            "this is a backup of another site",
            where=str(backup.path),
            found=f"site {backup.about.get('site')}, made {backup.about['made']}",
            needed=f"a backup of site {site.name}",
        )
    try:
        found = departures(backup.record, site, living=True)
    except ValueError:
        raise StepFailed("the record of the site in the backup is damaged", where=f"{backup.path}, {RECORD}") from None
    if found:
        raise SiteError(
            "the site file is not as the site was when it was backed up",
            where=f"site {site.name}, {backup.path}",
            found="\n".join(f"{one.field}: found {one.found}; needed: {one.needed}" for one in found),
            needed="the values of the backup: what it has names the hosts by their addresses",
            remedy="set them back, and give the new hosts the old addresses; nothing was changed",
        )
