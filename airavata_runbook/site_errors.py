"""pydantic's findings about a site file, told as one message: every field with what is wrong and the nearest name."""

import difflib
from typing import get_args

from pydantic import BaseModel, ValidationError

from airavata_runbook.errors import SiteError
from airavata_runbook.site_fields import PATTERNS


def explain(error: ValidationError, data: dict, model: type[BaseModel], where: str) -> SiteError:
    """One SiteError with all findings of `error` about `data`. where: the file, for the message."""
    lines = [_line(finding, data, model) for finding in error.errors(include_url=False)]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return SiteError(f"the site file has {count}:\n" + "\n".join(f"  - {line}" for line in lines), where=where,
                     remedy="parameters/lab.yaml shows a complete site; nothing was touched")


# pydantic's finding → what would be right; {…}: the finding's own bounds.
NEEDED = {
    "missing": "is missing; it has no default",
    "string_type": "needs text (in quotes where YAML would take it for a number)",
    "int_type": "needs a whole number",
    "bool_type": "needs true or false",
    "list_type": "needs a list: lines that start with -",
    "model_type": "needs keys below it",
    "model_attributes_type": "needs keys below it",
    "dict_type": "needs keys below it",
    "ip_v4_address": "needs an IPv4 address such as 10.0.0.11",
    "ip_v4_network": "needs an IPv4 network such as 10.244.0.0/16, its host bits zero",
    "greater_than_equal": "needs at least {ge}",
    "less_than_equal": "needs at most {le}",
    "literal_error": "needs {expected}",
    "too_short": "needs at least {min_length}",
    "extra_forbidden": "unknown key",
}


def _line(finding: dict, data: dict, model: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in finding["loc"])
    needed = NEEDED[finding["type"]].format(**finding.get("ctx", {})) if finding["type"] in NEEDED \
        else finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "extra_forbidden":
        known = _fields(model, finding["loc"][:-1])
        near = difflib.get_close_matches(str(finding["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(known)
        return f"{path}: {needed}; {hint}"
    if finding["type"] == "string_pattern_mismatch":
        pattern = finding["ctx"]["pattern"]
        needed = f"needs {PATTERNS[pattern]}"
    if not path:
        return needed
    return f"{path}: {needed}" + _shown(path, _value(data, finding["loc"]))


def _shown(path: str, value) -> str:
    """The value as it stands in the site file, but for one that may be a password put there by mistake."""
    if value is None or _may_be_secret(path):
        return ""
    kind = {dict: "keys", list: "a list"}.get(type(value))
    return f" (found {kind or repr(value)})"


def _fields(model: type, loc: tuple) -> list[str]:
    for part in loc:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        model = _model_in(field.annotation) if field else model
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation) -> type | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for item in get_args(annotation) if (found := _model_in(item))), None)


def _value(data, loc: tuple):
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _may_be_secret(path: str) -> bool:
    return any(word in path for word in ("password", "secret", "auth", "key"))
