"""The JSON Schema of a site file, generated from the model: editors complete and check with it."""

import json
from pathlib import Path

from airavata_runbook.site import Site
from airavata_runbook.site.life import lives

FILE = Path("parameters") / "site.schema.json"  # committed; a test keeps it current
FIELDS = Path("parameters") / "fields.md"  # committed too
FIELDS_HEAD = """# The fields of a site file, and when they may change

Before the site exists every field is free. `nodes.ssh.…` is as `ssh.…`, for one host. A change that a site that exists does not
take is a finding of `airavata-runbook check`, with the old value and what to do, before anything is touched.
Generated: `airavata-runbook schema --fields > parameters/fields.md`.

| field | may change | why, or how |
|---|---|---|"""


def schema_text() -> str:
    """The schema as the file holds it. What is true only of several fields together is left to Site.load."""
    site = Site.model_json_schema(ref_template="#/$defs/{model}")
    parts = site.pop("$defs")
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A site of airavata-runbook",
        "type": "object",
        "required": ["site"],
        "additionalProperties": False,
        "properties": {"site": {"$ref": "#/$defs/Site"}},
        "$defs": {**parts, "Site": site},
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def fields_text() -> str:
    """A Markdown table of all fields and when they may change. Raises ValueError for a field that does not say so."""
    rows = {field: mark for field, mark in lives().items() if not field.startswith("nodes.ssh.")}
    if silent := [field for field, mark in rows.items() if mark is None]:
        raise ValueError(f"{', '.join(silent)}: no life")
    lines = [f"| `{field}` | {mark.kind} | {mark.why} |" for field, mark in rows.items() if mark]
    return "\n".join([FIELDS_HEAD, *lines]) + "\n"
