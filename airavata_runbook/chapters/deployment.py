"""The components of a stack in the cluster, in the order in which they need each other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from airavata_runbook.chapters.site_stack import record_manifests
from airavata_runbook.cluster import readiness
from airavata_runbook.cluster.session import Session
from airavata_runbook.images.reference import Reference
from airavata_runbook.resources import Condition, KubeObject, Resource
from airavata_runbook.stacks import Component, Stack, images_of


def deploy(
    session: Session,
    stack: Stack,
    chosen: Sequence[Component],
    resource: Callable[[dict], KubeObject] = KubeObject,
) -> Iterator[Resource]:
    """The objects of the chosen components of a stack, each after a wait for those it needs; then waits for all others.

    So no server exits because its database is not up yet, to be started again later and later. resource: of a manifest.
    The manifests are written into the run's folder too, as they are applied.
    """
    running = {component.name: component for component in stack.components}
    awaited: set[str] = set()

    def ready(names: Iterable[str]) -> Iterator[Resource]:
        for name in names:
            if name in running and name not in awaited:
                awaited.add(name)
                yield from (workload_ready(session, kind, stack.namespace, one) for kind, one in running[name].waits_for)

    for component in _by_depth(chosen):
        yield from ready(component.needs)
        files = {one.name: [_awaiting_digests(resource(manifest)) for manifest in one.objects] for one in component.files}
        record_manifests(stack, component, files)
        yield from chain.from_iterable(files.values())
    yield from ready(component.name for component in chosen)


def _by_depth(components: Sequence[Component]) -> list[Component]:
    """First those that need none of the others, then those that need only these, and so on: they start side by side."""
    depth: dict[str, int] = {}
    for component in components:  # it stands after those it needs
        depth[component.name] = 1 + max((depth.get(name, 0) for name in component.needs), default=0)
    return sorted(components, key=lambda component: depth[component.name])


def workload_ready(session: Session, kind: str, namespace: str, name: str) -> Condition:
    """The wait for a workload's pods, or for a Job's end."""
    return Condition(
        f"{kind} {name}",
        deadline=300,  # Keycloak makes its tables at its first start: four minutes on a busy host
        check=partial(readiness.workload_missing, session, kind, namespace, name),
        causes=partial(readiness.workload_causes, session, kind, namespace, name),
        remedy=f"kubectl -n {namespace} describe {kind.lower()} {name}",
    )


def _awaiting_digests(one: KubeObject) -> KubeObject:
    """The object; where it names an image without a digest, one that is known after that image is in the registry."""
    missing = [image for image in images_of(one.manifest) if "@" not in image]
    return replace(one, unknown=f"the image {Reference.parse(missing[0]).repository} is in the registry") if missing else one
