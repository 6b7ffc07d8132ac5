"""The file of a backup: its format, and how it is written and read while nothing of it lies unencrypted on a disk.

The file is encrypted by age (age-encryption.org/v1). For recipients it is an age file. With a passphrase, an armoured age file
comes first, which the passphrase decrypts: it holds an age identity, and the age file for this identity follows. By hand:

    age -d -i KEY FILE | tar -x
    sed '/END AGE/q' FILE > key.age; sed '1,/END AGE/d' FILE | age -d -i key.age | tar -x

Inside is a tar archive (POSIX.1-2001), in this order:

    about.json     {"format": 1, "site": NAME, "made": TIME, "runbook": VERSION, …}
    PART/000000    the pieces of a part in their order, of at most PIECE bytes: together they are the part
    manifest.json  {"parts": {PART: {"bytes": NUMBER, "sha256": DIGEST}}}

A file that is cut or altered is refused. age authenticates each 64 KiB, and the last ones as such, so that nothing can be
exchanged, left out or added; and each part must be as the manifest says, which ends the archive.
"""

import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from airavata_runbook.errors import SiteError, StepFailed

FORMAT = 1
PIECE = 8 << 20  # bytes of a piece, which is held in memory
ABOUT, MANIFEST = "about.json", "manifest.json"
START_OF_FILE, START_OF_KEY = b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n"
END_OF_KEY = b"-----END AGE ENCRYPTED FILE-----\n"
Part = tuple[str, Iterable[bytes]]  # its name, and its content in blocks of any size


@dataclass(frozen=True)
class Lock:
    """What encrypts a backup: either public keys, or a passphrase. Its repr shows none."""

    recipients: tuple[Any, ...] = ()
    passphrase: str = ""

    def __repr__(self) -> str:
        return "Lock"


@dataclass(frozen=True)
class Key:
    """What decrypts a backup: either private keys, or a passphrase. Its repr shows none."""

    identities: tuple[Any, ...] = ()
    passphrase: str = ""

    def __repr__(self) -> str:
        return "Key"


def lock_for(recipients: Sequence[str]) -> Lock:
    """The lock for public keys of age (age1…) or SSH (ssh-ed25519, ssh-rsa), or files with a key a line. Raises SiteError."""
    import pyrage

    keys = []
    for text in recipients:
        path = Path(text).expanduser()
        lines = path.read_text().splitlines() if not text.startswith(("age1", "ssh-")) and path.is_file() else [text]
        for line in filter(None, (one.partition("#")[0].strip() for one in lines)):
            kind = pyrage.ssh if line.startswith("ssh-") else pyrage.x25519
            try:
                keys.append(kind.Recipient.from_str(line))
            except pyrage.RecipientError as error:
                raise SiteError(
                    "this is no public key",
                    found=f"{line[:60]} ({error})",
                    needed="a public key of age (age1…) or SSH (ssh-ed25519, ssh-rsa), or a file of such keys, one a line",
                ) from None
    if not keys:
        raise SiteError("there is no public key", found=", ".join(recipients), needed="one or more")
    return Lock(recipients=tuple(keys))


def key_of(path: Path) -> Key:
    """The key in a file: identities of age, one a line, or a private key of SSH without a passphrase. Raises SiteError."""
    import pyrage

    try:
        content = path.read_bytes()
        if b"PRIVATE KEY-----" in content:
            return Key((pyrage.ssh.Identity.from_buffer(content),))
        lines = [line.strip() for line in content.decode().splitlines() if line.startswith("AGE-")]
        identities = tuple(pyrage.x25519.Identity.from_str(line) for line in lines)
    except OSError as error:
        raise SiteError("the private key is unreadable", where=str(path), found=str(error)) from None
    except (pyrage.IdentityError, ValueError):  # its message may have a part of the key
        identities = ()
    if not identities:
        raise SiteError("this is no private key", where=str(path), needed="one of age, or one of SSH without a passphrase")
    return Key(identities)


def write(path: Path, lock: Lock, about: dict, parts: Iterable[Part]) -> None:
    """Write a backup, mode 600; until it is complete, its name ends with .part. Raises SiteError, and what the parts raise."""
    if path.exists():
        raise SiteError("there is a file of this name", where=str(path), remedy="choose another name, or move it away")
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with suppress(FileNotFoundError):  # of a call that was killed
            unfinished.unlink()
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            _encrypt(_archive(about, parts), file, lock)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        raise


def verify(path: Path, key: Key) -> tuple[dict, dict]:
    """(about.json, the manifest's parts) of a backup; all of it was read and compared. Raises StepFailed for any other file."""
    seen: dict[str, Any] = {}
    for _ in read(path, key, lambda name, content: seen.update({name: content})):
        pass
    return seen[ABOUT], seen[MANIFEST]["parts"]


