"""Objects that a site does not have any more: they are deleted, and no data with them."""

from collections.abc import Callable
from dataclasses import dataclass

from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.objects import delete, is_ours, label, listed
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet

DEPLOYMENT, STATEFUL_SET = ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet")
SERVICE, CLAIM, VOLUME = ("v1", "Service"), ("v1", "PersistentVolumeClaim"), ("v1", "PersistentVolume")
Look = Callable[[str, str], dict[str, dict]]  # apiVersion and kind → the objects that the runbook made, by name


@dataclass(frozen=True)
class LeftOut(ApiResource):
    """No objects of these components in a namespace: none that the runbook made and that are named like one."""

    namespace: str
    names: tuple[str, ...]
    label = "components that the site leaves out"

    def ask(self, context: Context) -> list[dict]:
        """The objects, in the order in which they can go."""
        look = our_objects(context, self.namespace)
        volumes = [f"{self.namespace}-{name}" for name in self.names]
        found = [(look(*kind), self.names) for kind in (DEPLOYMENT, STATEFUL_SET, SERVICE, CLAIM)] + [(look(*VOLUME), volumes)]
        return [one for objects, names in found for name, one in objects.items() if name in names]

    def change(self, found: Found, context: Context) -> Change | None:
        return deletion(found.answered(), context)


def our_objects(context: Context, namespace: str) -> Look:
    """A function that finds objects, of the namespace where their kind has one. Raises NotYet, as in a plan before a run."""
    if context.planning and "service kube-apiserver" in context.touched:
        raise NotYet("the API server runs")
    kube = context.session.kube()

    def look(api_version: str, kind: str) -> dict[str, dict]:
        place = api_version, kind, None if (api_version, kind) == VOLUME else namespace
        try:
            found = context.together(place, lambda: listed(kube, *place))
        except ApiError as error:
            if not error.status and context.planning:
                raise NotYet("the API server answers") from None
            raise
        return {name: one for name, one in found.items() if is_ours(one)}

    return look


def deletion(objects: list[dict], context: Context) -> Change | None:
    """The change that deletes the objects; later resources of the step that apply one of them make it anew."""
    if not objects:
        return None
    labels = [label(one) for one in objects]
    return Change(
        f"delete {len(objects)}",
        "".join(f"{one}\n" for one in labels),
        call=lambda: delete(context.session, objects),
        shown="\n".join(_command(one) for one in objects),
        touches=frozenset(f"no {one}" for one in labels),
    )


def _command(one: dict) -> str:
    namespace = one["metadata"].get("namespace")
    return f"kubectl {f'-n {namespace} ' if namespace else ''}delete {one['kind'].lower()} {one['metadata']['name']}"
