"""A site's manifests as files: COMPONENT/deploy.yaml and service.yaml, as they are applied, with the comments of the stack's.

Secrets are in them as references only: names of Secrets, and where their values come from.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from airavata_runbook.errors import SiteError
from airavata_runbook.serialise import manifest_text, one_line
from airavata_runbook.site.stack_file import LOADER
from airavata_runbook.stacks.render import ONCE, SECRETS_STAMP
from airavata_runbook.stacks.stack import Component, Stack, images_of, secrets_of

HEAD = "# airavata-runbook: "  # of every file that is written here
WIDTH = 120


def write(folder: Path, stack: Stack, component: Component, files: Mapping[str, Sequence[dict]], unstamped: bool = False) -> None:
    """Write a component's files into `folder`. files: name → objects as they are applied.

    unstamped: they lack the digests of Secrets, which are not known. Raises SiteError when a file cannot be written.
    """
    for file in component.files:
        path = folder / component.name / file.name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file_text(stack, component, files[file.name], file.text, unstamped), encoding="utf-8")
        except OSError as error:
            raise SiteError(
                "a manifest could not be written",
                where=str(path),
                found=error.strerror or str(error),
                remedy="check that the disk has free space and that you own the folder",
            ) from None


def remove_others(folder: Path, names: Sequence[str]) -> None:
    """Remove what `write` once wrote in `folder` for components that are not among the names."""
    for path in folder.glob("*/*.yaml"):
        if path.parent.name not in names and path.read_text(encoding="utf-8", errors="replace").startswith(HEAD):
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


def file_text(stack: Stack, component: Component, objects: Sequence[dict], rendered: str, unstamped: bool = False) -> str:
    """The text of a file with these objects. rendered: the stack's file, whose comments it takes."""
    comments = _comments(rendered)
    head = "".join(f"# {one_line(line)}\n" for line in _head(stack, component, objects, unstamped))
    documents = (_commented(manifest_text(one, width=WIDTH), comments.get(index, {})) for index, one in enumerate(objects))
    return head + "\n" + "---\n".join(documents)


def _head(stack: Stack, component: Component, objects: Sequence[dict], unstamped: bool) -> Iterator[str]:
    stand_in = ", served by the STAND-IN" if component.stand_in else ""
    yield f"airavata-runbook: {component.name} of the stack {stack.name} for the site {stack.site}{stand_in}, as it is applied"
    for name in sorted({name for one in objects for name in secrets_of(one)}):
        if name in stack.certificates:
            yield f"Secret {name}: a certificate of the services' authority"
        elif keys := _sources(stack, name):
            yield f"Secret {name}: " + ", ".join(f"{key} from {source}" for key, source in keys.items())
    for image in sorted({image for one in objects for image in images_of(one) if "@" not in image}):
        yield f"{image}: not known by its digest yet; a run applies it with the digest"
    if unstamped and any(secrets_of(one) and one["kind"] != ONCE for one in objects):
        yield f"A run adds the annotation {SECRETS_STAMP} to the pods: a digest of their Secrets, whose values the hosts have."


def _sources(stack: Stack, name: str) -> dict[str, str]:
    """Key of a Secret → where its value comes from."""
    found = {**stack.secrets.get(name, {}), **stack.files.get(name, {})}
    found |= {key: f"the stack's {one.file}" for key, one in stack.settings.get(name, {}).items()}
    found |= {key: "the runbook, a keystore" for key in stack.keystores.get(name, {})}
    return found | {key: f"airavata.unified.{field}" for key, field in stack.inputs.get(name, {}).items()}


def _comments(text: str) -> dict[int, dict[tuple, list[str]]]:
    """Number of the document → path of a node → the whole-line comments above it."""
    lines = text.splitlines()
    found: dict[int, dict[tuple, list[str]]] = {}
    documents = [node for node in yaml.compose_all(text, LOADER) if not _empty(node)]
    starts: dict[int, tuple[int, tuple]] = {}  # line → the outermost node that begins there
    inside: set[int] = set()  # lines of scalars with several lines, whose # are no comments
    for index, document in enumerate(documents):
        for path, node in _nodes(document, ()):
            starts.setdefault(node.start_mark.line, (index, path))
            if isinstance(node, yaml.ScalarNode):
                inside.update(range(node.start_mark.line + 1, node.end_mark.line))
    above: list[str] = []
    for number, line in enumerate(lines):
        if number not in inside and line.lstrip().startswith("#"):
            above.append(line.strip())
        elif number in starts and above:
            index, path = starts[number]
            found.setdefault(index, {})[path] = above
            above = []
    return found


def _commented(text: str, comments: Mapping[tuple, list[str]]) -> str:
    """A document with comments above the nodes of these paths; those of nodes that share a line are above that."""
    lines = text.splitlines(keepends=True)
    before: dict[int, list[str]] = {}
    for path, node in _nodes(yaml.compose(text, LOADER), ()):
        if path in comments:
            before.setdefault(node.start_mark.line, []).extend(comments[path])
    result = []
    for number, line in enumerate(lines):
        indent = line[: len(line) - len(line.lstrip())]
        result += [f"{indent}{comment}\n" for comment in before.get(number, ())] + [line]
    return "".join(result)


def _nodes(node: yaml.Node | None, path: tuple) -> Iterator[tuple[tuple, yaml.Node]]:
    """Every node with its path: keys of mappings and numbers of items. The node of a key stands for its value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key
            yield from _nodes(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item
            yield from _nodes(item, (*path, index))
    elif isinstance(node, yaml.ScalarNode):
        yield (*path, ""), node


def _empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
