"""SSH keys of a lab: the user's key, each host's key, and the known_hosts that is written from them.

Host keys are generated before a host boots, so what the user trusts comes from files and never from the network.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from airavata_runbook.local.files import write_file


def ensure_key(file: Path, comment: str) -> str:
    """The public key (`ssh-ed25519 … comment`) of the private key in `file`, which is generated (mode 600) when missing."""
    public = file.with_name(file.name + ".pub")
    if not (file.is_file() and public.is_file()):
        key = Ed25519PrivateKey.generate()
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        write_file(file, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
        write_file(public, f"{line} {comment}\n".encode(), 0o644)
    return public.read_text().strip()


def known_hosts(hosts: list[tuple[str, int, str]]) -> str:
    """The text of a known_hosts file for hosts given as (address, port, public key)."""
    return "".join(
        f"{address if port == 22 else f'[{address}]:{port}'} {' '.join(public.split()[:2])}\n" for address, port, public in hosts
    )
