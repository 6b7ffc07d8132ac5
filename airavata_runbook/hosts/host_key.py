"""Which host key is the right one: the fingerprint in the site file, or what the files of known hosts say."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from airavata_runbook.errors import HostKeyRefused
from airavata_runbook.hosts import known_hosts
from airavata_runbook.hosts.hop import Hop
from airavata_runbook.hosts.known_hosts import Known, KnownHosts
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.hosts.ssh_transport import CERTIFIED, KEYS, key_type
from airavata_runbook.local import paths
from airavata_runbook.site.node import Ssh

NAMED = 3  # lines of known_hosts that a message names


class Trust(Protocol):
    """What decides about a host's key. likely: the algorithms with which the right key may be proved, the best first."""

    @property
    def likely(self) -> Sequence[str]: ...

    def accepts(self, key: paramiko.PKey) -> bool:
        """Whether it is the right key. Raises HostKeyRefused for one that is revoked."""
        ...

    def refusal(self, presented: Sequence[paramiko.PKey]) -> HostKeyRefused:
        """The error to raise when none of the keys that the host proved is right."""
        ...


def trust(hop: Hop) -> Trust:
    """What decides about the key of the host: its fingerprint in the site file, else the files of known hosts.

    Raises SiteError for an invalid path in the site file.
    """
    if hop.ssh.fingerprint:
        return _Pinned(hop, hop.ssh.fingerprint.rstrip("="))
    files = files_of(hop.ssh)
    read = KnownHosts.read(files)
    return _Listed(hop, read.of(hop.address, hop.ssh.port), read.skipped, files)


def files_of(ssh: Ssh) -> list[Path]:
    """The files of known hosts that count for a host: the site file's, else the user's; and this machine's."""
    own = [ssh.known_hosts] if ssh.known_hosts else known_hosts.USER_FILES
    return [*(paths.resolve_path(file) for file in own), *known_hosts.SYSTEM_FILES]


@dataclass(frozen=True)
class _Pinned:
    hop: Hop
    fingerprint: str
    likely: Sequence[str] = KEYS

    def accepts(self, key: paramiko.PKey) -> bool:
        return key.fingerprint == self.fingerprint

    def refusal(self, presented: Sequence[paramiko.PKey]) -> HostKeyRefused:
        return HostKeyRefused(
            "the host key does not match the fingerprint in the site file",
            where=self.hop.where,
            found=f"the host has {_shown(presented)}; {self.hop.pin} is {self.fingerprint}",
            remedy=f"compare it with `ssh-keygen -lf {_file(presented[0])}` on the host",
        )


