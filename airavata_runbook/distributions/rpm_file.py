"""A package file of rpm: what its header says, and a signature for it.

Sources: rpm's docs/manual/format_v4.md and format_header.md. The file is a lead of 96 bytes, the signature header, padded to 8
bytes, the header, and the payload. The header has the payload's digest, so a signature of the header is one of the whole package.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local.files import Head

LEAD, LEAD_MAGIC = 96, b"\xed\xab\xee\xdb"
HEADER_MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"
# Kinds of values; the first three have a fixed size and are aligned to it.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
NUMBERS = {2: "B", 3: "H", 4: "I", 5: "Q"}
BINARY, STRING = 7, 6
MOST_ENTRIES, MOST_BYTES = 0xFFFF, 0x10000000  # rpm's own limits (lib/header.c)
SIGNATURES = 62  # the tag of the region that is the whole signature header
RSA_HEADER = 268  # in it: an OpenPGP signature of the header
PAYLOAD_SIZES = (1007, 271)  # in it, too; the latter from 4 GB on
PAYLOAD_DIGEST = 5092

Value = list[int] | list[str]


class _Entry(NamedTuple):
    tag: int
    kind: int
    many: int
    data: bytes


@dataclass(frozen=True)
class RpmFile:
    """What precedes the payload. start: where the header begins. header: its bytes. size: of the whole file."""

    path: Path
    lead: bytes
    signatures: tuple[_Entry, ...]
    start: int
    header: bytes
    values: Mapping[int, Value]  # of the header, by tag: numbers, or texts
    payload_size: int  # unpacked

    @property
    def end(self) -> int:
        """Where the payload begins."""
        return self.start + len(self.header)

    def texts(self, tag: int) -> list[str]:
        return [value for value in self.values.get(tag, []) if isinstance(value, str)]

    def numbers(self, tag: int) -> list[int]:
        return [value for value in self.values.get(tag, []) if isinstance(value, int)]

    def text(self, tag: int) -> str:
        return next(iter(self.texts(tag)), "")

    def number(self, tag: int) -> int:
        return next(iter(self.numbers(tag)), 0)

    def signed(self, sign: Callable[[bytes], bytes]) -> Head:
        """What the file begins with when it is signed. sign: the OpenPGP packet with the signature of some bytes.

        Raises CannotBuild when the header does not vouch for the payload.
        """
        if not self.text(PAYLOAD_DIGEST):
            raise _damaged(self.path, "no digest of the payload")
        others = [one for one in self.signatures if one.tag not in (SIGNATURES, RSA_HEADER)]
        packet = sign(self.header)
        return Head(self.lead + _signature_header([*others, _Entry(RSA_HEADER, BINARY, len(packet), packet)]), instead=self.start)


def read_rpm(path: Path) -> RpmFile:
    """Raises CannotBuild when it is no rpm package."""
    try:
        with path.open("rb") as file:
            lead = file.read(LEAD)
            if not lead.startswith(LEAD_MAGIC):
                raise ValueError("no lead")
            signatures = _read_header(file.read)
            file.read(-len(signatures) % 8)
            start = file.tell()
            header = _read_header(file.read)
        beside, entries = _entries(signatures), _entries(header)
        sizes = [_value(one)[0] for one in beside if one.tag in PAYLOAD_SIZES]
        values = {one.tag: _value(one) for one in entries}
        return RpmFile(path, lead, tuple(beside), start, header, values, int(next(iter(sizes), 0)))
    except (ValueError, struct.error) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, why: str) -> CannotBuild:
    return CannotBuild("a package is no rpm package", found=f"{path}: {why}", remedy="remove that file and run again")


def _read_header(read: Callable[[int], bytes]) -> bytes:
    intro = read(16)
    if not intro.startswith(HEADER_MAGIC):
        raise ValueError("no header")
    entries, size = struct.unpack(">II", intro[8:])
    if entries > MOST_ENTRIES or size > MOST_BYTES:
        raise ValueError("a header of that size")
    rest = read(16 * entries + size)
    if len(rest) != 16 * entries + size:
        raise ValueError("truncated")
    return intro + rest


def _entries(header: bytes) -> list[_Entry]:
    (count,) = struct.unpack(">I", header[8:12])
    store = header[16 + 16 * count :]
    found = []
    for number in range(count):
        tag, kind, offset, many = struct.unpack(">IIiI", header[16 + 16 * number : 32 + 16 * number])
        found.append(_Entry(tag, kind, many, store[offset : _end(store, kind, offset, many)]))
    return found


def _end(store: bytes, kind: int, offset: int, count: int) -> int:
    if kind in SIZES:
        return offset + SIZES[kind] * count
    for _ in range(count):
        offset = store.index(b"\0", offset) + 1
    return offset


def _value(entry: _Entry) -> Value:
    if entry.kind in NUMBERS:
        return list(struct.unpack(f">{entry.many}{NUMBERS[entry.kind]}", entry.data))
    return [] if entry.kind in SIZES else [one.decode() for one in entry.data.split(b"\0")[:-1]]


def _signature_header(entries: list[_Entry]) -> bytes:
    """With these entries, sorted by tag, within their region, whose trailer is the last of the data; padded."""
    index, store = b"", b""
    for entry in sorted(entries):
        store += b"\0" * (-len(store) % (SIZES.get(entry.kind, 1)))
        index += struct.pack(">IIiI", entry.tag, entry.kind, len(store), entry.many)
        store += entry.data
    first = struct.pack(">IIiI", SIGNATURES, BINARY, len(store), 16)
    store += struct.pack(">IIiI", SIGNATURES, BINARY, -(len(index) + 16), 16)
    header = HEADER_MAGIC + struct.pack(">II", len(entries) + 1, len(store)) + first + index + store
    return header + b"\0" * (-len(header) % 8)
