"""PEM text: the blocks that a file holds, and those that Go's reader finds in it.

The registry and containerd are written in Go, whose reader (encoding/pem, crypto/tls) skips in silence what it does not take for
a block: after a byte order mark, indented, with another label. The bytes of such a block are certain all the same, so a file
is copied to a host only as `normalised` writes it.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import NamedTuple

CERTIFICATE = "CERTIFICATE"
OLDER = {"X509 CERTIFICATE": CERTIFICATE, "X.509 CERTIFICATE": CERTIFICATE}  # older labels (RFC 7468 section 5.1)
BOM = b"\xef\xbb\xbf"
BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9. ]+)-----")
LINE_END = re.compile(rb"[ \t]*(?:\r?\n|\Z)")


class Block(NamedTuple):
    """label: as in BEGIN LABEL, today's. der: the decoded content. encrypted: by a password, in the form of RFC 1421.

    unseen: why Go's reader skips the block; "" when it does not.
    """

    label: str
    der: bytes
    encrypted: bool
    unseen: str

    @property
    def is_key(self) -> bool:
        return self.label.endswith("PRIVATE KEY")


def blocks(content: bytes) -> list[Block]:
    """The blocks in a text, whatever is around them. Raises ValueError for one that is truncated or not base64."""
    begins = list(BEGIN.finditer(content))
    bounds = [*(match.start() for match in begins), len(content)]
    return [_block(content, match, end) for match, end in zip(begins, bounds[1:], strict=True)]


def certificates(content: bytes) -> bytes:
    """The certificates in a text, normalised. Raises ValueError."""
    return normalised(block for block in blocks(content) if block.label == CERTIFICATE)


def key(content: bytes) -> bytes:
    """The first private key in a text, as a server uses it, normalised; empty: none. Raises ValueError."""
    return normalised([block for block in blocks(content) if block.is_key][:1])


def normalised(found: Iterable[Block]) -> bytes:
    """PEM of the blocks as OpenSSL writes it, without anything else (RFC 7468)."""
    return b"".join(map(_written, found))


def _block(content: bytes, begin: re.Match[bytes], end: int) -> Block:
    """end: where the next block begins."""
    label = begin[1].decode()
    last = content.find(b"-----END " + begin[1] + b"-----", begin.end(), end)
    if last < 0:
        raise ValueError(f"BEGIN {label} without END {label}")
    body = content[begin.end() : last]
    headers, blank, rest = body.replace(b"\r\n", b"\n").strip().partition(b"\n\n")
    has_headers = bool(blank) and b":" in headers  # Name: value (RFC 1421)
    try:
        der = base64.b64decode(b"".join((rest if has_headers else body).split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"BEGIN {label} with content that is not base64: {error}") from None
    whole = _starts_line(content, begin.start()) and _ends_line(content, begin.end())
    whole = whole and _starts_line(content, last) and _ends_line(content, last + len(label) + 14)
    if label in OLDER:
        unseen = f"it is labelled {label}"
    elif content[: begin.start()].endswith(BOM):
        unseen = "a byte order mark is before its BEGIN line"
    else:
        unseen = "" if whole else "its BEGIN or END is not alone on a line"
    return Block(OLDER.get(label, label), der, has_headers and b"ENCRYPTED" in headers, unseen)


def _starts_line(content: bytes, position: int) -> bool:
    return position == 0 or content[position - 1 : position] == b"\n"


def _ends_line(content: bytes, position: int) -> bool:
    return LINE_END.match(content, position) is not None


def _written(block: Block) -> bytes:
    text = base64.b64encode(block.der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {block.label}-----", *lines, f"-----END {block.label}-----", ""]).encode()
