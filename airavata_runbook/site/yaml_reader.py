"""Strict YAML for site files: no duplicate keys, keys are text, whole numbers are decimal."""

import json
import re

import yaml

from airavata_runbook.errors import SiteError

INT, TEXT, MERGE = "tag:yaml.org,2002:int", "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def parse(text: str, where: str) -> object:
    """The content of a YAML text. where: its file or option, for messages. Raises SiteError, which shows no value."""
    try:
        loader = _Loader(text)
        content = loader.get_single_data()
        json.dumps(content, default=str)  # raises ValueError for what contains itself
    except yaml.YAMLError as error:
        raise SiteError(
            "invalid YAML",
            where=_where(error, where),
            found=_found(error),
            remedy="fix that line; in quotes, any value is text",
        ) from None
    except (RecursionError, ValueError):
        raise SiteError(
            "YAML is nested too deeply",
            where=where,
            found="too many levels, or an anchor (&) that contains itself (*)",
        ) from None
    if loader.duplicates:
        raise SiteError(
            "duplicate key",
            where=where,
            found="\n".join(loader.duplicates),
            needed="each key once in its section",
            remedy="remove one of them, or merge what is below them",
        )
    return content


class _Loader(yaml.SafeLoader):
    """duplicates: the keys that occur twice in a mapping, with their lines."""

    def __init__(self, text: str):
        super().__init__(text)
        self.duplicates: list[str] = []

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a list or mapping cannot be a key", key.start_mark)
            if key.value in lines:
                self.duplicates.append(f"{key.value} (lines {lines[key.value]} and {line})")
            lines[key.value] = line
            key.tag = key.tag if key.tag == MERGE else TEXT  # on: and 5: are names, not true and a number
        return node

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):  # not caught by PyYAML: 2026-13-45, 5000 digits, !!bool maybe
            raise yaml.constructor.ConstructorError(
                None, None, "looks like a number or a date, but is not a valid one", node.start_mark
            ) from None


# YAML 1.1 reads 012 as ten, 1:23 as 83 and 0x10 as sixteen: here they are text, which is rejected where a number is needed.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != INT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(INT, re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))


def _where(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where


def _found(error: yaml.YAMLError) -> str:
    """PyYAML's message without the excerpts of the file in it: they may contain a password."""
    said = ", ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    return re.sub("'[^'<]{3,}'", "'…'", said or str(error).splitlines()[0])
