"""The site: the one typed model of a site file. Nothing else in the package reads parameters.

A site file is YAML with exactly one top-level key, `site:`. Every key below it is checked: an unknown key, a
wrong type or a contradiction is refused before any host is touched, with the field's path and the remedy.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airavata_runbook import site_file
from airavata_runbook.errors import SiteError
from airavata_runbook.site_contradictions import contradictions
from airavata_runbook.site_errors import explain, refusal
from airavata_runbook.site_fields import (
    Bridge,
    CheckName,
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
    Name,
    Namespace,
    NodeName,
    NodePort,
    Port,
    Prefix,
    SecretRef,
    SiteName,
    Url,
    Version,
    Word,
    YesNo,
    whole,
)


class Model(BaseModel):
    """Strict: unknown keys and wrong types are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


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


class Site(Model):
    """One site. Made by `Site.load`; every notebook and command starts with it.

    ignore_checks: names of checks of the first chapter whose findings do not stop a run.
    """

    name: SiteName
    ssh: Ssh = Ssh()
    nodes: Annotated[list[Node], Field(min_length=1)]
    network: Network = Network()
    repository: Repository = Repository()
    versions: Versions = Versions()
    registry: Registry = Registry()
    airavata: Airavata = Airavata()
    ignore_checks: list[CheckName] = []
    lab: Lab = None  # when it is not given; null is no value of it

    @classmethod
    def load(cls, source: "Site | Mapping | str | os.PathLike | None" = None,
             overrides: Mapping[str, object] | None = None) -> "Site":
        """The site that `source` names: a name in parameters/, a path, the mapping below `site:`, or a Site.

        None means: what the environment variable AIRAVATA_RUNBOOK_SITE says. There is no default site.
        overrides: dotted fields to values, as `--set a.b=c` gives them. Raises SiteError.
        """
        if isinstance(source, Site) and not overrides:
            return source
        if isinstance(source, Site):
            data, where = source.model_dump(mode="json", exclude_unset=True), f"site {source.name}"
        else:
            data, where = site_file.read(source)
        for dotted, value in (overrides or {}).items():
            site_file.put(data, dotted, value)
        try:
            site = cls.model_validate(site_file.with_defaults(data))
        except ValidationError as error:
            raise explain(error, data, cls, where) from None
        if problems := contradictions(site):
            raise refusal(problems, where)
        return site

    @property
    def master(self) -> Node:
        """The one node that runs etcd and the control plane."""
        return next(node for node in self.nodes if node.role == "master")

    @property
    def workers(self) -> list[Node]:
        return [node for node in self.nodes if node.role == "worker"]

    @property
    def registry_node(self) -> Node:
        """The node that runs the private registry (default: the master, as in the POC)."""
        return self.node(self.registry.node) if self.registry.node else self.master

    @property
    def storage_node(self) -> Node:
        """The node whose disk holds the volumes of the stack's databases (default: the first worker)."""
        name = self.airavata.storage_node
        return self.node(name) if name else (self.workers or [self.master])[0]

    @property
    def registry_address(self) -> str:
        """NAME:PORT, the first part of every image reference of this site."""
        return f"{self.registry.name}:{self.registry.port}"

    def node(self, name: str) -> Node:
        """The node of that name; raises SiteError when the site has none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise SiteError(f"site {self.name} has no node {name!r}",
                        needed="one of " + ", ".join(node.name for node in self.nodes))

    def __repr__(self) -> str:
        hosts = ", ".join(f"{node.name} ({node.role}, {node.address})" for node in self.nodes)
        return (f"site {self.name}: {hosts}; pods {self.network.pods}, services {self.network.services}; "
                f"Airavata stack {self.airavata.stack}")

    __str__ = __repr__

