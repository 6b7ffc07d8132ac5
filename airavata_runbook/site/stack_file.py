"""stack.yaml: the components of a stack, the order in which they start, their secrets and certificates."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from airavata_runbook.errors import SiteError, counted
from airavata_runbook.local import paths
from airavata_runbook.site.fields import NAME, PATTERNS, Model, Name, text
from airavata_runbook.site.messages import nearest
from airavata_runbook.site.parts import SERVER_IMAGE, Airavata

FOLDER = Path(__file__).parent.parent / "stacks"
SYSTEM = ("pause", "coredns", "toolbox")  # images of every site: the pause container, DNS, the network check
API_SERVER = "api-server"  # the component that runs as airavata.api_replicas pods; others are one pod, or what the site says
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it, takes a tenth of the time

StackSecret = Annotated[
    str, text(f"^(generated|site):{NAME}$", "generated:NAME or site:NAME; a stack never holds a secret's value")
]


SettingsFile = Annotated[str, Field(pattern=rf"^{NAME}\.(properties|yaml|json|cfg|crt)$")]
# How 06-verify calls a server; chapters/verifiers.py has a function for each.
Verifier = Literal[
    "", "airavata-api", "airavata-server", "credential-store", "kafka", "profile-service", "sharing-registry", "version"
]


class StackError(SiteError):
    """A stack that is invalid, or does not fit the site."""


class Part(Model):
    """A component in stack.yaml.

    kind: `backing` (real in every site) or `airavata` (the site names an image, or a stand-in serves it). stand_in: the image
    of its stand-in, if it has one. certificate: the Services it serves with TLS, for the Secret NAME-tls; outside: clients
    outside the cluster connect to it too. storage_uid: the owner of its folder on the storage node. verify: the check that
    06-verify makes of it. optional: it runs only where the site enables it, and nobody waits for it elsewhere.
    """

    name: Name
    kind: Literal["backing", "airavata"]
    image: Name
    needs: list[Name] = []
    certificate: list[Name] = []
    outside: bool = False
    storage_uid: int | None = None
    stand_in: Name | None = None
    verify: Verifier = ""
    optional: bool = False


class Keystore(Model):
    """A keystore for Java (pki/keystore.py), with exactly one of three contents.

    secret_key: the name of an AES key of 256 bits, generated once; a site may give a store of its own, as airavata.secrets.OWN.
    certificate: the component whose certificate and key it has. authority: whose certificate it has, without a password; with
    `identity-server` those in airavata.identity_server.ca, and no store where the site has none.
    password: SECRET/KEY of the stack's secrets.
    """

    secret_key: Name | None = None
    certificate: Name | None = None
    authority: Literal["services", "identity-server"] | None = None
    password: str = ""
    own: Name | None = None


class Contents(Model):
    """stack.yaml. secrets: Secret → key → `generated:NAME`, which a site can override, or `site:NAME`, which it has to set.

    files: Secret → key → NAME, of contents that are not text; a site can set each to a file. settings: Secret → key → a template
    in the stack's folder (stacks/settings.py); a site can set its name, without the end, to a file that replaces it. keystores:
    likewise, those that are made. inputs: likewise, fields of airavata.unified that name the site's files.
    """

    namespace: Name | None = None
    secrets: dict[Name, dict[str, StackSecret]] = {}
    files: dict[Name, dict[str, Name]] = {}
    settings: dict[Name, dict[str, SettingsFile]] = {}
    keystores: dict[Name, dict[str, Keystore]] = {}
    inputs: dict[Name, dict[str, Literal["realm", "schema_sql", "seed_sql"]]] = {}
    components: list[Part] = Field(min_length=1)


def is_folder(stack: str) -> bool:
    """Whether airavata.stack is the path of a folder, and not the name of one of the runbook's stacks."""
    return "/" in stack or stack.startswith(("~", "."))


def stack_names() -> list[str]:
    """The runbook's stacks, but for `system`, which runs in every site."""
    return sorted(file.parent.name for file in FOLDER.glob("*/stack.yaml") if file.parent.name != "system")


