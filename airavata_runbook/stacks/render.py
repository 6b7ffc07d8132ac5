"""A component's manifests, rendered with a site's values: Kubernetes' own YAML with `{{ }}` of Jinja2, each a whole scalar."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml
from jinja2 import TemplateError

from airavata_runbook.serialise import templates, yaml_value
from airavata_runbook.site import Site
from airavata_runbook.site.stack_file import StackError, shown

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it, takes a tenth of the time
FILES = ("deploy.yaml", "service.yaml")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "Namespace", "PersistentVolume", "PriorityClass", "StorageClass")
MARK = "airavata-runbook/stand-in"  # label and annotation of the stand-in's objects
MARK_TEXT = "STAND-IN: this is not Apache Airavata's own server, it answers in its place"


def render(root: Path, component: str, site: Site, namespace: str, stand_in: bool, image: Callable[[str], str]) -> list[dict]:
    """The objects in the component's two files, each with its namespace and, if the stand-in serves it, marked as such.

    root: the stack's folder. The templates can use the other arguments. image: name → full reference. Raises StackError.
    """
    folder = root / component
    values = {"site": site, "namespace": namespace, "stand_in": stand_in, "image": image}
    objects = [one for name in FILES if (folder / name).exists() for one in _objects(root, folder / name, values)]
    settings = [one.get("data", {}) for one in objects if one["kind"] == "ConfigMap"]
    for one in objects:
        pod = pod_of(one)
        if one["kind"] not in CLUSTER_WIDE:
            one["metadata"]["namespace"] = namespace
        if stand_in:
            _mark(one, pod)
        if pod and settings:
            _stamp(pod, settings)
    return objects


def pod_of(manifest: dict) -> dict | None:
    """The pod template of a workload, else None."""
    return manifest["spec"]["template"] if manifest["kind"] in WORKLOADS else None


def _objects(root: Path, path: Path, values: Mapping[str, object]) -> list[dict]:
    try:
        text = templates(path.parent, yaml_value).get_template(path.name).render(values)
        objects = [one for one in yaml.load_all(text, LOADER) if one is not None]
    except (TemplateError, yaml.YAMLError, KeyError) as error:
        line = failed_line(error, path)
        raise StackError(
            "a component's file could not be rendered",
            where=f"{shown(path, root)}{f', line {line}' if line else ''}",
            found=f"{type(error).__name__}: {error}",
        ) from None
    for index, one in enumerate(objects):
        if missing := [field for field in _required(one) if not _at(one, field)]:
            raise StackError(
                "not a Kubernetes object in a component's file",
                where=f"{shown(path, root)}, object {index + 1}",
                needed=", ".join(missing),
            )
    return objects


def _required(manifest: object) -> list[str]:
    """The fields without which nothing else of an object can be read."""
    fields, kind = ["apiVersion", "kind", "metadata.name"], _at(manifest, "kind")
    if kind == "Service":
        fields += ["spec.ports"]
    if kind == "Job":
        fields += ["spec.template.spec.containers"]
    elif kind in WORKLOADS:
        fields += ["spec.selector", "spec.template.metadata.labels", "spec.template.spec.containers"]
    return fields


def _at(manifest: object, field: str) -> object:
    for key in field.split("."):
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
    for metadata in [manifest["metadata"], *([pod["metadata"]] if pod else [])]:
        metadata["labels"] = {**metadata.get("labels", {}), MARK: "true"}
        metadata["annotations"] = {**metadata.get("annotations", {}), MARK: MARK_TEXT}


def _stamp(pod: dict, settings: list[dict]) -> None:
    """Annotate the pods with a digest of the ConfigMaps: a changed ConfigMap alone restarts nothing."""
    digest = hashlib.sha256(yaml.safe_dump(settings).encode()).hexdigest()[:16]
    pod["metadata"].setdefault("annotations", {})["airavata-runbook/settings"] = digest
