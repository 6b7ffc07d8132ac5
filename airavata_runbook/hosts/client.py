"""An SSH connection with a verified host key and a user who is logged in; each failure has its own message and remedy."""

import logging
import socket
import time
from collections.abc import Callable, Sequence

from airavata_runbook.errors import HostKeyRefused, HostUnreachable
from airavata_runbook.hosts.hop import Hop
from airavata_runbook.hosts.host_key import trust
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.hosts.ssh_transport import KEYS, RSA_BITS, Transport, key_type
from airavata_runbook.hosts.user_keys import agent_keys, user_keys

# A refused connection behind a forward is normal while a service starts; paramiko would log it as an error.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

TCP_TIMEOUT = 15.0  # seconds, for one TCP connection
LOGIN_TIMEOUT = 60.0  # seconds, for sshd's greeting, the key exchange and each key: slow DNS and PAM take 10 to 30 s
CONNECT_TIMEOUT = LOGIN_TIMEOUT  # seconds, for one channel: sshd opens the first when PAM has opened the user's session
NAMED = 4  # keys that a message names
LONGEST = 200  # characters of what paramiko says

Dial = Callable[[], socket.socket | paramiko.Channel]  # opens one more connection to the machine


def log_in(hop: Hop, dial: Dial | None = None) -> Transport:
    """A connection to a machine, logged in. dial: how it is reached (default: over TCP); called once for each attempt.

    Raises HostUnreachable when the machine does not answer or refuses the user, HostKeyRefused when its key is not the known
    one, SiteError for an invalid path in the site file.
    """
    transport = _verified(hop, dial)
    try:
        _authenticate(transport, hop)
    except BaseException:
        transport.close()
        raise
    return transport


def _verified(hop: Hop, dial: Dial | None) -> Transport:
    """A connection whose host key is the right one.

    A host proves one key at each connection. Where it is not the right one, other types that may be are asked for, each once.
    """
    decides = trust(hop)
    types, presented = list(dict.fromkeys([*decides.likely, *KEYS])), []
    while types:
        transport = negotiate(hop, dial, types)
        try:
            key = transport.get_remote_server_key()
            if decides.accepts(key):
                _refuse_short(key, hop)
                return transport
        except BaseException:
            transport.close()
            raise
        transport.close()
        presented.append(key)
        offered = transport.offered.get("server_key_algo_list", ())
        tried = key_type(transport.host_key_type)
        types = [name for name in types if name in decides.likely and name in offered and key_type(name) != tried]
    raise decides.refusal(presented)


def negotiate(hop: Hop, dial: Dial | None, key_types: Sequence[str]) -> Transport:
    """A connection whose host has proved a key, which nobody has compared yet. Raises HostUnreachable."""
    dial = dial or (lambda: _prompt_socket(hop))
    started = time.monotonic()
    transport = None
    try:
        transport = Transport(dial(), key_types, hop.ssh.legacy)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = LOGIN_TIMEOUT
        transport.start_client()
        return transport
    except (OSError, EOFError, paramiko.SSHException) as error:
        if transport:
            transport.close()
            if isinstance(error, paramiko.ssh_exception.IncompatiblePeer) and transport.not_common:
                raise _no_common_algorithm(hop, transport) from None
            if time.monotonic() - started >= LOGIN_TIMEOUT:
                raise _slow(hop, "no greeting of sshd" if not transport.remote_version else "no key exchange") from None
            raise _no_session(hop, transport, error) from None
        raise HostUnreachable(
            "the host does not answer",
            where=hop.where,
            found="no answer" if isinstance(error, TimeoutError) else str(error),
            remedy="check that it is up and that ssh.host, ssh.port and ssh.jump are right",
        ) from None


def _authenticate(transport: Transport, hop: Hop) -> None:
    refused: list[paramiko.PKey] = []
    problems: list[HostUnreachable] = []
    with agent_keys() as agent:
        for key in user_keys(hop.ssh, hop.where, agent, problems):
            started = time.monotonic()
            try:
                more = transport.auth_publickey(hop.ssh.user, key)
            except paramiko.BadAuthenticationType as error:
                raise _no_public_keys(hop, error.allowed_types) from None
            except (EOFError, OSError, paramiko.SSHException) as error:
                refused.append(key)
                if time.monotonic() - started >= LOGIN_TIMEOUT:
                    raise _slow(hop, "no answer to the login") from None
                if not transport.is_active():
                    raise _closed(hop, refused, error) from None
                continue
            if more:
                raise _second_factor(hop, more)
            return
    raise _refused(hop, refused, problems)


