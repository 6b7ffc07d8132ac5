"""An object in the cluster, by server-side apply: the API server itself says what would change."""

import base64
from dataclasses import dataclass

import yaml

from airavata_runbook.cluster.kube import FIELD_MANAGER, explained, kube, message
from airavata_runbook.engine.resource import Change, Context, Found
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.resources.file import text_diff

SERVER_MADE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")


@dataclass(frozen=True)
class KubeObject:
    """manifest: one Kubernetes object, as parsed YAML. A Secret's data is never shown."""

    manifest: dict

    @property
    def name(self) -> str:
        return self.manifest["metadata"]["name"]

    @property
    def namespace(self) -> str | None:
        return self.manifest["metadata"].get("namespace")

    @property
    def label(self) -> str:
        return f"{self.manifest['kind']} {self.namespace + '/' if self.namespace else ''}{self.name}"

    def probe(self) -> str:
        return ""

    def ask(self, context: Context) -> tuple[dict | None, dict]:
        """The object as it is (None: not there), and as it would be after it is applied."""
        import urllib3
        from kubernetes.client.exceptions import ApiException

        if context.planning and "service kube-apiserver" in context.touched:
            raise NotYet("the API server runs")
        try:
            return self._live_and_wanted(context)
        except urllib3.exceptions.HTTPError as error:
            if context.planning:
                raise NotYet("the API server answers") from None
            raise explained(error, context.host.site) from None
        except ApiException as error:
            raise self._refused(error, context) from None

    def change(self, found: Found, context: Context) -> Change | None:
        live, wanted = found.answered()
        if live is not None and _plain(wanted) == _plain(live):
            return None
        return self._apply("create" if live is None else "change", live, wanted, context)

    def _live_and_wanted(self, context: Context) -> tuple[dict | None, dict]:
        from kubernetes.client.exceptions import ApiException
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        client = kube(context.host.site)
        try:
            resource = client.resource(self.manifest)
            live = resource.get(name=self.name, namespace=self.namespace).to_dict()
        except ApiException as error:
            if error.status != 404:
                raise
            return None, self.manifest
        except ResourceNotFoundError:
            raise NotYet(f"the cluster knows the kind {self.manifest['kind']}") from None
        return live, self._send(context, dry_run=True)

    def _apply(self, summary: str, live: dict | None, wanted: dict, context: Context) -> Change:
        old = _readable(live).encode() if live else None
        detail = text_diff(old, _readable(wanted).encode(), self.label)
        return Change(
            summary,
            detail,
            call=lambda: self._do(context),
            shown=f"kubectl apply --server-side --field-manager={FIELD_MANAGER} -f -   # {self.label}",
            touches=frozenset({self.label}),
        )

    def _do(self, context: Context) -> None:
        from kubernetes.client.exceptions import ApiException

        try:
            self._send(context)
        except ApiException as error:
            raise self._refused(error, context) from None

    def _send(self, context: Context, dry_run: bool = False) -> dict:
        resource = kube(context.host.site).resource(self.manifest)
        options = {"dry_run": "All"} if dry_run else {}
        return resource.server_side_apply(
            body=self.manifest,
            name=self.name,
            namespace=self.namespace,
            field_manager=FIELD_MANAGER,
            force_conflicts=True,
            **options,
        ).to_dict()

    def _refused(self, error, context: Context) -> Exception:
        if (error.status or 500) >= 500:  # it is in trouble itself, and says nothing of the object
            return explained(error, context.host.site)
        return StepFailed(
            "the API server refused the object",
            where=self.label,
            found="its content is not shown" if self.manifest["kind"] == "Secret" else message(error),
        )


def _plain(manifest: dict) -> dict:
    """The object without what the server itself writes into it."""
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
    """A v1/Secret object with `data` encoded as the API wants it."""
    encoded = {key: base64.b64encode(value).decode() for key, value in sorted(data.items())}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": kind,
        "metadata": {"name": name, "namespace": namespace},
        "data": encoded,
    }
