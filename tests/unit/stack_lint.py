"""Lint the manifests of the runbook's stacks, as loaded for a site.

Each check prevents a mistake that the POC's own manifests had. The etcd prefix and address are not checked: each comes
from one field of the site, and no manifest has them.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from airavata_runbook.site import Site
from airavata_runbook.stacks import Component, Stack
from airavata_runbook.stacks.render import pod_of

TLS_FILES = ("tls.crt", "tls.key", "ca.crt")  # of a certificate's Secret
NODE_PORTS = range(30000, 32768)  # the API server's own default
CLAIM = "PersistentVolumeClaim"
# The key of a volume or of an environment entry that names an object, and that object's kind.
VOLUME_SOURCES = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "secretName")}
KEY_SOURCES = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}

_ADDRESS = re.compile(r"(?<![\w.@$-])([A-Za-z0-9][A-Za-z0-9.-]*):(\d{2,5})(?![\w.:])")
_NUMERIC = re.compile(r"\d+(\.\d+){3}")
_PATH = re.compile(r"(?<![\w.:/-])/[\w./@-]+")
_SECRET_NAME = re.compile(r"password|passwd|secret|token|cookie", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"://[^/@\s:]+:[^/@\s$]+@|(password|passwd|secret|token)\s*[=:]\s*[^\s/$]", re.IGNORECASE)


@dataclass(frozen=True)
class _Known:
    """What manifests can refer to. services: name → ports. sources: (kind, name) → keys. folders: host paths.

    claims: name → its volume. volumes: names of PersistentVolumes.
    """

    site: Site
    namespace: str
    services: Mapping[str, set[int]]
    sources: Mapping[tuple[str, str], Collection[str]]
    folders: Collection[str]
    claims: Mapping[str, str]
    volumes: Collection[str]


def lint(stack: Stack, site: Site) -> list[str]:
    """All problems, one line each with component, object, field, what was found and what is needed."""
    sources: dict[tuple[str, str], Collection[str]] = {("Secret", "registry"): (".dockerconfigjson",)}
    for name, keys in (*stack.secrets.items(), *stack.files.items(), *stack.settings.items()):
        sources["Secret", name] = [*sources.get(("Secret", name), ()), *keys]
    sources |= {("Secret", name): TLS_FILES for name in stack.certificates}
    services = {"kubernetes": {443}}
    objects = [(component, data) for component in stack.components for data in component.objects]
    for _, data in objects:
        name, kind = data["metadata"]["name"], data["kind"]
        if kind == "ConfigMap":
            sources["ConfigMap", name] = list(data.get("data", {}))
        elif kind == "Service":
            services[name] = {port["port"] for port in data["spec"]["ports"]}
    claims = {one["metadata"]["name"]: one["spec"].get("volumeName", "") for _, one in objects if one["kind"] == CLAIM}
    volumes = [one["metadata"]["name"] for _, one in objects if one["kind"] == "PersistentVolume"]
    known = _Known(site, stack.namespace, services, sources, [path for path, _ in stack.folders], claims, volumes)
    found = [f"{_label(component, data)}: {line}" for component, data in objects for line in _object(data, component, known)]
    return found + list(_node_ports(objects))


def _label(component: Component, data: dict) -> str:
    return f"{component.name}: {data['kind']} {data['metadata']['name']}"


def _object(data: dict, component: Component, known: _Known) -> Iterator[str]:
    if data["kind"] == "Secret":
        yield "kind: found Secret; needed: none in a stack, a step creates them from references"
    elif data["kind"] == "ConfigMap":
        for key, text in data.get("data", {}).items():
            yield from _text(f"data.{key}", text, known)
    elif data["kind"] == "Service":
        yield from _service(data["spec"], [pod for pod in map(pod_of, component.objects) if pod])
    elif data["kind"] == "PersistentVolume":
        yield from _persistent_volume(data["metadata"]["name"], data["spec"], known)
    elif data["kind"] == CLAIM:
        yield from _claim(data["metadata"]["name"], data["spec"], known)
    elif pod_of(data):
        yield from _workload(data, known)


def _persistent_volume(name: str, spec: dict, known: _Known) -> Iterator[str]:
    path, claim = spec.get("local", {}).get("path"), spec.get("claimRef", {})
    if path not in known.folders:
        yield f"spec.local.path: found {path}; needed: a folder of the stack, one of {_list(known.folders)}"
    rules = spec.get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms", [])
    if not any(rule.get("key") == "kubernetes.io/hostname" for term in rules for rule in term.get("matchExpressions", [])):
        yield "spec.nodeAffinity: needed: kubernetes.io/hostname, the folder is on one host"
    if (claim.get("namespace"), known.claims.get(claim.get("name"))) != (known.namespace, name):
        yield f"spec.claimRef: found {claim}; needed: the claim in {known.namespace} whose volumeName is {name}"
    if spec.get("persistentVolumeReclaimPolicy") != "Retain":
        yield "spec.persistentVolumeReclaimPolicy: needed: Retain, the data outlives its claim"
    yield from _one_pod(spec)


def _claim(name: str, spec: dict, known: _Known) -> Iterator[str]:
    if spec.get("volumeName") not in known.volumes:
        yield f"spec.volumeName: found {spec.get('volumeName')}; needed: a volume of the stack, one of {_list(known.volumes)}"
    yield from _one_pod(spec)


def _one_pod(spec: dict) -> Iterator[str]:
    if spec.get("accessModes") != ["ReadWriteOncePod"]:
        yield f"spec.accessModes: found {spec.get('accessModes')}; needed: ReadWriteOncePod, two pods must not share the folder"


def _service(spec: dict, pods: list[dict]) -> Iterator[str]:
    chosen = [pod for pod in pods if _selects(spec.get("selector"), pod)]
    if not chosen:
        yield (
            f"spec.selector: found {spec.get('selector')}; needed: labels of the component's pods, "
            f"{[pod['metadata'].get('labels') for pod in pods]}"
        )
        return
    offered = {value for pod in chosen for box in pod["spec"]["containers"] for value in _ports(box)}
    for index, port in enumerate(spec["ports"]):
        field, target = f"spec.ports[{index}]", port.get("targetPort", port["port"])
        if target not in offered:
            yield f"{field}.targetPort: found {target}; needed: a port of its pods, one of {_list(offered)}"
        if "nodePort" in port and port["nodePort"] not in NODE_PORTS:
            yield f"{field}.nodePort: found {port['nodePort']}; needed: {NODE_PORTS[0]} to {NODE_PORTS[-1]}"


def _node_ports(objects: Sequence[tuple[Component, dict]]) -> Iterator[str]:
    taken: dict[tuple, str] = {}
    for component, data in objects:
        for port in data["spec"]["ports"] if data["kind"] == "Service" else ():
            label, key = _label(component, data), (port.get("nodePort"), port.get("protocol", "TCP"))
            if key[0] and taken.setdefault(key, label) != label:
                yield f"{label}: nodePort: found {key[0]}; needed: one that {taken[key]} does not use"


def _workload(data: dict, known: _Known) -> Iterator[str]:
    template = data["spec"]["template"]
    pod, field = template["spec"], "spec.template.spec"
    if not _selects(data["spec"]["selector"].get("matchLabels"), template):
        yield (
            f"spec.selector.matchLabels: found {data['spec']['selector'].get('matchLabels')}; needed: labels of its "
            f"own pods, {template['metadata'].get('labels')}"
        )
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{field}.{name}: found true; needed: false, a pod shares no namespace with its host"
    if {"name": "registry"} not in pod.get("imagePullSecrets", []):
        yield f"{field}.imagePullSecrets: needed: the Secret registry, to pull images with"
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for name, volume in volumes.items():
        yield from _volume(f"{field}.volumes[{name}]", volume, data, known)
    for group in ("initContainers", "containers"):
        for box in pod.get(group, []):
            where = f"{field}.{group}[{box['name']}]"
            yield from _settings(where, box, pod, group == "containers", known)
            yield from _environment(where, box, known)
            yield from _mounts(where, box, volumes, known)


def _volume(field: str, volume: dict, data: dict, known: _Known) -> Iterator[str]:
    for source, (kind, naming) in VOLUME_SOURCES.items():
        if source in volume:
            wanted = [item["key"] for item in volume[source].get("items", [])]
            name = volume[source].get(naming)
            if (kind, name) in known.sources or not volume[source].get("optional"):
                yield from _source(f"{field}.{source}", kind, name, wanted, known)
    if "hostPath" in volume:
        yield f"{field}.hostPath: found {volume['hostPath'].get('path')}; needed: a PersistentVolumeClaim, which one pod has"
    if claim := volume.get("persistentVolumeClaim", {}).get("claimName"):
        if claim not in known.claims:
            yield f"{field}.persistentVolumeClaim: found {claim}; needed: a claim of the stack, one of {_list(known.claims)}"
        if data["kind"] != "StatefulSet":
            yield f"{field}.persistentVolumeClaim: found a {data['kind']}; needed: a StatefulSet, two pods must not share it"


def _settings(field: str, box: dict, pod: dict, serves: bool, known: _Known) -> Iterator[str]:
    image, registry = box.get("image", ""), known.site.registry_address + "/"
    name, at, _ = image.removeprefix(registry).partition("@")
    tag = name.partition(":")[2]
    if not image.startswith(registry):
        yield f"{field}.image: found {image!r}; needed: an image of the private registry, {registry}NAME:TAG"
    elif tag == "latest" or not (tag or at):
        yield f"{field}.image: found {image!r}; needed: a tag other than latest, or a digest"
    if box.get("imagePullPolicy") == "Never":
        yield f"{field}.imagePullPolicy: found Never; needed: IfNotPresent, hosts pull from the private registry"
    for path in ("requests.cpu", "requests.memory", "limits.memory"):
        group, _, what = path.partition(".")
        if what not in box.get("resources", {}).get(group, {}):
            yield f"{field}.resources.{path}: needed by the scheduler"
    security = box.get("securityContext", {})
    if security.get("privileged"):
        yield f"{field}.securityContext.privileged: found true; needed: false"
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{field}.securityContext.allowPrivilegeEscalation: needed: false"
    if not {**pod.get("securityContext", {}), **security}.get("runAsNonRoot"):
        yield f"{field}.securityContext.runAsNonRoot: needed: true, here or for the pod"
    for probe in ("readinessProbe", "livenessProbe", "startupProbe") if serves else ():
        action = box.get(probe, {})
        port = next((action[kind]["port"] for kind in ("httpGet", "tcpSocket") if kind in action), None)
        if not action and probe != "startupProbe":
            yield f"{field}.{probe}: needed, to know when it is ready and alive"
        if port is not None and port not in _ports(box):
            yield f"{field}.{probe}: found port {port}; needed: a port of this container, one of {_list(_ports(box))}"


def _environment(field: str, box: dict, known: _Known) -> Iterator[str]:
    values = {entry["name"]: entry.get("value") for entry in box.get("env", [])}
    for entry in box.get("env", []):
        name, value = entry["name"], str(entry.get("value", ""))
        where = f"{field}.env[{name}]"
        for source, kind in KEY_SOURCES.items():
            if reference := entry.get("valueFrom", {}).get(source):
                yield from _source(where, kind, reference["name"], [reference["key"]], known)
        if _SECRET_NAME.search(name) and value and not value.startswith("/"):
            yield f"{where}: found a secret's value (not repeated here); needed: valueFrom.secretKeyRef, or a file's path"
        else:
            yield from _text(where, value, known)
        if name.endswith("_HOST") and value:
            port = values.get(name.removesuffix("HOST") + "PORT")
            yield from _address(where, value, int(port) if port else None, known)
    for index, text in enumerate([*box.get("command", []), *box.get("args", [])]):
        yield from _text(f"{field}.command+args[{index}]", str(text), known)


def _mounts(field: str, box: dict, volumes: Mapping[str, dict], known: _Known) -> Iterator[str]:
    texts = [str(entry.get("value", "")) for entry in box.get("env", [])]
    paths = {path for text in [*texts, *box.get("command", []), *box.get("args", [])] for path in _PATH.findall(str(text))}
    for mount in box.get("volumeMounts", []):
        where = f"{field}.volumeMounts[{mount['mountPath']}]"
        if mount["name"] not in volumes:
            yield f"{where}.name: found {mount['name']}; needed: a volume of the pod, one of {_list(volumes)}"
            continue
        files = _files(volumes[mount["name"]], known)
        if files is None:
            continue
        if mount.get("subPath", "") and mount["subPath"] not in files:
            yield f"{where}.subPath: found {mount['subPath']}; needed: one of {_list(files)}"
        for path in sorted(path for path in paths if path.startswith(mount["mountPath"].rstrip("/") + "/")):
            if path.removeprefix(mount["mountPath"]).strip("/") not in files:
                yield f"{where}: found a reference to {path}; needed: a file that is mounted there, one of {_list(files)}"


def _files(volume: dict, known: _Known) -> list[str] | None:
    """The names of the files in a volume made of a known Secret or ConfigMap, else None."""
    for source, (kind, naming) in VOLUME_SOURCES.items():
        if source in volume:
            items = volume[source].get("items")
            keys = known.sources.get((kind, volume[source].get(naming)))
            return [item["path"] for item in items] if items else list(keys) if keys is not None else None
    return None


def _source(field: str, kind: str, name: str, keys: list[str], known: _Known) -> Iterator[str]:
    if (kind, name) not in known.sources:
        yield f"{field}: found {kind} {name}; needed: one of {_list(name for had, name in known.sources if had == kind)}"
        return
    for key in keys:
        if key not in known.sources[kind, name]:
            yield f"{field}: found key {key} of {kind} {name}; needed: one of {_list(known.sources[kind, name])}"


def _text(field: str, text: str, known: _Known) -> Iterator[str]:
    if _SECRET_TEXT.search(text):
        yield f"{field}: found a secret's value (not repeated here); needed: a Secret, mounted or referred to"
    for name, port in _ADDRESS.findall(text):
        yield from _address(field, name, int(port), known)


def _address(field: str, name: str, port: int | None, known: _Known) -> Iterator[str]:
    """A name with a dot outside the namespace and the cluster's domain is an external one: not checked."""
    first, _, rest = name.partition(".")
    ours = {"", known.namespace, f"{known.namespace}.svc", f"{known.namespace}.svc.{known.site.network.domain}"}
    if name in ("localhost", "127.0.0.1", "0.0.0.0") or name.isdigit():
        return
    if _NUMERIC.fullmatch(name):
        yield f"{field}: found the address {name}; needed: a Service's name, a pod's address changes"
    elif rest in ours or rest.endswith((".svc", f".svc.{known.site.network.domain}")) or first in known.services:
        services = known.services if rest in ours or first == "kubernetes" else {}
        if first not in services:
            yield f"{field}: found {name}, an unknown name; needed: a Service of the stack, one of {_list(known.services)}"
        elif port is not None and port not in services[first]:
            yield f"{field}: found {name}:{port}; needed: a port of the Service, one of {_list(services[first])}"


def _selects(selector: dict | None, pod: dict) -> bool:
    return selector.items() <= pod["metadata"].get("labels", {}).items() if selector else False


def _ports(box: dict) -> set[int | str]:
    """Names and numbers of a container's ports."""
    return {value for port in box.get("ports", []) for value in (port.get("name"), port["containerPort"]) if value}


def _list(values) -> str:
    return ", ".join(sorted(map(str, values))) or "none"
