"""Text of configuration files in which a value stays what it is: serialised for the file's format, never formatted.

Text files are Jinja2 templates, so that their comments stay where they are read. Each `{{ value }}` in one is a whole scalar,
serialised: `name: {{ site.name }}` for a site called 2026 gives `name: "2026"`, which is no number.
"""

import json
import re
import shlex
from collections.abc import Callable
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

# Text that every reader of YAML takes for text. PyYAML's own rule is not enough: Go's packages (kubectl, the registry) read 1e3
# and 0o17 as numbers, and older ones y and n as truth values (gopkg.in/yaml.v2, resolve.go). An address has too many dots.
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9@./:+=_ -]*|[0-9]+(\.[0-9]+){3}([:/][0-9]+)?")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")  # JSON has them as they are, YAML and TOML escaped
BARE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")  # needs no quotes in an environment file


def json_value(value: object) -> str:
    """A value as JSON on one line, which is YAML too; a text is also a basic string of TOML. An address is text."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False, default=str))


def yaml_value(value: object) -> str:
    """A value as a YAML scalar (a list or mapping in flow style), on one line; text is in quotes only where it has to be."""
    text = yaml_text(value, default_flow_style=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")  # the end of a document that is a plain scalar


def yaml_text(content: object, **options: Any) -> str:
    """A YAML document, as by yaml.safe_dump: any reader of YAML 1.1 or 1.2 gets back the same values. Keys keep their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, **options)


def manifest_text(content: object, width: int) -> str:
    """A Kubernetes object as YAML for people, as `yaml_text`: text of several lines as it is, and short lists and mappings of
    plain values on one line. width: of a line, where it can be broken."""
    return yaml.dump(content, Dumper=_ManifestDumper, sort_keys=False, width=width, allow_unicode=True)


def environment_value(value: object) -> str:
    """A value for an environment file, as systemd reads it (systemd.exec(5), EnvironmentFile=)."""
    text = str(value)
    return text if BARE.fullmatch(text) else quoted(text)


def quoted(value: object) -> str:
    """A value for an environment file, in double quotes; a list of texts is continued from line to line."""
    lines = value if isinstance(value, list | tuple) else [value]
    return '"' + " \\\n    ".join(re.sub(r'(["\\`$])', r"\\\1", str(line)) for line in lines) + '"'


def shell_value(value: object) -> str:
    """A value as one word of a shell script, or of what systemd splits like one."""
    return shlex.quote(str(value))


def properties_value(value: object) -> str:
    """A value for a file of Java properties: ASCII, for the format's encoding is not always the same (java.util.Properties)."""

    def escaped(found: re.Match[str]) -> str:
        return re.sub("....", r"\\u\g<0>", found[0].encode("utf-16-be", "surrogatepass").hex())

    text = re.sub("[^ -~]", escaped, str(value).replace("\\", "\\\\"))
    return re.sub("^ ", r"\\ ", text)  # blanks before a value do not belong to it


def one_line(text: object) -> str:
    """Text for a comment, without line breaks and control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())


@cache
def templates(folder: Path, value: Callable[[object], str]) -> Environment:
    """The templates in a folder. value: serialises each `{{ }}`, but those that end with one of the filters.

    Filters: `line`, in comments; `json`; and `quoted`, in environment files. `urlquote`, for a part of a URL, leaves the
    serialisation to `value`. A name that is not given is an error.
    """

    def serialised(result: object) -> str:
        finished = isinstance(result, Markup | StrictUndefined)  # the str of an undefined name raises UndefinedError
        return str(result) if finished else value(result)

    # A stack that a site brings is data: its templates reach the values that they are given, and nothing of Python.
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        finalize=serialised,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name, done in {"line": one_line, "json": json_value, "quoted": quoted}.items():
        environment.filters[name] = lambda result, done=done: Markup(done(result))
    environment.filters["urlquote"] = lambda result: quote(str(result), safe="")
    return environment


class _Dumper(yaml.SafeDumper):
    """As SafeDumper, and text that only other readers take for something else is in quotes. An address is text."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def text(self, value: object) -> yaml.ScalarNode:
        plain = PLAIN.fullmatch(str(value)) and str(value).lower() not in WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", str(value), style=None if plain else '"')


for kind in (str, IPv4Address, IPv4Network):
    _Dumper.add_representer(kind, _Dumper.text)


class _ManifestDumper(_Dumper):
    """Items of a list are indented below their key, as in Kubernetes' documentation."""

    LONGEST = 90  # characters of what is put on one line

    def text(self, value: object) -> yaml.ScalarNode:
        lines = str(value)
        return self.represent_scalar("tag:yaml.org,2002:str", lines, style="|") if "\n" in lines else super().text(value)

    def short(self, content: Any) -> bool:
        values = [*content, *content.values()] if isinstance(content, dict) else content
        simple = not any(isinstance(value, dict | list | tuple) or "\n" in str(value) for value in values)
        return simple and len(str(content)) <= self.LONGEST

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style=self.short(mapping))

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=self.short(sequence))

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


for kind in (str, IPv4Address, IPv4Network):
    _ManifestDumper.add_representer(kind, _ManifestDumper.text)
