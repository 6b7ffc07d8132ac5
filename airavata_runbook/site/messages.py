"""What is wrong with a site file, told as one message: a line a problem, with the field and what would be right."""

import datetime
import difflib
import re
from collections.abc import Sequence
from types import UnionType
from typing import get_args

from pydantic import BaseModel, ValidationError

from airavata_runbook.errors import SiteError
from airavata_runbook.site.fields import PATTERNS, without_login

LONGEST = 80  # characters of a value that are shown


def refusal(lines: list[str], where: str) -> SiteError:
    """One SiteError with all the problems, a line each. where: the file, for the message."""
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return SiteError(
        f"the site file has {count}:\n" + "\n".join(f"  - {line}" for line in lines),
        where=where,
        remedy="parameters/lab.yaml shows a complete site; nothing was touched",
    )


def explain(error: ValidationError, data: dict, model: type[BaseModel], where: str) -> SiteError:
    """One SiteError with all of pydantic's findings about `data`, which is the file's content as it stands there."""
    findings = error.errors(include_url=False)
    return refusal([_line(finding, data, model) for finding in findings if not _inherited(finding["loc"], data)], where)


def nearest(name: str, known: Sequence[str]) -> str:
    """What may have been meant by an unknown name, or else all that there is."""
    return _near(name, known) or "known here: " + ", ".join(known)


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


# pydantic's finding → what would be right; {…}: the finding's own bounds.
NEEDED = {
    "missing": "is missing; it has no default",
    "string_type": "needs text (in quotes where YAML would take it for a number, a date or yes or no)",
    "string_unicode": "needs text; it holds half a character",
    "string_too_long": "needs at most {max_length} characters",
    "int_type": "needs a whole number, in decimal digits alone",
    "bool_type": "needs true or false",
    "list_type": "needs a list: lines that start with -",
    "dict_type": "needs keys below it",
    "ip_v4_address": "needs an IPv4 address such as 10.0.0.11",
    "ip_v4_network": "needs an IPv4 network such as 10.244.0.0/16, its host bits zero",
    "greater_than_equal": "needs at least {ge}",
    "less_than_equal": "needs at most {le}",
    "literal_error": "needs {expected}",
    "too_short": "needs at least {min_length}",
    "invalid_key": "needs text as a key (in quotes where YAML would take it for a number, a date or yes or no)",
}


def _line(finding: dict, data: dict, model: type[BaseModel]) -> str:
    loc = finding["loc"]
    if finding["type"] == "extra_forbidden":
        return f"{_path(loc)}: unknown key; {nearest(str(loc[-1]), list(_model_at(model, loc[:-1]).model_fields))}"
    if loc[-1] == "[key]":  # of a mapping whose keys are names that the site chooses
        return f"{_path(loc[:-2])}: the key {_shown(loc[-2])} {_needed(finding, model)}"
    shown = "" if finding["type"] in ("missing", "invalid_key") else _found(loc, data)
    near = _near_choice(finding) if finding["type"] == "literal_error" else ""
    return f"{_path(loc)}: {_needed(finding, model)}{shown}{near}"


def _near_choice(finding: dict) -> str:
    near = _near(str(finding["input"]), re.findall("'(.*?)'", finding["ctx"]["expected"]))
    return near and f"; {near}"


def _needed(finding: dict, model: type[BaseModel]) -> str:
    kind, bounds = finding["type"], finding.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return f"needs {PATTERNS[bounds['pattern']]}"
    if kind == "model_type":
        section = hasattr(_model_at(model, finding["loc"][:-1]), "model_fields")  # neither an item of a list nor of a mapping
        required = any(field.is_required() for field in _model_at(model, finding["loc"]).model_fields.values())
        return "needs keys below it" + ("; {} takes all defaults" if section and not required else "")
    return NEEDED[kind].format(**bounds) if kind in NEEDED else finding["msg"].removeprefix("Value error, ")


def _found(loc: tuple, data: dict) -> str:
    """The value as it stands in the site file, but for one that may be a password put there by mistake."""
    return "" if _may_be_secret(_path(loc)) else f" (found {_shown(_value(data, loc))})"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        shown = "keys: " + ", ".join(map(str, value)) if value else "no keys"
    elif value is None or isinstance(value, list):
        shown = "nothing" if value is None else "a list"
    else:
        shown = str(value) if isinstance(value, datetime.date) else repr(value)
    shown = without_login(shown)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def _path(loc: tuple) -> str:
    return ".".join(str(part) or "''" for part in loc)


def _inherited(loc: tuple, data: dict) -> bool:
    """Whether a finding is about what a node has from the site's own `ssh:`, where it is told already."""
    return len(loc) > 3 and loc[0] == "nodes" and loc[2] == "ssh" and loc[3] not in _value(data, loc[:2]).get("ssh", {})


def _model_at(model: type[BaseModel], loc: tuple) -> type[BaseModel]:
    """The model of what stands at `loc`, below `model`."""
    kind = model
    for part in loc:
        kind = kind.model_fields[part].annotation if hasattr(kind, "model_fields") else get_args(kind)[-1]
        kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind
    return kind


def _value(data, loc: tuple):
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _may_be_secret(path: str) -> bool:
    return any(word in path for word in ("password", "secret", "auth", "key"))
