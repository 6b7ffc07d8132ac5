"""The private keys that a login may use: the site file's, else those of the SSH agent and of ~/.ssh."""

import base64
import io
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from airavata_runbook.errors import HostUnreachable, RunbookError
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.hosts.ssh_transport import RSA_BITS
from airavata_runbook.local import paths
from airavata_runbook.site.node import Ssh

DEFAULTS = ("id_ed25519", "id_ecdsa", "id_rsa")  # in ~/.ssh; OpenSSH's, without those that need a security key
LARGEST = 64 << 10  # bytes of a key file
CLASSES = {
    Ed25519PrivateKey: paramiko.Ed25519Key,
    EllipticCurvePrivateKey: paramiko.ECDSAKey,
    RSAPrivateKey: paramiko.RSAKey,
}
OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
PUBLIC = rb"(ssh-|ecdsa-|sk-)\S+ AAAA|---- BEGIN SSH2 PUBLIC KEY|-----BEGIN (RSA )?PUBLIC KEY"

_prompting = threading.Lock()  # one prompt for all hosts that need the same passphrase at the same time


@contextmanager
def agent_keys() -> Iterator[Sequence[paramiko.PKey]]:
    """The keys in the SSH agent, which signs with them until the block ends; none where there is no agent that works."""
    try:
        agent = paramiko.Agent()
    except (OSError, paramiko.SSHException):
        yield ()
        return
    with closing(agent):
        yield agent.get_keys()


def user_keys(ssh: Ssh, where: str, agent: Sequence[paramiko.PKey], problems: list[HostUnreachable]) -> Iterator[paramiko.PKey]:
    """The keys to try, in this order: that of ssh.key and no other; else the agent's, and then those in ~/.ssh.

    where: the host, for a message. agent: the keys in the SSH agent. problems: gets the errors of files in ~/.ssh, which are
    left out. Raises HostUnreachable for an unusable ssh.key.
    """
    if ssh.key:
        yield private_key(paths.resolve_path(ssh.key), ssh, where, agent)
        return
    yield from (key for key in agent if not _short(key) or ssh.legacy)
    for path in (Path("~/.ssh").expanduser() / name for name in DEFAULTS):
        if path.is_file():
            try:
                key = private_key(path, ssh, where, agent)
            except HostUnreachable as error:
                problems.append(error)
                continue
            if key not in agent:
                yield key


def private_key(path: Path, ssh: Ssh, where: str = "", agent: Sequence[paramiko.PKey] = ()) -> paramiko.PKey:
    """The key in a file. An encrypted one is taken from the agent if it is there, else decrypted with ssh.passphrase.

    Raises HostUnreachable, with a message for each kind of file that holds no usable key.
    """
    content = _read(path, where)
    if key := _in_agent(path, content, agent):
        return key
    if problem := _no_private_key(path, content):
        message, remedy = problem
        raise HostUnreachable(message, where=where, found=str(path), needed="a private key", remedy=remedy)
    try:
        key = _load(content, None)
    except TypeError:  # it is encrypted
        key = _decrypt(path, content, ssh, where)
    except (ValueError, UnsupportedAlgorithm, paramiko.SSHException) as error:
        raise _invalid(path, where, error) from None
    if _short(key) and not ssh.legacy:
        raise HostUnreachable(
            "the private key is too short",
            where=where,
            found=f"{path}: RSA with {key.get_bits()} bits",
            needed=f"ed25519, ECDSA, or RSA with at least {RSA_BITS} bits",
            remedy="make a new key (ssh-keygen -t ed25519), or set ssh.legacy: true for an old host",
        )
    certificate = path.with_name(f"{path.name}-cert.pub")
    if certificate.is_file():
        key.load_certificate(str(certificate))
    return key