def stack_folder(airavata: Airavata, folder: Path = FOLDER) -> Path:
    """The folder of the site's stack. folder: where the runbook's own are. Raises SiteError for an invalid path."""
    return paths.resolve_path(airavata.stack) if is_folder(airavata.stack) else folder / airavata.stack


def parts_of(airavata: Airavata) -> list[Part]:
    """The components of the site's stack, as `read` has them. Raises StackError."""
    return read(stack_folder(airavata)).components


def read(root: Path) -> Contents:
    """stack.yaml in the folder `root`, its components sorted so that each starts after those it needs. Raises StackError."""
    try:
        text = (root / "stack.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(
            "could not read a stack",
            where=str(root / "stack.yaml"),
            found=getattr(error, "strerror", "") or "no UTF-8 text",
            needed="a folder with stack.yaml and one folder a component, as airavata_runbook/stacks/classic is",
        ) from None
    return _parsed(root, text)


@lru_cache
def _parsed(root: Path, text: str) -> Contents:
    """As `read`, of stack.yaml's text: a site and its steps ask for it many times."""
    path = root / "stack.yaml"
    try:
        contents = Contents.model_validate(yaml.load(text, LOADER))
    except yaml.YAMLError as error:
        raise StackError("stack.yaml is not valid YAML", where=shown(path, root), found=str(error)) from None
    except ValidationError as error:
        lines = [f"stack.yaml: {'.'.join(map(str, one['loc']))}: {_needed(one)}" for one in error.errors()]
        raise invalid(root, lines) from None
    parts = {part.name: part for part in contents.components}
    if twice := sorted(name for name, count in Counter(part.name for part in contents.components).items() if count > 1):
        raise invalid(root, [f"stack.yaml: components: found {name} twice; needed: each name once" for name in twice])
    unknown = [(part.name, need) for part in parts.values() for need in part.needs if need not in parts]
    if unknown:
        needed = "needed: a component of the stack"
        raise invalid(root, [f"stack.yaml: components: {name}.needs: found {need}; {needed}" for name, need in unknown])
    try:
        order = list(TopologicalSorter({part.name: part.needs for part in parts.values()}).static_order())
    except CycleError as error:
        raise StackError(
            "components need each other in a cycle",
            where=shown(path, root),
            found=" → ".join(error.args[1]),
            needed="an order in which they can start",
        ) from None
    return contents.model_copy(update={"components": [parts[name] for name in order]})


def _needed(error: ErrorDetails) -> str:
    words = PATTERNS.get(error.get("ctx", {}).get("pattern", ""))
    return f"needs {words}" if words else error["msg"]


def has_image(part: Part, airavata: Airavata) -> bool:
    """Whether the site names an image for this component."""
    own = airavata.components.get(part.name)
    return part.image in airavata.sources or bool(own and own.image)


def replaced(part: Part, airavata: Airavata) -> bool:
    """Whether a stand-in serves this component."""
    return bool(part.stand_in) and airavata.stand_in and not has_image(part, airavata)


def enabled(part: Part, airavata: Airavata) -> bool:
    """Whether the site asks for an optional component."""
    own = airavata.components.get(part.name)
    return bool(own and own.enabled)


def runs(part: Part, airavata: Airavata) -> bool:
    """Whether this component runs in the site: not if it is optional and not enabled, or has neither image nor stand-in."""
    if part.optional and not enabled(part, airavata):
        return False
    return part.kind == "backing" or has_image(part, airavata) or replaced(part, airavata)


def replaced_by(settings_file: str) -> str:
    """The name under airavata.secrets by which a site replaces a file of settings: `x` for x.properties."""
    return settings_file.rpartition(".")[0]


def image_of(part: Part, airavata: Airavata) -> str:
    """The name of the image that a component runs: the one that the site names for it, its stand-in's, or the stack's."""
    own = airavata.components.get(part.name)
    if own and own.image:
        return own.image
    return part.stand_in if part.stand_in and replaced(part, airavata) else part.image


def replicas(part: Part, airavata: Airavata) -> int:
    """How many pods of a component the site runs."""
    own = airavata.components.get(part.name)
    return airavata.api_replicas if part.name == API_SERVER else own.replicas or 1 if own else 1


