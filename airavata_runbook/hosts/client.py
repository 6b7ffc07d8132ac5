"""An SSH client of paramiko with a verified host key; each failure to connect has its own message and remedy."""

import base64
import hashlib
import logging
import socket
from pathlib import Path

from airavata_runbook.errors import HostKeyRefused, HostUnreachable
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.local import paths
from airavata_runbook.site.parts import Ssh

# A refused connection behind a forward is normal while a service starts; paramiko would log it as an error.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

CONNECT_TIMEOUT = 15.0  # seconds, for one TCP connection or one reply in the key exchange


def open_client(where: str, ssh: Ssh, address: str, sock=None) -> paramiko.SSHClient:
    """A client that is logged in. where: the host, for a message. sock: a channel through a jump host, if any.

    Raises HostUnreachable when the host does not answer or refuses the user, HostKeyRefused when its key is not the known
    one, SiteError for an invalid path in the site file.
    """
    client = paramiko.SSHClient()
    known_hosts = paths.resolve_path(ssh.known_hosts or "~/.ssh/known_hosts")
    key = str(paths.resolve_path(ssh.key)) if ssh.key else None
    if not ssh.fingerprint and known_hosts.is_file():
        _load_known_hosts(client, known_hosts, where, address)
    where = f"{where}, {ssh.user}@{address}:{ssh.port}"
    client.set_missing_host_key_policy(_UnknownKey(where, ssh.fingerprint, known_hosts))
    try:
        client.connect(
            address,
            port=ssh.port,
            username=ssh.user,
            sock=sock or _prompt_socket(address, ssh.port),
            timeout=CONNECT_TIMEOUT,
            key_filename=key,
            look_for_keys=not key,
            allow_agent=not key,
            auth_timeout=CONNECT_TIMEOUT,
            banner_timeout=CONNECT_TIMEOUT,
        )
    except (OSError, ValueError, paramiko.SSHException) as error:
        client.close()
        raise _unreachable(where, ssh, known_hosts, error) from None
    except HostKeyRefused:
        client.close()
        raise
    return client


def parse_jump(jump: str, ssh: Ssh) -> tuple[str, Ssh]:
    """The jump host's address, and the settings to reach it: of `user@host:port`, the rest as for the host itself (ssh)."""
    user, _, rest = jump.rpartition("@")
    host, _, port = rest.partition(":")
    return host, Ssh(host=host, port=int(port or 22), user=user or ssh.user, key=ssh.key, known_hosts=ssh.known_hosts)


class _UnknownKey(paramiko.MissingHostKeyPolicy):
    """What a key that is not in known_hosts means: it must have the fingerprint in the site file, or it is refused."""

    def __init__(self, where: str, fingerprint: str | None, known_hosts: Path):
        self.where, self.fingerprint, self.known_hosts = where, (fingerprint or "").rstrip("="), known_hosts

    def missing_host_key(self, client, hostname, key):
        if not self.fingerprint:
            raise HostKeyRefused(
                "the host key is unknown",
                where=self.where,
                found=f"no key of this host in {self.known_hosts}",
                needed="a verified host key; none is ever accepted automatically",
                remedy="set ssh.fingerprint in the site file, or connect once with ssh and verify the key",
            )
        found = "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
        if found != self.fingerprint:
            raise HostKeyRefused(
                "the host key does not match the fingerprint in the site file",
                where=self.where,
                found=f"host key has fingerprint {found}, the site file says {self.fingerprint}",
                remedy="compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host",
            )


def _load_known_hosts(client: paramiko.SSHClient, known_hosts: Path, where: str, address: str) -> None:
    """Load the file into the client. Raises HostKeyRefused, which names the line that could not be parsed."""
    try:
        client.load_host_keys(str(known_hosts))
        client.get_host_keys().lookup(address)  # parses hashed names too
    except Exception as error:  # paramiko raises anything from InvalidHostKey to AssertionError for an invalid line
        line = None if isinstance(error, OSError) else _invalid_line(known_hosts)
        raise HostKeyRefused(
            "the known_hosts file is invalid",
            where=where,
            found=f"{known_hosts}{f', line {line}' if line else ''}: {type(error).__name__}",
            needed="a readable file in the format of `ssh-keyscan`",
            remedy="correct or remove that line, set ssh.known_hosts to another file, or set ssh.fingerprint",
        ) from None


def _invalid_line(known_hosts: Path) -> int | None:
    """The number, from 1, of the first line that paramiko cannot parse."""
    for number, line in enumerate(known_hosts.read_bytes().splitlines(), 1):
        try:
            text = line.decode().strip()
            entry = None if text.startswith("#") else paramiko.hostkeys.HostKeyEntry.from_line(text, number)
            for name in entry.hostnames if entry else ():
                if name.startswith("|1|"):
                    paramiko.HostKeys.hash_host("", name)
        except paramiko.SSHException:
            continue  # a key type that paramiko skips
        except Exception:
            return number
    return None


def _prompt_socket(address: str, port: int) -> socket.socket:
    """A TCP connection with TCP_NODELAY. With Nagle's algorithm each command took 80 ms more in the lab."""
    sock = socket.create_connection((address, port), CONNECT_TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _unreachable(where: str, ssh: Ssh, known_hosts: Path, error: Exception) -> HostUnreachable:
    if isinstance(error, paramiko.BadHostKeyException):
        return HostKeyRefused(
            "the host key has changed: another machine may be answering",
            where=where,
            found=f"a {error.key.get_name()} key that differs from {known_hosts}",
            remedy="find out why; if the host was reinstalled, replace its line in that file",
        )
    if isinstance(error, paramiko.AuthenticationException):
        return HostUnreachable(
            "the host refused the login",
            where=where,
            found=str(error),
            needed=f"the key {ssh.key}" if ssh.key else "a key in ~/.ssh or the agent",
            remedy="add the public key to the user's ~/.ssh/authorized_keys, or correct ssh.user or ssh.key",
        )
    if isinstance(error, FileNotFoundError):
        return HostUnreachable(
            "the private key file is missing",
            where=where,
            found=str(error.filename or ssh.key),
            remedy="correct ssh.key; for a lab, run `airavata-runbook lab up`",
        )
    if isinstance(error, ValueError) or getattr(error, "filename", None):  # connection errors have no file name
        return HostUnreachable(
            "the private key file is invalid",
            where=where,
            found=f"{ssh.key or '~/.ssh'}: {error}",
            needed="a private key in a readable file",
            remedy="correct ssh.key",
        )
    return HostUnreachable(
        "the host does not answer",
        where=where,
        found="no answer" if isinstance(error, TimeoutError) else str(error),
        remedy="check that it is up and that ssh.host, ssh.port and ssh.jump are right",
    )
