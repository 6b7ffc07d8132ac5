"""The reference of a site file: every field, from its model and the docstrings of the model's parts."""

import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from airavata_runbook.site import Site
from airavata_runbook.site.fields import PATTERNS, Model
from airavata_runbook.site.marks import Life
from docs.sphinx.markdown import code, escaped, prose, sentence

HEAD = """---
tocdepth: 2
---
# Fields of a site file

A site file is YAML with one key, `site:`, and below it these fields. Only `name` and `nodes` with their names and addresses are
required. An unknown field is refused, and so is a value of a wrong type: each with the field, what was found and what is needed.
[parameters/lab.yaml](../parameters/lab.yaml) and [lab-three.yaml](../parameters/lab-three.yaml) are complete examples;
[the JSON Schema](../parameters/site.schema.json) lets an editor complete and check.

**May change** says what a changed value means once the site exists; before, every field is free. A change that a site does not
take is a finding of `airavata-runbook check`, with the old value and what to do, before anything is touched.
[Change a site](../docs/changing.md) has the procedures.
"""
NUMBERS = {int: "a whole number", bool: "`true` or `false`", str: "text"}


def page() -> str:
    return "\n".join([HEAD, *_sections(Site, "", "The site")])


def fields(model: type[Model] = Site, prefix: str = "") -> Iterator[str]:
    """The dotted name of every field, with those of nested parts, each once: `nodes.ssh.…` is as `ssh.…`."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for inner, between in _parts(field.annotation):
            if f"{prefix}{name}" != "nodes.ssh":
                yield from fields(inner, f"{prefix}{name}{between}.")


def _sections(model: type[Model], prefix: str, title: str) -> Iterator[str]:
    """One part of a site file with its own fields, then the parts below it."""
    own, deeper = descriptions(model), []
    yield f"## {title}\n"
    if own.get("") and prefix:
        yield f"{prose(own[''])}\n"
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        inner = _parts(field.annotation)
        if inner and path != "nodes.ssh":
            deeper += [(part, f"{path}{between}.", f"`{path}{between}`") for part, between in inner]
        if not inner or path == "nodes.ssh" or _life(field):
            yield from _field(path, field, own.get(name, ""))
    for part, below, heading in deeper:
        yield from _sections(part, below, heading)


def _field(path: str, field: FieldInfo, description: str) -> Iterator[str]:
    yield f"### `{path}`\n"
    if path == "nodes.ssh":
        description = "As `ssh`, for one host: what is not set here is taken from there."
    if description:
        yield f"{sentence(prose(description))}\n"
    required = ", required" if field.is_required() else ""
    facts = [("Value", _value(field.annotation, field.metadata) + required), ("Default", _default(field))]
    if life := _life(field):
        facts.append(("May change", escaped(life.text)))
    yield "\n".join(f"- **{name}**: {text}" for name, text in facts if text) + "\n"


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Field → what the docstring of its part says of it (`name: …`, `one, another: …`); "" → the rest of the docstring."""
    text = model.__doc__ or ""
    names = "|".join(sorted(model.model_fields, key=len, reverse=True))
    marked = re.compile(rf"(?:(?<=^)|(?<=[.:)]\s)|(?<=\n)|(?<=\s\s))((?:{names})(?:,\s(?:{names}))*):\s")
    found: dict[str, str] = {}
    last, end = [""], 0
    for mark in marked.finditer(text):
        _add(found, last, text[end : mark.start()])
        last, end = re.split(r",\s", mark[1]), mark.end()
    _add(found, last, text[end:])
    return found


def _add(found: dict[str, str], names: list[str], text: str) -> None:
    """A paragraph that follows what is said of a field belongs to the part."""
    first, _, rest = text.strip().partition("\n\n") if names != [""] else (text.strip(), "", "")
    for name in names:
        found[name] = f"{found.get(name, '')} {first}".strip()
    if rest.strip():
        found[""] = f"{found.get('', '')}\n\n{rest.strip()}".strip()


def _life(field: FieldInfo) -> Life | None:
    return next((one for one in field.metadata if isinstance(one, Life)), None)


def _parts(annotation: Any) -> list[tuple[type[Model], str]]:
    """The models within a type, each with what stands between its field and its own fields: "" or ".NAME" of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [(annotation, "")]
    between = ".NAME" if get_origin(annotation) is dict else ""
    return [(part, between + rest) for one in get_args(annotation) for part, rest in _parts(one)]


def _value(annotation: Any, metadata: list[Any]) -> str:
    """What a field takes, in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(inner[0], [*inner[1:], *metadata])
    if origin in (Union, UnionType):
        return " or ".join(_value(one, metadata) for one in inner if one is not NoneType)
    if origin is Literal:
        return " or ".join(code(one) for one in inner)
    if origin is list:
        least = next((one.min_length for one in metadata if isinstance(one, MinLen)), 0)
        return f"a list{' with at least one entry' * bool(least)}" + (f": {_value(inner[0], [])}" if not _parts(inner[0]) else "")
    if origin is dict:
        return f"keys ({_value(inner[0], [])})" + (f" with a value each: {_value(inner[1], [])}" if not _parts(inner[1]) else "")
    if _parts(annotation):
        return "fields of its own, below"
    flat = [inner for one in metadata for inner in (getattr(one, "metadata", None) or [one])]
    for one in flat:
        if words := PATTERNS.get(getattr(one, "pattern", None) or ""):
            return escaped(words)
        if wanted := re.search(r"an IPv4 \w+ such as \S+", " ".join(_closure(one))):
            return wanted[0]
    bounds = [f"{words} {number}" for kind, words in ((Ge, "from"), (Le, "to")) for number in _bounds(flat, kind)]
    return " ".join([NUMBERS.get(annotation, str(annotation)), *bounds])


def _closure(validator: Any) -> Iterator[str]:
    """The texts that a validator's function was made with."""
    for cell in getattr(getattr(validator, "func", None), "__closure__", None) or ():
        if isinstance(cell.cell_contents, str):
            yield cell.cell_contents


def _bounds(metadata: list[Any], kind: type) -> Iterator[Any]:
    for one in metadata:
        if isinstance(one, Ge | Le) and isinstance(one, kind):
            yield one.ge if isinstance(one, Ge) else one.le


def _default(field: FieldInfo) -> str:
    if field.is_required() or isinstance(field.default, BaseModel) or field.default is None:
        return ""
    value = field.default
    if isinstance(value, bool):
        return code(str(value).lower())
    return code(value) if value not in ([], {}, ()) else "none"
