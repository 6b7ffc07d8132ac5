"""Who speaks to whom with which certificate, from the steps that issue the certificates and start who reads them.

A certificate of one authority means nothing to the servers of another (wellknown.py). So a client speaks to a server of its own
certificate's authority: to the first one that is another program than itself, as all speak to the API server, and it to the
kubelets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from airavata_runbook.chapters import etcd_flannel, install, registry
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.step import Step
from airavata_runbook.engine.target import Target
from airavata_runbook.pictures import trust
from airavata_runbook.pictures.svg import Drawn
from airavata_runbook.resources import Certificate, Service
from airavata_runbook.stacks import Component, Stack, secrets_of
from airavata_runbook.stacks.render import ONCE
from airavata_runbook.wellknown import PKI, PULL_SERVICE, PULL_USER, SERVICES_CA

ISSUING = (install.control_plane_certificates, install.host_certificates)
READING = (
    etcd_flannel.etcd_service,
    etcd_flannel.api_server,
    etcd_flannel.controllers,
    etcd_flannel.pod_network,
    etcd_flannel.node_services,
)
PERSON = "people and the runbook"
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Issued:
    """A certificate and its holder: the unit that reads it, "" where none does. on: the hosts that have it. user: whom a server
    takes the holder for; of hosts, which have a name each, their group.
    """

    certificate: Certificate
    holder: str
    on: str
    user: str

    @property
    def name(self) -> str:
        return self.certificate.stem.removeprefix(f"{PKI}/")


def picture(session: Session) -> Drawn:
    """All TLS servers of a site and their clients. No host is asked."""
    issued = list(_issued(session))
    servers = [*_cluster(issued), *_registry(session), *_stack(stack_of(session.site))]
    met = {client.shows for server in servers for client in server.clients}
    unused = [
        f"{one.name}.crt of {one.holder}: no server of the site has a certificate of {one.certificate.authority}"
        for one in issued
        if f"{one.name}.crt" not in met and "server" not in one.certificate.subject.usages
    ]
    return trust.who_speaks_to_whom(f"Who speaks to whom in site {session.site.name}, with which certificate", servers, unused)


def _issued(session: Session) -> Iterator[Issued]:
    """The certificates of the control plane and the hosts, each once, in the order in which the steps issue them."""
    holders = {path: service.name for service, _ in _of(session, READING, Service) for path in service.reads}
    found: dict[str, dict[str, Certificate]] = {}
    for certificate, host in _of(session, ISSUING, Certificate):
        found.setdefault(certificate.stem, {})[host] = certificate
    for stem, by_host in found.items():
        first, *others = by_host.values()
        name, group = first.subject.common_name, first.subject.organization
        same = all(one.subject.common_name == name for one in others)
        user = f"{name} in {group}" if group and same else f"group {group}" if group else name
        on = "on every host" if others else f"on {next(iter(by_host))}"  # one host of the step is the master
        yield Issued(first, holders.get(f"{stem}.crt", ""), on, user)


def _of(session: Session, steps: tuple[Step, ...], kind: type[Kind]) -> Iterator[tuple[Kind, str]]:
    """The resources of that kind of these steps, with the host."""
    for step in steps:
        for node in step.on(session.site):
            for one in step.resources(Target(session, session.hosts[node.name])):
                if isinstance(one, kind):
                    yield one, node.name


def _cluster(issued: Sequence[Issued]) -> list[trust.Server]:
    """The servers whose clients have certificates, by authority."""
    serving = [one for one in issued if "server" in one.certificate.subject.usages]
    clients: dict[str, list[trust.Client]] = {one.name: [] for one in serving}
    for one in issued:
        others = [
            server
            for server in serving
            if server.certificate.authority == one.certificate.authority and server.holder != one.holder
        ]
        if "client" in one.certificate.subject.usages and others:
            name = f"{one.holder} {one.on}" if one.holder else PERSON
            clients[others[0].name].append(trust.Client(name, f"{one.name}.crt", one.user))
    authorities = list(dict.fromkeys(one.certificate.authority for one in serving))
    by_authority = sorted(serving, key=lambda one: authorities.index(one.certificate.authority))
    return [
        trust.Server(f"{one.holder} {one.on}", f"{one.name}.crt", one.certificate.authority, tuple(clients[one.name]))
        for one in by_authority
    ]


def _registry(session: Session) -> list[trust.Server]:
    """Its two servers have one certificate; both ask for a password."""
    site, root = session.site, session.site.registry.root
    clients = {
        "docker-distribution": trust.Client(PERSON, f"a password, of user {site.registry.user}"),
        PULL_SERVICE: trust.Client("containerd on every host", f"a password, of user {PULL_USER}"),
    }
    authority = SERVICES_CA if site.registry.certificate is None else "of the site's own registry certificate"
    return [
        trust.Server(f"{service.name} on {host}", path.removeprefix(f"{root}/cert/"), authority, (clients[service.name],))
        for service, host in _of(session, (registry.service,), Service)
        for path in service.reads
        if path.startswith(f"{root}/cert/") and path.endswith(".crt")
    ]


def _stack(stack: Stack) -> Iterator[trust.Server]:
    """The servers of the stack that have a certificate. Their clients have none: they have passwords or tokens, if anything."""
    for component in stack.components:
        held = {name for one in component.objects if one["kind"] != ONCE for name in secrets_of(one)}
        for secret in sorted(held & set(stack.certificates)):
            names = [one.name for one in stack.components if component.name in needed_by(one, stack)]
            if any("nodePort" in port for one in component.objects if one["kind"] == "Service" for port in one["spec"]["ports"]):
                names.append("clients outside the cluster")
            clients = tuple(trust.Client(name, "no certificate") for name in names)
            yield trust.Server(component.name, f"Secret {secret}", SERVICES_CA, clients)


def needed_by(component: Component, stack: Stack) -> set[str]:
    """The components that one needs. Who waits for a Job needs what the Job works on too."""
    known = {one.name: one for one in stack.components}
    found = set(component.needs) & known.keys()
    for name in tuple(found):
        if any(one["kind"] == ONCE for one in known[name].objects):
            found |= needed_by(known[name], stack)
    return found
