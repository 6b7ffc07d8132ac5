"""A stack for a site: the manifests of its components in the order in which they start.

A stack is a folder with stack.yaml (components, their order, secrets and certificates) and one folder a component with
deploy.yaml and service.yaml, as the POC had them. These are Kubernetes' own YAML with `{{ }}` (Jinja2) where a value is
the site's: site, namespace, stand_in (true or false), and image("NAME"), a reference in the registry. A `{{ }}` is a whole
scalar and stands without quotes; within other text, as in a comment, it needs the filter `line`. What only runs to its end (a
Job) needs no service.yaml.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from airavata_runbook.pki.types import Subject
from airavata_runbook.site import Site
from airavata_runbook.site.messages import nearest
from airavata_runbook.site.stack_file import (
    FOLDER,
    SYSTEM,
    Contents,
    Keystore,
    Part,
    StackError,
    enabled,
    image_of,
    invalid,
    parts_of,
    read,
    replaced,
    runs,
    shown,
    stack_folder,
    storage_folders,
)
from airavata_runbook.stacks import overrides
from airavata_runbook.stacks.check import check, strange_files
from airavata_runbook.stacks.known import TLS_FILES
from airavata_runbook.stacks.render import render
from airavata_runbook.stacks.settings import replaced_settings, settings_of
from airavata_runbook.stacks.stack import Component, LeftOut, Stack, images_of, secrets_of


def load(site: Site, images: Mapping[str, str], name: str | None = None, folder: Path = FOLDER) -> Stack:
    """The stack `name` (default: the site's own; `system` for DNS and the network check) with the site's values.

    images: image name → full reference in the private registry. folder: where the runbook's own stacks are. Raises StackError
    with every problem of the stack, or with what the site lacks for it.
    """
    root = folder / name if name else stack_folder(site.airavata, folder)
    contents = read(root)
    namespace = contents.namespace or site.airavata.namespace
    parts, left_out = _choose(contents, site)
    problems = [*strange_files(root), *_missing(parts, site, images, left_out), *([] if name else _reserved(contents))]
    _refuse(root, problems)

    components = tuple(_component(root, part, site, namespace, images) for part in parts)
    secrets = {name: _references(keys, site) for name, keys in contents.secrets.items()}
    for secret, keys in replaced_settings(contents, site).items():
        secrets[secret] = {**secrets.get(secret, {}), **keys}
    problems = [line for one in components for line in _overridden(root, one, site)] if not name else []
    _refuse(root, [*problems, *_not_given(components, secrets)])

    given = site.airavata.secrets
    files = {
        name: {key: given[source] for key, source in keys.items() if source in given} for name, keys in contents.files.items()
    }
    for secret, stores in contents.keystores.items():
        own = {key: given[one.own] for key, one in stores.items() if one.own in given}
        files[secret] = {**files.get(secret, {}), **own}
    certificates = {f"{part.name}-tls": _subject(part, site, namespace) for part in parts if part.certificate}
    used = {name for component in components for manifest in component.objects for name in secrets_of(manifest)}
    manifests = {component.name: component.objects for component in components}
    settings = {name: keys for name, keys in settings_of(contents, site, root, namespace, manifests).items() if name in used}
    made = {name: {key: one for key, one in keys.items() if _made(one, site)} for name, keys in contents.keystores.items()}
    keystores = {name: stores for name, stores in made.items() if name in used and stores}
    known = {**secrets, **dict.fromkeys(certificates, TLS_FILES)}
    by_settings = {name for keys in settings.values() for one in keys.values() for name in one.secrets(known)}
    _refuse(root, [line for name in sorted(by_settings) for line in _unset("settings", name, secrets)])
    used |= by_settings
    used |= {one.password.partition("/")[0] for stores in keystores.values() for one in stores.values() if one.password}
    stack = Stack(
        namespace,
        components,
        left_out,
        tuple(storage_folders(parts, site.airavata).items()),
        {name: keys for name, keys in secrets.items() if name in used},
        {name: keys for name, keys in files.items() if name in used and keys},
        settings,
        keystores,
        contents.inputs,
        certificates,
        root.name,
        site.name,
    )
    _refuse(root, check(stack, site, images.values()))
    return stack


def _refuse(root: Path, problems: list[str]) -> None:
    if problems:
        raise invalid(root, problems)


def _reserved(contents: Contents) -> list[str]:
    """What only the runbook's own stack `system` has, and names that the runbook gives."""
    tls = {f"{part.name}-tls" for part in contents.components if part.certificate}
    names = {name for name in (*contents.secrets, *contents.files) if name in tls | {"registry"}}
    found = [f"stack.yaml: secrets: found {name}; needed: another name, the runbook makes that Secret" for name in sorted(names)]
    if contents.namespace:
        found.append(f"stack.yaml: namespace: found {contents.namespace}; needed: none, it is the site's airavata.namespace")
    return found + [
        f"stack.yaml: components: found {part.name}; needed: another name, that one runs in every site"
        for part in contents.components
        if part.name in SYSTEM
    ]


def image_names(site: Site) -> set[str]:
    """The images that the site's own stack needs. Raises StackError."""
    return {image_of(part, site.airavata) for part in parts_of(site.airavata) if runs(part, site.airavata)}


def _choose(contents: Contents, site: Site) -> tuple[list[Part], tuple[LeftOut, ...]]:
    """The components that run in this site, and those that do not."""
    parts, left_out = [], []
    for part in contents.components:
        if runs(part, site.airavata):
            parts.append(part)
        elif part.optional and not enabled(part, site.airavata):
            left_out.append(LeftOut(part.name, f"optional (airavata.components.{part.name}.enabled)", wanted=False))
        else:
            why = "airavata.stand_in is false" if part.stand_in else "the STAND-IN does not serve it"
            left_out.append(LeftOut(part.name, f"the site names no image {part.image} (airavata.images.{part.image}), and {why}"))
    return parts, tuple(left_out)


def _component(root: Path, part: Part, site: Site, namespace: str, images: Mapping[str, str]) -> Component:
    """A component with its manifests. Its own image is, for them, the one that it runs in this site."""
    stand_in = replaced(part, site.airavata)
    usable = {**images, part.image: images[image_of(part, site.airavata)]}

    def image(name: str) -> str:
        if name not in usable:
            raise LookupError(f'image("{name}"); {nearest(name, sorted(usable))}')
        return usable[name]

    files = render(root, part.name, site, namespace, stand_in, image)
    for file in files:
        with _as_kubernetes_has_it(root / part.name / file.name, root):
            for one in file.objects:
                secrets_of(one), images_of(one)
    return Component(part.name, stand_in, tuple(files), part.kind == "airavata", part.verify, tuple(part.needs))


def _overridden(root: Path, component: Component, site: Site) -> list[str]:
    """Put what the site has otherwise into a component's objects; returns what cannot be done."""
    with _as_kubernetes_has_it(root / component.name, root):
        return overrides.apply(site, component.name, component.objects)


@contextmanager
def _as_kubernetes_has_it(path: Path, root: Path) -> Iterator[None]:
    """Raises StackError for an object in which something is of another kind than Kubernetes has there."""
    try:
        yield
    except (AttributeError, LookupError, TypeError) as error:
        raise StackError(
            "an object is not as Kubernetes has it",
            where=shown(path, root),
            found=f"{type(error).__name__}: {error}",
            remedy="kubectl explain KIND shows what its fields are",
        ) from None


def _missing(parts: list[Part], site: Site, images: Mapping[str, str], left_out: tuple[LeftOut, ...]) -> list[str]:
    """Images that the registry does not have, and components left out that Airavata's own servers need."""
    absent = {one.name: one.reason for one in left_out if one.wanted}
    found = []
    for part in parts:
        image = image_of(part, site.airavata)
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
        line
        for component in components
        for name in sorted({name for manifest in component.objects for name in secrets_of(manifest)})
        for line in _unset(component.name, name, made)
    ]


