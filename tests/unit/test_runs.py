"""`airavata-runbook runs`: one row for whatever stands in outputs/."""

import json
import math

import pytest

from airavata_runbook import cli
from tests.unit.small_project import write

REPORT = {
    "started": "2026-01-01T00:00",
    "what": "run",
    "outcome": "ok",
    "plan": False,
    "seconds": 1,
    "changed": 0,
    "failed": 0,
    "chapters": [],
}


def test_runs_are_listed_newest_first_with_what_became_of_them(project, capsys):
    assert cli.main(["runs", "small"]) == 0
    assert "no runs are kept" in capsys.readouterr().out
    write(project, "01-first", 'step("one", "changed")')
    cli.main(["run", "small"])
    write(project, "02-second", "1 / 0")
    cli.main(["run", "small"])
    cli.main(["plan", "small", "--only", "01"])
    broken = project / "outputs" / "small" / "20200101T000000Z"
    broken.mkdir()
    (broken / "report.json").write_text("{")
    capsys.readouterr()
    assert cli.main(["runs", "small"]) == 0
    head, plan, failed, good, unreadable = capsys.readouterr().out.splitlines()
    assert head.startswith("run  ") and "plan" in plan and "ok" in plan
    assert "failed" in failed and failed.endswith("02-second") and " 01 to 02 " in failed and " run " in good and " 1 " in good
    assert "20200101T000000Z" in unreadable and "unreadable" in unreadable


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        "{}",
        "7",
        '"run"',
        "{",
        "[" * 100_000,
        '{"chapters": null}',
        json.dumps(REPORT | {"started": 1}),
        json.dumps(REPORT | {"seconds": math.inf}),
        json.dumps(REPORT | {"outcome": "ok\x1b[2J\nforged row"}),
        json.dumps(REPORT | {"chapters": [7]}),
    ],
)
def test_what_is_no_report_is_one_row_that_says_so(project, capsys, text):
    folder = project / "outputs" / "small" / "20260101T000000Z"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(text)
    assert cli.main(["runs", "small"]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["20260101T000000Z", "unreadable"]


def test_a_run_without_a_report_is_listed(project, capsys):
    (project / "outputs" / "small" / "20260101T000000Z").mkdir(parents=True)
    assert cli.main(["runs", "small"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["20260101T000000Z", "no", "report"]


def test_a_report_of_an_earlier_version_is_listed_with_its_own_counts(project, capsys):
    """Its errors have no kind, and who was stopped is no failure; it does not say what was asked for and set."""
    folder = project / "outputs" / "small" / "20260101T000000Z"
    folder.mkdir(parents=True)
    message = "stopped by the user\n  where:  host one"
    item = {"label": "a", "status": "failed", "summary": "", "detail": "", "command": "", "seconds": 0.0}
    step = {"chapter": "install", "step": "files", "title": "Files", "plan": False, "hosts": {"one": [item]}, "rows": []}
    step |= {"failures": [{"host": "one", "message": message, "retryable": False}], "seconds": 1.0, "started": 9.0}
    step |= {"changed": 3, "would_change": 0, "failed": 0, "stopped": 1}
    error = {"cell": 6, "source": "x", "message": "stopped by the user"}
    chapter = {"chapter": "02-install", "notebook": "02-install.ipynb", "seconds": 1.0, "steps": [step], "error": error}
    chapter |= {"changed": 3, "would_change": 0, "failed": 0}
    old = REPORT | {"outcome": "stopped", "changed": 3, "chapters": [chapter]}
    (folder / "report.json").write_text(json.dumps(old))
    assert cli.main(["runs", "small"]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row == ["20260101T000000Z", "2026-01-01", "00:00", "run", "stopped", "1.0", "s", "3", "0", "02-install"]


def test_what_a_report_says_does_not_act_on_the_terminal(project, capsys):
    folder = project / "outputs" / "small" / "20260101T000000Z"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(REPORT | {"set": {"a": "ok\x1b[2J\nforged row"}}))
    assert cli.main(["runs", "small"]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told and len(told.splitlines()) == 2 and "a=ok�[2J forged row" in told


def test_what_was_set_and_asked_for_is_listed(project, capsys):
    write(project, "01-first", "1")
    write(project, "02-second", "1")
    cli.main(["run", "small", "--only", "02", "--set", "airavata.api_replicas=3"])
    capsys.readouterr()
    cli.main(["runs", "small"])
    row = capsys.readouterr().out.splitlines()[1]
    assert " run   02 " in row and row.endswith(" airavata.api_replicas=3")


@pytest.mark.parametrize("command", ["run", "runs"])
def test_outside_a_project_the_remedy_is_told(project, tmp_path_factory, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert cli.main([command, str(project / "parameters" / "small.yaml")]) == 1
    error = capsys.readouterr().err
    assert "no project in the working directory" in error and "remedy: start in the folder that contains notebooks/" in error
