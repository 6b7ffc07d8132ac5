"""The sections of a site file, each a typed model."""

from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from airavata_runbook.site.fields import (
    Bridge,
    CommonName,
    Digest,
    Domain,
    Fingerprint,
    Folder,
    GivenSecret,
    Host,
    HostAddress,
    HostNetwork,
    ImageReference,
    Interface,
    Jump,
    KeyFile,
    Line,
    LocalPath,
    Model,
    Name,
    Namespace,
    NodeName,
    NodePort,
    Port,
    Prefix,
    SecretRef,
    Url,
    Version,
    Word,
    YesNo,
    whole,
)


class Ssh(Model):
    """How the notebook's machine reaches a host; nothing of it is used between the hosts.

    host: name or address to connect to (default: the node's address). key: path of a private key; without
    one the SSH agent is asked. jump: `user@host:port` of a jump host. fingerprint: `SHA256:…` of the host key,
    else known_hosts (default ~/.ssh/known_hosts) must have it: keys are never added by themselves.
    """

    host: Host | None = None
    port: Port = 22
    user: Word = "root"
    key: LocalPath | None = None
    jump: Jump | None = None
    fingerprint: Fingerprint | None = None
    known_hosts: LocalPath | None = None


class Node(Model):
    """A host of the cluster. address: its IPv4 address on the private network that all hosts share."""

    name: NodeName
    address: HostAddress
    interface: Interface = "eth0"
    role: Literal["master", "worker"] = "worker"
    ssh: Ssh = Ssh()


class Network(Model):
    """Addresses of pods and services, and how flannel hands them to hosts (POC rows 2, 6 and 8)."""

    pods: HostNetwork = IPv4Network("10.244.0.0/16")
    services: HostNetwork = IPv4Network("10.254.0.0/16")
    subnet_length: whole(8, 28) = 24
    backend: Literal["vxlan"] = "vxlan"
    etcd_prefix: Prefix = "/kube-centos/network"
    domain: Domain = "cluster.local"

    @property
    def api_address(self) -> IPv4Address:
        """The cluster address of the API server: the first of the service network, as Kubernetes has it."""
        return self.services.network_address + 1

    @property
    def dns_address(self) -> IPv4Address:
        """The cluster address of DNS: by custom the tenth of the service network."""
        return self.services.network_address + 10


class Repository(Model):
    """The package repository on each host (POC row 3). A `file://` baseurl is filled over SSH by 02-install.

    gpgkey: the absolute path of the repository's public key on the hosts, where gpgcheck is true; nothing downloads one.
    """

    id: Word = "airavata-runbook"
    name: Line = "Airavata runbook packages"
    baseurl: Url = "file:///opt/airavata-runbook/repository"
    gpgcheck: YesNo = False
    gpgkey: KeyFile | None = None

    @property
    def folder(self) -> str | None:
        """The folder on each host that a file:// repository lives in, else None."""
        return self.baseurl.removeprefix("file://") if self.baseurl.startswith("file://") else None


class Versions(Model):
    """The versions of the packages, one for each; the defaults ran together (the measured set of 2026-11)."""

    kubernetes: Version = "1.36.3"
    etcd: Version = "3.6.16"
    containerd: Version = "2.4.2"
    flannel: Version = "0.28.10"
    cri_tools: Version = "1.36.0"
    registry: Version = "3.1.2"


class Certificate(Model):
    """The admin's own certificate for the registry (POC row 10): paths on the notebook's machine."""

    certificate: LocalPath
    chain: LocalPath | None = None
    key: GivenSecret


class Registry(Model):
    """The private registry (POC rows 9 to 11). name: what images are called by, NAME:PORT/image."""

    node: Name | None = None
    port: Port = 5000
    name: CommonName = "registry.internal"
    root: Folder = "/opt/registry"
    user: Word = "admin"
    password: SecretRef = "generated:registry-password"
    certificate: Certificate | None = None


class ImageSource(Model):
    """Where an image comes from: exactly one of archive (path), pull (reference) or build (folder).

    digest: of what is pulled, unless its reference has one; of an archive it is compared. auth: `user:password`.
    """

    archive: LocalPath | None = None
    pull: ImageReference | None = None
    build: LocalPath | None = None
    digest: Digest | None = None
    auth: GivenSecret | None = None


class Airavata(Model):
    """What runs on the cluster: a stack (data under stacks/), its images and its secrets.

    images: image name → source, before the runbook's own builds. A component of Airavata itself that has no image here
    is served by the STAND-IN where stand_in is true (the lab), else it is left out, and said to be.
    storage_node, storage_path: where volumes live (default: the first worker). portal_node_port, api_node_port: the ports
    on each host at which the portal and the API are served to the outside.
    """

    stack: Name = "classic"
    namespace: Namespace = "airavata"
    images: dict[Name, ImageSource] = {}
    stand_in: YesNo = False
    api_replicas: whole(1, 50) = 2
    gateway: Word = "default"
    storage_node: Name | None = None
    storage_path: Folder = "/var/lib/airavata"
    portal_node_port: NodePort = 30080
    api_node_port: NodePort = 30930
    secrets: dict[Name, SecretRef] = {}


class Lab(Model):
    """Only for hosts that `airavata-runbook lab up` makes on this machine. memory: MiB a host, a soft bound.

    `lab: {}` takes all defaults; a key `lab:` with nothing below it is refused, for it could mean either kind of hosts.
    """

    bridge: Bridge = "lab0"
    network: HostNetwork = IPv4Network("10.98.0.0/24")
    firewall: Literal["open", "closed"] = "open"
    memory: whole(1024) | None = None
