"""The JSON Schema of a site file, generated from the model: editors complete and check with it."""

import json
from pathlib import Path

from airavata_runbook.site import Site

FILE = Path("parameters") / "site.schema.json"  # committed; a test keeps it current


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
