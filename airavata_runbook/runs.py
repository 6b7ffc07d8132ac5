"""The runs, plans and resets of a site that this machine has kept, newest first."""

import json
from pathlib import Path

from airavata_runbook import paths
from airavata_runbook.display import text_table
from airavata_runbook.report_page import duration
from airavata_runbook.site import Site

HEAD = ["run", "started (UTC)", "what", "outcome", "time", "changed", "failed", "stopped in"]


def reports(site: Site, project: Path | None = None) -> list[dict]:
    """The report of every run in outputs/SITE, newest first; one that cannot be read is told by `outcome` unreadable."""
    found = []
    for path in sorted(((project or paths.project_dir()) / "outputs" / site.name).glob("2*/report.json"), reverse=True):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            found.append({"run": path.parent.name, "outcome": "unreadable", "chapters": []})
    return found


def table(site: Site, project: Path | None = None) -> str:
    """The runs as a table for a terminal."""
    rows = [_row(report) for report in reports(site, project)]
    return text_table([HEAD, *rows]) if rows else f"site {site.name}: no runs are kept on this machine"


def _row(report: dict) -> list[str]:
    stopped = next((chapter["chapter"] for chapter in report["chapters"] if chapter.get("error")), "")
    changed = report.get("would_change" if report.get("plan") else "changed", "")
    return [report["run"], report.get("started", "")[:16].replace("T", " "), report.get("what", ""),
            report["outcome"], duration(report.get("seconds", 0)), str(changed), str(report.get("failed", "")), stopped]
