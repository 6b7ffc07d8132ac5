"""Chapter 05: Airavata's databases, brokers, API server and portal as pods (POC rows 13 to 15)."""

from collections.abc import Iterator

from airavata_runbook.chapters.registry import deploy, pull_secret
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.step import Rows, Target, check, master, step
from airavata_runbook.resources import Certificate, Folder, Generated, KubeObject, Resource
from airavata_runbook.resources.kube_object import secret_manifest
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Node
from airavata_runbook.wellknown import PKI

SERVICES = f"{PKI}/services"


def storage_node(site: Site) -> list[Node]:
    return [site.storage_node]


@check("Components: real servers and stand-ins", before=True)
def components(session: Session) -> Rows:
    """Rows of component and what runs for it in this site."""
    stack = stack_of(session.site)
    rows = [[one.name, "STAND-IN" if one.stand_in else "real server"] for one in stack.components]
    return [["component", "in this site"], *rows, *([one.name, f"left out: {one.reason}"] for one in stack.left_out)]


@step("Secrets and server certificates", on=master)
def secrets(target: Target) -> Iterator[Resource]:
    stack = stack_of(target.site)
    references = sorted({reference for keys in stack.secrets.values() for reference in keys.values()})
    for kind, _, name in (reference.partition(":") for reference in references):
        if kind == "generated":
            yield Generated(name)
    for name, subject in stack.certificates.items():
        yield Certificate(f"{SERVICES}/{name}", subject)


@step("Storage folders of the databases", on=storage_node)
def storage(target: Target) -> Iterator[Resource]:
    for path, user in stack_of(target.site).folders:
        yield Folder(path, "0700", f"{user}:{user}")


@step("Namespace with its Secrets", on=master)
def namespace(target: Target) -> Iterator[Resource]:
    stack, vault = stack_of(target.site), target.vault
    vault.fetch(
        [f"{SERVICES}/{name}" for name in stack.certificates],
        [reference for keys in stack.secrets.values() for reference in keys.values()],
    )
    yield KubeObject({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stack.namespace}})
    yield pull_secret(target.session, stack.namespace)
    for name, keys in stack.secrets.items():
        yield KubeObject(
            secret_manifest(name, stack.namespace, {key: vault.secret(reference).encode() for key, reference in keys.items()})
        )
    for name in stack.certificates:
        pair = vault.pair(f"{SERVICES}/{name}")
        yield KubeObject(
            secret_manifest(name, stack.namespace, {"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": vault.authority().cert})
        )


@step("Databases and brokers", on=master)
def backing(target: Target) -> Iterator[Resource]:
    stack = stack_of(target.site)
    yield from deploy(target.session, stack.namespace, [one for one in stack.components if not one.airavata])


@step("API server and portal", on=master)
def servers(target: Target) -> Iterator[Resource]:
    stack = stack_of(target.site)
    yield from deploy(target.session, stack.namespace, [one for one in stack.components if one.airavata])


STEPS = [
    components,
    secrets,
    storage,
    namespace,
    backing,
    servers,
]
