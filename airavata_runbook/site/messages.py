"""The error message about a site file: one line a problem, `FIELD: needs … (found …)`."""

import datetime
import difflib
import re
from collections.abc import Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from airavata_runbook.errors import SiteError, counted
from airavata_runbook.site.fields import PATTERNS, without_login

LONGEST = 80  # characters of a value that are shown

# pydantic's type of error → what is needed; {…}: from the error's context.
NEEDED = {
    "missing": "is missing; it has no default",
    "string_type": "needs text (in quotes where YAML would read a number, a date, true or false)",
    "string_unicode": "needs text; it contains a lone surrogate",
    "string_too_long": "needs at most {max_length} characters",
    "int_type": "needs a whole number, in decimal digits",
    "bool_type": "needs true or false",
    "list_type": "needs a list: lines that start with -",
    "dict_type": "needs keys below it",
    "ip_v4_address": "needs an IPv4 address such as 10.0.0.11",
    "ip_v4_network": "needs an IPv4 network such as 10.244.0.0/16, its host bits zero",
    "greater_than_equal": "needs at least {ge}",
    "less_than_equal": "needs at most {le}",
    "literal_error": "needs {expected}",
    "too_short": "needs at least {min_length}",
    "invalid_key": "needs text as a key (in quotes where YAML would read a number, a date, true or false)",
}


def invalid_site(problems: Sequence[str], where: str) -> SiteError:
    """The error for all problems of a site file. where: its path."""
    return SiteError(
        f"the site file has {counted(len(problems), 'problem')}",
        problems=problems,
        where=where,
        remedy="parameters/lab.yaml shows a complete site; no host was changed",
    )


def describe_errors(error: ValidationError, data: dict, model: type[BaseModel]) -> list[str]:
    """A line for each of pydantic's errors about `data`, the content of a site file, in the words of a site file."""
    return [_line(one, data, model) for one in error.errors(include_url=False) if not _inherited(one["loc"], data)]


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that an unknown one resembles, as a question; without such a name all that are known."""
    return _did_you_mean(name, known) or "known: " + ", ".join(known)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _line(error: ErrorDetails, data: dict, model: type[BaseModel]) -> str:
    loc, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        return f"{_path(loc)}: unknown key; {nearest(str(loc[-1]), list(_type_at(model, loc[:-1]).model_fields))}"
    if loc[-1] == "[key]":  # of a mapping whose keys are names that the site chooses
        return f"{_path(loc[:-2])}: the key {_shown(loc[-2])} {_needed(error, model)}"
    line = f"{_path(loc)}: {_needed(error, model)}"
    if kind not in ("missing", "invalid_key") and not _may_be_secret(_path(loc)):
        line += f" (found {_shown(_value_at(data, loc))})"
    if kind == "literal_error" and (question := _did_you_mean(str(error["input"]), get_args(_type_at(model, loc)))):
        line += f"; {question}"
    return line


def _needed(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return f"needs {PATTERNS[context['pattern']]}"
    if kind == "model_type":
        section = hasattr(_type_at(model, error["loc"][:-1]), "model_fields")  # neither an item of a list nor of a mapping
        required = any(field.is_required() for field in _type_at(model, error["loc"]).model_fields.values())
        return "needs keys below it" + ("; {} takes all defaults" if section and not required else "")
    return NEEDED[kind].format(**context) if kind in NEEDED else error["msg"].removeprefix("Value error, ")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        shown = "keys: " + ", ".join(map(str, value)) if value else "no keys"
    elif value is None or isinstance(value, list):
        shown = "nothing" if value is None else "a list"
    else:
        shown = str(value) if isinstance(value, datetime.date) else repr(value)
    shown = without_login(shown)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) or "''" for part in loc)


def _inherited(loc: tuple[int | str, ...], data: dict) -> bool:
    """Whether an error is about a value that a node inherits from the site's `ssh:`, where it is reported already."""
    return len(loc) > 3 and loc[0] == "nodes" and loc[2] == "ssh" and loc[3] not in _value_at(data, loc[:2]).get("ssh", {})


def _type_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> Any:
    """The type of the value at `loc` below `model`: a model, a Literal, list[…] or dict[…]."""
    kind: Any = model
    for part in loc:
        kind = kind.model_fields[part].annotation if hasattr(kind, "model_fields") else get_args(kind)[-1]
        kind = get_args(kind)[0] if get_origin(kind) in (Union, UnionType) else kind  # Literal | None is a Union
    return kind


def _value_at(data: Any, loc: tuple[int | str, ...]) -> Any:
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _may_be_secret(path: str) -> bool:
    """Whether a password may have been written there by mistake: its value is not shown."""
    return bool(re.search(r"\.env(\.|$)", path)) or any(
        word in path for word in ("password", "passphrase", "secret", "auth", "key")
    )
