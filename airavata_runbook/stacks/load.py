"""A stack for a site: the manifests of its components in the order in which they can start, checked as a whole.

A stack is a folder with stack.yaml (what there is, in what order, with which secrets and certificates) and one folder a
component with deploy.yaml and service.yaml, as the POC had them. These are Kubernetes' own YAML with `{{ }}` (Jinja2)
where a value is the site's: site, namespace, stand_in (true or false), and image("NAME"), a reference in the registry.
"""

import difflib
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from pydantic import Field, ValidationError

from airavata_runbook.errors import SiteError
from airavata_runbook.pki import Subject
from airavata_runbook.site import Model, Name, Port, Site
from airavata_runbook.stacks.check import WORKLOADS, Manifest, ports_of, problems, secrets_of

FOLDER = Path(__file__).parent
STAND_IN = "airavata-runbook/stand-in"  # label and annotation of all that is not Airavata's own
STAND_IN_IMAGE = "stand-in"
STAND_IN_TEXT = "STAND-IN: this is not Apache Airavata's own server, it answers in its place"
OTHER_IMAGES = ("pause", "coredns", "toolbox", STAND_IN_IMAGE)  # what a site may name though no component of it does
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass")
FILES = ("deploy.yaml", "service.yaml")


class Part(Model):
    """A component as stack.yaml lists it.

    kind: `backing` (real in every site) or `airavata` (the site names an image, or the stand-in serves it where
    stand_in is true). ports: those of its Service. certificate: the Services it serves with TLS, for the Secret NAME-tls;
    outside: clients beyond the cluster connect to it too. storage_uid: who owns its folder on the storage node.
    """

    name: Name
    kind: Literal["backing", "airavata"]
    image: Name
    needs: list[Name] = []
    ports: list[Port]
    certificate: list[Name] = []
    outside: bool = False
    storage_uid: int | None = None
    stand_in: bool = False


class Contents(Model):
    """stack.yaml. secrets: Secret → key → `generated:NAME`, which a site may override, or `site:NAME`, which it must give."""

    name: Name
    title: str
    namespace: Name | None = None
    secrets: dict[Name, dict[str, str]] = {}
    components: list[Part] = Field(min_length=1)


@dataclass(frozen=True)
class Component:
    """A component that runs. objects: its manifests, for KubeObject. waits_for: (kind, name) of its workloads."""

    name: str
    stand_in: bool
    objects: tuple[dict, ...]

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
    """A stack for one site. components: in the order in which they can start.

    Before them there must be: folders, (path, uid) on the storage node; secrets, Secret → key → reference for the
    vault; certificates, Secret → subject (keys tls.crt, tls.key, ca.crt); and a Secret `registry` to pull with.
    """

    name: str
    title: str
    namespace: str
    components: tuple[Component, ...]
    left_out: tuple[LeftOut, ...]
    folders: tuple[tuple[str, int], ...]
    secrets: Mapping[str, Mapping[str, str]]
    certificates: Mapping[str, Subject]


def load(site: Site, images: Mapping[str, str], name: str | None = None, folder: Path = FOLDER) -> Stack:
    """The stack `name` (default: the site's own; `system` for DNS and the network check) with the site's values.

    images: image name → full reference in the private registry. folder: where the stacks are. Raises SiteError with
    everything that is wrong with the stack, its files or the site's part in it.
    """
    root = folder / (name or site.airavata.stack)
    contents = _contents(root, folder)
    namespace = contents.namespace or site.airavata.namespace
    parts, left_out = _choose(contents, site)
    certificates = {f"{part.name}-tls": _subject(part, site, namespace) for part in parts if part.certificate}
    folders = {f"{site.airavata.storage_path}/{part.name}": part.storage_uid for part in parts
               if part.storage_uid is not None}
    _refuse(root, [*_unknown(contents, site), *_missing(parts, site, images, left_out)])

    manifests = {part.name: _manifests(root, part, site, namespace, images) for part in parts}
    every = [manifest for part in parts for manifest in manifests[part.name]]
    made = {name: _references(keys, site) for name, keys in contents.secrets.items()}
    known = {**made, **dict.fromkeys(certificates, ("tls.crt", "tls.key", "ca.crt")), "registry": (".dockerconfigjson",)}
    _refuse(root, [*problems(every, site, namespace, known, folders), *_not_given(every, made), *_ports(parts, manifests)])
    used = {name for manifest in every for name in secrets_of(manifest)}
    components = tuple(Component(part.name, _replaced(part, site), tuple(one.data for one in manifests[part.name]))
                       for part in parts)
    return Stack(contents.name, contents.title, namespace, components, left_out, tuple(folders.items()),
                 {name: keys for name, keys in made.items() if name in used}, certificates)


