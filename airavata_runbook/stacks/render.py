"""A component's manifests, rendered with a site's values: Kubernetes' own YAML with `{{ }}` of Jinja2, each a whole scalar."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import TemplateError

from airavata_runbook.serialise import templates, yaml_value
from airavata_runbook.site import Site
from airavata_runbook.site.stack_file import LOADER, StackError, shown

FILES = ("deploy.yaml", "service.yaml")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
ONCE = "Job"  # its pods run to their end, and are not replaced when something changes
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "Namespace", "PersistentVolume", "PriorityClass", "StorageClass")
REPEAT = "airavata-runbook/repeat"  # annotation of a Job that is done again when a Secret that it uses changes
SETTINGS_STAMP = "airavata-runbook/settings"  # annotation: a digest of the component's ConfigMaps
SECRETS_STAMP = "airavata-runbook/secrets"  # annotation: a keyed digest of the Secrets that the pods use
MARK = "airavata-runbook/stand-in"  # label and annotation of the stand-in's objects
MARK_TEXT = "STAND-IN: this is not Apache Airavata's own server, it answers in its place"


@dataclass(frozen=True)
class ManifestFile:
    """A file of a component. text: as rendered, with its comments. objects: what is in it, as the site has it."""

    name: str
    text: str
    objects: tuple[dict, ...]


def render(
    root: Path, component: str, site: Site, namespace: str, stand_in: bool, image: Callable[[str], str]
) -> list[ManifestFile]:
    """The component's files, each object with its namespace and, if the stand-in serves it, marked as such.

    root: the stack's folder. The templates can use the other arguments. image: name → full reference; it may raise LookupError.
    Raises StackError.
    """
    folder = root / component
    values = {"site": site, "namespace": namespace, "stand_in": stand_in, "image": image}
    files = [_file(root, folder / FILES[0], values)]
    # Nobody calls what runs to its end: it has no Service.
    if (folder / FILES[1]).exists() or any(pod_of(one) and one["kind"] != ONCE for one in files[0].objects):
        files.append(_file(root, folder / FILES[1], values))
    objects = [one for file in files for one in file.objects]
    settings = [one.get("data", {}) for one in objects if one["kind"] == "ConfigMap"]
    for one in objects:
        pod = pod_of(one)
        if one["kind"] not in CLUSTER_WIDE:
            one["metadata"]["namespace"] = namespace
        if stand_in:
            _mark(one, pod)
        if pod and settings and one["kind"] != ONCE:
            _stamp(pod, settings)
    return files


def pod_of(manifest: dict) -> dict | None:
    """The pod template of a workload, else None."""
    return manifest["spec"]["template"] if manifest["kind"] in WORKLOADS else None


def _file(root: Path, path: Path, values: Mapping[str, object]) -> ManifestFile:
    try:
        text = templates(path.parent, yaml_value).get_template(path.name).render(values)
        objects = [one for one in yaml.load_all(text, LOADER) if one is not None]
    except (TemplateError, yaml.YAMLError, LookupError, TypeError) as error:
        line = failed_line(error, path)
        raise StackError(
            "a component's file could not be rendered",
            where=f"{shown(path, root)}{f', line {line}' if line else ''}",
            found=str(error) if type(error) is LookupError else f"{type(error).__name__}: {error}",
        ) from None
    for index, one in enumerate(objects):
        if missing := [field for field in _required(one) if not _at(one, field)]:
            raise StackError(
                "not a Kubernetes object in a component's file",
                where=f"{shown(path, root)}, object {index + 1}",
                needed=", ".join(missing),
            )
    return ManifestFile(path.name, text, tuple(objects))


def _required(manifest: object) -> list[str]:
    """The fields without which nothing else of an object can be read."""
    fields, kind = ["apiVersion", "kind", "metadata.name"], _at(manifest, "kind")
    if kind == "Service":
        fields += ["spec.ports", *_each(manifest, "spec.ports", "port")]
    if kind in WORKLOADS:
        pod = "spec.template.spec"
        fields += [f"{pod}.containers", *_each(manifest, f"{pod}.volumes", "name")]
        for box in (*_each(manifest, f"{pod}.containers", ""), *_each(manifest, f"{pod}.initContainers", "")):
            fields += [f"{box}.name", f"{box}.image", *_each(manifest, f"{box}.ports", "containerPort")]
            fields += [*_each(manifest, f"{box}.env", "name"), *_each(manifest, f"{box}.volumeMounts", "mountPath")]
    if kind in WORKLOADS and kind != ONCE:
        fields += ["spec.selector", "spec.template.metadata.labels"]
    return fields


def _each(manifest: object, field: str, key: str) -> list[str]:
    """The field `key` of every item of a list."""
    items = _at(manifest, field)
    return [f"{field}.{index}.{key}".rstrip(".") for index in range(len(items) if isinstance(items, list) else 0)]


def _at(manifest: object, field: str) -> object:
    for key in field.split("."):
        if isinstance(manifest, list) and key.isdigit():
            manifest = manifest[int(key)]
        else:
            manifest = manifest.get(key) if isinstance(manifest, dict) else None
    return manifest


def failed_line(error: Exception, path: Path) -> int | None:
    """The line of the template in which rendering failed: Jinja puts the template's path into the traceback."""
    if line := getattr(error, "lineno", None):
        return line
    trace, line = error.__traceback__, None
    while trace:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
        trace = trace.tb_next
    return line


def _mark(manifest: dict, pod: dict | None) -> None:
    for metadata in [manifest["metadata"], *([pod.setdefault("metadata", {})] if pod else [])]:
        metadata["labels"] = {**metadata.get("labels", {}), MARK: "true"}
        metadata["annotations"] = {**metadata.get("annotations", {}), MARK: MARK_TEXT}


def _stamp(pod: dict, settings: list[dict]) -> None:
    """Annotate the pods with a digest of the ConfigMaps: a changed ConfigMap alone restarts nothing."""
    digest = hashlib.sha256(yaml.safe_dump(settings).encode()).hexdigest()[:16]
    pod["metadata"].setdefault("annotations", {})[SETTINGS_STAMP] = digest
