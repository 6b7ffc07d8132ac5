"""stack.yaml: the components of a stack, the order in which they start, their secrets and certificates."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from airavata_runbook.errors import SiteError, counted
from airavata_runbook.site.fields import Model, Name
from airavata_runbook.site.messages import nearest
from airavata_runbook.site.parts import Airavata

FOLDER = Path(__file__).parent.parent / "stacks"
STAND_IN = "stand-in"  # the image that serves instead of Airavata's own
SYSTEM = ("pause", "coredns", "toolbox")  # images of every site: the pause container, DNS, the network check
OTHER_IMAGES = (*SYSTEM, STAND_IN)  # images that a site can replace though no component of its stack names them


API_SERVER = "api-server"  # the component that runs as airavata.api_replicas pods; any other is one pod


# How 06-verify calls a server; chapters/verifiers.py has a function for each.
Verifier = Literal["", "airavata-api", "airavata-server", "credential-store", "profile-service", "sharing-registry", "version"]


class StackError(SiteError):
    """A stack that is invalid, or does not fit the site."""


class Part(Model):
    """A component in stack.yaml.

    kind: `backing` (real in every site) or `airavata` (the site names an image, or the stand-in serves it where
    stand_in is true). certificate: the Services it serves with TLS, for the Secret NAME-tls;
    outside: clients outside the cluster connect to it too. storage_uid: the owner of its folder on the storage node.
    needs: components that must be ready before it starts. verify: how 06-verify calls it.
    """

    name: Name
    kind: Literal["backing", "airavata"]
    image: Name
    needs: list[Name] = []
    certificate: list[Name] = []
    outside: bool = False
    storage_uid: int | None = None
    stand_in: bool = False
    verify: Verifier = ""


class Contents(Model):
    """stack.yaml. secrets: Secret → key → `generated:NAME`, which a site can override, or `site:NAME`, which it has to set.

    files: Secret → key → NAME, of contents that are not text; a site can set each to a file.
    """

    namespace: Name | None = None
    secrets: dict[Name, dict[str, str]] = {}
    files: dict[Name, dict[str, Name]] = {}
    components: list[Part] = Field(min_length=1)


def read(root: Path) -> Contents:
    """stack.yaml in the folder `root`, its components sorted so that each starts after those it needs. Raises StackError."""
    path = root / "stack.yaml"
    try:
        contents = Contents.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise StackError("stack.yaml is not valid YAML", where=shown(path, root), found=str(error)) from None
    except ValidationError as error:
        lines = [f"stack.yaml: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise invalid(root, lines) from None
    parts = {part.name: part for part in contents.components}
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


def replaced(part: Part, airavata: Airavata) -> bool:
    """Whether the stand-in serves this component."""
    return part.stand_in and airavata.stand_in and part.image not in airavata.images


def runs(part: Part, airavata: Airavata) -> bool:
    """Whether this component runs in the site; without an image or a stand-in it is left out."""
    return part.kind == "backing" or part.image in airavata.images or replaced(part, airavata)


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
    """stacks/NAME/COMPONENT/FILE, whatever folder the stacks are in."""
    return str(path.relative_to(root.parent.parent))


def file_names(airavata: Airavata) -> set[str]:
    """The names under airavata.secrets whose value is a file of any content, not text."""
    return {name for keys in read(FOLDER / airavata.stack).files.values() for name in keys.values()}


def unknown_names(airavata: Airavata) -> list[str]:
    """Names under the site's airavata.images and airavata.secrets that nothing in its stack uses: typing errors."""
    contents = read(FOLDER / airavata.stack)
    images = {part.image for part in contents.components} | set(OTHER_IMAGES)
    secrets = {reference.partition(":")[2] for keys in contents.secrets.values() for reference in keys.values()}
    secrets |= file_names(airavata)
    return [
        f"{field}.{name}: unknown in the stack {airavata.stack}; {nearest(name, sorted(known))}"
        for field, names, known in (("airavata.images", airavata.images, images), ("airavata.secrets", airavata.secrets, secrets))
        for name in names
        if name not in known
    ]
