"""SSH keys of a lab: the user's key, each host's key, and the known_hosts that is written from them.

Host keys are made before a host starts, so what the user trusts comes from files and never from the network.
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def ensure_key(file: Path, comment: str) -> str:
    """The public line (`ssh-ed25519 … comment`) of the private key in `file`, which is made (mode 600) when missing."""
    public = file.with_name(file.name + ".pub")
    if not (file.is_file() and public.is_file()):
        key = Ed25519PrivateKey.generate()
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        _write(file, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
        _write(public, f"{line} {comment}\n".encode(), 0o644)
    return public.read_text().strip()


def known_hosts(hosts: list[tuple[str, int, str]]) -> str:
    """The text of a known_hosts file for hosts given as (address, port, public line)."""
    return "".join(
        f"{address if port == 22 else f'[{address}]:{port}'} {' '.join(public.split()[:2])}\n" for address, port, public in hosts
    )


def _write(file: Path, content: bytes, mode: int) -> None:
    partial = file.with_name(f".{file.name}.part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
    partial.rename(file)
