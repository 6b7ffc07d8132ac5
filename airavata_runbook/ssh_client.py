"""One verified SSH client of paramiko's: the host's key has to be known, and what goes wrong is said with its remedy."""

import base64
import hashlib
import logging
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import paramiko

from airavata_runbook.errors import HostKeyRefused, HostUnreachable
from airavata_runbook.site import Ssh

# A refused connection behind a forward is an ordinary answer ("not yet"); paramiko would print it as an error of its own.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

CONNECT_TIMEOUT = 15.0  # seconds, for one TCP connection or one reply in the key exchange
KEEPALIVE = 15.0  # seconds between two questions whether the host is still there, and for its answer


def open_client(where: str, ssh: Ssh, address: str, sock=None) -> paramiko.SSHClient:
    """A client that is logged in. where: the host, for a message. sock: a channel through a jump host, else none.

    Raises HostUnreachable when the host does not answer, its key is not the known one, or the user is refused.
    """
    client = paramiko.SSHClient()
    known_hosts = Path(ssh.known_hosts or "~/.ssh/known_hosts").expanduser()
    if ssh.fingerprint:
        client.set_missing_host_key_policy(_Pinned(ssh.fingerprint))
    else:
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        if known_hosts.is_file():
            client.load_host_keys(str(known_hosts))
    try:
        client.connect(address, port=ssh.port, username=ssh.user, sock=sock or _prompt_socket(address, ssh.port),
                       timeout=CONNECT_TIMEOUT,
                       key_filename=str(Path(ssh.key).expanduser()) if ssh.key else None,
                       look_for_keys=not ssh.key, allow_agent=not ssh.key, auth_timeout=CONNECT_TIMEOUT,
                       banner_timeout=CONNECT_TIMEOUT)
    except (OSError, paramiko.SSHException) as error:
        client.close()
        raise _unreachable(where, ssh, address, known_hosts, error) from None
    return client


def parse_jump(ssh: Ssh) -> Ssh:
    """How the jump host of `user@host:port` is reached, with the host's own key and known_hosts."""
    user, _, rest = ssh.jump.rpartition("@")
    host, _, port = rest.partition(":")
    return Ssh(host=host, port=int(port or 22), user=user or ssh.user, key=ssh.key, known_hosts=ssh.known_hosts)


def watch(transport: paramiko.Transport) -> None:
    """Close a connection whose other end does not answer any more: a host that lost its power says no goodbye."""
    while transport.is_active():
        answered = threading.Event()
        threading.Thread(target=_ask, args=(transport, answered), daemon=True).start()
        if not answered.wait(KEEPALIVE):
            transport.close()
        time.sleep(KEEPALIVE)


def _ask(transport: paramiko.Transport, answered: threading.Event) -> None:
    with suppress(OSError, EOFError, paramiko.SSHException):  # the connection has ended: whoever uses it is told
        transport.global_request("keepalive@openssh.com", wait=True)  # every server answers, be it with a refusal
        answered.set()


class _Pinned(paramiko.MissingHostKeyPolicy):
    """Accepts only the key with the fingerprint that the site file states."""

    def __init__(self, fingerprint: str):
        self.fingerprint = fingerprint.rstrip("=")

    def missing_host_key(self, client, hostname, key):
        found = "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
        if found != self.fingerprint:
            raise paramiko.SSHException(f"host key has fingerprint {found}, the site file says {self.fingerprint}")


def _prompt_socket(address: str, port: int) -> socket.socket:
    """A connection that sends at once. Held back for acknowledgements (Nagle), each command took 80 ms more in the lab."""
    sock = socket.create_connection((address, port), CONNECT_TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _unreachable(where: str, ssh: Ssh, address: str, known_hosts: Path, error: Exception) -> HostUnreachable:
    where = f"{where}, {ssh.user}@{address}:{ssh.port}"
    if isinstance(error, paramiko.BadHostKeyException):
        return HostKeyRefused("the host's key is not the known one: another machine may be answering", where=where,
                              found=f"a {error.key.get_name()} key that differs from {known_hosts}",
                              remedy="find out why; if the host was set up anew, replace its line in that file")
    if isinstance(error, paramiko.AuthenticationException):
        return HostUnreachable("the host refused the login", where=where, found=str(error),
                               needed=f"the key {ssh.key}" if ssh.key else "a key in ~/.ssh or the agent",
                               remedy="put the public key into the user's ~/.ssh/authorized_keys, or correct ssh.user or ssh.key")
    if isinstance(error, paramiko.SSHException) and "fingerprint" in str(error):
        return HostKeyRefused("the host's key is not the one in the site file", where=where, found=str(error),
                              remedy="compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host")
    if isinstance(error, paramiko.SSHException) and "not found in known_hosts" in str(error):
        return HostKeyRefused("the host's key is not known", where=where, found=f"no key of it in {known_hosts}",
                              needed="a verified host key; the runbook never accepts one by itself",
                              remedy="put ssh.fingerprint into the site file, or connect once by ssh and compare the key")
    if isinstance(error, FileNotFoundError):
        return HostUnreachable("the private key file is missing", where=where, found=str(error.filename or ssh.key),
                               remedy="correct ssh.key; for a lab, run `airavata-runbook lab up`")
    found = "no answer" if isinstance(error, socket.timeout) else str(error)
    return HostUnreachable("the host does not answer", where=where, found=found,
                           remedy="see that it is up and that ssh.host, ssh.port and ssh.jump are right")
