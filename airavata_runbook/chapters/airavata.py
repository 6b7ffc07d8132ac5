"""Chapter 05: Airavata's databases, brokers, API server and portal as pods (POC rows 13 to 15)."""

import copy
import hmac
import json
from collections.abc import Iterator, Mapping

from airavata_runbook.chapters.by_hand import airavata as by_hand
from airavata_runbook.chapters.deployment import deploy
from airavata_runbook.chapters.registry import pull_secret
from airavata_runbook.chapters.site_inputs import site_input
from airavata_runbook.chapters.site_stack import references, stack_of
from airavata_runbook.checks.references import IDENTITY_CA, authorities
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.planned import planned_changes
from airavata_runbook.engine.report import Picture, picture_of
from airavata_runbook.engine.step import Rows, check, step
from airavata_runbook.engine.target import Target, master
from airavata_runbook.errors import NotYet, counted
from airavata_runbook.hosts.vault import Vault
from airavata_runbook.pictures import components as drawn
from airavata_runbook.pki.types import Pair
from airavata_runbook.resources import (
    Certificate,
    DatabaseBackup,
    EarlierStorage,
    FileContext,
    Folder,
    Generated,
    KubeObject,
    Obsolete,
    Resource,
    SameSite,
    StorageRecord,
    StorageUsable,
)
from airavata_runbook.resources.kube_object import secret_manifest
from airavata_runbook.resources.left_out import BESIDE, RUNNING, USED
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node
from airavata_runbook.site.stack_file import Keystore
from airavata_runbook.stacks import Component, Stack, keystores, secrets_of
from airavata_runbook.stacks.render import ONCE, REPEAT, SECRETS_STAMP, pod_of
from airavata_runbook.wellknown import PKI, SERVICES_CA

SERVICES = f"{PKI}/services"


def storage_node(site: Site) -> list[Node]:
    return [site.storage_node]


@check("Components: real servers and stand-ins", before=True, by_hand=by_hand.components)
def components(session: Session) -> tuple[Rows, Picture]:
    """Rows of component and what runs for it in this site, and a picture of who needs whom."""
    stack = stack_of(session.site)
    rows = [[one.name, "STAND-IN" if one.stand_in else "real server"] for one in stack.components]
    rows += [[one.name, f"left out: {one.reason}"] for one in stack.left_out]
    left_out = [f"{one.name} is left out: {one.reason}" for one in stack.left_out]
    title = f"Components of site {session.site.name}"
    shown = drawn.connections(title, [_drawn(one, stack) for one in stack.components], left_out)
    return [["component", "in this site"], *rows], picture_of("components", shown)


def _drawn(one: Component, stack: Stack) -> drawn.Component:
    """A component with what runs for it, and how many pods of it."""
    pods = sum(manifest["spec"].get("replicas", 1) for manifest in one.objects if pod_of(manifest) and manifest["kind"] != ONCE)
    once = {kind for kind, _ in one.waits_for} == {ONCE}
    what = "STAND-IN" if one.stand_in else "Job, done once" if once else "real server"
    lines = (what,) if once else (what, counted(pods, "pod"))
    return drawn.Component(one.name, lines, one.needs, f"{one.name}-tls" in stack.certificates, one.stand_in)


@step("Secrets and server certificates", on=master, by_hand=by_hand.secrets)
def secrets(target: Target) -> Iterator[Resource]:
    stack = stack_of(target.site)
    yield SameSite(target.site)
    references = sorted({reference for keys in stack.secrets.values() for reference in keys.values()})
    for kind, _, name in (reference.partition(":") for reference in references):
        if kind == "generated":
            yield Generated(name)
    for one in (one for stores in stack.keystores.values() for one in stores.values()):
        if one.secret_key:
            yield Generated(one.secret_key, keystores.KEY_LENGTH)
    for name, subject in stack.certificates.items():
        yield Certificate(f"{SERVICES}/{name}", subject, SERVICES_CA)


@step("Storage folders of the databases", on=storage_node, by_hand=by_hand.storage)
def storage(target: Target) -> Iterator[Resource]:
    yield SameSite(target.site)
    yield StorageUsable(target.site)
    for path, user in stack_of(target.site).folders:
        # As the kubelet wants the root of a volume (fsGroup), so that it leaves the modes of the files to their server.
        yield Folder(path, "2770", f"{user}:{user}")
        if target.settings.selinux:
            yield FileContext(path)


@step("Namespace with its Secrets", on=master, by_hand=by_hand.namespace)
def namespace(target: Target) -> Iterator[Resource]:
    stack = stack_of(target.site)
    yield KubeObject({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stack.namespace}})
    yield pull_secret(target.session, stack.namespace)
    for name, data in _secret_data(target, stack).items():
        yield KubeObject(secret_manifest(name, stack.namespace, data))


@step("Databases and brokers", on=master, by_hand=by_hand.backing)
def backing(target: Target) -> Iterator[Resource]:
    stack = stack_of(target.site, references(target.session))
    yield EarlierStorage(stack.namespace, tuple(one for part in stack.components for one in part.objects))
    # First, as what has another name now may need its node port; but what pods use is kept until they are replaced.
    yield Obsolete(stack.namespace, stack.objects, RUNNING, BESIDE)
    yield from _deploy(target, stack, airavata=False)
    yield StorageRecord(target.site)