def _unset(label: str, secret: str, made: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [
        f"{label}: found no {key} of Secret {secret}; needed: airavata.secrets.{reference[5:]}: file:PATH"
        for key, reference in made.get(secret, {}).items()
        if reference.startswith("site:")
    ]


def _made(one: Keystore, site: Site) -> bool:
    """Whether the runbook makes a keystore: the site gives none, and names the authorities that would be in it."""
    airavata = site.airavata
    return one.own not in airavata.secrets and (one.authority != "identity-server" or airavata.identity_server is not None)


def _references(keys: Mapping[str, str], site: Site) -> dict[str, str]:
    """Key of a Secret → reference for the vault; `site:NAME` where the site does not set it."""
    return {key: site.airavata.secrets.get(reference.partition(":")[2], reference) for key, reference in keys.items()}


def _subject(part: Part, site: Site, namespace: str) -> Subject:
    """A server's certificate: its Services' DNS names; if it is served to the outside, names and addresses of the hosts too."""
    ends = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.{site.network.domain}")
    names, ips = _outside(site) if part.outside else ([], [])
    return Subject(
        part.name,
        dns=(*(name + end for name in part.certificate for end in ends), *names),
        ips=ips,
        usages=("server",),
    )


def _outside(site: Site) -> tuple[list[str], list[str]]:
    """Names and addresses by which clients outside the cluster reach the hosts, and Keycloak where the site has a name for it.

    The registry's name is never among them: a certificate of the same authority must not pass for the registry's.
    """
    names, ips = [node.name for node in site.nodes], [str(node.address) for node in site.nodes]
    login = urlsplit(site.keycloak_url).hostname or ""
    (ips if login.replace(".", "").isdigit() else names).append(login)
    return [name for name in dict.fromkeys(names) if name != site.registry.name], list(dict.fromkeys(ips))
