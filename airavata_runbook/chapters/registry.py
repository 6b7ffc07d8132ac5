"""Chapter 04: the private registry with every image, the hosts' access to it, and cluster DNS (POC rows 9 to 12)."""

import base64
import json
from collections.abc import Iterator
from functools import cache, partial

from airavata_runbook.chapters.by_hand import registry as by_hand
from airavata_runbook.chapters.deployment import deploy
from airavata_runbook.chapters.site_sources import releases_of
from airavata_runbook.chapters.site_stack import recorded, references, site_images
from airavata_runbook.checks.references import registry_certificate, trusted_certificates
from airavata_runbook.cluster.host_causes import service_causes
from airavata_runbook.cluster.session import Session
from airavata_runbook.configs import node
from airavata_runbook.configs import registry as configs
from airavata_runbook.engine.step import Rows, check, step
from airavata_runbook.engine.target import Target, master, registry_node
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
    SameSite,
    Service,
)
from airavata_runbook.resources.kube_object import secret_manifest
from airavata_runbook.wellknown import IMAGES, PULL_PASSWORD, PULL_SERVICE, PULL_USER, SERVICES_CA

CERTS = "/etc/containerd/certs.d"


@step("Registry passwords", on=master, by_hand=by_hand.password)
def password(target: Target) -> Iterator[Resource]:
    yield SameSite(target.site)
    for reference in (target.site.registry.password, PULL_PASSWORD):
        kind, _, name = reference.partition(":")
        if kind == "generated":
            yield Generated(name)


@step("Registry files: auth, cert, data", on=registry_node, by_hand=by_hand.folders)
def folders(target: Target) -> Iterator[Resource]:
    site, root = target.site, target.site.registry.root
    yield Folder(f"{root}/data", "0700")
    yield Htpasswd(f"{root}/auth/htpasswd", site.registry.user, lambda: site_password(target.session))
    # The registry hashes it for every request, and a pull has many. It is too long to be guessed, whatever a hash costs.
    yield Htpasswd(f"{root}/auth/htpasswd-pull", PULL_USER, lambda: pull_password(target.session), rounds=4)
    yield from _certificate(target)
    yield File(f"{root}/config.yml", configs.config(site))
    yield File(f"{root}/config-pull.yml", configs.pull_config(site))
    yield File(f"{root}/docker-compose.yml", configs.compose(site))
    yield File("/etc/sysconfig/docker-distribution", configs.environment(f"{root}/config.yml"))
    yield File(f"/etc/sysconfig/{PULL_SERVICE}", configs.environment(f"{root}/config-pull.yml"))
    yield File(f"/etc/systemd/system/{PULL_SERVICE}.service", configs.pull_unit())


@step("Registry service", on=registry_node, by_hand=by_hand.service)
def service(target: Target) -> Iterator[Resource]:
    root = target.site.registry.root
    # The registry reads its htpasswd file only when it starts.
    ports = {"docker-distribution": target.site.registry.port, PULL_SERVICE: target.site.registry_pull_port}
    for name, config, users in (
        ("docker-distribution", "config.yml", "htpasswd"),
        (PULL_SERVICE, "config-pull.yml", "htpasswd-pull"),
    ):
        yield Service(
            name,
            [
                f"{root}/{config}",
                f"{root}/auth/{users}",
                f"{root}/cert/registry-cert.crt",
                f"{root}/cert/registry-cert.key",
                f"/etc/sysconfig/{name}",
            ],
            package="docker-distribution",
            listens=[ports[name]],
        )
    for name, port in ports.items():
        yield Condition(
            f"the registry to require a password on port {port}",
            check=partial(_authentication_missing, target.session, port),
            causes=partial(service_causes, target.host, name),
            remedy=f"journalctl -u {name}",
        )


@step("Pull access on every host: certificate authority and credentials", by_hand=by_hand.pull_settings)
def pull_settings(target: Target) -> Iterator[Resource]:
    site, session, port = target.site, target.session, target.site.registry_pull_port
    # Before containerd is sent there: a firewall between the hosts may know the registry's other port only.
    yield Condition(
        f"the registry's port {port} to accept connections from here",
        f"timeout 5 bash -c 'exec 3<>/dev/tcp/{site.registry_node.address}/{port}'",
        deadline=20,
        remedy=f"systemctl status {PULL_SERVICE} on {site.registry_node.name}; allow TCP {port} to it from all hosts of the site",
    )
    yield File(f"{CERTS}/registry-ca.crt", lambda: trusted(session))
    # _default: a pull from any other registry is sent to this one, which answers "not found". No image comes from elsewhere.
    for name in (site.registry_address, "_default"):
        yield File(
            f"{CERTS}/{name}/hosts.toml", lambda: node.registry_hosts(site, f"Basic {_pull_login(session)}"), "0600", secret=True
        )


