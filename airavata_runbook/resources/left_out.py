"""Components that a site does not have any more: their workloads and services are deleted."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.objects import FIELD_MANAGER
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet


@dataclass(frozen=True)
class LeftOut(ApiResource):
    """No Deployment or Service of these components in a namespace: none that the runbook made and that is named like one."""

    namespace: str
    names: tuple[str, ...]
    label = "components that the site leaves out"

    def ask(self, context: Context) -> list[tuple[str, str]]:
        """Kind and name of each object."""
        if context.planning and "service kube-apiserver" in context.touched:
            raise NotYet("the API server runs")
        kube = context.session.kube()
        try:
            found = [
                *_named("Deployment", kube.apps.list_namespaced_deployment(self.namespace).items, self.names),
                *_named("Service", kube.core.list_namespaced_service(self.namespace).items, self.names),
            ]
        except ApiError as error:
            if not error.status and context.planning:
                raise NotYet("the API server answers") from None
            raise
        return found

    def change(self, found: Found, context: Context) -> Change | None:
        objects = found.answered()
        if not objects:
            return None
        return Change(
            f"delete {len(objects)}",
            "".join(f"{kind} {self.namespace}/{name}\n" for kind, name in objects),
            call=lambda: self._delete(context, objects),
            shown=f"kubectl -n {self.namespace} delete {' '.join(f'{kind.lower()}/{name}' for kind, name in objects)}",
        )

    def _delete(self, context: Context, objects: list[tuple[str, str]]) -> None:
        kube = context.session.kube()
        delete = {"Deployment": kube.apps.delete_namespaced_deployment, "Service": kube.core.delete_namespaced_service}
        for kind, name in objects:
            delete[kind](name, self.namespace)


def _named(kind: str, objects: list[Any], names: Collection[str]) -> list[tuple[str, str]]:
    return [
        (kind, one.metadata.name)
        for one in objects
        if one.metadata.name in names and any(entry.manager == FIELD_MANAGER for entry in one.metadata.managed_fields or ())
    ]
