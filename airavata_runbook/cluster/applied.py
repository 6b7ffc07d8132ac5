"""Whether a manifest was applied as it is now: told from the object alone, which the API server lists many of in one answer.

The object's managedFields have the fields that the runbook applied last (kubernetes.io, "Server-Side Apply"; their form,
FieldsV1, is that of sigs.k8s.io/structured-merge-diff). Where these are the manifest's fields, and have its values, applying it
would change nothing.
"""

import json
from typing import Any

NAMES, PLACE = ("apiVersion", "kind"), ("name", "namespace")  # what identifies an object is nobody's field
DEFAULTS = {"protocol": "TCP"}  # of the keys by which items of a list are told apart


def is_applied(manifest: dict, live: dict, manager: str) -> bool:
    """Whether applying the manifest as that field manager would change nothing. False where only the API server can tell."""
    wanted = {key: value for key, value in manifest.items() if key not in NAMES}
    if metadata := {key: value for key, value in wanted.pop("metadata").items() if key not in PLACE}:
        wanted["metadata"] = metadata
    entries = [one for one in live["metadata"].get("managedFields") or () if one["manager"] == manager]
    form = [(one["operation"], one.get("subresource"), one["apiVersion"]) for one in entries]
    if not wanted:
        return not entries
    return form == [("Apply", None, manifest["apiVersion"])] and _is_same(entries[0]["fieldsV1"], wanted, live)


def _is_same(fields: dict, wanted: Any, live: Any) -> bool:
    """Whether `fields` are those of the wanted value, and the live one has the same values in them."""
    inner = {key: value for key, value in fields.items() if key != "."}
    if not inner:  # a single value, or one that has one owner as a whole
        return _has(live, wanted)
    if isinstance(wanted, dict) and isinstance(live, dict):
        return inner.keys() == {f"f:{name}" for name in wanted} and all(
            _is_same(inner[f"f:{name}"], value, live.get(name, "")) for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(live, list) and len(inner) == len(wanted):
        return all(_is_same_item(key, below, wanted, live) for key, below in inner.items())
    return False


def _has(live: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one, but for defaults that the API server has put into it."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        return all(name in live and _has(live[name], value) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(live, list):
        return len(live) == len(wanted) and all(map(_has, live, wanted))
    return type(live) is type(wanted) and live == wanted


def _is_same_item(key: str, fields: dict, wanted: list, live: list) -> bool:
    kind, _, text = key.partition(":")
    if kind == "v":  # an item of a set
        return (value := json.loads(text)) in wanted and value in live
    if kind != "k":
        return False
    names = json.loads(text)
    ours, theirs = _item(names, wanted), _item(names, live)
    return ours is not None and theirs is not None and _is_same(fields, ours, theirs)


def _item(names: dict, items: list) -> dict | None:
    """The one item with these keys."""
    found = [one for one in items if isinstance(one, dict) and {**DEFAULTS, **one}.items() >= names.items()]
    return found[0] if len(found) == 1 else None
