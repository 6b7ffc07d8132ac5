"""The runs, plans and resets of a site that this machine has kept, newest first."""

import json
from pathlib import Path

from airavata_runbook.errors import printable
from airavata_runbook.local.terminal import text_table
from airavata_runbook.run import page as report_page
from airavata_runbook.run import record as run_record
from airavata_runbook.site import Site

HEAD = ["run", "started (UTC)", "what", "chapters", "outcome", "time", "changed", "failed", "stopped in", "set"]


def table(site: Site, project: Path | None = None) -> str:
    """The runs in outputs/SITE as a table for a terminal; one whose report is missing or cannot be read says so.

    Raises SiteError outside a project.
    """
    outputs = (project or run_record.project()) / "outputs" / site.name
    rows = [_row(folder) for folder in sorted(outputs.glob("2*/"), reverse=True)]
    return text_table([HEAD, *rows]) if rows else f"site {site.name}: no runs are kept on this machine"


def _row(folder: Path) -> list[str]:
    try:
        cells = _cells(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        cells = ["", "", "", "no report"]
    except Exception:  # of whatever stands there instead of a report: the row says so
        cells = ["", "", "", "unreadable"]
    row = [printable(" ".join(str(cell).split())) for cell in (folder.name, *cells)]
    return row + [""] * (len(HEAD) - len(row))


def _cells(report: dict) -> list[object]:
    asked = [chapter.partition("-")[0] for chapter in report.get("asked", [])]
    stopped = next((chapter["chapter"] for chapter in report["chapters"] if chapter["error"]), "")
    return [
        report["started"][:16].replace("T", " "),
        report["what"],
        " to ".join(dict.fromkeys([*asked[:1], *asked[-1:]])),
        report["outcome"],
        report_page.duration(report["seconds"]),
        report["would_change" if report["plan"] else "changed"],
        report["failed"],
        stopped,
        report_page.settings({"set": report.get("set", {})}),
    ]
