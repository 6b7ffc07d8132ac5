"""A stack's manifests, checked as they are for a site before anything is touched: what the API server would accept, and what
would then not work, or not be safe.

Each check prevents a mistake that the POC's own manifests had; tests/unit/test_stack_mistakes.py has them all.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from airavata_runbook.site import Site
from airavata_runbook.site.fields import NODE_PORT_RANGE
from airavata_runbook.site.secret_text import is_secret
from airavata_runbook.stacks.container import container_problems
from airavata_runbook.stacks.known import CLAIM, VOLUME, Known, known, listed, port_names
from airavata_runbook.stacks.render import ONCE, WORKLOADS, pod_of
from airavata_runbook.stacks.stack import Component, Stack
from airavata_runbook.stacks.texts import address_problems, text_problems
from airavata_runbook.stacks.volumes import claim_problems, files_in, persistent_volume_problems, volume_problems

# They make pods of their own, for which nothing here would wait.
OTHER_PODS = ("CronJob", "List", "Pod", "ReplicaSet", "ReplicationController")
KEYSTORES = (".bcfks", ".jceks", ".jks", ".key", ".keystore", ".p12", ".pfx")
KEYSTORE_MAGIC = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")  # JKS and JCEKS


def check(stack: Stack, site: Site, images: Collection[str]) -> list[str]:
    """All problems, one line each with component, object, field, what was found and what is needed.

    images: the references that image("NAME") gave.
    """
    objects = [(component, data) for component in stack.components for data in component.objects]
    around = known(stack, site, images)
    found = [f"{_label(component, data)}: {line}" for component, data in objects for line in _read(data, component, around)]
    return list(dict.fromkeys([*found, *_settings(stack, around), *_node_ports(objects, site)]))


def _settings(stack: Stack, around: Known) -> Iterator[str]:
    """Addresses in files of settings that nobody has. Passwords are not known here; hosts are reached at node ports."""
    site = around.site
    given = [site.keycloak_url, *([site.airavata.identity_server.url] if site.airavata.identity_server else [])]
    # A name is looked at like any other: one without a dot is a Service's.
    others = {str(node.address) for node in site.nodes} | {name for name in map(_host, given) if name.replace(".", "").isdigit()}
    for one in (one for files in stack.settings.values() for one in files.values()):
        yield from address_problems(one.file, one.text(lambda *_: "unknown"), around, others)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def strange_files(root: Path) -> list[str]:
    """Keystores and private keys in a stack's folder: whoever has the folder has them."""
    return [
        f"{path.relative_to(root)}: found a keystore or private key; needed: none in a stack; a site gives it as "
        "airavata.secrets.NAME: file:PATH, for a NAME in files: of stack.yaml"
        for path in sorted(root.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
        and (path.suffix.lower() in KEYSTORES or _is_key(path))
    ]


def _is_key(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
    except OSError:  # whoever cannot read it does not give it away
        return False
    return start.startswith(KEYSTORE_MAGIC) or b" PRIVATE KEY-----" in start


def _label(component: Component, data: dict) -> str:
    return f"{component.name}: {data['kind']} {data['metadata']['name']}"


def _read(data: dict, component: Component, around: Known) -> list[str]:
    try:
        return list(_object(data, component, around))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return [f"found a part of another kind than Kubernetes has there ({type(error).__name__}: {error})"]


def _object(data: dict, component: Component, around: Known) -> Iterator[str]:
    kind = data["kind"]
    if kind == "Secret":
        yield "kind: found Secret; needed: none in a stack, a step creates them from references"
    elif kind in OTHER_PODS:
        yield f"kind: found {kind}; needed: {', '.join(WORKLOADS)}"
    elif kind == "ConfigMap":
        yield from _config_map(data, around)
    elif kind == "Service":
        yield from _service(data["spec"], [pod for pod in map(pod_of, component.objects) if pod])
    elif kind == VOLUME:
        yield from persistent_volume_problems(data["metadata"]["name"], data["spec"], around)
    elif kind == CLAIM:
        yield from claim_problems(data["spec"], around)
    elif pod_of(data):
        yield from _workload(data, around)


def _config_map(data: dict, around: Known) -> Iterator[str]:
    texts = data.get("data") or {}
    stores = [f"binaryData.{key}" for key in data.get("binaryData") or {}]
    for field in [*stores, *(f"data.{key}" for key in texts if key.lower().endswith(KEYSTORES))]:
        yield (
            f"{field}: found content that is not text, as of a keystore; needed: files: of stack.yaml, and "
            "airavata.secrets.NAME: file:PATH of the site"
        )
    for key, text in texts.items():
        if "\n" not in text.strip() and is_secret(key, text.strip()):
            yield f"data.{key}: found a secret's value (not repeated here); needed: a Secret, mounted or referred to"
        else:
            yield from text_problems(f"data.{key}", text, around)


def _service(spec: dict, pods: list[dict]) -> Iterator[str]:
    chosen = [pod for pod in pods if _selects(spec.get("selector"), pod)]
    if not chosen:
        yield (
            f"spec.selector: found {spec.get('selector')}; needed: labels of the component's pods, "
            f"{[pod.get('metadata', {}).get('labels') for pod in pods]}"
        )
        return
    offered = {value for pod in chosen for box in pod["spec"]["containers"] for value in port_names(box)}
    for index, port in enumerate(spec["ports"]):
        field, target = f"spec.ports[{index}]", port.get("targetPort", port["port"])
        if target not in offered:
            yield f"{field}.targetPort: found {target}; needed: a port of its pods, one of {listed(offered)}"
        if "nodePort" in port and port["nodePort"] not in NODE_PORT_RANGE:
            yield f"{field}.nodePort: found {port['nodePort']}; needed: {NODE_PORT_RANGE[0]} to {NODE_PORT_RANGE[-1]}"


def _node_ports(objects: Sequence[tuple[Component, dict]], site: Site) -> Iterator[str]:
    taken = {("TCP", site.registry.port): "registry.port", ("TCP", site.registry_pull_port): "registry.pull_port"}
    for component, data in objects:
        for port in data["spec"]["ports"] if data["kind"] == "Service" else ():
            label, key = f"{_label(component, data)}: {port.get('name', '')}", (port.get("protocol", "TCP"), port.get("nodePort"))
            if key[1] and taken.setdefault(key, label) != label:
                yield f"{_label(component, data)}: nodePort: found {key[1]}; needed: one that {taken[key]} does not use"


def _workload(data: dict, around: Known) -> Iterator[str]:
    template, once = data["spec"]["template"], data["kind"] == ONCE
    pod, field = template["spec"], "spec.template.spec"
    if once:
        if pod.get("restartPolicy") not in ("Never", "OnFailure"):
            yield f"{field}.restartPolicy: found {pod.get('restartPolicy', 'Always')}; needed: Never or OnFailure, for a Job"
    elif not _selects(data["spec"]["selector"].get("matchLabels"), template):
        yield (
            f"spec.selector.matchLabels: found {data['spec']['selector'].get('matchLabels')}; needed: labels of its "
            f"own pods, {template['metadata'].get('labels')}"
        )
    if data["kind"] == "StatefulSet" and data["spec"].get("serviceName") not in around.services:
        yield f"spec.serviceName: found {data['spec'].get('serviceName')}; needed: a Service, one of {listed(around.services)}"
    for when, then in (data["spec"].get("persistentVolumeClaimRetentionPolicy") or {}).items():
        if then != "Retain":
            yield f"spec.persistentVolumeClaimRetentionPolicy.{when}: found {then}; needed: Retain, the data outlives its pods"
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{field}.{name}: found true; needed: false, a pod shares no namespace with its host"
    if {"name": "registry"} not in pod.get("imagePullSecrets", []):
        yield f"{field}.imagePullSecrets: needed: the Secret registry, to pull images with"
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for name, volume in volumes.items():
        yield from volume_problems(f"{field}.volumes[{name}]", volume, data, around)
    files = {name: files_in(volume, around) for name, volume in volumes.items()}
    files |= {claim["metadata"]["name"]: None for claim in data["spec"].get("volumeClaimTemplates", [])}
    for group in ("initContainers", "containers"):
        for box in pod.get(group, []):
            probed = group == "containers" and not once
            yield from container_problems(f"{field}.{group}[{box['name']}]", box, pod, files, probed, around)


def _selects(selector: Mapping[str, str] | None, pod: dict) -> bool:
    return selector.items() <= pod.get("metadata", {}).get("labels", {}).items() if selector else False
