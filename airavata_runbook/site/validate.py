"""Rules across several fields of a site: each value is valid by itself, but not together with another one."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import permutations
from urllib.parse import urlsplit

from airavata_runbook.errors import SiteError
from airavata_runbook.site.component import secret_values
from airavata_runbook.site.fields import PATTERNS, USER
from airavata_runbook.site.messages import nearest
from airavata_runbook.site.node import Node
from airavata_runbook.site.parts import MAX_PODS, SERVER_IMAGE, Airavata, Lab, Repository, Sections
from airavata_runbook.site.stack_file import (
    API_SERVER,
    file_names,
    input_problems,
    is_folder,
    parts_of,
    replicas,
    runs,
    stack_folder,
    stack_names,
    unknown_names,
)
from airavata_runbook.wellknown import CONTROL_PLANE_PORTS, NODE_PORTS, PULL_PASSWORD

OWN_STACK = "a folder of your own has a / in its path, such as ./stacks/gateway"


def validate(site: Sections) -> list[str]:
    """A line for each problem, `FIELD: problem`; an empty list for a valid site."""
    return [
        *_nodes(site.nodes),
        *_connections(site),
        *_node_names(site),
        *_networks(site),
        *(_lab(site, site.lab) if site.lab else ()),
        *_ports(site),
        *_pull_password(site),
        *_folders(site),
        *_repository(site.repository),
        *_sources(site),
        *_images(site.airavata),
        *_stack(site),
    ]


def _nodes(nodes: list[Node]) -> Iterator[str]:
    masters = [node for node in nodes if node.role == "master"]
    if len(masters) != 1:
        yield f"nodes: needs exactly one node with role: master (found {len(masters)})"
    for field in ("name", "address"):
        for value, count in Counter(str(getattr(node, field)) for node in nodes).items():
            if count > 1:
                yield f"nodes: {field} {value} is used by more than one node"


def _connections(site: Sections) -> Iterator[str]:
    targets = defaultdict(list)
    for node in site.nodes:
        targets[node.ssh.host or str(node.address), node.ssh.port, node.ssh.jump].append(node)
    for (host, port, jump), reached in targets.items():
        if len({node.address for node in reached}) > 1:
            through = f" through {jump}" if jump else ""
            yield f"nodes: {_listed(reached)} all connect to {host}:{port}{through}; give each its own ssh.host or ssh.port"
    alike = [node for node in site.nodes if node.ssh.fingerprint == site.ssh.fingerprint]
    if site.ssh.fingerprint and len(alike) > 1:
        yield f"ssh.fingerprint: {_listed(alike)} cannot have the same host key; give each node its own ssh.fingerprint"
    if direct := [node for node in site.nodes if node.ssh.jump_fingerprint and not node.ssh.jump]:
        yield f"ssh.jump_fingerprint: {_listed(direct)} has no jump host; set ssh.jump too, or leave out the fingerprint"


def _node_names(site: Sections) -> Iterator[str]:
    names = {node.name for node in site.nodes}
    for field, name in (("registry.node", site.registry.node), ("airavata.storage_node", site.airavata.storage_node)):
        if name and name not in names:
            yield f"{field}: needs the name of a node: {', '.join(sorted(names))} (found {name!r})"
    if site.registry.name in names - {site.registry_node_name}:
        yield f"registry.name: {site.registry.name} is the name of a node that does not run the registry"
    login = urlsplit(site.airavata.unified.keycloak_url or "").hostname
    if login == site.registry.name:  # whoever has its certificate would pass for the registry
        yield f"airavata.unified.keycloak_url: {login} is registry.name; needs another name"


def _networks(site: Sections) -> Iterator[str]:
    network = site.network
    if network.pods.overlaps(network.services):
        yield f"network: pods {network.pods} and services {network.services} overlap"
    for node in site.nodes:
        for field in ("pods", "services"):
            if node.address in getattr(network, field):
                yield f"nodes: {node.name}'s address {node.address} is inside network.{field} {getattr(network, field)}"
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
        yield f"network.services: {network.services} is larger than /12, the API server's limit"


def _lab(site: Sections, lab: Lab) -> Iterator[str]:
    reserved = {
        lab.network.network_address: "the network address",
        lab.network.broadcast_address: "the broadcast address",
        lab.network.network_address + 1: "this machine's address on the bridge",
    }
    for node in site.nodes:
        if node.address not in lab.network:
            yield f"nodes: {node.name}'s address {node.address} is not in lab.network {lab.network}"
        elif node.address in reserved:
            yield f"nodes: {node.name}'s address {node.address} is {reserved[node.address]} in lab.network {lab.network}"
    if others := [node for node in site.nodes if not re.fullmatch(USER, node.ssh.user)]:
        yield f"ssh.user: {_listed(others)}: a lab creates its users, and needs {PATTERNS[f'^{USER}$']}"
    if unknown := sorted(lab.hosts.keys() - {node.name for node in site.nodes}):
        yield f"lab.hosts: no node {', '.join(unknown)}; {nearest(unknown[0], [node.name for node in site.nodes])}"
    for field in ("pods", "services"):
        if lab.network.overlaps(getattr(site.network, field)):
            yield f"network: {field} {getattr(site.network, field)} and lab.network {lab.network} overlap"


def _ports(site: Sections) -> Iterator[str]:
    airavata = site.airavata
    if airavata.portal_node_port == airavata.api_node_port:
        yield f"airavata: portal_node_port and api_node_port are both {airavata.api_node_port}"
    if site.registry_pull_port > 65535:
        yield f"registry.pull_port: needs a port; there is none after registry.port {site.registry.port}"
    for node in site.nodes:
        used = NODE_PORTS | (CONTROL_PLANE_PORTS if node.role == "master" else {})
        used |= {airavata.api_node_port: "airavata.api_node_port", airavata.portal_node_port: "airavata.portal_node_port"}
        chosen = {"ssh.port": node.ssh.port} if node.ssh.host in (None, str(node.address)) else {}
        if node.name == site.registry_node_name:
            chosen |= {"registry.port": site.registry.port, "registry.pull_port": site.registry_pull_port}
        for field, port in chosen.items():
            if port in used:
                yield f"{field}: {port} is used on {node.name} by {used[port]}"
            used[port] = field


def _pull_password(site: Sections) -> Iterator[str]:
    used = {"registry.password": site.registry.password}
    used |= {f"airavata.secrets.{name}": reference for name, reference in site.airavata.secrets.items()}
    for field, reference in used.items():
        if reference == PULL_PASSWORD:
            yield f"{field}: needs another reference; {PULL_PASSWORD} is the password that every host pulls images with"


def _folders(site: Sections) -> Iterator[str]:
    """No folder of a host is inside another one: deleting the outer folder would delete the inner one too."""
    for node in site.nodes:
        for (field, folder), (other, outer) in permutations(site.folders_on(node).items(), 2):
            if folder.startswith(f"{outer}/"):
                yield f"{field}: {folder} is inside {other} {outer} on {node.name}; give each a folder of its own"
            elif folder == outer and field < other:
                yield f"{field}: {folder} is also {other} on {node.name}; give each a folder of its own"


def _repository(repository: Repository) -> Iterator[str]:
    if repository.folder and repository.gpgkey:
        yield (
            f"repository.gpgkey: needs none with a file:// baseurl: the runbook signs the packages in {repository.folder} with a "
            "key of the site, and puts its public half on each host"
        )
    elif not repository.folder and not repository.gpgcheck:
        yield (
            "repository.gpgcheck: needs true with an http:// or https:// baseurl: unsigned packages of anybody who answers in "
            "its place would be installed as root; sign the repository and set gpgkey to its public key on the hosts, or use file://"
        )
    elif not repository.folder and not repository.gpgkey:
        yield "repository.gpgcheck: true needs gpgkey: the path of the repository's public key on the hosts"


def _sources(site: Sections) -> Iterator[str]:
    repository = site.repository
    for name, source in site.sources:
        if source == "repository" and repository.folder:
            yield f"sources.{name}: repository needs one of your own in repository.baseurl; the runbook fills {repository.folder}"
        elif source in ("build", "release") and not repository.folder and name != "coredns":
            yield f"sources.{name}: {source} needs a file:// repository.baseurl; yours has packages of its own"
    hosted = site.sources.hosted
    if ("containerd" in hosted) != ("runc" in hosted):  # each package of containerd brings a runc that fits it, or needs one
        yield f"sources.runc: needs host with containerd: host, and only then (found {site.sources.runc})"
    if "containerd" in hosted and "cni" not in hosted and not repository.folder:
        yield f"sources.cni: needs host with containerd: host and a repository of your own (found {site.sources.cni})"


def _images(airavata: Airavata) -> Iterator[str]:
    if airavata.unified.server and SERVER_IMAGE in airavata.images:
        yield f"airavata.unified.server: airavata.images.{SERVER_IMAGE} is the same image; leave out one of them"
    for name, source in airavata.sources.items():
        field = airavata.source_field(name)
        sources = [key for key in ("archive", "pull", "build", "jar") if getattr(source, key)]
        if len(sources) != 1:
            yield f"{field}: needs exactly one of archive, pull, build or jar (found {' and '.join(sources) or 'none'})"
            continue
        if source.pull:
            digest = source.pull.partition("@")[2]
            if not (source.digest or digest):
                yield f"{field}: pull needs a digest, in the reference (@sha256:…) or in digest"
            if source.digest and digest and source.digest != digest:
                yield f"{field}: pull has {digest}, but digest is {source.digest}; give one of them, or the same"
        if source.jar and not source.sha256:
            yield f"{field}: jar needs sha256, which sha256sum prints"
        if source.jar and source.digest:
            yield f"{field}: digest is that of an image; a jar has sha256"
        if source.sha256 and not source.jar:
            yield f"{field}: sha256 is that of a jar; an image has digest"


def _stack(site: Sections) -> Iterator[str]:
    """An unknown stack, or names that it does not have; the stack `system` runs on every site and is not chosen."""
    airavata = site.airavata
    yield from secret_values(airavata.components)
    known = stack_names()
    if not is_folder(airavata.stack) and airavata.stack not in known:
        yield f"airavata.stack: unknown stack {airavata.stack!r}; {nearest(airavata.stack, known)}; {OWN_STACK}"
        return
    try:
        if is_folder(airavata.stack) and not (stack_folder(airavata) / "stack.yaml").is_file():
            yield f"airavata.stack: no stack.yaml in {stack_folder(airavata)}; known: {', '.join(known)}; {OWN_STACK}"
            return
        yield from unknown_names(airavata)
        yield from input_problems(airavata)
        yield from _components(site)
        for name in sorted(file_names(airavata) & airavata.secrets.keys()):
            if not airavata.secrets[name].startswith("file:"):
                yield f"airavata.secrets.{name}: needs file:PATH, since it is not text (found {airavata.secrets[name]})"
        if site.network.max_pods < MAX_PODS:
            yield from _pods(site)
    except SiteError as error:
        yield from (f"airavata.stack: {line}" for line in error.problems or (f"{error.summary} ({error.where})",))


def _components(site: Sections) -> Iterator[str]:
    """What a site cannot choose of a component: replicas of what runs once or has a field of its own, and whether it runs."""
    for part in parts_of(site.airavata):
        own = site.airavata.components.get(part.name)
        field = f"airavata.components.{part.name}.replicas"
        if own and own.enabled is not None and not part.optional:
            yield f"airavata.components.{part.name}.enabled: the stack {site.airavata.stack} always has it; {_optional(site)}"
        elif own and own.enabled is None and part.optional:
            yield f"airavata.components.{part.name}: needs enabled, true or false: it runs only where the site asks for it"
        if own and own.replicas and part.name == API_SERVER:
            yield f"{field}: needs airavata.api_replicas in its place"
        elif own and (own.replicas or 1) > 1 and part.storage_uid is not None:
            yield f"{field}: needs 1: two servers on one folder destroy its data (found {own.replicas})"


def _optional(site: Sections) -> str:
    names = [part.name for part in parts_of(site.airavata) if part.optional]
    return f"optional: {', '.join(names) or 'none'}"


def _pods(site: Sections) -> Iterator[str]:
    """Pods that the leases have no addresses for."""
    hosts, each = len(site.nodes), site.network.max_pods
    parts = [part for part in parts_of(site.airavata) if runs(part, site.airavata)]
    pods = {part.name: replicas(part, site.airavata) for part in parts}
    served = pods.pop(API_SERVER, 0)
    # The network check is on every host, DNS on two; an update starts a replica of the API server before it stops one.
    others = hosts + min(hosts, 2) + sum(pods.values()) + bool(served)
    stored = 1 + sum(part.storage_uid is not None for part in parts)  # on the storage node; the replicas are spread evenly
    if served + others > hosts * each or stored + served // hosts > each:
        yield (
            f"airavata.api_replicas: {served} replicas and {others} other pods do not fit: a /{site.network.subnet_length} "
            f"lease has addresses for {each} pods a host; fewer replicas, more hosts or a smaller network.subnet_length"
        )


def _listed(nodes: Iterable[Node]) -> str:
    return ", ".join(node.name for node in nodes)