def _contents(root: Path, folder: Path) -> Contents:
    """stack.yaml, with the components in dependency order."""
    path = root / "stack.yaml"
    if not path.is_file():
        raise SiteError(f"there is no stack {root.name}", where="airavata.stack",
                        needed="one of " + ", ".join(sorted(one.parent.name for one in folder.glob("*/stack.yaml"))))
    try:
        contents = Contents.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise SiteError("a stack's file is not YAML", where=_file(path, root), found=str(error)) from None
    except ValidationError as error:
        _refuse(root, [f"stack.yaml: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()])
    parts = {part.name: part for part in contents.components}
    _refuse(root, [f"stack.yaml: components: {part.name}.needs: found {need}; needed: a component of the stack"
                   for part in parts.values() for need in part.needs if need not in parts])
    try:
        order = list(TopologicalSorter({part.name: part.needs for part in parts.values()}).static_order())
    except CycleError as error:
        raise SiteError("components need each other in a circle", where=_file(path, root), found=" → ".join(error.args[1]),
                        needed="an order in which they can start") from None
    return contents.model_copy(update={"components": [parts[name] for name in order]})


def _choose(contents: Contents, site: Site) -> tuple[list[Part], tuple[LeftOut, ...]]:
    """The components that run in this site, and those that do not."""
    parts, left_out = [], []
    for part in contents.components:
        if part.kind == "backing" or part.image in site.airavata.images or _replaced(part, site):
            parts.append(part)
        else:
            why = "airavata.stand_in is false" if part.stand_in else "the STAND-IN does not serve it"
            left_out.append(LeftOut(part.name, f"the site names no image {part.image} (airavata.images.{part.image}), "
                                               f"and {why}"))
    return parts, tuple(left_out)


def _replaced(part: Part, site: Site) -> bool:
    """Whether the stand-in serves this component."""
    return part.stand_in and site.airavata.stand_in and part.image not in site.airavata.images


def _missing(parts: list[Part], site: Site, images: Mapping[str, str], left_out: tuple[LeftOut, ...]) -> list[str]:
    """Images that the registry does not have, and components that Airavata's own servers cannot do without."""
    absent = {one.name: one.reason for one in left_out}
    found = []
    for part in parts:
        image = STAND_IN_IMAGE if _replaced(part, site) else part.image
        if image not in images:
            found.append(f"stack.yaml: {part.name}.image: found no {image} among the images of the private registry "
                         f"({', '.join(sorted(images)) or 'none'}); needed: 04-registry brings it in first")
        if not _replaced(part, site):
            found += [f"stack.yaml: {part.name}.needs: found {need} left out: {absent[need]}; needed: an image for it, "
                      f"Airavata's own {part.name} asks it" for need in part.needs if need in absent]
    return found


def _ports(parts: list[Part], manifests: Mapping[str, list[Manifest]]) -> list[str]:
    """Components whose Services offer other ports than stack.yaml says."""
    found = []
    for part in parts:
        offered = sorted({port["port"] for one in manifests[part.name] for port in ports_of(one)})
        if offered != sorted(part.ports):
            found.append(f"{part.name}/service.yaml: found ports {offered}; needed: {sorted(part.ports)}, as stack.yaml has them")
    return found


def _not_given(manifests: list[Manifest], made: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Secrets that only the site can give, that a component uses and that the site does not name."""
    return [f"{manifest.label}: found no {key} of Secret {name}; needed: airavata.secrets.{reference[5:]}: file:PATH"
            for manifest in manifests for name in sorted(secrets_of(manifest))
            for key, reference in made.get(name, {}).items() if reference.startswith("site:")]


def _unknown(contents: Contents, site: Site) -> list[str]:
    """Names under the site's airavata.images and airavata.secrets that nothing in the stack uses: slips of the pen."""
    if contents.namespace:  # not the site's own stack: those names are not about it
        return []
    images = {part.image for part in contents.components} | set(OTHER_IMAGES)
    secrets = {reference.partition(":")[2] for keys in contents.secrets.values() for reference in keys.values()}
    return [*_strange("airavata.images", site.airavata.images, images),
            *_strange("airavata.secrets", site.airavata.secrets, secrets)]


def _strange(field: str, names: Collection[str], known: set[str]) -> list[str]:
    return [f"{field}.{name}: unknown here; needed: " + ", ".join(difflib.get_close_matches(name, known, 1) or sorted(known))
            for name in names if name not in known]


def _references(keys: Mapping[str, str], site: Site) -> dict[str, str]:
    """Key of a Secret → reference for the vault; `site:NAME` stays where the site does not give it."""
    return {key: site.airavata.secrets.get(reference.partition(":")[2], reference) for key, reference in keys.items()}


def _subject(part: Part, site: Site, namespace: str) -> Subject:
    """A server's certificate: its Services' names as pods say them; if served to the outside, the hosts' too."""
    ends = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.{site.network.domain}")
    hosts = [node.name for node in site.nodes] if part.outside else []
    ips = [str(node.address) for node in site.nodes] if part.outside else []
    return Subject(part.name, dns=(*(name + end for name in part.certificate for end in ends), *hosts, "localhost"),
                   ips=(*ips, "127.0.0.1"), usages=("server",))


def _manifests(root: Path, part: Part, site: Site, namespace: str, images: Mapping[str, str]) -> list[Manifest]:
    """The objects in the component's files, with its namespace and, where the stand-in serves it, its mark."""
    replaced = _replaced(part, site)
    image: Callable[[str], str] = lambda name: images[STAND_IN_IMAGE if replaced and name == part.image else name]  # noqa: E731
    folder = root / part.name
    jinja = Environment(loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    manifests = []
    for path in (folder / name for name in FILES):
        for data in _objects(root, path, jinja, {"site": site, "namespace": namespace, "stand_in": replaced, "image": image}):
            if data["kind"] not in CLUSTER_WIDE:
                data["metadata"]["namespace"] = namespace
            manifests.append(Manifest(part.name, _file(path, root), data))
    for manifest in manifests:
        if replaced:
            _mark(manifest.data, manifest.pod)
        if manifest.pod:
            _stamp(manifest.pod, [one.data["data"] for one in manifests if one.data["kind"] == "ConfigMap"])
    return manifests


def _objects(root: Path, path: Path, jinja: Environment, values: dict) -> list[dict]:
    try:
        objects = [one for one in yaml.safe_load_all(jinja.get_template(path.name).render(values)) if one is not None]
    except (TemplateError, yaml.YAMLError, KeyError) as error:
        line = getattr(error, "lineno", None) or _line(error, path)
        raise SiteError("a component's file cannot be used", where=f"{_file(path, root)}{f', line {line}' if line else ''}",
                        found=f"{type(error).__name__}: {error}") from None
    for index, one in enumerate(objects):
        if lacks := [field for field in _fields(one) if not _at(one, field)]:
            raise SiteError("a component's file holds something that is no Kubernetes object",
                            where=f"{_file(path, root)}, object {index + 1}", needed=", ".join(lacks))
    return objects


def _fields(manifest: object) -> list[str]:
    """The fields without which an object cannot even be looked at."""
    kind = _at(manifest, "kind")
    more = {"Service": ["spec.ports"], **dict.fromkeys(WORKLOADS, [
        "spec.selector", "spec.template.metadata.labels", "spec.template.spec.containers"])}
    return ["apiVersion", "kind", "metadata.name", *more.get(kind, [])]


def _at(manifest: object, field: str) -> object:
    for key in field.split("."):
        manifest = manifest.get(key) if isinstance(manifest, dict) else None
    return manifest


def _line(error: Exception, path: Path) -> int | None:
    """The line of the template in which rendering failed: Jinja puts the template's own name into the traceback."""
    trace, line = error.__traceback__, None
    while trace:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
        trace = trace.tb_next
    return line


def _mark(manifest: dict, pod: dict | None) -> None:
    for metadata in [manifest["metadata"], *([pod["metadata"]] if pod else [])]:
        metadata["labels"] = {**metadata.get("labels", {}), STAND_IN: "true"}
        metadata["annotations"] = {**metadata.get("annotations", {}), STAND_IN: STAND_IN_TEXT}


def _stamp(pod: dict, settings: list[dict]) -> None:
    """A changed ConfigMap alone restarts nothing; a changed annotation of the pods does."""
    if settings:
        digest = hashlib.sha256(yaml.safe_dump(settings).encode()).hexdigest()[:16]
        pod["metadata"].setdefault("annotations", {})["airavata-runbook/settings"] = digest


def _refuse(root: Path, lines: list[str]) -> None:
    if lines:
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise SiteError(f"the stack {root.name} has {count}:\n" + "\n".join(f"  - {line}" for line in lines),
                        where=_file(root, root), remedy="nothing was sent to the cluster")


def _file(path: Path, root: Path) -> str:
    """stacks/NAME/COMPONENT/FILE, wherever the stacks are."""
    return str(path.relative_to(root.parent.parent))
