"""The sections of a site file, each a typed model."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import Field, GetPydanticSchema

from airavata_runbook.site.component import ComponentSettings
from airavata_runbook.site.fields import (
    Bridge,
    CheckName,
    CommonName,
    Digest,
    Domain,
    ExternalSecret,
    Folder,
    HostNetwork,
    HttpsUrl,
    ImageReference,
    KeyFile,
    Line,
    LocalPath,
    Model,
    Name,
    Namespace,
    NodeName,
    NodePort,
    Origin,
    PathOrUrl,
    Port,
    Prefix,
    SecretRef,
    Sha256,
    SiteName,
    Url,
    Version,
    Word,
    YesNo,
    whole,
)
from airavata_runbook.site.marks import Fixed, Free, Moved, Outside, Procedure
from airavata_runbook.site.node import Node, Ssh
from airavata_runbook.site.proxy import Proxy
from airavata_runbook.site.sources import Sources

ENTRY = Free("the next run writes the package manager's entry again; delete the folder of an earlier file:// address yourself")
VERSION = Free("the next run installs it, and the services that use it restart")
RUN = Free("the next run applies it")
IMAGE = Free("the next run brings the image to the registry, and its pods are replaced")
COMPONENTS = Free("the next run replaces pods, and removes components that have no image any more")
SERVERS = Free("the next run replaces the pods of Airavata's servers")
REGISTRY = Free("the next run restarts the registry, and hosts trust the certificate")
PORT = Free("the next run serves at the new port, and no longer at the old one")
PULL_PORT = Free("the next run serves pulls at the new port, and hosts pull there")
LOGIN = Procedure("a run restarts the registry and gives the new login to hosts and pods; see docs/passwords.md")
LAB = Outside("read by `airavata-runbook lab`; take the lab down first")
ONCE = Procedure("loaded once: change the database as the release notes of the server say")
SERVER_IMAGE = "airavata-server"  # of the stack unified
MAX_PODS = 110  # the kubelet's default (KubeletConfiguration v1beta1, maxPods)


class Network(Model):
    """Networks of pods and services, and how flannel assigns subnets to hosts (POC rows 2, 6 and 8)."""

    pods: Annotated[HostNetwork, Fixed("in which all pods have their addresses")] = IPv4Network("10.244.0.0/16")
    services: Annotated[HostNetwork, Fixed("in which all services have their addresses")] = IPv4Network("10.254.0.0/16")
    subnet_length: Annotated[int, whole(8, 28), Fixed("by which hosts have their leases")] = 24
    backend: Annotated[Literal["vxlan"], Fixed("by which hosts reach each other's pods")] = "vxlan"
    etcd_prefix: Annotated[Prefix, Fixed("below which the leases are")] = "/kube-centos/network"
    domain: Annotated[Domain, Fixed("which pods know from their start")] = "cluster.local"

    @property
    def max_pods(self) -> int:
        """The most pods that a host can run: the addresses of its lease but for the subnet's own, the broadcast address and the
        bridge's, which is the pods' gateway; at most MAX_PODS."""
        return min(MAX_PODS, 2 ** (32 - self.subnet_length) - 3)

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

    gpgcheck: hosts verify its signature. They always do: false is refused, but for a `file://` one, where it has no effect,
    because the runbook signs that with a key of the site. gpgkey: the absolute path of the public key of any other repository
    on the hosts; it is not downloaded.
    """

    id: Annotated[Word, Fixed("by which the package manager's entry on the hosts is named")] = "airavata-runbook"
    name: Annotated[Line, ENTRY] = "Airavata runbook packages"
    baseurl: Annotated[Url, ENTRY] = "file:///opt/airavata-runbook/repository"
    gpgcheck: Annotated[YesNo, ENTRY] = True
    gpgkey: Annotated[KeyFile | None, ENTRY] = None

    @property
    def folder(self) -> str | None:
        """The folder on each host that a file:// repository lives in, else None."""
        return self.baseurl.removeprefix("file://") if self.baseurl.startswith("file://") else None


class Versions(Model):
    """The versions of the packages; the defaults were tested together (2026-11)."""

    kubernetes: Annotated[Version, VERSION] = "1.36.3"
    etcd: Annotated[Version, VERSION] = "3.6.16"
    containerd: Annotated[Version, VERSION] = "2.4.2"
    flannel: Annotated[Version, VERSION] = "0.28.10"
    cri_tools: Annotated[Version, VERSION] = "1.36.0"
    registry: Annotated[Version, VERSION] = "3.1.2"


class Certificate(Model):
    """The admin's own certificate for the registry (POC row 10): paths on this machine."""

    certificate: Annotated[LocalPath, REGISTRY]
    chain: Annotated[LocalPath | None, REGISTRY] = None
    key: Annotated[ExternalSecret, REGISTRY]


