"""The content of a site file before validation: where it is found, how it is read, its defaults and overrides."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from airavata_runbook.errors import SiteError
from airavata_runbook.kernel_env import SITE
from airavata_runbook.local import paths
from airavata_runbook.site import ssh_config
from airavata_runbook.site.fields import HOST, IPV6
from airavata_runbook.site.yaml_reader import parse


def read(source: Mapping | str | os.PathLike | None) -> tuple[dict, str]:
    """The mapping below `site:`, and where it comes from, for messages. source: as for `Site.load`. Raises SiteError."""
    if source is None:
        source = os.environ.get(SITE)
        if not source:
            raise SiteError(
                "no site specified",
                needed="a site: there is no default, so that nothing runs on the wrong one",
                remedy=f"set `site` in the notebook's first cell to a name or path, run papermill with "
                f"-f parameters/SITE.yaml, or set the environment variable {SITE}",
            )
    if isinstance(source, Mapping):
        given = _copy(source)
        known = _read_by_papermill(given)
        return _read_file(known) if known else (given, "the given mapping")
    return _read_file(_find(Path(source)))


def _read_file(path: Path) -> tuple[dict, str]:
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError("could not read the site file", where=where, found=str(error)) from None
    return _copy(_site_section(parse(text, where), where)), where


class _PapermillLoader(yaml.SafeLoader):
    """YAML as `papermill -f` reads it (papermill/iorw.py): 05000 is 2560, the last of equal keys counts, a date is text."""


_PapermillLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read_by_papermill(given: dict) -> Path | None:
    """The file in parameters/ that papermill read `given` from: it is read again, by what shows what papermill's reader lost."""
    for path in sorted(_parameters().glob("*.yaml")):
        try:
            text = path.read_text(encoding="utf-8")
            if str(given.get("name")) in text and yaml.load(text, _PapermillLoader) == {"site": given}:
                return path.resolve()
        except (OSError, ValueError, LookupError, AttributeError, RecursionError, yaml.YAMLError):
            continue  # not what papermill has read
    return None


def _parameters() -> Path:
    return paths.base_dir() / "parameters"


def _site_section(content: object, where: str) -> dict:
    remedy = "put everything below `site:`, as parameters/lab.yaml does"
    if content is None:
        raise SiteError("the site file is empty", where=where, needed="the key `site:` with keys below it", remedy=remedy)
    if not isinstance(content, dict) or list(content) != ["site"]:
        raise SiteError("a site file has exactly one top-level key, `site:`", where=where, found=_outline(content), remedy=remedy)
    if not isinstance(content["site"], dict):
        raise SiteError(
            "`site:` has no keys below it",
            where=where,
            found=_outline(content["site"]),
            needed="keys: name, nodes and others",
            remedy=remedy,
        )
    return content["site"]


def _outline(value: object) -> str:
    if isinstance(value, dict):
        return "the keys " + ", ".join(map(str, value)) if value else "no key"
    return {type(None): "nothing", list: "a list"}.get(type(value), "a single value")


def _find(source: Path) -> Path:
    candidates = [source, paths.resolve_path(source)]
    known = _parameters()
    candidates.append(known / f"{source}.yaml")
    for path in candidates:
        try:
            if path.is_file():
                return path.resolve()
        except OSError as error:  # its name is too long, or a folder may not be entered
            raise SiteError("could not read the site file", where=str(path)[:200], found=error.strerror or "") from None
    names = sorted(path.stem for path in known.glob("*.yaml"))
    raise SiteError(
        f"unknown site {str(source)!r}",
        where=str(known),
        needed="a path, or one of " + ", ".join(names) if names else "the path of a site file",
    )


def with_defaults(data: dict) -> dict:
    """Nodes inherit the site's `ssh`; hosts of a lab have the key and known_hosts that `lab up` created.

    With `config: true` they have what ~/.ssh/config says, too, where the site file does not.
    """
    data = _copy(data)
    shared = data.get("ssh", {})
    if isinstance(data.get("lab"), dict) and isinstance(shared, dict):
        folder = paths.state_dir() / "labs" / str(data["lab"].get("bridge", "lab0"))
        shared = {"key": str(folder / "id_ed25519"), "known_hosts": str(folder / "known_hosts"), **shared}
    nodes = data.get("nodes")
    for node in nodes if isinstance(nodes, list) else []:
        if isinstance(node, dict) and isinstance(shared, dict) and isinstance(node.get("ssh", {}), dict):
            node["ssh"] = _with_config({**shared, **node.get("ssh", {})}, node.get("address"))
    return data


def _with_config(ssh: dict, address: object) -> dict:
    """`ssh` of a node with what it leaves to ~/.ssh/config. Raises SiteError when that cannot be used."""
    alias = ssh.get("host", address)
    if ssh.get("config") is not True or not isinstance(alias, str) or not re.fullmatch(f"{HOST}|{IPV6}", alias):
        return ssh
    found = ssh_config.settings(alias, ssh["user"] if isinstance(ssh.get("user"), str) else None)
    return {**found, **ssh, "host": found.get("host", alias)}


def _copy(value):
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def parse_settings(settings: list[str]) -> dict[str, object]:
    """The `--set a.b=c` options as Site.load's overrides; values are YAML, so 3 is a number and [a, b] a list."""
    overrides: dict[str, object] = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals or not all(field.split(".")):
            raise SiteError("--set needs FIELD=VALUE", found=field, remedy="for example --set airavata.api_replicas=3")
        overrides[field] = parse(value, f"--set {field}")
    return overrides


def set_field(data: dict, dotted: str, value: object) -> None:
    """Set one field of a site file's content. A node is given by its name or by its number, from 0. Raises SiteError."""
    *parents, last = dotted.split(".")
    for key in parents:
        data = data.setdefault(key, {}) if isinstance(data, dict) else data[_position(data, key, dotted)]
        if not isinstance(data, dict | list):
            raise SiteError("cannot set a field below a plain value", where=f"--set {dotted}", found=key)
    data[_position(data, last, dotted) if isinstance(data, list) else last] = value


def _position(items: list, key: str, dotted: str) -> int:
    names = [str(item.get("name")) if isinstance(item, dict) else "" for item in items]
    numbers = [str(number) for number in range(len(items))]
    for known in (names, numbers):
        if key in known:
            return known.index(key)
    raise SiteError(
        "the list has no such item",
        where=f"--set {dotted}",
        found=key,
        needed=f"a number below {len(items)}" + (f", or one of {', '.join(names)}" if all(names) else ""),
    )