@step("API server and portal", on=master, by_hand=by_hand.servers)
def servers(target: Target) -> Iterator[Resource]:
    stack = stack_of(target.site, references(target.session))
    yield DatabaseBackup(target.site, stack)  # of databases that run, as they are after the step before
    yield from _deploy(target, stack, airavata=True)
    yield Obsolete(stack.namespace, stack.objects, USED)


@step("API server and portal of an earlier release", on=master)
def earlier_servers(target: Target) -> Iterator[Resource]:
    """For a rollback, which must not depend on a dump. With their Secrets: pods would be stamped with what is not there yet."""
    stack = stack_of(target.site, references(target.session))
    used = {name for one in stack.components if one.airavata for manifest in one.objects for name in secrets_of(manifest)}
    for name, data in _secret_data(target, stack).items():
        if name in used:
            yield KubeObject(secret_manifest(name, stack.namespace, data))
    yield from _deploy(target, stack, airavata=True)


def _deploy(target: Target, stack: Stack, airavata: bool) -> Iterator[Resource]:
    """Airavata's own servers, or all other components. Their pods are replaced when a Secret that they use changes."""
    pending = ""
    secrets: dict[str, dict[str, bytes]] = {}
    try:
        secrets = _secret_data(target, stack)
    except NotYet as missing:
        pending = str(missing)
    chosen = [one for one in stack.components if one.airavata == airavata]
    yield from deploy(
        target.session, stack, chosen, lambda manifest: KubeObject(_stamped(manifest, secrets, target.vault), pending)
    )


def _secret_data(target: Target, stack: Stack) -> dict[str, dict[str, bytes]]:
    """Secret → key → value, of all that the stack's pods use. Raises NotYet before they exist.

    Not the Secret for image pulls: the kubelet reads it at each pull, so that no running pod has an old one.
    """
    vault, planned = target.vault, planned_changes(target.session, target.host.name)
    vault.fetch(
        [f"{SERVICES}/{name}" for name in stack.certificates],
        [reference for keys in stack.secrets.values() for reference in keys.values()],
    )
    found = {
        name: {key: vault.secret(reference).encode() for key, reference in keys.items()} for name, keys in stack.secrets.items()
    }
    for name, keys in stack.files.items():
        found[name] = {key: vault.content(reference) for key, reference in keys.items()}
    for name in stack.certificates:
        if f"{SERVICES}/{name}.crt" in planned:
            raise NotYet(f"{SERVICES}/{name}.crt is issued")
        pair = vault.pair(f"{SERVICES}/{name}")
        found[name] = {"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": vault.authority(SERVICES_CA).cert}
    made = {
        name: {key: one.text(lambda secret, key: found[secret][key].decode()).encode() for key, one in keys.items()}
        for name, keys in stack.settings.items()
    }
    for name, stores in stack.keystores.items():
        made[name] = made.get(name, {}) | {key: _keystore(one, target.site, vault, found) for key, one in stores.items()}
    for name, fields in stack.inputs.items():
        given = {key: site_input(target.site, field) for key, field in fields.items()}
        made[name] = made.get(name, {}) | {key: content for key, content in given.items() if content}
    return found | {name: found.get(name, {}) | keys for name, keys in made.items()}


def _keystore(one: Keystore, site: Site, vault: Vault, found: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """A keystore's bytes. found: Secret → key → value, with those of certificates."""

    def pair(name: str) -> Pair:
        if name == "identity-server" and site.airavata.identity_server:
            return Pair(authorities(site.airavata.identity_server.ca, IDENTITY_CA), b"")
        if name == "services":
            return vault.authority(SERVICES_CA)
        return Pair(found[f"{name}-tls"]["tls.crt"], found[f"{name}-tls"]["tls.key"])

    return keystores.content(one, vault.secret, lambda name, key: found[name][key].decode(), pair)


def _stamped(manifest: dict, secrets: Mapping[str, Mapping[str, bytes]], vault: Vault) -> dict:
    """A workload with a digest of the Secrets that its pods use: when one changes, these pods are replaced, and no others.

    The digest is keyed (HMAC) with the key of the services' authority, so that no password can be guessed with it.
    """
    used = sorted(secrets_of(manifest) & set(secrets))
    once = manifest["kind"] == ONCE and REPEAT not in (manifest["metadata"].get("annotations") or {})
    if not used or once:
        return manifest
    content = json.dumps([[name, key, value.hex()] for name in used for key, value in sorted(secrets[name].items())])
    digest = hmac.new(vault.authority(SERVICES_CA).key, content.encode(), "sha256").hexdigest()[:16]
    stamped = copy.deepcopy(manifest)
    stamped["spec"]["template"]["metadata"].setdefault("annotations", {})[SECRETS_STAMP] = digest
    return stamped


STEPS = [
    components,
    secrets,
    storage,
    namespace,
    backing,
    servers,
]
