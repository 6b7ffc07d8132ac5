"""The SSH algorithms that the runbook accepts, in one list, and a transport that negotiates only those."""

from collections.abc import Iterable, Sequence

from airavata_runbook.hosts.ssh_library import paramiko

# Each list in order of preference, as OpenSSH 10 has it; what the installed paramiko lacks is not offered.
KEX = (
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)
CIPHERS = (
    "chacha20-poly1305@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
# Algorithms of the host's key.
KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
CERTIFIED = "-cert-v01@openssh.com"  # the ending of an algorithm whose key comes in a certificate (OpenSSH's PROTOCOL.certkeys)
RSA_BITS = 2048  # the least (NIST SP 800-131A)

NO_ALGORITHM = ("ext-info-", "kex-strict-")  # capabilities that stand among the key exchange methods (RFC 8308)

# What a server offers, in a message → the field of its KEXINIT message as paramiko names it.
OFFERS = {
    "key exchange": ("kex_algo_list", "kex"),
    "host key": ("server_key_algo_list", "key_types"),
    "cipher": ("client_encrypt_algo_list", "ciphers"),
    "MAC": ("client_mac_algo_list", "digests"),
}


class Transport(paramiko.Transport):
    """The client's side of an SSH connection over `sock`, an open socket or channel.

    key_types: algorithms of the host's key that are accepted, in order of preference. legacy: whatever else paramiko
    implements is accepted too, after the algorithms of today.
    """

    _kex_info = dict(paramiko.Transport._kex_info)
    if "curve25519-sha256@libssh.org" in _kex_info:  # the same method under its name in RFC 8731, which paramiko lacks
        _kex_info["curve25519-sha256"] = _kex_info["curve25519-sha256@libssh.org"]

    def __init__(self, sock, key_types: Sequence[str] = KEYS, legacy: bool = False):
        super().__init__(sock)
        self.offered: dict[str, list[str]] = {}  # the server's KEXINIT message
        options = self.get_security_options()
        options.kex = _chosen(KEX, self._kex_info, options.kex if legacy else ())
        options.ciphers = _chosen(CIPHERS, self._cipher_info, options.ciphers if legacy else ())
        options.digests = _chosen(MACS, self._mac_info, options.digests if legacy else ())
        options.key_types = _chosen(key_types, self._key_info, ())

    @property
    def negotiated(self) -> str:
        """The algorithms in use, for a message."""
        options = self.get_security_options()
        kex = next((name for name in options.kex if name in self.offered.get("kex_algo_list", ())), "unknown")
        mac = "" if "gcm@" in self.local_cipher or "poly1305" in self.local_cipher else f", MAC {self.local_mac}"
        key = f"host key {self.host_key_type} ({self.get_remote_server_key().get_bits()} bits)"
        return f"key exchange {kex}, {key}, cipher {self.local_cipher}{mac}"

    @property
    def not_common(self) -> list[tuple[str, Sequence[str], list[str]]]:
        """What both sides offer of each kind of algorithm of which they have none in common: (kind, own, the server's)."""
        options = self.get_security_options()
        kinds = [(kind, getattr(options, own), self.offered.get(field, [])) for kind, (field, own) in OFFERS.items()]
        return [(kind, own, theirs) for kind, own, theirs in kinds if theirs and not set(own) & set(theirs)]

    def _really_parse_kex_init(self, m, ignore_first_byte=False):
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)
        for field, names in parsed.items():
            if isinstance(names, list):
                self.offered[field] = [name for name in names if not name.startswith(NO_ALGORITHM)]
        return parsed


def key_type(algorithm: str) -> str:
    """The type of key behind an algorithm of the host's key: one RSA key serves several."""
    return algorithm.replace("rsa-sha2-512", "ssh-rsa").replace("rsa-sha2-256", "ssh-rsa")


def _chosen(names: Sequence[str], known: Iterable[str], further: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*(name for name in names if name in known), *further]))