class Registry(Model):
    """The private registry (POC rows 9 to 11). name: the host part of image references, NAME:PORT/image.

    Its user pulls and pushes on port. pull_port: on which the hosts pull, with a password of their own, and nobody pushes
    (default: the port after the other one).
    maintenance: images can be deleted, by its user; else they cannot.
    """

    node: Annotated[Name | None, Fixed("whose disk has the images")] = None
    port: Annotated[Port, Fixed("by which all images are named")] = 5000
    pull_port: Annotated[Port | None, PULL_PORT] = None
    name: Annotated[CommonName, Fixed("by which all images are named")] = "registry.internal"
    root: Annotated[Folder, Fixed("which has the images")] = "/opt/registry"
    user: Annotated[Word, LOGIN] = "admin"
    password: Annotated[SecretRef, LOGIN] = "generated:registry-password"
    certificate: Annotated[Certificate | None, REGISTRY] = None
    maintenance: Annotated[YesNo, Free("the next run restarts the registry")] = False


class ImageSource(Model):
    """Where an image comes from: exactly one of archive (path), pull (reference), build (folder) or jar (path or https URL).

    digest: of the image; required for pull unless the reference has one, with archive and build it is compared. pull of
    REGISTRY/NAME, the site's own registry: an image that is there already, of an earlier release. build: the folder has a
    Dockerfile. jar: of a server, which is packed on Java 17; sha256: the jar's, required. auth: `user:password` for pull or
    for the URL of the jar.
    """

    archive: Annotated[LocalPath | None, IMAGE] = None
    pull: Annotated[ImageReference | None, IMAGE] = None
    build: Annotated[LocalPath | None, IMAGE] = None
    jar: Annotated[PathOrUrl | None, IMAGE] = None
    digest: Annotated[Digest | None, IMAGE] = None
    sha256: Annotated[Sha256 | None, IMAGE] = None
    auth: Annotated[ExternalSecret | None, Outside("a login at another registry or server")] = None

    @property
    def place(self) -> str:
        """The path, reference or URL."""
        return self.archive or self.pull or self.build or self.jar or ""


class Unified(Model):
    """What only the stack `unified` has. server: where its image airavata-server comes from, as an entry of airavata.images.

    realm: a realm of Keycloak with the gateway's users, as JSON; it is imported where Keycloak has none of its name.
    schema_sql, seed_sql: the SQL of the database's tables, and of its first rows; they are loaded into a database that has no
    tables. Without schema_sql it is taken out of the server's jar.
    keycloak_node_port: the port on each host at which users log in and clients ask for tokens; of Keycloak it serves the
    gateway's realm, and nothing else. keycloak_url: the address by which they do, which is the issuer in every token (default:
    the master's address and that port). Another one has to lead to that port, for users and for pods.
    """

    server: Annotated[ImageSource | None, COMPONENTS] = None
    realm: Annotated[LocalPath | None, Procedure("imported once: change the realm in Keycloak")] = None
    schema_sql: Annotated[LocalPath | None, ONCE] = None
    seed_sql: Annotated[LocalPath | None, ONCE] = None
    keycloak_node_port: Annotated[NodePort, PORT] = 30443
    keycloak_url: Annotated[Origin | None, Free("the next run restarts Keycloak; tokens with the old one end")] = None


class IdentityServer(Model):
    """Keycloak, outside of the stack, that Airavata's own servers of the stack `classic` ask who a user is and what he may do.

    url: up to /realms. ca: the path of its authorities' certificates, as PEM. admin: the user of its realm master who makes the
    realms of gateways; his password is airavata.secrets.identity-server-admin.
    """

    url: Annotated[HttpsUrl, SERVERS]
    ca: Annotated[LocalPath, SERVERS]
    admin: Annotated[Line, SERVERS] = "admin"


