"""A stack for a site: the manifests of its components in the order in which they start.

A stack is a folder with stack.yaml (components, their order, secrets and certificates) and one folder a component with
deploy.yaml and service.yaml, as the POC had them. These are Kubernetes' own YAML with `{{ }}` (Jinja2) where a value is
the site's: site, namespace, stand_in (true or false), and image("NAME"), a reference in the registry. A `{{ }}` is a whole
scalar and stands without quotes; within other text, as in a comment, it needs the filter `line`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.pki.types import Subject
from airavata_runbook.site import Site
from airavata_runbook.site.stack_file import (
    FOLDER,
    Contents,
    Keystore,
    Part,
    invalid,
    read,
    replaced,
    runs,
    storage_folders,
)
from airavata_runbook.stacks.render import WORKLOADS, pod_of, render
from airavata_runbook.stacks.settings import Settings, replaced_settings, settings_of

TLS_FILES = ("tls.crt", "tls.key", "ca.crt")  # of a certificate's Secret


@dataclass(frozen=True)
class Component:
    """A component that runs. objects: its manifests, for KubeObject. waits_for: (kind, name) of its workloads.

    airavata: whether it is one of Airavata's own servers, not a backing service. verify: how 06-verify calls it, if it does.
    needs: components that are ready before it starts.
    """

    name: str
    stand_in: bool
    objects: tuple[dict, ...]
    airavata: bool = True
    verify: str = ""
    needs: tuple[str, ...] = ()

    @property
    def waits_for(self) -> tuple[tuple[str, str], ...]:
        return tuple((one["kind"], one["metadata"]["name"]) for one in self.objects if one["kind"] in WORKLOADS)


@dataclass(frozen=True)
class LeftOut:
    """A component that does not run in this site, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Stack:
    """A stack for one site. components: in the order in which they start.

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


def load(site: Site, images: Mapping[str, str], name: str | None = None, folder: Path = FOLDER) -> Stack:
    """The stack `name` (default: the site's own; `system` for DNS and the network check) with the site's values.

    images: image name → full reference in the private registry. folder: where the stacks are. Raises StackError with every
    problem of the stack, or with what the site lacks for it. The unit tests lint the manifests.
    """
    root = folder / (name or site.airavata.stack)
    contents = read(root)
    namespace = contents.namespace or site.airavata.namespace
    parts, left_out = _choose(contents, site)
    if missing := _missing(parts, site, images, left_out):
        raise invalid(root, missing)

    components = tuple(_component(root, part, site, namespace, images) for part in parts)
    secrets = {name: _references(keys, site) for name, keys in contents.secrets.items()}
    for name, keys in replaced_settings(contents, site).items():
        secrets[name] = {**secrets.get(name, {}), **keys}
    if problems := _not_given(components, secrets):
        raise invalid(root, problems)
    given = site.airavata.secrets
    files = {
        name: {key: given[source] for key, source in keys.items() if source in given} for name, keys in contents.files.items()
    }
    for name, stores in contents.keystores.items():
        own = {key: given[one.own] for key, one in stores.items() if one.own in given}
        files[name] = {**files.get(name, {}), **own}
    certificates = {f"{part.name}-tls": _subject(part, site, namespace) for part in parts if part.certificate}
    used = {name for component in components for manifest in component.objects for name in secrets_of(manifest)}
    manifests = {component.name: component.objects for component in components}
    settings = {name: keys for name, keys in settings_of(contents, site, root, namespace, manifests).items() if name in used}
    known = {**secrets, **dict.fromkeys(certificates, TLS_FILES)}
    used |= {name for keys in settings.values() for one in keys.values() for name in one.secrets(known)}
    return Stack(
        namespace,
        components,
        left_out,
        tuple(storage_folders(parts, site.airavata).items()),
        {name: keys for name, keys in secrets.items() if name in used},
        {name: keys for name, keys in files.items() if name in used and keys},
        settings,
        {name: {key: one for key, one in keys.items() if one.own not in given} for name, keys in contents.keystores.items()},
        contents.inputs,
        certificates,
    )


def image_names(site: Site) -> set[str]:
    """The images that the site's own stack needs. Raises StackError."""
    parts, _ = _choose(read(FOLDER / site.airavata.stack), site)
    return {part.stand_in if part.stand_in and replaced(part, site.airavata) else part.image for part in parts}


def _choose(contents: Contents, site: Site) -> tuple[list[Part], tuple[LeftOut, ...]]:
    """The components that run in this site, and those that do not."""
    parts, left_out = [], []
    for part in contents.components:
        if runs(part, site.airavata):
            parts.append(part)
        else:
            why = "airavata.stand_in is false" if part.stand_in else "the STAND-IN does not serve it"
            left_out.append(LeftOut(part.name, f"the site names no image {part.image} (airavata.images.{part.image}), and {why}"))
    return parts, tuple(left_out)


def _component(root: Path, part: Part, site: Site, namespace: str, images: Mapping[str, str]) -> Component:
    """A component with its manifests; where the stand-in serves it, its own image is the stand-in's."""
    stand_in = replaced(part, site.airavata)
    usable = {**images, part.image: images[part.stand_in or ""]} if stand_in else images
    objects = render(root, part.name, site, namespace, stand_in, usable.__getitem__)
    return Component(part.name, stand_in, tuple(objects), part.kind == "airavata", part.verify, tuple(part.needs))


def _missing(parts: list[Part], site: Site, images: Mapping[str, str], left_out: tuple[LeftOut, ...]) -> list[str]:
    """Images that the registry does not have, and components left out that Airavata's own servers need."""
    absent = {one.name: one.reason for one in left_out}
    found = []
    for part in parts:
        image = part.stand_in if part.stand_in and replaced(part, site.airavata) else part.image
        if image not in images:
            found.append(
                f"stack.yaml: {part.name}.image: found no {image} among the images of the private registry "
                f"({', '.join(sorted(images)) or 'none'}); needed: 04-registry pushes it first"
            )
        if not replaced(part, site.airavata):
            found += [
                f"stack.yaml: {part.name}.needs: found {need} left out: {absent[need]}; needed: an image for it, "
                f"Airavata's own {part.name} calls it"
                for need in part.needs
                if need in absent
            ]
    return found


def _not_given(components: Sequence[Component], made: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Secrets that a component uses, that the site has to set and does not."""
    return [
        f"{component.name}: found no {key} of Secret {name}; needed: airavata.secrets.{reference[5:]}: file:PATH"
        for component in components
        for name in sorted({name for manifest in component.objects for name in secrets_of(manifest)})
        for key, reference in made.get(name, {}).items()
        if reference.startswith("site:")
    ]


def secrets_of(manifest: dict) -> set[str]:
    """The names of the Secrets that a workload's pods use, as volumes or in their environment; none of other objects."""
    template = pod_of(manifest)
    if not template:
        return set()
    pod = template["spec"]
    volumes = pod.get("volumes", [])
    found = {volume["secret"].get("secretName", "") for volume in volumes if "secret" in volume}
    projected = [source for volume in volumes for source in volume.get("projected", {}).get("sources", [])]
    found |= {source["secret"]["name"] for source in projected if "secret" in source}
    for box in [*pod.get("initContainers", []), *pod["containers"]]:
        sources = [entry.get("valueFrom", {}) for entry in box.get("env", [])]
        found |= {source["secretKeyRef"]["name"] for source in sources if "secretKeyRef" in source}
    return found


def images_of(manifest: dict) -> list[str]:
    """The images of a workload's containers; none of other objects."""
    template = pod_of(manifest)
    pod = template["spec"] if template else {}
    return [box["image"] for box in [*pod.get("initContainers", []), *pod.get("containers", [])]]


def _references(keys: Mapping[str, str], site: Site) -> dict[str, str]:
    """Key of a Secret → reference for the vault; `site:NAME` where the site does not set it."""
    return {key: site.airavata.secrets.get(reference.partition(":")[2], reference) for key, reference in keys.items()}


def _subject(part: Part, site: Site, namespace: str) -> Subject:
    """A server's certificate: its Services' DNS names; if it is served to the outside, names and addresses of the hosts too.

    The registry's name is never among them: a certificate of the same authority must not pass for the registry's.
    """
    ends = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.{site.network.domain}")
    hosts = [node.name for node in site.nodes if node.name != site.registry.name] if part.outside else []
    ips = [str(node.address) for node in site.nodes] if part.outside else []
    return Subject(
        part.name,
        dns=(*(name + end for name in part.certificate for end in ends), *hosts),
        ips=ips,
        usages=("server",),
    )