@dataclass(frozen=True)
class _Listed:
    hop: Hop
    known: Known
    skipped: Sequence[str]
    files: Sequence[Path]

    @property
    def likely(self) -> Sequence[str]:
        types = [line.key.get_name() for line in self.known.keys]
        certified = [name + CERTIFIED for name in KEYS] if self.known.authorities else []
        return [*certified, *(name for name in KEYS if key_type(name) in types)]

    def accepts(self, key: paramiko.PKey) -> bool:
        certificate = _certificate(key)
        self._refuse_revoked(key, certificate)
        listed = any(line.key.asbytes() == key.asbytes() for line in self.known.keys)
        return listed or (certificate is not None and not self._invalid(certificate))

    def _refuse_revoked(self, key: paramiko.PKey, certificate: SSHCertificate | None) -> None:
        signers = {_blob(certificate.signature_key()), _blob(certificate.public_key())} if certificate else set()
        for line in self.known.revoked:
            if line.key.asbytes() in signers | {key.asbytes()}:
                raise HostKeyRefused(
                    "the host key is revoked: another machine may be answering",
                    where=self.hop.where,
                    found=f"{_shown([key])}, revoked in {line.where}",
                    remedy="give the host new keys (rm /etc/ssh/ssh_host_*; ssh-keygen -A), or correct that line",
                )

    def _invalid(self, certificate: SSHCertificate) -> str:
        """Why a host certificate does not count; "" if it does (OpenSSH's PROTOCOL.certkeys)."""
        authorities = [line.key.asbytes() for line in self.known.authorities]
        if _blob(certificate.signature_key()) not in authorities:
            return "it is signed by an unknown authority"
        try:
            certificate.verify_cert_signature()
        except InvalidSignature:
            return "its signature is invalid"
        if certificate.type is not SSHCertificateType.HOST:
            return "it is no host certificate"
        if not certificate.valid_after <= time.time() < certificate.valid_before:
            return "it is not valid now"
        names = [name.decode(errors="replace").lower() for name in certificate.valid_principals]
        if self.hop.address.lower() not in names:
            return f"it is for {', '.join(names) or 'no host'}"
        return "it has critical options" if certificate.critical_options else ""

    def refusal(self, presented: Sequence[paramiko.PKey]) -> HostKeyRefused:
        found = f"the host has {_shown(presented)}"
        plain = [key for key in presented if not _certificate(key)]
        changed = [line for line in self.known.keys if line.key.get_name() in [key.get_name() for key in plain]]
        if changed:
            return HostKeyRefused(
                "the host key has changed: another machine may be answering",
                where=self.hop.where,
                found=f"{found}, which differs from {', '.join(line.where for line in changed[:NAMED])}",
                needed="a key of the host in known_hosts" + self._skipped(),
                remedy="find out why; if the host was reinstalled, replace its line in that file",
            )
        reasons = {self._invalid(certificate): None for key in presented if (certificate := _certificate(key))}
        if self.known.authorities:
            return HostKeyRefused(
                "the host has no certificate of its certificate authority in known_hosts",
                where=self.hop.where,
                found=f"{found}" + "".join(f"; the host certificate does not count: {reason}" for reason in reasons),
                needed=f"a certificate of {self.known.authorities[0].where} for {self.hop.address}" + self._skipped(),
                remedy=f"sign the host's key for {self.hop.address} (ssh-keygen -h -s)"
                + (f", or set {self.hop.pin}" if self.hop.pin else ""),
            )
        if self.known.keys:
            types = ", ".join(dict.fromkeys(line.key.get_name() for line in self.known.keys))
            found = f"{found}; {self.known.keys[0].where} has keys of other types: {types}"
        else:
            found = f"{found}; no key of this host in {self.files[0]}"
        return HostKeyRefused(
            "the host key is unknown",
            where=self.hop.where,
            found=found,
            needed="a verified host key; none is ever accepted automatically" + self._skipped(),
            remedy=(f"set {self.hop.pin} in the site file, or " if self.hop.pin else "")
            + f"connect once with `{self.hop.command}` and verify the key",
        )

    def _skipped(self) -> str:
        """The lines that could not be parsed: the key that is missed may be in one of them."""
        more = [f"{len(self.skipped) - NAMED} more"] if len(self.skipped) > NAMED else []
        return f" (skipped: {'; '.join([*self.skipped[:NAMED], *more])})" if self.skipped else ""


def _certificate(key: paramiko.PKey) -> SSHCertificate | None:
    """The certificate that a host presented, if it did."""
    if not key.public_blob:
        return None
    loaded = load_ssh_public_identity(f"{key.public_blob.key_type} ".encode() + base64.b64encode(key.public_blob.key_blob))
    return loaded if isinstance(loaded, SSHCertificate) else None


def _blob(key) -> bytes:
    """A public key of cryptography in SSH's form."""
    return base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])


def _shown(keys: Sequence[paramiko.PKey]) -> str:
    return ", ".join(f"{key.get_name()} {key.fingerprint}" for key in keys)


def _file(key: paramiko.PKey) -> str:
    """Where sshd keeps the public key of that type."""
    return f"/etc/ssh/ssh_host_{key.algorithm_name.partition('-')[0].lower()}_key.pub"
