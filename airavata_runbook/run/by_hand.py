"""The record of what was done by hand, step by step, in notebooks: outputs/SITE/DATE-by-hand/.

steps.jsonl has each step as it began, went on and ended; report.json and report.html are made of it after each. The notebooks of
one session share a folder for as long as a day (UTC) lasts.
"""

import json
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Literal

from airavata_runbook.engine.report import Report
from airavata_runbook.local import once
from airavata_runbook.local.files import replace_link, write_file
from airavata_runbook.run import record
from airavata_runbook.run.report import ChapterReport, Outcome, RunReport, read_reports

STEPS = "steps.jsonl"
KIND: Literal["by-hand"] = "by-hand"


def keep(report: Report, project: Path, memory: Path) -> Path:
    """Add the report of a step to the record of its site; returns the record's folder.

    memory: a file of this session for the folder's name. Raises SiteError when it cannot be written.
    """
    outputs = project / "outputs" / report.site
    with record.write_errors(outputs), once.locked(memory):
        folder = _todays(outputs, memory)
        with (folder / STEPS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(report.model_dump(mode="json")) + "\n")
        steps = _newest(read_reports(folder / STEPS))
        record.write_pictures(folder, steps)
        record.write_files(folder, run_report(folder.name, steps))
    return folder


def run_report(name: str, steps: list[Report]) -> RunReport:
    """The report of such a record, with a part for each notebook; one that was left and taken up again has more than one."""
    chapters = [_chapter(notebook, list(part)) for notebook, part in groupby(steps, _notebook)]
    begin, end = steps[0].started, max(step.started + step.seconds for step in steps)
    report = RunReport(
        site=steps[0].site,
        run=name,
        what=KIND,
        started=datetime.fromtimestamp(begin, UTC).isoformat(timespec="seconds"),
        outcome=_outcome(steps),
        seconds=round(end - begin, 3),
        chapters=chapters,
    )
    report.add_up(chapters)
    return report


def _chapter(notebook: str, steps: list[Report]) -> ChapterReport:
    chapter = ChapterReport(chapter=notebook, steps=steps, seconds=round(sum(step.seconds for step in steps), 3))
    chapter.add_up(steps)
    return chapter


def _notebook(step: Report) -> str:
    """The name of the notebook in which it was run, without its suffix; where that is not known, the step's chapter."""
    return Path(step.origin.notebook).stem if step.origin and step.origin.notebook else step.chapter


def _newest(reports: list[Report]) -> list[Report]:
    """Of each step that was run its newest report, in the order in which they began."""
    found = {(one.started, one.chapter, one.step, _notebook(one)): one for one in reports}
    return sorted(found.values(), key=lambda one: one.started)


def _outcome(steps: list[Report]) -> Outcome:
    """Whether a step failed or was stopped that was not run again since."""
    last = {(step.chapter, step.step): step for step in steps}.values()
    if any(step.running for step in last):
        return "running"
    return "failed" if any(step.failed for step in last) else "stopped" if any(step.stopped for step in last) else "ok"


def _todays(outputs: Path, memory: Path) -> Path:
    name = memory.read_text() if memory.is_file() else ""
    if name.startswith(datetime.now(UTC).strftime("%Y%m%d")) and (outputs / name).is_dir():
        return outputs / name
    folder = record.new_folder(outputs, f"-{KIND}")
    write_file(memory, folder.name.encode())
    replace_link(outputs / f"latest-{KIND}", folder.name)
    return folder
