"""What in a well-formed site cannot be true together: each value may be right by itself, but not beside another one."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import permutations
from typing import TYPE_CHECKING

from airavata_runbook.site.messages import nearest
from airavata_runbook.site.stack_file import FOLDER, unknown_names

if TYPE_CHECKING:  # the model asks for its contradictions
    from airavata_runbook.site import Site
    from airavata_runbook.site.parts import Node

# TCP ports that are not the site's to choose, and who listens there (Kubernetes' "Ports and Protocols", etcd's guide).
CONTROL_PLANE_PORTS = {
    6443: "the API server",
    2379: "etcd",
    2380: "etcd",
    10257: "the controller manager",
    10259: "the scheduler",
}
NODE_PORTS = {10250: "the kubelet", 10248: "the kubelet", 10256: "kube-proxy", 10249: "kube-proxy"}


def contradictions(site: "Site") -> list[str]:
    """A line a contradiction; an empty list when all is well."""
    return [
        *_nodes(site),
        *_reached_alike(site),
        *_names(site),
        *_networks(site),
        *_lab(site),
        *_ports(site),
        *_folders(site),
        *_repository(site),
        *_images(site),
        *_stack(site),
    ]


def _nodes(site: "Site") -> Iterator[str]:
    masters = [node.name for node in site.nodes if node.role == "master"]
    if len(masters) != 1:
        yield f"nodes: exactly one needs role: master, found {len(masters)}"
    for field in ("name", "address"):
        counted = Counter(str(getattr(node, field)) for node in site.nodes)
        for value in sorted(value for value, times in counted.items() if times > 1):
            yield f"nodes: {field} {value} is given to more than one node"


def _reached_alike(site: "Site") -> Iterator[str]:
    ways = defaultdict(list)
    for node in site.nodes:
        ways[node.ssh.host or str(node.address), node.ssh.port, node.ssh.jump].append(node)
    for (host, port, jump), nodes in ways.items():
        if len({node.address for node in nodes}) > 1:
            through = f" through {jump}" if jump else ""
            yield f"nodes: {_listed(nodes)} are all reached at {host}:{port}{through}; give each its own ssh.host or ssh.port"
    alike = [node for node in site.nodes if node.ssh.fingerprint == site.ssh.fingerprint]
    if site.ssh.fingerprint and len(alike) > 1:
        yield f"ssh.fingerprint: {_listed(alike)} would all need the same host key; give each node its own ssh.fingerprint"


def _names(site: "Site") -> Iterator[str]:
    names = {node.name for node in site.nodes}
    for field, name in (("registry.node", site.registry.node), ("airavata.storage_node", site.airavata.storage_node)):
        if name and name not in names:
            yield f"{field}: {name} is no node of this site (it has {', '.join(sorted(names))})"
    others = names - {node.name for node in site.nodes if _has_registry(site, node)}
    if site.registry.name in others:
        yield f"registry.name: {site.registry.name} is the name of another node than the registry's"


def _networks(site: "Site") -> Iterator[str]:
    network = site.network
    if network.pods.overlaps(network.services):
        yield f"network: pods {network.pods} and services {network.services} overlap"
    for node in site.nodes:
        for field in ("pods", "services"):
            if node.address in getattr(network, field):
                yield f"nodes: {node.name}'s address {node.address} lies inside network.{field} {getattr(network, field)}"
    if not network.pods.prefixlen < network.subnet_length:
        yield f"network.subnet_length: /{network.subnet_length} does not fit into pods {network.pods}"
    elif 2 ** (network.subnet_length - network.pods.prefixlen) < len(site.nodes) + 1:
        yield (
            f"network: pods {network.pods} has too few /{network.subnet_length} leases for {len(site.nodes)} nodes "
            "(flannel leaves the first one unused)"
        )
    if network.services.num_addresses < 256:
        yield f"network.services: {network.services} is smaller than /24"
    if network.services.prefixlen < 12:  # the API server's own limit (cmd/kube-apiserver/app/options/validation.go)
        yield f"network.services: {network.services} is larger than /12, which the API server refuses"


def _lab(site: "Site") -> Iterator[str]:
    if not site.lab:
        return
    network = site.lab.network
    own = {
        network.network_address: "names the network itself",
        network.broadcast_address: "reaches all hosts of it",
        network.network_address + 1: "is this machine's own on the bridge",
    }
    for node in site.nodes:
        if node.address not in network:
            yield f"nodes: {node.name}'s address {node.address} is not in lab.network {network}"
        elif node.address in own:
            yield f"nodes: {node.name}'s address {node.address} is no host's in lab.network {network}: it {own[node.address]}"
    for field in ("pods", "services"):
        if network.overlaps(getattr(site.network, field)):
            yield f"network: {field} {getattr(site.network, field)} and lab.network {network} overlap"


def _ports(site: "Site") -> Iterator[str]:
    airavata = site.airavata
    if airavata.portal_node_port == airavata.api_node_port:
        yield f"airavata: portal_node_port and api_node_port are both {airavata.api_node_port}"
    for node in site.nodes:
        taken = NODE_PORTS | (CONTROL_PLANE_PORTS if node.role == "master" else {})
        taken |= {airavata.api_node_port: "airavata.api_node_port", airavata.portal_node_port: "airavata.portal_node_port"}
        chosen = {"ssh.port": node.ssh.port} if node.ssh.host in (None, str(node.address)) else {}
        chosen |= {"registry.port": site.registry.port} if _has_registry(site, node) else {}
        for field, port in chosen.items():
            if port in taken:
                yield f"{field}: {port} is taken on {node.name} by {taken[port]}"
            taken[port] = field


def _folders(site: "Site") -> Iterator[str]:
    """Of two folders of one host none lies in the other: what is done with all that is in the one would befall the other."""
    for node in site.nodes:
        folders = {"repository.baseurl": site.repository.folder} if site.repository.folder else {}
        folders |= {"registry.root": site.registry.root} if _has_registry(site, node) else {}
        folders |= {"airavata.storage_path": site.airavata.storage_path} if _has_storage(site, node) else {}
        for (field, folder), (other, outer) in permutations(folders.items(), 2):
            if folder != outer and folder.startswith(f"{outer}/"):
                yield f"{field}: {folder} lies inside {other} {outer} on {node.name}; give each a folder of its own"
            elif folder == outer and field < other:
                yield f"{field}: {folder} is {other} on {node.name} too; give each a folder of its own"


def _repository(site: "Site") -> Iterator[str]:
    repository = site.repository
    if repository.gpgcheck and not repository.gpgkey:
        yield "repository.gpgcheck: true needs gpgkey: the path of the repository's public key on the hosts"
    if repository.gpgcheck and repository.folder:
        yield (
            f"repository.gpgcheck: true, but the packages in {repository.folder} carry no signature: the runbook brings them "
            "there itself, and compares their digests"
        )


def _images(site: "Site") -> Iterator[str]:
    for name, source in site.airavata.images.items():
        field = f"airavata.images.{name}"
        given = [key for key in ("archive", "pull", "build") if getattr(source, key)]
        if len(given) != 1:
            yield f"{field}: needs exactly one of archive, pull or build, found {' and '.join(given) or 'none'}"
        elif source.pull:
            digest = source.pull.partition("@")[2]
            if not (source.digest or digest):
                yield f"{field}: an image that is pulled needs its digest: images are brought in by digest"
            if source.digest and digest and source.digest != digest:
                yield f"{field}: pull names {digest}, and digest is {source.digest}; only one of them can be meant"


def _has_registry(site: "Site", node: "Node") -> bool:
    return node.name == site.registry.node if site.registry.node else node.role == "master"


def _stack(site: "Site") -> Iterator[str]:
    """Names of what the site's stack does not have; the stack `system` is every site's, beside its own."""
    known = sorted(file.parent.name for file in FOLDER.glob("*/stack.yaml") if file.parent.name != "system")
    if site.airavata.stack not in known:
        yield f"airavata.stack: there is no stack {site.airavata.stack}; {nearest(site.airavata.stack, known)}"
    elif site.airavata.images or site.airavata.secrets:
        yield from unknown_names(site.airavata)


def _has_storage(site: "Site", node: "Node") -> bool:
    workers = [worker.name for worker in site.nodes if worker.role != "master"]
    return node.name == site.airavata.storage_node if site.airavata.storage_node else node.name in (workers or [node.name])[:1]


def _listed(nodes: "list[Node]") -> str:
    return ", ".join(node.name for node in nodes)
