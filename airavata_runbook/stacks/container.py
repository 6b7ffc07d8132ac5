"""A container in a stack's manifests: its image, resources, rights, probes, environment and mounts."""

import re
from collections.abc import Iterator, Mapping, Sequence

from airavata_runbook.stacks.known import Known, listed, port_names
from airavata_runbook.stacks.texts import port_beside, setting_problems, text_problems

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# The key of an environment entry that names an object, and that object's kind.
KEY_SOURCES = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}
ALL_SOURCES = {"configMapRef": "ConfigMap", "secretRef": "Secret"}

_PATH = re.compile(r"(?<![\w.:/-])/[\w./@-]+")
_AMOUNT = re.compile(r"([0-9.]+)(m|Ki|Mi|Gi|Ti|k|M|G|T)?")
_UNITS = {"m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def container_problems(
    field: str, box: dict, pod: dict, files: Mapping[str, Sequence[str] | None], probed: bool, known: Known
) -> Iterator[str]:
    """What is wrong with a container, a line each. files: volume → names of the files in it, None where that is not known.

    probed: it serves, so that it must be known when it is ready and alive.
    """
    yield from _image(field, box, known)
    yield from _resources(field, box)
    yield from _security(field, box, pod)
    yield from _probes(field, box) if probed else ()
    yield from _environment(field, box, known)
    yield from _mounts(field, box, files)


def _image(field: str, box: dict, known: Known) -> Iterator[str]:
    image, registry = box.get("image", ""), f"{known.site.registry_address}/"
    if not image.startswith(registry):
        yield f'{field}.image: found {image!r}; needed: an image of the private registry, {{{{ image("NAME") }}}}'
    elif image not in known.images and "@sha256:" not in image:  # the digests of those are known, or awaited
        yield f'{field}.image: found {image!r}; needed: {{{{ image("NAME") }}}}, or {registry}NAME@sha256:…: a tag can move'
    if box.get("imagePullPolicy") == "Never":
        yield f"{field}.imagePullPolicy: found Never; needed: IfNotPresent, hosts pull from the private registry"


def _resources(field: str, box: dict) -> Iterator[str]:
    amounts = box.get("resources", {})
    for path in ("requests.cpu", "requests.memory", "limits.memory"):
        group, _, what = path.partition(".")
        if what not in amounts.get(group, {}):
            yield f"{field}.resources.{path}: needed by the scheduler"
    for what, limit in amounts.get("limits", {}).items():
        request = amounts.get("requests", {}).get(what)
        if request is not None and _amount(request) > _amount(limit):
            yield f"{field}.resources.requests.{what}: found {request}; needed: at most the limit, {limit}"


def _amount(text: object) -> float:
    """Of a Kubernetes quantity; 0 for one that the API server has to judge."""
    found = _AMOUNT.fullmatch(str(text))
    return float(found[1]) * _UNITS.get(found[2], 1) if found else 0


def _security(field: str, box: dict, pod: dict) -> Iterator[str]:
    security = box.get("securityContext", {})
    if security.get("privileged"):
        yield f"{field}.securityContext.privileged: found true; needed: false"
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{field}.securityContext.allowPrivilegeEscalation: needed: false"
    if not {**pod.get("securityContext", {}), **security}.get("runAsNonRoot"):
        yield f"{field}.securityContext.runAsNonRoot: needed: true, here or for the pod"


def _probes(field: str, box: dict) -> Iterator[str]:
    for probe in PROBES:
        action = box.get(probe, {})
        port = next((action[kind]["port"] for kind in ("httpGet", "tcpSocket") if kind in action), None)
        if not action and probe != "startupProbe":
            yield f"{field}.{probe}: needed, to know when it is ready and alive"
        if port is not None and port not in port_names(box):
            yield f"{field}.{probe}: found port {port}; needed: a port of this container, one of {listed(port_names(box))}"


def _commands(box: dict) -> Iterator[tuple[str, list[str]]]:
    """Field and words of what the container runs: its command, its probes and its hooks."""
    yield "command+args", [*box.get("command", []), *box.get("args", [])]
    actions = [(probe, box.get(probe, {})) for probe in PROBES]
    actions += [(f"lifecycle.{hook}", action) for hook, action in box.get("lifecycle", {}).items()]
    for name, action in actions:
        yield f"{name}.exec.command", action.get("exec", {}).get("command", [])


def _environment(field: str, box: dict, known: Known) -> Iterator[str]:
    values = {entry["name"]: str(entry.get("value", "")) for entry in box.get("env", [])}
    for entry in box.get("env", []):
        where = f"{field}.env[{entry['name']}]"
        for source, kind in KEY_SOURCES.items():
            if reference := entry.get("valueFrom", {}).get(source):
                yield from known.missing(where, kind, reference["name"], [reference["key"]])
        yield from setting_problems(where, entry["name"], values[entry["name"]], known, port_beside(entry["name"], values))
    for entry in box.get("envFrom", []):
        for source, kind in ALL_SOURCES.items():
            if source in entry:
                yield from known.missing(f"{field}.envFrom.{source}", kind, entry[source]["name"], [])
    for name, words in _commands(box):
        yield from text_problems(f"{field}.{name}", " ".join(map(str, words)), known)


def _mounts(field: str, box: dict, volumes: Mapping[str, Sequence[str] | None]) -> Iterator[str]:
    texts = [str(entry.get("value", "")) for entry in box.get("env", [])]
    texts += [str(word) for _, words in _commands(box) for word in words]
    paths = sorted({path for text in texts for path in _PATH.findall(text)})
    for mount in box.get("volumeMounts", []):
        where = f"{field}.volumeMounts[{mount['mountPath']}]"
        if mount["name"] not in volumes:
            yield f"{where}.name: found {mount['name']}; needed: a volume of the pod, one of {listed(volumes)}"
            continue
        files = volumes[mount["name"]]
        if files is None:
            continue
        if mount.get("subPath", "") and mount["subPath"] not in files:
            yield f"{where}.subPath: found {mount['subPath']}; needed: one of {listed(files)}"
        for path in (one for one in paths if one.startswith(mount["mountPath"].rstrip("/") + "/")):
            if path.removeprefix(mount["mountPath"]).strip("/") not in files:
                yield f"{where}: found a reference to {path}; needed: a file that is mounted there, one of {listed(files)}"
