"""Chapter 04: the private registry with every image, the hosts' access to it, and cluster DNS (POC rows 9 to 12)."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

from airavata_runbook import stacks
from airavata_runbook.chapters.site_stack import references, site_images
from airavata_runbook.checks.references import registry_certificate, trusted_certificates
from airavata_runbook.cluster import readiness
from airavata_runbook.cluster.host_causes import service_causes
from airavata_runbook.cluster.session import Session
from airavata_runbook.configs import node
from airavata_runbook.configs import registry as configs
from airavata_runbook.engine.step import Rows, Target, check, master, registry_node, step
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.images.http import Connection, RegistryError
from airavata_runbook.images.registry import Registry
from airavata_runbook.mirror import images as mirror
from airavata_runbook.pki.chain import check_chain
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources import (
    Build,
    Certificate,
    Condition,
    File,
    Folder,
    Generated,
    Htpasswd,
    Image,
    KubeObject,
    Resource,
    Service,
)
from airavata_runbook.resources.kube_object import secret_manifest
from airavata_runbook.wellknown import SERVICES_CA

CERTS = "/etc/containerd/certs.d"


@step("Registry password", on=master)
def password(target: Target) -> Iterator[Resource]:
    kind, _, name = target.site.registry.password.partition(":")
    if kind == "generated":
        yield Generated(name)


@step("Registry files: auth, cert, data", on=registry_node)
def folders(target: Target) -> Iterator[Resource]:
    site, root = target.site, target.site.registry.root
    yield Folder(f"{root}/data", "0700")
    yield Htpasswd(f"{root}/auth/htpasswd", site.registry.user, lambda: site_password(target.session))
    yield from _certificate(target)
    yield File(f"{root}/config.yml", configs.config(site))
    yield File(f"{root}/docker-compose.yml", configs.compose(site))
    yield File("/etc/sysconfig/docker-distribution", configs.environment(site))


@step("Registry service", on=registry_node)
def service(target: Target) -> Iterator[Resource]:
    root = target.site.registry.root
    # The registry reads its htpasswd file only when it starts.
    yield Service(
        "docker-distribution",
        [
            f"{root}/config.yml",
            f"{root}/auth/htpasswd",
            f"{root}/cert/registry-cert.crt",
            f"{root}/cert/registry-cert.key",
            "/etc/sysconfig/docker-distribution",
        ],
        package="docker-distribution",
    )
    yield Condition(
        "the registry to require a password",
        check=lambda: _authentication_missing(target.session),
        causes=lambda: service_causes(target.host, "docker-distribution"),
        remedy="journalctl -u docker-distribution",
    )


@step("Pull access on every host: certificate authority and credentials")
def pull_settings(target: Target) -> Iterator[Resource]:
    site, session = target.site, target.session
    yield File(f"{CERTS}/registry-ca.crt", lambda: trusted(session))
    # _default: a pull from any other registry is sent to this one, which answers "not found". No image comes from elsewhere.
    for name in (site.registry_address, "_default"):
        yield File(
            f"{CERTS}/{name}/hosts.toml", lambda: node.registry_hosts(site, f"Basic {_basic(session)}"), "0600", secret=True
        )


@step("Images", on=registry_node)
def images(target: Target) -> Iterator[Resource]:
    @cache
    def registry() -> Registry:
        return registry_client(target.session, site_password(target.session))

    found = site_images(target.site)
    own = [name for name, image in found.items() if not image.source]

    def absent(planning: bool) -> list[str]:
        """The mirror's images that the registry lacks; for a plan, without an answer from it, all of them."""
        try:
            return [name for name in own if not registry().manifest_digest(name, found[name].tag)]
        except (NotYet, RegistryError) as error:
            if planning and (isinstance(error, NotYet) or error.retryable):
                return own
            raise

    if mirror.pending(own):
        yield Build("images", lambda planning: mirror.pending(absent(planning)), lambda: mirror.build(absent(planning=False)))
    for image in found.values():
        yield Image(image.repository, image.tag, image.layout, registry, image.digest)


@step("First pods: cluster DNS and the network check", on=master)
def system_pods(target: Target) -> Iterator[Resource]:
    stack = stacks.load(target.site, references(target.site), "system")
    yield pull_secret(target.session, stack.namespace)
    yield from deploy(target.session, stack.namespace, stack.components)


