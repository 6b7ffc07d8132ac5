"""The hosts in a site file, and how this machine connects to them."""

from typing import Annotated, Literal

from airavata_runbook.site.fields import (
    ExternalSecret,
    Fingerprint,
    Host,
    HostAddress,
    Interface,
    Jump,
    LocalPath,
    Login,
    Model,
    NodeName,
    Port,
    YesNo,
)
from airavata_runbook.site.marks import Fixed, Outside, Procedure

CONNECTS = Outside("how this machine connects")


class Ssh(Model):
    """How this machine connects to a host; not used between the hosts.

    host: name or address to connect to (default: the node's address). key: path of a private key; without one those of the
    SSH agent and of ~/.ssh are tried. passphrase: a reference to the secret that decrypts the key, unless the agent has it.
    jump: `user@host:port` of a jump host, or several with a comma between them. fingerprint, jump_fingerprint: `SHA256:…` of
    the host's key and of the jump host's, else known_hosts (default ~/.ssh/known_hosts) or /etc/ssh/ssh_known_hosts must have
    it: host keys are never added automatically. legacy: accept outdated SSH algorithms too. config: take what is not set here
    from ~/.ssh/config (HostName, Port, User, IdentityFile, ProxyJump), with the host's name or address as the alias.
    """

    host: Annotated[Host | None, CONNECTS] = None
    port: Annotated[Port, CONNECTS] = 22
    user: Annotated[Login, CONNECTS] = "root"
    key: Annotated[LocalPath | None, CONNECTS] = None
    passphrase: Annotated[ExternalSecret | None, CONNECTS] = None
    jump: Annotated[Jump | None, CONNECTS] = None
    fingerprint: Annotated[Fingerprint | None, CONNECTS] = None
    jump_fingerprint: Annotated[Fingerprint | None, CONNECTS] = None
    known_hosts: Annotated[LocalPath | None, CONNECTS] = None
    legacy: Annotated[YesNo, CONNECTS] = False
    config: Annotated[YesNo, CONNECTS] = False


class Node(Model):
    """A host of the cluster. address: its IPv4 address on the private network that all hosts share."""

    name: Annotated[NodeName, Procedure("a run gives the host its new name everywhere; the cluster knows it by its address")]
    address: Annotated[HostAddress, Fixed("by which the cluster knows the host")]
    interface: Annotated[Interface, Outside("which of the host's interfaces has its address")] = "eth0"
    role: Annotated[Literal["master", "worker"], Fixed("as the master has etcd's data")] = "worker"
    ssh: Ssh = Ssh()