def storage_folders(parts: Sequence[Part], airavata: Airavata) -> dict[str, int]:
    """Folder on the storage node → the user id that owns it, of all these components that store data."""
    return {f"{airavata.storage_path}/{part.name}": part.storage_uid for part in parts if part.storage_uid is not None}


def invalid(root: Path, problems: Sequence[str]) -> StackError:
    """The error with all `problems` of the stack in the folder `root`."""
    return StackError(
        f"the stack {root.name} has {counted(len(problems), 'problem')}",
        problems=problems,
        where=shown(root, root),
        remedy="correct the stack or the site file; nothing was sent to the cluster",
    )


def shown(path: Path, root: Path) -> str:
    """A path for a message: stacks/NAME/COMPONENT/FILE of the runbook's own stacks, as it is of others."""
    return str(path.relative_to(FOLDER.parent)) if root.parent == FOLDER else str(path)


def file_names(airavata: Airavata) -> set[str]:
    """The names under airavata.secrets whose value is a file of any content, not text."""
    return _file_names(read(stack_folder(airavata)))


def _file_names(contents: Contents) -> set[str]:
    stores = {one.own for keys in contents.keystores.values() for one in keys.values() if one.own}
    return {name for keys in contents.files.values() for name in keys.values()} | stores


def input_problems(airavata: Airavata) -> list[str]:
    """Fields of airavata that the site's stack does not use, and those that it needs and the site does not set."""
    contents = read(stack_folder(airavata))
    used = {field for keys in contents.inputs.values() for field in keys.values()}
    found = [
        f"airavata.unified.{field}: the stack {airavata.stack} does not use it"
        for field in ("realm", "schema_sql", "seed_sql", "keycloak_url")
        if getattr(airavata.unified, field) and (field if field != "keycloak_url" else "realm") not in used
    ]
    authorities = {one.authority for keys in contents.keystores.values() for one in keys.values()}
    if airavata.identity_server and "identity-server" not in authorities:
        found.append(f"airavata.identity_server: the stack {airavata.stack} does not use it")
    if "realm" in used and not airavata.unified.realm:
        found.append("airavata.unified.realm: needs the path of the gateway's realm, a JSON file that Keycloak imports")
    server = next((part for part in contents.components if part.image == SERVER_IMAGE), None)
    if server and not runs(server, airavata):
        found.append("airavata.unified.server: needs the server's jar, {jar: PATH or https URL, sha256: …}, or an image of it")
    return found


def unknown_names(airavata: Airavata) -> list[str]:
    """Names under airavata.images, secrets and components that nothing in the site's stack has: typing errors."""
    contents = read(stack_folder(airavata))
    parts = {part.name for part in contents.components}
    stand_ins = {part.stand_in for part in contents.components if part.stand_in}
    named = {own.image for own in airavata.components.values() if own.image}
    images = {part.image for part in contents.components} | stand_ins | named | set(SYSTEM)
    secrets = {reference.partition(":")[2] for keys in contents.secrets.values() for reference in keys.values()}
    secrets |= _file_names(contents)
    secrets |= {replaced_by(file) for keys in contents.settings.values() for file in keys.values()}
    given = [(airavata.source_field(name), name, images) for name in airavata.sources]
    given += [(f"airavata.secrets.{name}", name, secrets) for name in airavata.secrets]
    given += [(f"airavata.components.{name}", name, parts) for name in airavata.components]
    unknown = [
        f"{field}: unknown in the stack {airavata.stack}; {nearest(name, sorted(known))}"
        for field, name, known in given
        if name not in known
    ]
    # An image of the runbook would run there as if it were Airavata's: a stand-in, without its label.
    usable = sorted(airavata.sources.keys() - stand_ins - set(SYSTEM))
    return unknown + [
        f"airavata.components.{name}.image: needs the name of an image of the site (found {own.image!r}); "
        + (nearest(own.image, usable) if usable else "give its source as airavata.images." + own.image)
        for name, own in airavata.components.items()
        if own.image and own.image not in usable
    ]
