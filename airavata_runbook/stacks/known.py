"""What the manifests of a stack can refer to: Services, ConfigMaps, Secrets, claims, folders, images."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from airavata_runbook.site import Site
from airavata_runbook.stacks.stack import Stack

CLAIM, VOLUME = "PersistentVolumeClaim", "PersistentVolume"
TLS_FILES = ("tls.crt", "tls.key", "ca.crt")  # of a certificate's Secret


@dataclass(frozen=True)
class Known:
    """services: name → ports. sources: (kind, name) → keys. folders: host paths. claims: name → its volume.

    volumes: name → its spec. images: references that image("NAME") gave; the runbook pushes those, and knows their digests.
    """

    site: Site
    namespace: str
    services: Mapping[str, set[int]]
    sources: Mapping[tuple[str, str], Collection[str]]
    folders: Collection[str]
    claims: Mapping[str, str]
    volumes: Mapping[str, dict]
    images: Collection[str]

    def missing(self, field: str, kind: str, name: str | None, keys: Iterable[str]) -> Iterator[str]:
        """What there is not of a ConfigMap or Secret and its keys."""
        if name is None or (kind, name) not in self.sources:
            yield f"{field}: found {kind} {name}; needed: one of {listed(known for had, known in self.sources if had == kind)}"
            return
        for key in keys:
            if key not in self.sources[kind, name]:
                yield f"{field}: found key {key} of {kind} {name}; needed: one of {listed(self.sources[kind, name])}"


def known(stack: Stack, site: Site, images: Collection[str]) -> Known:
    """images: full references in the private registry."""
    sources: dict[tuple[str, str], Collection[str]] = {("Secret", "registry"): (".dockerconfigjson",)}
    made = (stack.secrets, stack.files, stack.settings, stack.keystores, stack.inputs)
    for name, keys in (one for secrets in made for one in secrets.items()):
        sources["Secret", name] = [*sources.get(("Secret", name), ()), *keys]
    sources |= {("Secret", name): TLS_FILES for name in stack.certificates}
    services, claims, volumes = {"kubernetes": {443}}, {}, {}
    for data in (one for component in stack.components for one in component.objects):
        name, kind = data["metadata"]["name"], data["kind"]
        if kind == "ConfigMap":
            sources["ConfigMap", name] = list(data.get("data") or {})
        elif kind == "Service":
            services[name] = {port["port"] for port in data["spec"]["ports"]}
        elif kind == CLAIM:
            claims[name] = data.get("spec", {}).get("volumeName", "")
        elif kind == VOLUME:
            volumes[name] = data.get("spec", {})
    folders = [path for path, _ in stack.folders]
    return Known(site, stack.namespace, services, sources, folders, claims, volumes, set(images))


def listed(values: Iterable[object]) -> str:
    """Values in order, for a message."""
    return ", ".join(sorted(map(str, values))) or "none"


def port_names(box: dict) -> set[int | str]:
    """Names and numbers of a container's ports."""
    return {value for port in box.get("ports", []) for value in (port.get("name"), port["containerPort"]) if value}