@step("Images", on=master, by_hand=by_hand.images)
def images(target: Target) -> Iterator[Resource]:
    session = target.session
    pulls = cache(lambda: registry_client(session, pull_password(session), PULL_USER, session.site.registry_pull_port))
    registry = cache(lambda: registry_client(session, site_password(session)))
    releases = releases_of(session)
    found, known = site_images(session.site, releases), recorded(session)
    made = {name: one for name, one in found.items() if one.mirrored}
    digests: dict[str, str] = {}

    def absent(planning: bool) -> list[str]:
        """What the mirror has to build for images that the registry lacks; for a plan without an answer from it, for all."""
        try:
            lacking = [one for name, one in made.items() if not pulls().manifest_digest(name, known.get(one.name, one.tag))]
        except (NotYet, RegistryError) as error:
            if not planning or not (isinstance(error, NotYet) or error.retryable):
                raise
            lacking = list(made.values())
        return sorted({one.mirrored for one in lacking})

    if mirror.pending({one.mirrored for one in made.values()}, releases):
        yield Build(
            "images",
            lambda planning: mirror.pending(absent(planning), releases),
            lambda: mirror.build(absent(planning=False), releases),
        )
    for image in found.values():
        recorded_digest = known.get(image.name, "")
        yield Image(image.repository, image.tag, image.layout, pulls, registry, recorded_digest, image.here, digests)

    def record() -> str:
        if missing := sorted(found.keys() - digests.keys()):
            raise NotYet(f"the image {missing[0]} is in the registry")
        return json.dumps({found[name].name: digest for name, digest in sorted(digests.items())}, indent=1) + "\n"

    yield File(IMAGES, record, "0600")


@step("First pods: cluster DNS and the network check", on=master, by_hand=by_hand.system_pods)
def system_pods(target: Target) -> Iterator[Resource]:
    stack = target.session.stack(references(target.session), "system")
    yield pull_secret(target.session, stack.namespace)
    yield from deploy(target.session, stack, stack.components)


@check("Registry certificate and authentication", by_hand=by_hand.authentication)
def authentication(session: Session) -> Rows:
    """Rows of request and response. Raises StepFailed for an invalid certificate or an unexpected response."""
    site, root, host = session.site, session.site.registry.root, session.registry_host
    chain = host.run(f"cat {root}/cert/registry-cert.crt").stdout
    key = host.run(f"cat {root}/cert/registry-cert.key").stdout
    problems = check_chain(chain, key, site.registry.name, roots_pem=trusted(session))
    if problems:
        raise StepFailed("the registry's certificate is invalid", found="; ".join(map(str, problems)))
    rows, wrong = [], []
    for port, user, request, status, needed in _responses(session):
        rows.append([str(port), user, request, f"HTTP {status}"])
        wrong += [] if status == needed else [f"{request} as {user} on port {port}: {status}, not {needed}"]
    if wrong:
        raise StepFailed("unexpected response of the registry", found="; ".join(wrong))
    rows += [["", "", "images can be deleted", "registry.maintenance is true"]] if site.registry.maintenance else []
    return [
        ["port", "user", "request", "response"],
        *rows,
        ["", "", f"certificate chain for {site.registry.name}", "valid: order, dates, name and key"],
    ]


def _responses(session: Session) -> Iterator[tuple[int, str, str, int, int]]:
    """Port, user, request, the status of its response, and the status that is needed."""
    site, delete = session.site, ("DELETE", "/v2/pause/manifests/sha256:" + "0" * 64)  # there is none
    pushes, pulls = (site_password(session), site.registry.user), (pull_password(session), PULL_USER)
    for port, own, other in ((site.registry.port, pushes, pulls), (site.registry_pull_port, pulls, pushes)):
        client, user = registry_client(session, *own, port), own[1]
        yield port, "none", "GET", registry_client(session, None, port=port).ping(), 401
        yield port, f"{user}, wrong password", "GET", registry_client(session, "not-the-password", user, port).ping(), 401
        yield port, other[1], "GET", registry_client(session, *other, port).ping(), 401
        yield port, user, "GET", client.ping(), 200
        if own == pulls:
            yield port, user, "POST", client.status("POST", "/v2/pause/blobs/uploads/"), 405
        yield port, user, "DELETE", client.status(*delete), 404 if own == pushes and site.registry.maintenance else 405


def site_password(session: Session) -> str:
    """The password of the registry's user. Raises NotYet before it is generated."""
    return session.vault.secret(session.site.registry.password)


def pull_password(session: Session) -> str:
    """The password that hosts and pods pull with. Raises NotYet before it is generated."""
    return session.vault.secret(PULL_PASSWORD)


def registry_client(session: Session, password: str | None, user: str = "", port: int = 0) -> Registry:
    """A client through an SSH forward to the registry. user: the site's, by default; with None as the password: no credentials.
    port: registry.port, by default."""
    site = session.site
    port = port or site.registry.port
    url = f"https://127.0.0.1:{session.registry_host.forward(port)}"
    who = (user or site.registry.user) if password else None
    return Registry(Connection(url, f"{site.registry.name}:{port}", trusted(session), who, password))


def trusted(session: Session) -> bytes:
    """The certificate authority by which clients verify the registry, as PEM."""
    own = session.site.registry.certificate
    if own is None:
        return session.vault.authority(SERVICES_CA).cert
    return trusted_certificates(own)


def pull_secret(session: Session, namespace: str) -> Resource:
    """The image pull Secret of a namespace; its data is never shown."""
    login, unknown = "", ""
    try:
        login = _pull_login(session)
    except NotYet as missing:
        unknown = str(missing)
    data = {".dockerconfigjson": json.dumps({"auths": {session.site.registry_address: {"auth": login}}}).encode()}
    return KubeObject(secret_manifest("registry", namespace, data, "kubernetes.io/dockerconfigjson"), unknown=unknown)


def _pull_login(session: Session) -> str:
    """User and password of the identity that can only pull, encoded for HTTP basic authentication."""
    return base64.b64encode(f"{PULL_USER}:{pull_password(session)}".encode()).decode()


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


def _authentication_missing(session: Session, port: int) -> str:
    """What keeps the registry from requiring a password on a port; "" when it does."""
    try:
        status = registry_client(session, None, port=port).ping()
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