def read(
    path: Path, key: Key, told: Callable[[str, dict], object] = lambda name, content: None
) -> Generator[tuple[str, bytes], None, None]:
    """(part, piece) in their order. told: is called with about.json, and with manifest.json once all parts are as it says.

    Raises StepFailed as soon as it finds that the file is no backup, was cut or altered, or is for another key; what was given
    by then must not be used: `verify` first.
    """
    found: dict[str, dict] = {}
    digests: dict[str, Any] = {}
    names: list[str] = []
    with _decrypted(path, key) as stream:
        for name, content in _members(stream, path):
            part, _, number = name.partition("/")
            if not names and name != ABOUT or names and names[-1] == MANIFEST:
                raise _refused(path, f"{name} where it cannot be")
            names.append(name)
            if name == ABOUT:
                about = _json(content, path)
                if about.get("format") != FORMAT:
                    raise _refused(path, f"format {about.get('format')}", f"format {FORMAT}, or a newer runbook")
                told(name, about)
            elif name == MANIFEST:
                manifest = _json(content, path)
                sums = {part: {"bytes": one["bytes"], "sha256": digests[part].hexdigest()} for part, one in found.items()}
                if manifest.get("parts") != sums:
                    raise _refused(path, "parts that are not as the manifest says")
                told(name, manifest)
            else:
                state = found.setdefault(part, {"bytes": 0, "pieces": 0})
                if number != f"{state['pieces']:06}":
                    raise _refused(path, f"{name} where piece {state['pieces']} should be")
                state["bytes"] += len(content)
                state["pieces"] += 1
                digests.setdefault(part, hashlib.sha256()).update(content)
                yield part, content
    if not names or names[-1] != MANIFEST:
        raise _refused(path, "no manifest at its end")


def _archive(about: dict, parts: Iterable[Part]) -> Iterator[bytes]:
    yield _member(ABOUT, json.dumps({"format": FORMAT, **about}, indent=1).encode())
    manifest = {}
    for name, blocks in parts:
        digest, size = hashlib.sha256(), 0
        for number, piece in enumerate(_pieces(blocks)):
            digest.update(piece)
            size += len(piece)
            yield _member(f"{name}/{number:06}", piece)
        manifest[name] = {"bytes": size, "sha256": digest.hexdigest()}
    yield _member(MANIFEST, json.dumps({"parts": manifest}, indent=1).encode())
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """At least one, so that an empty part is seen."""
    held, some = bytearray(), False
    for block in blocks:
        held += block
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            some = True
            del held[:PIECE]
    if held or not some:
        yield bytes(held)


class _Source:
    """A stream of what an iterator yields, as pyrage reads it. error: what the iterator raised, of which pyrage keeps a text."""

    def __init__(self, blocks: Iterator[bytes]):
        self._blocks, self._held = blocks, b""
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            while not self._held:
                self._held = next(self._blocks)
        except StopIteration:
            return b""
        except BaseException as error:
            self.error = error
            raise
        block, self._held = self._held[:size], self._held[size:]
        return block


def _encrypt(blocks: Iterator[bytes], file: BinaryIO, lock: Lock) -> None:
    import pyrage

    recipients = lock.recipients
    if lock.passphrase:
        identity = pyrage.x25519.Identity.generate()
        file.write(pyrage.passphrase.encrypt(f"{identity}\n".encode(), lock.passphrase, armored=True).rstrip() + b"\n")
        recipients = (identity.to_public(),)
    source = _Source(blocks)
    try:
        pyrage.encrypt_io(source, file, recipients)
    except pyrage.EncryptError as error:
        if source.error:
            raise source.error from None
        raise StepFailed("the backup could not be written", where=file.name, found=str(error)) from None


@contextmanager
def _decrypted(path: Path, key: Key) -> Iterator[BinaryIO]:
    """The archive in a backup, while a thread decrypts it. Raises StepFailed at the end of the block where that failed."""
    import pyrage

    errors: list[Exception] = []
    failed: list[Exception] = []
    if not path.is_file():
        raise SiteError("there is no such file", where=str(path))
    with path.open("rb") as file:
        identities = _identities(file, path, key)
        here, there = os.pipe()

        def work() -> None:
            try:
                with os.fdopen(there, "wb") as writer:
                    pyrage.decrypt_io(file, writer, identities)
            except (pyrage.DecryptError, OSError) as error:  # also where nobody reads on
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            with os.fdopen(here, "rb") as reader:
                try:
                    yield reader
                    reader.read()  # to the end, which is authenticated too
                finally:
                    failed += errors  # not the one that closing it makes
        except StepFailed:  # of what came before the decryption failed
            if not failed:
                raise
        finally:
            thread.join()
    if failed:
        raise _refused(path, f"{failed[0]}")


def _identities(file: BinaryIO, path: Path, key: Key) -> Sequence[Any]:
    """Those that decrypt the rest of the file."""
    import pyrage

    start = file.readline(100)
    file.seek(0)
    if not start.startswith((START_OF_FILE, START_OF_KEY)):
        raise _refused(path, "a file of another kind")
    if start.startswith(START_OF_FILE):
        if not key.identities:
            raise _refused(path, "a backup for a key, not for a passphrase", "the private key")
        return key.identities
    if not key.passphrase:
        raise _refused(path, "a backup for a passphrase, not for a key", "the passphrase")
    head = b""
    while not head.endswith(END_OF_KEY):
        line = file.readline(200)
        if not line:
            raise _refused(path, "it ends within its key")
        head += line
    try:
        return (pyrage.x25519.Identity.from_str(pyrage.passphrase.decrypt(head, key.passphrase).decode().strip()),)
    except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError) as error:
        raise _refused(path, f"{error}", "the passphrase that it was made with") from None


def _members(stream: BinaryIO, path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for one in archive:
                content = archive.extractfile(one)
                if content is None or one.size > PIECE:
                    raise _refused(path, f"{one.name}, which is no piece")
                yield one.name, content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _refused(path, f"{error}") from None


def _json(content: bytes, path: Path) -> dict:
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        raise _refused(path, "content that is no JSON") from None


def _refused(path: Path, found: str, needed: str = "a backup as it was made, and its key") -> StepFailed:
    return StepFailed("this backup is refused", where=str(path), found=found, needed=needed)
