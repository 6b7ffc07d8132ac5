"""Files of known host keys, read as OpenSSH reads them (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; hostfile.c).

paramiko's own reader gives up at a marker, knows no patterns, and keeps one key of a type.
"""

import base64
import hashlib
import hmac
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from airavata_runbook.hosts.ssh_library import paramiko

SYSTEM_FILES = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
USER_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
AUTHORITY, REVOKED = "@cert-authority", "@revoked"
LARGEST = 16 << 20  # bytes of a file


@dataclass(frozen=True)
class Line:
    """A line of a file: the key, the names that it is for, and its marker, if any. where: file and number, for a message."""

    where: str
    marker: str
    names: str
    key: paramiko.PKey

    def is_for(self, name: str) -> bool:
        """Whether the line is for a host of that name, `host` or `[host]:port`."""
        if self.names.startswith("|"):
            salt, digest = _hash(self.names)
            return hmac.compare_digest(hmac.new(salt, name.lower().encode(), hashlib.sha1).digest(), digest)
        patterns = self.names.lower().split(",")
        negated = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
        positive = [pattern for pattern in patterns if not pattern.startswith("!")]
        return _any_matches(positive, name) and not _any_matches(negated, name)


@dataclass(frozen=True)
class Known:
    """What the files say of one host: its keys, certificate authorities that may vouch for one, and keys that are revoked."""

    keys: tuple[Line, ...] = ()
    authorities: tuple[Line, ...] = ()
    revoked: tuple[Line, ...] = ()


@dataclass(frozen=True)
class KnownHosts:
    """The lines of several files. skipped: a line of text for each that could not be parsed, with file, number and reason."""

    lines: tuple[Line, ...]
    skipped: tuple[str, ...]

    @classmethod
    def read(cls, files: Iterable[Path]) -> "KnownHosts":
        """The content of the files that exist. Raises nothing: what cannot be read is in `skipped`."""
        lines: list[Line] = []
        skipped: list[str] = []
        for file in files:
            for line in _lines(file):
                lines.append(line) if isinstance(line, Line) else skipped.append(line)
        return cls(tuple(lines), tuple(skipped))

    def of(self, address: str, port: int) -> Known:
        """What is known of a host. A key without a port counts for a host on another port that has no line of its own."""
        names = [address] if port == 22 else [f"[{address}]:{port}", address]
        found = [[line for line in self.lines if line.is_for(name)] for name in names]
        return Known(
            keys=next((keys for lines in found if (keys := _marked(lines, ""))), ()),
            authorities=next((keys for lines in found if (keys := _marked(lines, AUTHORITY))), ()),
            revoked=tuple(line for lines in found for line in _marked(lines, REVOKED)),
        )


def _marked(lines: Iterable[Line], marker: str) -> tuple[Line, ...]:
    return tuple(line for line in lines if line.marker == marker)


def _lines(file: Path) -> Iterable[Line | str]:
    """The lines of a file that hold a key, and a text for each that could not be parsed, or for the whole file."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            return [f"{file}: not a regular file of at most {LARGEST >> 20} MiB"]
        return _parsed(file, status.st_ino, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{file}: {error.strerror or error}"]


@lru_cache(maxsize=16)
def _parsed(file: Path, inode: int, size: int, modified: int) -> Sequence[Line | str]:
    """Parsed once for all hosts of a site: 6000 lines take a second. Raises OSError."""
    return list(_parse_all(file, file.read_bytes()))


def _parse_all(file: Path, content: bytes) -> Iterator[Line | str]:
    for number, raw in enumerate(content.split(b"\n"), 1):
        where, text = f"{file}, line {number}", raw.decode("latin-1").strip(" \t\r\0")
        if text and not text.startswith("#"):
            try:
                marker, names, key = _parse(text)
            except ValueError as error:
                yield f"{where}: {error}"
                continue
            if key:
                yield Line(where, marker, names, key)


def _parse(text: str) -> tuple[str, str, paramiko.PKey | None]:
    """Marker, names and key of a line; no key where its type is one that is not used any more. Raises ValueError."""
    fields = re.split("[ \t]+", text)
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if marker not in ("", AUTHORITY, REVOKED):
        raise ValueError("unknown marker")
    if len(fields) < 3:
        raise ValueError("not a host, a key type and a key")
    names, kind, encoded = fields[:3]
    if names.startswith("|"):
        _hash(names)
    if kind.isdecimal() and encoded.isdecimal():
        return marker, names, None  # a key of SSH 1: bits, exponent, modulus
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ValueError("invalid base64") from None
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        raise ValueError("the key is not of the type that the line says")
    return marker, names, _key(kind, blob) if kind in TYPES else None


def _key(kind: str, blob: bytes) -> paramiko.PKey:
    try:
        key = paramiko.PKey.from_type_string(kind, blob)
    except Exception:  # paramiko raises anything from SSHException to AssertionError for an invalid key
        raise ValueError("invalid key") from None
    if key.asbytes() != blob:  # paramiko fills up a key that was cut off
        raise ValueError("invalid key")
    return key


def _hash(names: str) -> tuple[bytes, bytes]:
    """Salt and digest of a hashed name, `|1|salt|digest`. Raises ValueError."""
    try:
        empty, version, *parts = names.split("|")
        salt, digest = (base64.b64decode(part, validate=True) for part in parts)
    except ValueError:
        raise ValueError("invalid hashed name") from None
    if (empty, version) != ("", "1") or len(salt) != 20 or len(digest) != 20:
        raise ValueError("invalid hashed name")
    return salt, digest


def _any_matches(patterns: list[str], name: str) -> bool:
    """Whether one of the patterns, with * and ? only, matches."""
    return any(fnmatchcase(name.lower(), pattern.replace("[", "[[]")) for pattern in patterns)
