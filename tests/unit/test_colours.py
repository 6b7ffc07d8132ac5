"""Colours of statuses: on a terminal only, and as https://no-color.org and https://bixense.com/clicolors say."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airavata_runbook import cli
from airavata_runbook.checks.preflight import format_findings
from airavata_runbook.checks.types import Finding
from airavata_runbook.engine.report import Item, Report, Status, report_text
from airavata_runbook.local.colours import STYLES, painted
from airavata_runbook.local.terminal import SGR, text_table

PROJECT = Path(__file__).parents[2]
VARIABLES = ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR")


class Stream(io.StringIO):
    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture(autouse=True)
def neutral(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(
    "terminal, variables, coloured",
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),  # "when present and not an empty string"
        (True, {"CLICOLOR": "0"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"CLICOLOR_FORCE": "1"}, True),
        (False, {"CLICOLOR_FORCE": "0"}, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_where_a_status_has_its_colour(monkeypatch, terminal, variables, coloured):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = painted("FAILED", "failed", Stream(terminal))
    assert ("\x1b[" in text) == coloured and SGR.sub("", text) == "FAILED"


def test_every_status_of_a_report_but_the_quiet_ones_differs_from_another():
    assert {status.value for status in Status} <= STYLES.keys()
    assert len({STYLES[status] for status in ("changed", "would change", "failed", "skipped")}) == 4


def test_columns_of_a_table_are_aligned_with_colours_and_without():
    rows = [["site", "outcome", "time"], ["a", "\x1b[32mok\x1b[0m", "1 s"], ["b", "\x1b[1;31mfailed\x1b[0m", "2 s"]]
    plain = [[SGR.sub("", cell) for cell in row] for row in rows]
    assert SGR.sub("", text_table(rows)) == text_table(plain)


def test_a_reports_own_text_has_no_colours_and_that_for_a_terminal_has_them(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    evil = Item(label="file\x1b[31m", status=Status.CHANGED, detail="\x1b[2J")
    report = Report(chapter="c", step="s", title="Files", plan=False, hosts={"one": [evil]})
    assert "\x1b" not in str(report) and str(report) == report_text(report)
    shown = report_text(report, painted)
    assert "\x1b[32m+ file�[31m\x1b[0m" in shown and "\x1b[2J" not in shown and SGR.sub("", shown) == str(report)


def test_findings_for_a_terminal_say_by_colour_which_fail(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    findings = [Finding("swap", "one", "found", "needed", "remedy", ignored=ignored) for ignored in (False, True)]
    failed, ignored = format_findings(findings, painted).splitlines()[::3]
    assert failed.startswith("\x1b[1;31mswap") and not ignored.startswith("\x1b[1;31m")
    assert "\x1b" not in format_findings(findings)


def test_an_error_is_red_on_a_terminal_only(monkeypatch, capsys):
    assert cli.main(["check", "no-such-site", "--offline"]) == 1
    assert capsys.readouterr().err.startswith("airavata-runbook: unknown site")
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert cli.main(["check", "no-such-site", "--offline"]) == 1
    assert capsys.readouterr().err.startswith("\x1b[1;31mairavata-runbook:\x1b[0m unknown site")


def test_a_notebooks_outputs_never_have_colours():
    script = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.kernel = object()
from airavata_runbook.local.colours import painted
print(repr(painted("ok", "ok")))"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "FORCE_COLOR": "1", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "'ok'"