def _prompt_socket(hop: Hop) -> socket.socket:
    """A TCP connection with TCP_NODELAY. With Nagle's algorithm each command took 80 ms more in the lab."""
    sock = socket.create_connection((hop.address, hop.ssh.port), TCP_TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _refuse_short(key: paramiko.PKey, hop: Hop) -> None:
    if key.get_bits() < RSA_BITS and key_type(key.get_name()) == "ssh-rsa" and not hop.ssh.legacy:
        raise HostKeyRefused(
            "the host key is too short",
            where=hop.where,
            found=f"RSA with {key.get_bits()} bits",
            needed=f"ed25519, ECDSA, or RSA with at least {RSA_BITS} bits",
            remedy="make a new key on the host (ssh-keygen -A), or set ssh.legacy: true for it",
        )


def _no_common_algorithm(hop: Hop, transport: Transport) -> HostUnreachable:
    legacy = "" if hop.ssh.legacy else ", or set ssh.legacy: true for an old host"
    lines = [
        f"{kind}: the host offers {', '.join(theirs)}; the runbook offers {', '.join(own)}"
        for kind, own, theirs in transport.not_common
    ]
    return HostUnreachable(
        "the host and the runbook have no SSH algorithm in common",
        where=hop.where,
        found="\n".join(lines),
        needed="an sshd with algorithms of today",
        remedy=f"update the host's sshd or its sshd_config (sshd -T | grep -i -e algorithms -e ciphers -e macs){legacy}",
    )


def _no_session(hop: Hop, transport: Transport, error: Exception) -> HostUnreachable:
    return HostUnreachable(
        "sshd refused the connection" if transport.remote_version else "no SSH server answers at that port",
        where=hop.where,
        found=str(error)[:LONGEST] or "the connection was closed",
        needed="sshd, which accepts connections from this machine",
        remedy="check that ssh.port is sshd's and that its MaxStartups, its penalties, a firewall or /etc/hosts.deny keep nobody "
        "out; the reason is in the host's log (journalctl -u ssh -u sshd)",
    )


def _slow(hop: Hop, what: str) -> HostUnreachable:
    return HostUnreachable(
        "the host answers too slowly",
        where=hop.where,
        found=f"{what} within {LOGIN_TIMEOUT:.0f} s",
        needed=f"a login within {LOGIN_TIMEOUT:.0f} s",
        remedy="look for slow DNS (UseDNS no in sshd_config) or PAM modules on the host, then run again",
    )


def _no_public_keys(hop: Hop, allowed: Sequence[str]) -> HostUnreachable:
    return HostUnreachable(
        "the host accepts no public keys",
        where=hop.where,
        found=f"it allows {', '.join(allowed) or 'nothing'} for {hop.ssh.user}",
        needed="a login with a key; the runbook uses no passwords",
        remedy="set PubkeyAuthentication yes, and no AuthenticationMethods without it, in its sshd_config",
    )


def _second_factor(hop: Hop, more: Sequence[str]) -> HostUnreachable:
    return HostUnreachable(
        "the host wants more than a key",
        where=hop.where,
        found=f"the key was accepted; it also wants {', '.join(more)}",
        needed="a login with a key alone",
        remedy=f"except {hop.ssh.user} from it with AuthenticationMethods publickey in a Match block of its sshd_config",
    )


def _closed(hop: Hop, refused: Sequence[paramiko.PKey], error: Exception) -> HostUnreachable:
    return HostUnreachable(
        "the host closed the connection during the login",
        where=hop.where,
        found=f"after {_named(refused)}: {error}",
        needed="a login before its limit of attempts (MaxAuthTries)",
        remedy="set ssh.key, so that no other key is tried; the reason is in the host's log (journalctl -u ssh -u sshd)",
    )


def _refused(hop: Hop, refused: Sequence[paramiko.PKey], problems: Sequence[HostUnreachable]) -> HostUnreachable:
    unusable = [problem.summary for problem in problems]
    if not refused:
        return HostUnreachable(
            "there is no usable private key on this machine",
            where=hop.where,
            found="; ".join(["no key in the SSH agent", *(unusable or ["no key in ~/.ssh"])]),
            needed="the private key of a user of the host",
            remedy="set ssh.key in the site file, unlock the key with ssh-add, or make one with ssh-keygen -t ed25519",
        )
    return HostUnreachable(
        "the host refused the login",
        where=hop.where,
        found="; ".join([f"it refused {_named(refused)}", *unusable]),
        needed=f"the key {hop.ssh.key}" if hop.ssh.key else "a key in ~/.ssh or the agent",
        remedy="add the public key to the user's ~/.ssh/authorized_keys, or correct ssh.user or ssh.key",
    )


def _named(keys: Sequence[paramiko.PKey]) -> str:
    names = [f"{key.get_name()} {key.fingerprint}" for key in keys[:NAMED]]
    return ", ".join([*names, *([f"{len(keys) - NAMED} more"] if len(keys) > NAMED else [])])
