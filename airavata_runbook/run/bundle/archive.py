"""The file of a bundle: an uncompressed tar archive that begins with what opens it by hand, and whose content is signed.

    FOLDER/README         how to verify and install it, with commands
    FOLDER/MANIFEST       the sha256 of every other file, for sha256sum --check
    FOLDER/MANIFEST.sig   its signature by ssh-keygen (PROTOCOL.sshsig of OpenSSH)
    FOLDER/…              all else, by name; what has the same content as an earlier file is a hard link to it

tar, sha256sum, ssh-keygen and Python are on every machine that logs in to hosts by SSH, of any distribution: nothing has to be
installed before the bundle can be verified. SSH's signature is the one that an admin can make with a key that he has already, of
his agent or a security key too. It holds no time, owners are root and times a constant: the same content gives the same file.
What is large in it (layers, packages, wheels) is compressed already.
"""

import errno
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.local.digests import remembered_digest
from airavata_runbook.local.files import digest
from airavata_runbook.local.paths import state_dir
from airavata_runbook.local.process import run
from airavata_runbook.local.terminal import progress, size_text
from airavata_runbook.mirror.catalogue import EPOCH

MANIFEST, SIGNATURE = "MANIFEST", "MANIFEST.sig"
NAMESPACE = "airavata-runbook-bundle"  # no signature that the key made for anything else is one of a bundle
SIGNER = "bundle"
CHUNK = 1 << 20  # bytes
LARGE = 10 << 20  # bytes; a digest of less is read anew sooner than looked up
Content = bytes | Path


@dataclass
class Bundle:
    """folder: that tar makes of it. first: the file that a person reads. files: name → content, of all but the manifest's two."""

    folder: str
    first: str
    files: Mapping[str, Content]

    @cached_property
    def digests(self) -> dict[str, str]:
        """Name → sha256."""
        found, done = {}, 0
        with progress("bundle", total=sum(map(_size, self.files.values()))) as update:
            for name, content in sorted(self.files.items()):
                update(f"read {name}", done=done)
                found[name] = _digest(content)
                done += _size(content)
        return found

    @property
    def size(self) -> int:
        """In bytes, without what tar adds."""
        return sum({sha256: _size(self.files[name]) for name, sha256 in self.digests.items()}.values())

    @property
    def manifest(self) -> bytes:
        return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(self.digests.items())).encode()


def signing_key(key: Path | None) -> tuple[Path, str]:
    """The key that signs, and its public half (`ssh-ed25519 …`). None: one of the runbook's own, made when there is none.

    Raises SiteError.
    """
    own = key or state_dir() / "bundle_ed25519"
    public = own.with_name(f"{own.name}.pub")
    if not key and not own.exists():
        call = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAMESPACE, "-f", str(own))
        run(*call, failure="the key that signs bundles could not be made", remedy="install OpenSSH's client")
    try:
        kind, public_key, *_ = public.read_text().split()
    except (OSError, ValueError) as error:
        needed = "a private key of SSH, and its public half beside it, in a file that ends with .pub"
        raise SiteError("a bundle cannot be signed with this key", where=str(own), found=str(error), needed=needed) from None
    return own, f"{kind} {public_key}"


def write(path: Path, bundle: Bundle, key: Path) -> None:
    """Write the file; until it is complete, its name ends with .part. Raises SiteError, CannotBuild, StepFailed."""
    refuse_existing(path)
    _refuse_full(path, bundle.size)
    signature = _sign(bundle.manifest, key)
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("wb") as file, progress("bundle", total=bundle.size) as update:
            _write(file, bundle, signature, update)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(path, error.strerror or "") from None
        raise SiteError("the bundle cannot be written", where=str(path), found=str(error)) from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Raises SiteError where there is a file of that name, or no folder for it."""
    if path.exists():
        raise SiteError("there is a file of this name", where=str(path), remedy="choose another name, or move it away")
    if not path.absolute().parent.is_dir():
        raise SiteError("there is no folder for the bundle", where=str(path.absolute().parent), remedy="make it, or correct -o")


def _refuse_full(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.absolute().parent).free
    if free < size:
        raise _full(path, f"{size_text(free)} are free", f"{size_text(size)}")


def _full(path: Path, found: str, needed: str = "") -> SiteError:
    remedy = "free disk space, or write the bundle to another disk"
    return SiteError("the disk is too full for the bundle", where=str(path), found=found, needed=needed, remedy=remedy)


def _sign(manifest: bytes, key: Path) -> bytes:
    """By ssh-keygen, which asks for the key's passphrase, or its agent."""
    with tempfile.TemporaryDirectory() as work:
        file = Path(work, MANIFEST)
        file.write_bytes(manifest)
        remedy = "name another key with --key; one with a passphrase can be in the SSH agent"
        call = ("ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(file))
        run(*call, failure="the bundle could not be signed", where=str(key), remedy=remedy)
        return Path(work, SIGNATURE).read_bytes()


def _write(file: io.BufferedIOBase, bundle: Bundle, signature: bytes, update: Callable[..., None]) -> None:
    own: dict[str, Content] = {bundle.first: bundle.files[bundle.first], MANIFEST: bundle.manifest, SIGNATURE: signature}
    others = {name: content for name, content in sorted(bundle.files.items()) if name not in own}
    written: dict[str, str] = {}  # sha256 → name
    done = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (own | others).items():
            update(f"write {name}", done=done)
            member = tarfile.TarInfo(f"{bundle.folder}/{name}")
            member.mtime, member.mode, member.uname, member.gname = int(EPOCH), 0o644, "root", "root"
            sha256 = bundle.digests.get(name, "")
            if sha256 and sha256 in written:
                member.type, member.linkname = tarfile.LNKTYPE, f"{bundle.folder}/{written[sha256]}"
                archive.addfile(member)
            else:
                member.size = _size(content)
                reader = _Reader(content)
                archive.addfile(member, reader)
                if sha256 and reader.sha256 != sha256:
                    raise StepFailed("a file changed while it was packed", where=str(content), remedy="run it again")
                written[sha256] = name
                done += _size(content)


class _Reader:
    """Content as a stream, with the digest of what was read."""

    def __init__(self, content: Content):
        self._stream = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
        self._digest = hashlib.sha256()

    def read(self, size: int = CHUNK) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        self._stream.close()
        return self._digest.hexdigest()


def _digest(content: Content) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    return remembered_digest(content) if _size(content) > LARGE else digest(content)


def _size(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)
