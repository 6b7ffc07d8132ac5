"""The content of a site file: found, read, given its defaults and overrides. Whether it is right is site.py's matter."""

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from airavata_runbook import paths
from airavata_runbook.errors import SiteError

VARIABLE = "AIRAVATA_RUNBOOK_SITE"


def read(source: Mapping | str | os.PathLike | None) -> tuple[dict, str]:
    """What is below `site:`, and where it stands, in words; source: as `Site.load` takes it. Raises SiteError."""
    if source is None:
        source = os.environ.get(VARIABLE)
        if not source:
            raise SiteError("no site was named", needed="a site, so that nothing ever runs on the wrong one",
                            remedy=f"set `site` in the notebook's first cell to a name or path, run papermill with "
                                   f"-f parameters/SITE.yaml, or set the environment variable {VARIABLE}")
    if isinstance(source, Mapping):
        return _copy(source), "the site given"
    path = _find(Path(source))
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SiteError("the site file cannot be read", where=str(path), found=str(error)) from None
    if not isinstance(content, dict) or list(content) != ["site"] or not isinstance(content["site"], dict):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise SiteError("a site file has exactly one top-level key, `site:`", where=str(path), found=found,
                        remedy="put everything below `site:`, as parameters/lab.yaml does")
    return content["site"], str(path)


def _find(source: Path) -> Path:
    source = source.expanduser()
    candidates = [source]
    try:
        project = paths.project_dir()
        candidates += [project / source, project / "parameters" / f"{source}.yaml"]
    except FileNotFoundError:
        project = None
    for path in candidates:
        if path.is_file():
            return path.resolve()
    known = sorted(path.stem for path in (project / "parameters").glob("*.yaml")) if project else []
    raise SiteError(f"there is no site {str(source)!r}", where=str(project / "parameters") if project else "",
                    needed="a path, or one of " + ", ".join(known) if known else "the path of a site file")


def with_defaults(data: dict) -> dict:
    """Node-level ssh inherits the site's; a lab site's hosts have the key and known_hosts that the lab made."""
    data = _copy(data)
    shared = data.get("ssh", {})
    if isinstance(data.get("lab"), dict) and isinstance(shared, dict):
        folder = paths.state_dir() / "labs" / str(data["lab"].get("bridge", "lab0"))
        shared = {"key": str(folder / "id_ed25519"), "known_hosts": str(folder / "known_hosts"), **shared}
    nodes = data.get("nodes")
    for node in nodes if isinstance(nodes, list) else []:
        if isinstance(node, dict) and isinstance(shared, dict) and isinstance(node.get("ssh", {}), dict):
            node["ssh"] = {**shared, **node.get("ssh", {})}
    return data


def _copy(value):
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def put(data: dict, dotted: str, value: object) -> None:
    """Change one field of a site file's content. A node is found by its name or by its number, from 0. Raises SiteError."""
    *parents, last = dotted.split(".")
    for key in parents:
        data = data.setdefault(key, {}) if isinstance(data, dict) else data[_position(data, key, dotted)]
        if not isinstance(data, dict | list):
            raise SiteError("a field that holds a value cannot be descended into", where=f"--set {dotted}", found=key)
    data[_position(data, last, dotted) if isinstance(data, list) else last] = value


def _position(items: list, key: str, dotted: str) -> int:
    names = [str(item.get("name")) if isinstance(item, dict) else "" for item in items]
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(items):
        return int(key)
    raise SiteError("the list has no such item", where=f"--set {dotted}", found=key,
                    needed=f"a number below {len(items)}" + (f", or one of {', '.join(names)}" if all(names) else ""))
