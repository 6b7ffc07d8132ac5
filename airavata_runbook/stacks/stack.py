"""A stack as it is for a site, and what its workloads use: Secrets, images, ports of the hosts."""

from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.pki.types import Subject
from airavata_runbook.site.stack_file import Keystore
from airavata_runbook.stacks.render import WORKLOADS, ManifestFile, pod_of
from airavata_runbook.stacks.settings import Settings


@dataclass(frozen=True)
class Component:
    """A component that runs. objects: its manifests, for KubeObject. waits_for: (kind, name) of its workloads.

    airavata: whether it is one of Airavata's own servers, not a backing service. verify: how 06-verify calls it, if it does.
    needs: components that are ready before it starts.
    """

    name: str
    stand_in: bool
    files: tuple[ManifestFile, ...]
    airavata: bool = True
    verify: str = ""
    needs: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple[dict, ...]:
        return tuple(one for file in self.files for one in file.objects)

    @property
    def waits_for(self) -> tuple[tuple[str, str], ...]:
        return tuple((one["kind"], one["metadata"]["name"]) for one in self.objects if one["kind"] in WORKLOADS)


@dataclass(frozen=True)
class LeftOut:
    """A component that does not run in this site, and why. wanted: it would, if the site had all that it needs."""

    name: str
    reason: str
    wanted: bool = True


@dataclass(frozen=True)
class Stack:
    """A stack for one site. name: of its folder. site: the site's name. components: in the order in which they start.

    They require: folders, (path, uid) on the storage node; secrets, Secret → key → reference for the vault; files, likewise,
    of contents that are not text, where the site gives them; settings, likewise, files that are rendered with values of others;
    keystores, likewise, those that the site does not give as files; inputs, likewise, fields of the site that name files;
    certificates, Secret → subject (keys tls.crt, tls.key, ca.crt); and a Secret `registry` to pull images with.
    """

    namespace: str
    components: tuple[Component, ...]
    left_out: tuple[LeftOut, ...]
    folders: tuple[tuple[str, int], ...]
    secrets: Mapping[str, Mapping[str, str]]
    files: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, Mapping[str, Settings]]
    keystores: Mapping[str, Mapping[str, Keystore]]
    inputs: Mapping[str, Mapping[str, str]]
    certificates: Mapping[str, Subject]
    name: str
    site: str

    @property
    def objects(self) -> frozenset[tuple[str, str]]:
        """(kind, name) of all objects that the runbook makes of it, its Secrets among them."""
        secrets = (self.secrets, self.files, self.settings, self.keystores, self.inputs, self.certificates, ("registry",))
        made = {("Secret", name) for names in secrets for name in names}
        return frozenset(made | {(one["kind"], one["metadata"]["name"]) for part in self.components for one in part.objects})


def node_ports(stack: Stack) -> set[tuple[str, int]]:
    """(protocol, port) of everything that the stack's Services serve on every host; the protocol in lower case."""
    services = [one for component in stack.components for one in component.objects if one["kind"] == "Service"]
    ports = [port for one in services for port in one["spec"]["ports"] if "nodePort" in port]
    return {(port.get("protocol", "TCP").lower(), port["nodePort"]) for port in ports}


def secrets_of(manifest: dict) -> set[str]:
    """The names of the Secrets that a workload's pods use, as volumes or in their environment; none of other objects."""
    template = pod_of(manifest)
    if not template:
        return set()
    pod = template["spec"]
    found = {volume["secret"].get("secretName", "") for volume in pod.get("volumes", []) if "secret" in volume}
    projected = [one for volume in pod.get("volumes", []) for one in volume.get("projected", {}).get("sources", [])]
    found |= {one["secret"].get("name", "") for one in projected if "secret" in one}
    for box in [*pod.get("initContainers", []), *pod["containers"]]:
        sources = [entry.get("valueFrom", {}) for entry in box.get("env", [])]
        found |= {source["secretKeyRef"]["name"] for source in sources if "secretKeyRef" in source}
        found |= {source["secretRef"]["name"] for source in box.get("envFrom", []) if "secretRef" in source}
    return found


def images_of(manifest: dict) -> list[str]:
    """The images of a workload's containers; none of other objects."""
    template = pod_of(manifest)
    pod = template["spec"] if template else {}
    return [box["image"] for box in [*pod.get("initContainers", []), *pod.get("containers", [])]]
