"""The runs, plans and resets of a site, and what was done by hand, as kept on this machine, newest first."""

import json
from pathlib import Path

from airavata_runbook.errors import printable
from airavata_runbook.local import paths
from airavata_runbook.local.colours import painted
from airavata_runbook.local.terminal import duration, text_table
from airavata_runbook.run import page
from airavata_runbook.run.report import RunReport
from airavata_runbook.site import Site

HEAD = ["run", "started (UTC)", "what", "chapters", "outcome", "time", "changed", "failed", "stopped in", "set"]
OUTCOME = HEAD.index("outcome")


def table(site: Site) -> str:
    """The runs in outputs/SITE as a table for a terminal; a run whose report is missing or unreadable is listed as such.

    Raises SiteError outside a project.
    """
    outputs = paths.project_dir() / "outputs" / site.name
    rows = [_row(folder) for folder in sorted(outputs.glob("2*/"), reverse=True)]
    return text_table([HEAD, *rows]) if rows else f"site {site.name}: no runs are kept on this machine"


def _row(folder: Path) -> list[str]:
    try:
        text = (folder / "report.json").read_text(encoding="utf-8")
        cells = _cells(RunReport.model_validate(json.loads(text)))
    except FileNotFoundError:
        cells = ["", "", "", "no report"]
    except (OSError, ValueError, RecursionError):  # RecursionError: deeply nested JSON
        cells = ["", "", "", "unreadable"]
    row = [printable(" ".join(cell.split())) for cell in (folder.name, *cells)]
    row += [""] * (len(HEAD) - len(row))
    row[OUTCOME] = painted(row[OUTCOME], row[OUTCOME])
    return row


def _cells(report: RunReport) -> list[str]:
    chapters = sorted(chapter.chapter for chapter in report.chapters) if report.what == "by-hand" else report.asked
    asked = [chapter.partition("-")[0] for chapter in chapters]
    return [
        report.started[:16].replace("T", " "),
        report.what,
        " to ".join(dict.fromkeys([*asked[:1], *asked[-1:]])),
        report.outcome,
        duration(report.seconds),
        str(report.would_change if report.plan else report.changed),
        str(report.failed),
        next((chapter.chapter for chapter in report.chapters if chapter.error), ""),
        page.settings(report.set),
    ]