class Airavata(Model):
    """What runs on the cluster: a stack, its images and its secrets.

    stack: the name of one of the runbook's, or the path of a folder of the site's own, with a / in it. components: what the
    site has otherwise than the stack, by the component's name.
    images: image name → source, instead of the runbook's own builds. A component of Airavata itself that has no image here
    is served by the STAND-IN where stand_in is true (the lab); else it is left out, and the report says so.
    storage_node, storage_path: where volumes are kept (default: the first worker). portal_node_port, api_node_port: the
    ports on each host at which the portal and the API are served to clients outside the cluster.
    """

    stack: Annotated[LocalPath, Fixed("whose components run")] = "classic"
    namespace: Annotated[Namespace, Fixed("whose databases use the storage folders", data=True)] = "airavata"
    images: Annotated[dict[Name, ImageSource], COMPONENTS] = {}
    unified: Unified = Unified()
    identity_server: Annotated[IdentityServer | None, SERVERS] = None
    components: Annotated[dict[Name, ComponentSettings], RUN] = {}
    stand_in: Annotated[YesNo, COMPONENTS] = False
    api_replicas: Annotated[int, whole(1, 50), RUN] = 2
    gateway: Annotated[Word, Free("the next run replaces the pods of the portal")] = "default"
    storage_node: Annotated[Name | None, Moved()] = None
    storage_path: Annotated[Folder, Moved()] = "/var/lib/airavata"
    portal_node_port: Annotated[NodePort, PORT] = 30080
    api_node_port: Annotated[NodePort, PORT] = 30930
    secrets: Annotated[dict[Name, SecretRef], Free("the next run replaces the pods that use them; databases then have them")] = {}

    @property
    def sources(self) -> dict[str, ImageSource]:
        """Image name → where it comes from, of every image that the site names: `images`, and `unified.server`."""
        return self.images | ({SERVER_IMAGE: self.unified.server} if self.unified.server else {})

    def source_field(self, image: str) -> str:
        """The field of the site file that names an image, or would."""
        named = image == SERVER_IMAGE and self.unified.server and image not in self.images
        return "airavata.unified.server" if named else f"airavata.images.{image}"


class Verify(Model):
    """What 06-verify may do. disruptive: it deletes a replica of the API server, and restarts the database."""

    disruptive: Annotated[YesNo, Free("what 06-verify does")] = False


class LabHostSettings(Model):
    """Of one lab host. packages: how its packages are managed; rpm: a STAND-IN for Rocky Linux, real rpm and dnf on Debian."""

    packages: Annotated[Literal["deb", "rpm"], LAB] = "deb"


class Lab(Model):
    """Only for hosts that `airavata-runbook lab up` creates on this machine. memory: MiB a host, a soft limit. hosts: what some
    of them have otherwise, by the node's name.

    `lab: {}` takes all defaults; `lab:` with nothing below it is rejected.
    """

    bridge: Annotated[Bridge, LAB] = "lab0"
    network: Annotated[HostNetwork, LAB] = IPv4Network("10.98.0.0/24")
    firewall: Annotated[Literal["open", "closed"], LAB] = "open"
    memory: Annotated[Annotated[int, whole(1024)] | None, LAB] = None
    hosts: Annotated[dict[NodeName, LabHostSettings], LAB] = {}

    def host(self, name: str) -> LabHostSettings:
        """What that host has."""
        return self.hosts.get(name, LabHostSettings())

    @property
    def gateway(self) -> IPv4Address:
        """This machine's own address in the network."""
        return self.network.network_address + 1


class Sections(Model):
    """All that a site file has. What follows from several sections is defined for invalid combinations too."""

    name: Annotated[SiteName, Fixed("by which files on the hosts and authorities are named")]
    ssh: Ssh = Ssh()
    nodes: Annotated[
        list[Node],
        Field(min_length=1),
        Procedure(
            "a new host joins with the next run; `airavata-runbook remove SITE HOST` takes one out, before it leaves the file"
        ),
    ]
    network: Network = Network()
    repository: Repository = Repository()
    versions: Versions = Versions()
    sources: Sources = Sources()
    proxy: Proxy | None = None
    registry: Registry = Registry()
    airavata: Airavata = Airavata()
    verify: Verify = Verify()
    ignore_checks: Annotated[list[CheckName], Free("what chapter 01 does")] = []
    lab: Annotated[Lab | None, LAB, GetPydanticSchema(lambda _, schema_of: schema_of(Lab))] = None

    @property
    def registry_node_name(self) -> str:
        """The node that runs the private registry: registry.node, else the master; "" when there is none."""
        return self.registry.node or next((node.name for node in self.nodes if node.role == "master"), "")

    @property
    def registry_pull_port(self) -> int:
        """The port on which the private registry serves pulls only."""
        return self.registry.pull_port or self.registry.port + 1

    @property
    def storage_node_name(self) -> str:
        """The node that holds volumes: airavata.storage_node, else the first worker, else the only node."""
        return self.airavata.storage_node or next((node.name for node in self.nodes if node.role == "worker"), self.nodes[0].name)

    def folders_on(self, node: Node) -> dict[str, str]:
        """The folders on a host that the site chooses: field → path."""
        folders = {"repository.baseurl": self.repository.folder} if self.repository.folder else {}
        if node.name == self.registry_node_name:
            folders["registry.root"] = self.registry.root
        if node.name == self.storage_node_name:
            folders["airavata.storage_path"] = self.airavata.storage_path
        return folders
