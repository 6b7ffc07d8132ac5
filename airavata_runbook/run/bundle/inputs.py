"""What a site file names on this machine: files that a bundle has, and what the admin of the other machine must have instead.

The fields are found by their types, so that a new one is packed, or asked for, without a line here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel

from airavata_runbook.checks.realm import realm_notes
from airavata_runbook.errors import SiteError
from airavata_runbook.local import paths
from airavata_runbook.mirror.image_steps import files_of
from airavata_runbook.site import Site
from airavata_runbook.site.fields import ExternalSecret, LocalPath, PathOrUrl, SecretRef
from airavata_runbook.site.node import Ssh

PATHS, SECRETS = (LocalPath, PathOrUrl), (SecretRef, ExternalSecret)
INSIDE = "a path that is relative to the project's folder, of what is in it"


@dataclass
class Inputs:
    """files: path below the project's folder → the file. to_bring: field → what it refers to, which no bundle has."""

    files: dict[str, Path] = field(default_factory=dict)
    to_bring: dict[str, str] = field(default_factory=dict)


def inputs_of(site: Site) -> Inputs:
    """Secrets, keys and known hosts are not packed, nor a realm file that has secrets in it. Raises SiteError.

    An image that is built from a folder is refused: its tag is that of the folder's content with all modes and links, which not
    every way of a bundle keeps.
    """
    found, problems = Inputs(), []
    for where, owner, hint, value in _fields(site):
        if _is_of(hint, SECRETS):
            if not value.startswith("generated:"):
                found.to_bring[where] = value
        elif isinstance(owner, Ssh):
            found.to_bring[where] = value
        elif where.endswith(".build"):
            needed = f"{where.removesuffix('build')}archive, the same image as an archive (podman save) below the project"
            problems.append(f"{where}: found {value}; needed: {needed}")
        elif where.endswith(".realm") and _has_secrets(value):
            found.to_bring[where] = f"{value}, which has secrets in it"
        elif not value.startswith("https://") and (where != "airavata.stack" or "/" in value):
            try:
                found.files |= _files(value)
            except ValueError as error:
                problems.append(f"{where}: found {value} ({error}); needed: {INSIDE}")
    if problems:
        raise SiteError("not all that the site file names can be in a bundle", problems=problems)
    found.to_bring = _once(found.to_bring)
    if any(node.ssh.config for node in site.nodes):
        found.to_bring["ssh.config"] = "~/.ssh/config"
    return found


def _files(path: str) -> dict[str, Path]:
    """A file, or all of a folder. Raises ValueError where it is not within the project."""
    if Path(path).is_absolute() or path.startswith("~"):
        raise ValueError("elsewhere on another machine")
    base, source = paths.base_dir(), paths.resolve_path(path)
    if not source.resolve().is_relative_to(base.resolve()):
        raise ValueError("outside of the project")
    if not source.exists():
        raise ValueError("no such file")
    name = source.relative_to(base).as_posix()
    if ".." in name.split("/"):
        raise ValueError("has .. in it")
    found = {f"{name}/{inner}" if inner else name: file for inner, file in files_of(source)}
    if odd := next((one for one in found if {"\n", "\\"} & set(one)), None):
        raise ValueError(f"{odd!r} has a line break or a backslash in its name")
    return found


def _once(fields: dict[str, str]) -> dict[str, str]:
    """Without what every node has from the site's `ssh`, or as the nodes before it."""
    seen, once = set(), {}
    for where, value in fields.items():
        kind = where.rpartition(".")[2], value
        if ".ssh." not in f".{where}" or kind not in seen:
            once[where] = value
        seen.add(kind)
    return once


def _has_secrets(realm: str) -> bool:
    try:
        return bool(realm_notes(paths.resolve_path(realm).read_bytes()))
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return False  # no realm: that is reported elsewhere


def _fields(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, BaseModel, Any, str]]:
    """Each path and each reference to a secret: its field, the section that it is in, its type, its value."""
    hints = get_type_hints(type(model), include_extras=True)
    for name, value in model:
        where = f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from _fields(value, f"{where}.")
        elif isinstance(value, (list, dict)):
            items = value.items() if isinstance(value, dict) else ((getattr(one, "name", ""), one) for one in value)
            for key, one in items:
                if isinstance(one, BaseModel):
                    yield from _fields(one, f"{where}.{key}.")
                elif _is_of(hints[name], PATHS + SECRETS):
                    yield f"{where}.{key}", model, hints[name], one
        elif value and _is_of(hints[name], PATHS + SECRETS):
            yield where, model, hints[name], value


def _is_of(hint: Any, types: tuple[Any, ...]) -> bool:
    """Whether one of these types is in the annotation of a field. `Annotated` in `Annotated` is one with both marks."""
    marks = [type_.__metadata__[0] for type_ in types]
    inner = [*getattr(hint, "__metadata__", ()), *getattr(hint, "__args__", ())]
    return any(one is mark for one in inner for mark in marks) or any(
        _is_of(one, types) for one in inner if hasattr(one, "__args__") or hasattr(one, "__metadata__")
    )
