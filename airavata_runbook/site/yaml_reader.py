"""YAML as a site file means it: no key stands twice, keys are text, whole numbers are decimal."""

import json
import re

import yaml

from airavata_runbook.errors import SiteError

INT, TEXT, MERGE = "tag:yaml.org,2002:int", "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def parse(text: str, where: str) -> object:
    """What a text of YAML holds. where: the file or option that it comes from. Raises SiteError, which repeats no value."""
    try:
        loader = _Loader(text)
        content = loader.get_single_data()
        json.dumps(content, default=str)  # what contains itself has no end, and JSON's writer says so
    except yaml.YAMLError as error:
        raise SiteError(
            "this is not YAML that can be read",
            where=_where(error, where),
            found=_found(error),
            remedy="correct that line; in quotes, any value is a text",
        ) from None
    except (RecursionError, ValueError):
        raise SiteError(
            "this YAML is nested too deeply",
            where=where,
            found="more levels than can be counted, or an anchor (&) that contains itself (*)",
        ) from None
    if loader.repeated:
        raise SiteError(
            "a key stands twice at the same place",
            where=where,
            found="\n".join(loader.repeated),
            needed="each key once: of two values only one could count",
            remedy="put what belongs together below one",
        )
    return content


class _Loader(yaml.SafeLoader):
    """repeated: the keys that stand twice, with their lines."""

    def __init__(self, text: str):
        super().__init__(text)
        self.repeated: list[str] = []

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a list or keys stand where a key belongs", key.start_mark)
            if key.value in lines:
                self.repeated.append(f"{key.value}, on line {lines[key.value]} and on line {line}")
            lines[key.value] = line
            key.tag = key.tag if key.tag == MERGE else TEXT  # on: and 5: are words here, not true and a number
        return node

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):  # what PyYAML lets through: 2026-13-45, 5000 digits, !!bool maybe
            raise yaml.constructor.ConstructorError(
                None, None, "this looks like a number or a date, but can be none", node.start_mark
            ) from None


# YAML 1.1 reads 012 as ten, 1:23 as 83 and 0x10 as sixteen: as text they are refused where a number belongs.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != INT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(INT, re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))


def _where(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where


def _found(error: yaml.YAMLError) -> str:
    """What PyYAML says, without the pieces of the file that it shows with it: they may hold a password."""
    said = ", ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    return re.sub("'[^'<]{3,}'", "'…'", said or str(error).splitlines()[0])
