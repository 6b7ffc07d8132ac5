"""The databases and the release that runs, kept before Airavata's servers are upgraded."""

from dataclasses import dataclass, field

from airavata_runbook.cluster import releases
from airavata_runbook.cluster.mariadb import database_of
from airavata_runbook.cluster.releases import Release, Workloads
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.resources.left_out import our_objects
from airavata_runbook.site import Site
from airavata_runbook.stacks import Stack
from airavata_runbook.wellknown import DATABASE_BACKUP


@dataclass(frozen=True)
class DatabaseBackup(ApiResource):
    """One is made where the image of one of Airavata's servers changes (by its digest), and before anything else of the step.

    Nothing is asked for it alone: the step lists the same workloads for others. made: the release that was kept, if any.
    """

    site: Site
    stack: Stack
    made: list[Release] = field(default_factory=list)
    label = DATABASE_BACKUP

    def footprint(self) -> Footprint:
        return (Touch("folder", releases.folder(self.site), by="an upgrade", host=self.site.storage_node.name),)

    def ask(self, context: Context) -> Workloads:
        """Airavata's workloads in the cluster."""
        try:
            look = our_objects(context, self.stack.namespace)
            return {
                (kind, name): one for version, kind in releases.kinds(self.stack) for name, one in look(version, kind).items()
            }
        except NotYet:
            if context.planning:  # nothing runs
                return {}
            raise

    def change(self, found: Found, context: Context) -> Change | None:
        live: Workloads = found.answered()
        release = releases.running(self.stack, live)
        upgraded = releases.changed(release.images, releases.wanted(self.stack)) if release else {}
        if self.made or not release or not upgraded:
            return None
        place = f"{releases.folder(self.site)} on {self.site.storage_node.name}"
        return Change(
            f"back up before {', '.join(upgraded)}",
            "".join(f"{self._line(name, *images)}\n" for name, images in upgraded.items()),
            call=lambda: self._keep(release, live, context),
            shown=f"mariadb-dump --single-transaction --all-databases | gzip > {place}, the last {releases.KEPT} are kept",
        )

    def _line(self, component: str, before: str, now: str) -> str:
        gaps = [gap for one, manifest in releases.servers(self.stack) if one.name == component and (gap := _gap(manifest))]
        return f"{component}: {releases.short(before)} → {releases.short(now)}, {gaps[0] if gaps else 'replaced without a gap'}"

    def _keep(self, release: Release, live: Workloads, context: Context) -> str:
        def say(count: int) -> None:
            context.say(f"{DATABASE_BACKUP}, {count >> 20} MiB")

        database = database_of(self.stack)
        try:
            self.made.append(releases.keep(context.session, release, live, database, say))
        except StepFailed as error:
            raise StepFailed(
                "the databases could not be backed up before the upgrade: nothing was upgraded",
                where=error.where,
                found=f"{error.message}{f': {error.found}' if error.found else ''}",
                needed=error.needed or "a database that runs",
                remedy=error.remedy or f"kubectl -n {self.stack.namespace} get pods; then run again",
            ) from None
        return f"kept as {self.made[-1].name}" + ("" if database else ", without databases: the stack has no MariaDB")


def _gap(manifest: dict) -> str:
    """What clients notice while a workload's pods are replaced, in words; "" for nothing."""
    spec = manifest["spec"]
    ends_first = manifest["kind"] != "Deployment" or spec.get("strategy", {}).get("type") == "Recreate"
    if ends_first and spec.get("replicas", 1) == 1:
        return "one replica, which ends before the new one starts: no answers until that is ready"
    if not any("preStop" in box.get("lifecycle", {}) for box in spec["template"]["spec"]["containers"]):
        return "without preStop in its manifest: requests may be cut off"
    return ""
