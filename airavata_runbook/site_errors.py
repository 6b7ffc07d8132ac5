"""pydantic's findings about a site file, told as one message: every field with what is wrong and the nearest name."""

import difflib
from typing import get_args

from pydantic import BaseModel, ValidationError

from airavata_runbook.errors import SiteError


def explain(error: ValidationError, data: dict, model: type[BaseModel], where: str) -> SiteError:
    """One SiteError with all findings of `error` about `data`. where: the file, for the message."""
    lines = [_line(finding, data, model) for finding in error.errors(include_url=False)]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return SiteError(f"the site file has {count}:\n" + "\n".join(f"  - {line}" for line in lines), where=where,
                     remedy="parameters/lab.yaml shows a complete site; nothing was touched")


def _line(finding: dict, data: dict, model: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in finding["loc"])
    message = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "extra_forbidden":
        known = _fields(model, finding["loc"][:-1])
        near = difflib.get_close_matches(str(finding["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(known)
        return f"{path}: unknown key; {hint}"
    if not path:
        return message
    value = _value(data, finding["loc"])
    shown = "" if _may_be_secret(path) or value is None else f" (found {value!r})"
    return f"{path}: {message}{shown}"


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
    return data if not isinstance(data, dict | list) else None


def _may_be_secret(path: str) -> bool:
    return any(word in path for word in ("password", "secret", "auth", "key"))
