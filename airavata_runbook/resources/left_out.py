"""Objects that a site does not have any more: they are deleted, and no data with them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.objects import delete, is_ours, label, listed
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.footprint import Footprint

DEPLOYMENT, STATEFUL_SET, DAEMON_SET = (("apps/v1", kind) for kind in ("Deployment", "StatefulSet", "DaemonSet"))
SERVICE, CLAIM, VOLUME = ("v1", "Service"), ("v1", "PersistentVolumeClaim"), ("v1", "PersistentVolume")
RUNNING = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, ("batch/v1", "Job"), SERVICE)  # a component has some of them
# It seldom has these, which a run that changes nothing does not ask for: they are looked for where some of those are to go.
BESIDE = (
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("v1", "ServiceAccount"),
)
USED = (("v1", "ConfigMap"), ("v1", "Secret"))  # by pods, until they are replaced
RETAIN = '{"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}}'
Look = Callable[[str, str], dict[str, dict]]  # apiVersion and kind → the objects that the runbook made, by name


@dataclass(frozen=True)
class Obsolete(ApiResource):
    """No objects of these kinds in a namespace that the runbook made and that nothing in the site's stack has any more.

    wanted: (kind, name) of all that it has. beside: kinds that are looked for as well where there are some. Claims and volumes
    stay, with the data, and are named.
    """

    namespace: str
    wanted: frozenset[tuple[str, str]]
    kinds: tuple[tuple[str, str], ...]
    beside: tuple[tuple[str, str], ...] = ()

    label = "objects that the stack does not have any more"

    def footprint(self) -> Footprint:
        return ()

    def ask(self, context: Context) -> tuple[list[dict], list[dict]]:
        """The objects in the order in which they go, and the claims that stay.

        Those beside go first: while one of the others is there, a deletion that was interrupted is taken up again.
        """
        look = our_objects(context, self.namespace)
        gone = self._gone(look, self.kinds)
        claims = self._gone(look, (CLAIM,)) if any(one["kind"] == "StatefulSet" for one in gone) else []
        return [*(self._gone(look, self.beside) if gone else []), *gone], claims

    def change(self, found: Found, context: Context) -> Change | None:
        gone, claims = found.answered()
        if doomed := [one for one in gone if _claims_go_with(one)]:
            raise StepFailed(
                "claims would be deleted with their StatefulSet, and maybe their data",
                where=", ".join(map(label, doomed)),
                found="spec.persistentVolumeClaimRetentionPolicy.whenDeleted is Delete",
                remedy="; ".join(f"{_kubectl(one)} patch statefulset {one['metadata']['name']} -p '{RETAIN}'" for one in doomed),
            )
        change = deletion([one for one in gone if f"no {label(one)}" not in context.touched], context)
        kept = [f"stays, with its data: {label(one)}, volume {one['spec'].get('volumeName')}\n" for one in claims]
        return replace(change, detail="".join([change.detail, *kept])) if change else None

    def _gone(self, look: Look, kinds: Iterable[tuple[str, str]]) -> list[dict]:
        return [one for kind in kinds for name, one in look(*kind).items() if (kind[1], name) not in self.wanted]


def _claims_go_with(one: dict) -> bool:
    return one.get("spec", {}).get("persistentVolumeClaimRetentionPolicy", {}).get("whenDeleted") == "Delete"


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
    return f"{_kubectl(one)} delete {one['kind'].lower()} {one['metadata']['name']}"


def _kubectl(one: dict) -> str:
    namespace = one["metadata"].get("namespace")
    return f"kubectl -n {namespace}" if namespace else "kubectl"