@check("Registry certificate and authentication")
def authentication(session: Session) -> Rows:
    """Rows of request and response. Raises StepFailed for an invalid certificate or an unexpected response."""
    site, root, host = session.site, session.site.registry.root, session.registry_host
    chain = host.run(f"cat {root}/cert/registry-cert.crt").stdout
    key = host.run(f"cat {root}/cert/registry-cert.key").stdout
    problems = check_chain(chain, key, site.registry.name, roots_pem=trusted(session))
    if problems:
        raise StepFailed("the registry's certificate is invalid", found="; ".join(map(str, problems)))
    responses = [
        ("without a password", registry_client(session, None).ping(), 401),
        ("with a wrong password", registry_client(session, "not-the-password").ping(), 401),
        ("with the site's password", registry_client(session, site_password(session)).ping(), 200),
    ]
    if wrong := [f"{how}: {status}, not {wanted}" for how, status, wanted in responses if status != wanted]:
        raise StepFailed("unexpected response of the registry", found="; ".join(wrong))
    return [
        ["request", "result"],
        ["certificate chain for " + site.registry.name, "valid: order, dates, name and key"],
        *([how, f"HTTP {status}"] for how, status, _ in responses),
    ]


def site_password(session: Session) -> str:
    """The password of the registry's user. Raises NotYet before it is generated."""
    return session.vault.secret(session.site.registry.password)


def registry_client(session: Session, password: str | None) -> Registry:
    """A client through an SSH forward to the registry. password: of the site's user; None: without credentials."""
    site = session.site
    port = session.registry_host.forward(site.registry.port)
    user = site.registry.user if password else None
    return Registry(Connection(f"https://127.0.0.1:{port}", site.registry_address, trusted(session), user, password))


def trusted(session: Session) -> bytes:
    """The certificate authority by which clients verify the registry, as PEM."""
    own = session.site.registry.certificate
    if own is None:
        return session.vault.authority(SERVICES_CA).cert
    return trusted_certificates(own)


def pull_secret(session: Session, namespace: str) -> Resource:
    """The image pull Secret of a namespace; its data is never shown."""
    auths = {"auths": {session.site.registry_address: {"auth": _basic(session)}}}
    data = {".dockerconfigjson": json.dumps(auths).encode()}
    return KubeObject(secret_manifest("registry", namespace, data, "kubernetes.io/dockerconfigjson"))


def _basic(session: Session) -> str:
    """User and password of the registry, encoded for HTTP basic authentication."""
    return base64.b64encode(f"{session.site.registry.user}:{site_password(session)}".encode()).decode()


def deploy(
    session: Session,
    namespace: str,
    components: Sequence[stacks.Component],
    resource: Callable[[dict], KubeObject] = KubeObject,
) -> Iterator[Resource]:
    """The objects of all components; then waits for their workloads, which start at once. resource: of a manifest."""
    for component in components:
        yield from map(resource, component.objects)
    for kind, name in (workload for component in components for workload in component.waits_for):
        yield Condition(
            f"{kind} {name}",
            deadline=180,
            check=partial(readiness.workload_missing, session, kind, namespace, name),
            causes=partial(readiness.workload_causes, session, kind, namespace, name),
            remedy=f"kubectl -n {namespace} describe {kind.lower()} {name}",
        )


def _certificate(target: Target) -> Iterator[Resource]:
    site, stem = target.site, f"{target.site.registry.root}/cert/registry-cert"
    if site.registry.certificate is None:
        here = site.registry_node
        names = dict.fromkeys((site.registry.name, here.name))
        yield Certificate(
            stem,
            Subject(site.registry.name, dns=tuple(names), ips=(str(here.address),), usages=("server",)),
            SERVICES_CA,
            chain=True,
        )
        return
    content, key = registry_certificate(site, site.registry.certificate)
    yield File(f"{stem}.key", key, "0600", secret=True)
    yield File(f"{stem}.crt", content)


def _authentication_missing(session: Session) -> str:
    """What keeps the registry from requiring a password; "" when it does."""
    try:
        status = registry_client(session, None).ping()
    except RegistryError as error:
        return error.summary
    return "" if status == 401 else f"it answered HTTP {status}"


STEPS = [
    password,
    folders,
    service,
    pull_settings,
    images,
    system_pods,
    authentication,
]
