"""An object in the cluster, by server-side apply: the API server itself reports what would change."""

import base64
from dataclasses import dataclass

import yaml

from airavata_runbook.cluster.applied import is_applied
from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.objects import FIELD_MANAGER, SERVER_MADE, apply, label, listed, read
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.footprint import EVERY, Footprint, Touch
from airavata_runbook.resources.file import text_diff

READS = 5  # of an object that changes all the time


@dataclass(frozen=True)
class KubeObject(ApiResource):
    """manifest: one Kubernetes object, as parsed YAML. A Secret's data is never shown.

    pending: what a part of the manifest is known after; until then it can be planned, but not applied. unknown: what it is
    known after so much that it cannot be planned either.
    """

    manifest: dict
    pending: str = ""
    unknown: str = ""

    @property
    def name(self) -> str:
        return self.manifest["metadata"]["name"]

    @property
    def namespace(self) -> str | None:
        return self.manifest["metadata"].get("namespace")

    @property
    def label(self) -> str:
        return label(self.manifest)

    def footprint(self) -> Footprint:
        ports = self.manifest.get("spec", {}).get("ports", ()) if self.manifest["kind"] == "Service" else ()
        open_ports = [f"{one['nodePort']}/{one.get('protocol', 'TCP').lower()}" for one in ports if "nodePort" in one]
        return (Touch("object", self.label), *(Touch("port", port, by="kube-proxy", host=EVERY) for port in open_ports))

    def ask(self, context: Context) -> tuple[dict | None, dict]:
        """The live object (None if it does not exist), and the object as it would be after applying the manifest."""
        if context.planning and "service kube-apiserver" in context.touched:
            raise NotYet("the API server runs")
        if self.unknown or (self.pending and not context.planning):
            raise NotYet(self.unknown or self.pending)
        place = self.manifest["apiVersion"], self.manifest["kind"], self.namespace
        try:
            kube = context.session.kube()
            live = context.together(place, lambda: listed(kube, *place)).get(self.name)
            if not live:
                return None, self.manifest
            if is_applied(self.manifest, live, FIELD_MANAGER):
                return live, live
            wanted = self._send(context, dry_run=True)
            # A controller may have changed it between both requests, as the one that binds claims to volumes does.
            for _ in range(READS):
                if _version(wanted) == _version(live):
                    break
                live, wanted = read(kube, self.manifest), self._send(context, dry_run=True)
            return live, wanted
        except ApiError as error:
            if error.status == 404:
                return None, self.manifest
            if not error.status and context.planning:
                raise NotYet("the API server answers") from None
            raise

    def change(self, found: Found, context: Context) -> Change | None:
        if f"no {self.label}" in context.touched and not isinstance(found.answer, NotYet):
            live, wanted = None, self.manifest  # it is deleted before
        else:
            live, wanted = found.answered()
        if live is not None and _plain(wanted) == _plain(live):
            return None
        return Change(
            "create" if live is None else "change",
            text_diff(_readable(live).encode() if live else None, _readable(wanted).encode(), self.label),
            call=lambda: self._send(context),
            shown=f"kubectl apply --server-side --field-manager={FIELD_MANAGER} -f -   # {self.label}",
            touches=frozenset({self.label}),
            creates=live is None,
        )

    def _send(self, context: Context, dry_run: bool = False) -> dict:
        try:
            return apply(context.session.kube(), self.manifest, dry_run)
        except ApiError as error:
            if error.status == 422 and self.manifest["kind"] == "Job":  # its pods' template cannot be changed
                return self.manifest if dry_run else self._done_again(context)
            if not 400 <= error.status < 500:  # an error of the server itself, not of the object
                raise
            found = "its content is not shown" if self.manifest["kind"] == "Secret" else error.found
            raise StepFailed("the API server refused the object", where=self.label, found=found) from None

    def _done_again(self, context: Context) -> dict:
        """Delete a Job with its pods, and apply it."""
        kube = context.session.kube()
        kube.batch.delete_namespaced_job(self.name, self.namespace, propagation_policy="Background")
        return apply(kube, self.manifest)


def _version(one: dict) -> str | None:
    return one["metadata"].get("resourceVersion")


def _plain(manifest: dict) -> dict:
    """The object without the fields that the server sets."""
    metadata = {key: value for key, value in manifest.get("metadata", {}).items() if key not in SERVER_MADE}
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if not key.startswith("deployment.kubernetes.io/")
    }
    rest = {key: value for key, value in manifest.items() if key not in ("metadata", "status")}
    return {**rest, "metadata": {**metadata, "annotations": annotations}}


def _readable(manifest: dict) -> str:
    plain = _plain(manifest)
    if not plain["metadata"]["annotations"]:
        del plain["metadata"]["annotations"]
    if plain.get("kind") == "Secret":
        for field in ("data", "stringData"):
            plain[field] = {key: "(not shown)" for key in plain.get(field) or {}}
    return yaml.safe_dump(plain, sort_keys=False, width=110)


def secret_manifest(name: str, namespace: str, data: dict[str, bytes], kind: str = "Opaque") -> dict:
    """A v1/Secret object with base64-encoded `data`."""
    encoded = {key: base64.b64encode(value).decode() for key, value in sorted(data.items())}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": kind,
        "metadata": {"name": name, "namespace": namespace},
        "data": encoded,
    }
