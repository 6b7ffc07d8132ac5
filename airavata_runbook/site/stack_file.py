"""stack.yaml: what a stack consists of, in what order, with which secrets and certificates."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from airavata_runbook.errors import SiteError
from airavata_runbook.site.fields import Model, Name, Port
from airavata_runbook.site.messages import nearest
from airavata_runbook.site.parts import Airavata

FOLDER = Path(__file__).parent.parent / "stacks"
STAND_IN = "stand-in"  # the name of the image that serves where Airavata's own is not to be had
SYSTEM = ("pause", "coredns", "toolbox")  # every site's images: the pods' own container, DNS, the network check
OTHER_IMAGES = (*SYSTEM, STAND_IN)  # what a site may name though no component of its stack has it


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


def read(root: Path) -> Contents:
    """stack.yaml in the folder `root`, with the components in the order in which they can start. Raises SiteError."""
    path = root / "stack.yaml"
    if not path.is_file():
        raise SiteError(f"there is no stack {root.name}", where=shown(path, root))
    try:
        contents = Contents.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise SiteError("a stack's file is not YAML", where=shown(path, root), found=str(error)) from None
    except ValidationError as error:
        refuse(root, [f"stack.yaml: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()])
    parts = {part.name: part for part in contents.components}
    refuse(
        root,
        [
            f"stack.yaml: components: {part.name}.needs: found {need}; needed: a component of the stack"
            for part in parts.values()
            for need in part.needs
            if need not in parts
        ],
    )
    try:
        order = list(TopologicalSorter({part.name: part.needs for part in parts.values()}).static_order())
    except CycleError as error:
        raise SiteError(
            "components need each other in a circle",
            where=shown(path, root),
            found=" → ".join(error.args[1]),
            needed="an order in which they can start",
        ) from None
    return contents.model_copy(update={"components": [parts[name] for name in order]})


def refuse(root: Path, lines: list[str]) -> None:
    """Raises SiteError with all `lines` about the stack in the folder `root`, if there are any."""
    if lines:
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise SiteError(
            f"the stack {root.name} has {count}:\n" + "\n".join(f"  - {line}" for line in lines),
            where=shown(root, root),
            remedy="nothing was sent to the cluster",
        )


def shown(path: Path, root: Path) -> str:
    """stacks/NAME/COMPONENT/FILE, wherever the stacks are."""
    return str(path.relative_to(root.parent.parent))


def unknown_names(airavata: Airavata, folder: Path = FOLDER) -> list[str]:
    """Names under the site's airavata.images and airavata.secrets that nothing in its stack uses: slips of the pen."""
    contents = read(folder / airavata.stack)
    images = {part.image for part in contents.components} | set(OTHER_IMAGES)
    secrets = {reference.partition(":")[2] for keys in contents.secrets.values() for reference in keys.values()}
    return [
        f"{field}.{name}: unknown to the stack {contents.name}; {nearest(name, sorted(known))}"
        for field, names, known in (("airavata.images", airavata.images, images), ("airavata.secrets", airavata.secrets, secrets))
        for name in names
        if name not in known
    ]
