"""The kinds of values that a site file holds: what they may look like, in a pattern for machines and in words for people."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

SECRET_KINDS = ("generated", "env", "file", "prompt", "keyring")
# Pattern → the same in words, for the message that refuses a value.
PATTERNS: dict[str, str] = {}


def text(pattern: str, words: str):
    """The type of a text that matches a pattern. words: what it has to be, after "needs"."""
    PATTERNS[pattern] = words
    return Annotated[str, Field(pattern=pattern)]


def whole(least: int, most: int | None = None):
    """The type of a whole number within bounds; true, 1.0 and "1" are none."""
    return Annotated[int, Field(strict=True, ge=least, le=most)]


def _is_reference(value: str) -> str:
    kind, _, rest = value.partition(":")
    if kind not in SECRET_KINDS or not rest:
        # The value itself may be a real password put here by mistake: it is never repeated.
        raise ValueError(f"needs a reference, one of {', '.join(k + ':NAME' for k in SECRET_KINDS)}; "
                         "a secret's value never stands in a site file")
    return value


Name = text(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "lower-case letters, digits and hyphens, 63 of them at most")
Domain = text(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", "a domain name such as registry.internal")
Version = text(r"^\d+\.\d+(\.\d+)?$", "a version such as 1.36.3")
Folder = text(r"^/[^\s]+$", "an absolute path without blanks")
Word = text(r"^[A-Za-z0-9._-]+$", "letters, digits, dots, underscores and hyphens")
Interface = text(r"^[A-Za-z0-9._-]{1,15}$", "the name of a network interface, 15 characters at most")
Digest = text(r"^sha256:[0-9a-f]{64}$", "a digest: sha256: and 64 hexadecimal digits")
Fingerprint = text(r"^SHA256:[A-Za-z0-9+/]{43}=?$", "a fingerprint as ssh-keygen -lf prints it: SHA256:…")
Jump = text(r"^([A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+(:\d{1,5})?$", "user@host:port, user and port may be left out")
Prefix = text(r"^(/[a-z0-9-]+)+$", "a key such as /kube-centos/network")
Url = text(r"^(file|https|http)://\S+$", "an address that starts with file://, https:// or http://")
Bridge = text(r"^[a-z][a-z0-9]{0,9}$", "a letter and at most nine letters and digits")
Port = whole(1, 65535)
NodePort = whole(30000, 32767)
YesNo = Annotated[bool, Field(strict=True)]
SecretRef = Annotated[str, AfterValidator(_is_reference)]
# The checks of preflight.py, which say what each asks.
CheckName = Literal["reachable", "host-key", "sudo", "os", "architecture", "cpu", "memory", "disk", "address", "mtu", "ports",
                    "swap", "kernel", "cgroup", "selinux", "firewalld", "packages", "clock", "networks", "registry-name",
                    "settings", "repository", "hostname", "machine-id", "versions", "sources", "stack"]