def _read(path: Path, where: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise HostUnreachable(
                "the private key file is invalid",
                where=where,
                found=f"{path}: not a regular file of at most {LARGEST >> 10} KiB",
                needed="a private key in a readable file",
                remedy="correct ssh.key",
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise HostUnreachable(
            "the private key file is missing",
            where=where,
            found=str(path),
            remedy="correct ssh.key; for a lab, run `airavata-runbook lab up`",
        ) from None
    except OSError as error:
        raise HostUnreachable(
            "the private key file is unreadable",
            where=where,
            found=f"{path}: {error.strerror or error}",
            needed="a private key in a readable file",
            remedy=f"make it readable for you alone (chown, chmod 600 {path}), or correct ssh.key",
        ) from None


def _no_private_key(path: Path, content: bytes) -> tuple[str, str] | None:
    """Message and remedy for a file that is something else."""
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        return "the private key file is empty", "copy the key again, or correct ssh.key"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "the private key file is UTF-16 text", f"save it as ASCII (iconv -f UTF-16 -t ASCII {path})"
    if re.match(PUBLIC, start):
        private = path.with_suffix("") if path.suffix == ".pub" else None
        return "ssh.key names a public key", f"set ssh.key to the private key, {private or 'the file without .pub'}"
    if start.startswith(b"PuTTY-User-Key-File"):
        converted = path.with_suffix("") if path.suffix == ".ppk" else path.with_name(f"{path.name}_openssh")
        command = f"puttygen {path} -O private-openssh -o {converted}"
        return "the private key is in PuTTY's format", f"convert it with `{command}`, and set ssh.key to {converted}"
    if start.startswith(b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY"):
        return "the private key is in ssh.com's format", f"convert it with `ssh-keygen -i -f {path}`"
    if start.startswith(b"-----BEGIN CERTIFICATE"):
        return "ssh.key names a certificate", "set ssh.key to an SSH private key"
    return None


def _load(content: bytes, password: bytes | None) -> paramiko.PKey:
    """Raises TypeError for an encrypted key without a password, ValueError for a wrong one or invalid content."""
    load = load_ssh_private_key if OPENSSH in content else load_pem_private_key
    key = load(content, password)
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()  # in memory only
    for kind, its_class in CLASSES.items():
        if isinstance(key, kind):
            return its_class.from_private_key(io.StringIO(plain))
    raise UnsupportedAlgorithm("not an ed25519, ECDSA or RSA key")


def _decrypt(path: Path, content: bytes, ssh: Ssh, where: str) -> paramiko.PKey:
    if not ssh.passphrase:
        raise HostUnreachable(
            "the private key is encrypted",
            where=where,
            found=f"{path}, and the SSH agent does not have it",
            needed="its passphrase",
            remedy=f"unlock it with `ssh-add {path}`, or set ssh.passphrase in the site file, for example to prompt:ssh-key",
        )
    try:
        with _prompting:
            secret = _passphrase(ssh.passphrase)
    except RunbookError as error:
        raise HostUnreachable(
            "the passphrase of the private key is not available",
            where=where,
            found=f"ssh.passphrase ({ssh.passphrase}): {error.summary}",
            needed=error.needed or f"the passphrase of {path}",
            remedy=error.remedy or f"correct ssh.passphrase, or unlock the key with `ssh-add {path}`",
        ) from None
    try:
        return _load(content, secret.encode())
    except (ValueError, TypeError):
        raise HostUnreachable(
            "the passphrase of the private key is wrong",
            where=where,
            found=f"{path} cannot be decrypted with ssh.passphrase ({ssh.passphrase})",
            remedy=f"correct the secret; `ssh-keygen -y -f {path}` asks for the passphrase and tells whether it is right",
        ) from None
    except (UnsupportedAlgorithm, paramiko.SSHException) as error:
        raise _invalid(path, where, error) from None


@cache
def _passphrase(reference: str) -> str:
    """The secret behind ssh.passphrase, read once in this process. Raises SiteError, StepFailed."""
    from airavata_runbook.hosts.vault import external_secret  # it imports the connections, which are made with this secret

    return external_secret(reference)


def _in_agent(path: Path, content: bytes, agent: Sequence[paramiko.PKey]) -> paramiko.PKey | None:
    """The agent's key of the file, by its public half, which an encrypted file of OpenSSH or the .pub file beside it shows."""
    if not agent or not (OPENSSH in content or b"ENCRYPTED" in content or re.match(PUBLIC, content)):
        return None
    beside = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    blobs = [_public_half(content)]
    if beside.is_file() and len(fields := beside.read_bytes()[:LARGEST].split()) > 1:
        blobs.append(_decoded(fields[1]))
    return next((key for key in agent if key.asbytes() in blobs), None)


def _public_half(content: bytes) -> bytes:
    """The public key in OpenSSH's form of a private key, which is not encrypted in it (PROTOCOL.key); b"" without one."""
    body = re.search(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END", content, re.DOTALL)
    message = paramiko.Message(_decoded(body[1]) if body else b"")
    message.get_bytes(len(b"openssh-key-v1\0"))
    for _ in ("cipher", "key derivation", "its options"):
        message.get_binary()
    message.get_int()  # the number of keys
    return message.get_binary()


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""


def _short(key: paramiko.PKey) -> bool:
    return "rsa" in key.get_name() and 0 < key.get_bits() < RSA_BITS


def _invalid(path: Path, where: str, error: Exception) -> HostUnreachable:
    return HostUnreachable(
        "the private key file is invalid",
        where=where,
        found=f"{path}: {error}",
        needed="an ed25519, ECDSA or RSA key in the format of ssh-keygen",
        remedy="correct ssh.key, make a new key (ssh-keygen -t ed25519), or add it to the SSH agent if ssh-add can read it",
    )
