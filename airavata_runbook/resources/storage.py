"""The folders of the databases on the storage node: whether they may be used, a note that they have been, and their volumes."""

from dataclasses import dataclass

from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.hosts.frame import Result
from airavata_runbook.resources.file import File, text_diff
from airavata_runbook.resources.left_out import CLAIM, DEPLOYMENT, STATEFUL_SET, VOLUME, deletion, our_objects
from airavata_runbook.site import Site
from airavata_runbook.site.storage import STORED, STORED_FOLDERS, folders, look, parse, problems, stored_text


@dataclass(frozen=True)
class StorageUsable:
    """Changes nothing: it fails where a database would start with an empty folder, or with one that is in use."""

    site: Site
    label = "data of the databases"

    def footprint(self) -> Footprint:
        return ()

    def probe(self) -> str:
        return look(list(folders(self.site)))

    def change(self, found: Found, context: Context) -> Change | None:
        if wrong := list(problems(self.site, context.host.name, parse(found.text))):
            raise StepFailed(
                "the databases must not start with their folders",
                where=f"host {context.host.name}, {self.site.airavata.storage_path}",
                found="; ".join(one.found for one in wrong),
                needed="; ".join(dict.fromkeys(one.needed for one in wrong)),
                remedy="; ".join(dict.fromkeys(one.remedy for one in wrong)),
            )
        return None


@dataclass(frozen=True)
class StorageRecord(ApiResource):
    """STORED on the storage node, written by a step of the master once the databases run.

    The folder of a database that left the site's stack stays in it as long as it exists: it has data.
    """

    site: Site

    @property
    def label(self) -> str:
        return f"file {STORED} on {self.site.storage_node.name}"

    def footprint(self) -> Footprint:
        return (Touch("file", STORED, host=self.site.storage_node.name),)

    def ask(self, context: Context) -> tuple[bytes, list[str]]:
        """The content of STORED, and those of its folders that exist."""
        host = context.session.hosts[self.site.storage_node.name]
        content, _, there = host.run(f"cat {STORED} 2>/dev/null; printf '\\0'; {STORED_FOLDERS}").stdout.rpartition(b"\0")
        return content, there.decode(errors="replace").splitlines()

    def change(self, found: Found, context: Context) -> Change | None:
        old, there = found.answered()
        wanted = stored_text([*folders(self.site), *there])
        if old == wanted.encode():
            return None
        host = context.session.hosts[self.site.storage_node.name]
        return Change(
            "new content" if old else "create",
            text_diff(old or None, wanted.encode(), STORED),
            call=lambda: self._write(host.run(File(STORED, wanted).write_script())),
            shown=f"write {STORED}   # on {host.name}",
            creates=not old,
        )

    def _write(self, result: Result) -> None:
        if result.status:
            raise StepFailed("a file could not be written", where=self.label, found=result.last_lines)


@dataclass(frozen=True)
class EarlierStorage(ApiResource):
    """No objects of an earlier layout or place of the databases: they are deleted, and no data, before the present ones are made.

    These are Deployments in the place of a StatefulSet; and volumes in another folder, on another host or for another claim than
    now, with their claims and the workloads that use them. The fields that say so cannot be changed (Kubernetes, "Persistent
    Volumes"). manifests: of the stack, for a namespace.
    """

    namespace: str
    manifests: tuple[dict, ...]
    label = "earlier volumes and workloads of the databases"

    def footprint(self) -> Footprint:
        return ()

    def ask(self, context: Context) -> list[dict]:
        """The objects, in the order in which they can go."""
        look = our_objects(context, self.namespace)
        volumes, claims = look(*VOLUME), look(*CLAIM)
        outdated = []
        for wanted in self._of(VOLUME):
            name = wanted["spec"]["claimRef"]["name"]
            claim = next((one for one in self._of(CLAIM) if one["metadata"]["name"] == name), None)
            if _is_outdated(wanted, claim, volumes.get(wanted["metadata"]["name"]), claims.get(name)):
                outdated.append((wanted["metadata"]["name"], name))
        names = {claim for _, claim in outdated}
        sets = {one["metadata"]["name"] for one in self._of(STATEFUL_SET)}
        return [
            *(one for name, one in look(*DEPLOYMENT).items() if name in sets or _claims(one) & names),
            *(one for one in look(*STATEFUL_SET).values() if _claims(one) & names),
            *(claims[claim] for _, claim in outdated if claim in claims),
            *(volumes[volume] for volume, _ in outdated if volume in volumes),
        ]

    def change(self, found: Found, context: Context) -> Change | None:
        return deletion(found.answered(), context)

    def _of(self, kind: tuple[str, str]) -> list[dict]:
        return [one for one in self.manifests if (one["apiVersion"], one["kind"]) == kind]


def _is_outdated(volume: dict, claim: dict | None, live: dict | None, live_claim: dict | None) -> bool:
    """Whether a volume and its claim, as they are in the cluster, cannot become what their manifests say."""
    bound = live["spec"].get("claimRef", {}).get("uid") if live else None
    return (
        _differ(live, volume, ("local", "nodeAffinity"))
        or _differ(live_claim, claim, ("volumeName", "storageClassName", "accessModes"))
        or any(one and one["metadata"].get("deletionTimestamp") for one in (live, live_claim))
        # Released: its claim was deleted; Lost: its volume was.
        or bool(bound and bound != (live_claim or {}).get("metadata", {}).get("uid"))
        or bool(live_claim and live_claim["status"].get("phase") == "Lost")
    )


def _differ(live: dict | None, wanted: dict | None, fields: tuple[str, ...]) -> bool:
    return bool(live and wanted and any(live["spec"].get(field) != wanted["spec"].get(field) for field in fields))


def _claims(workload: dict) -> set[str]:
    """The claims that a workload's pods use."""
    volumes = workload["spec"]["template"]["spec"].get("volumes", [])
    return {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}
