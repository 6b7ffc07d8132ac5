"""What is kept of a run: whole at any moment, or one message that says why it cannot be."""

import errno
import json
import os
import resource
import subprocess
import sys

import pytest

from airavata_runbook import cli
from airavata_runbook.errors import SiteError
from airavata_runbook.run import record as run_record
from airavata_runbook.run.record import RunRecord
from airavata_runbook.run.report import ChapterError
from tests.unit.small_project import report_of, write


def test_a_place_that_cannot_be_written_is_told_before_anything_is_executed(project, capsys):
    write(project, "01-first", 'open("executed", "w")')
    (project / "outputs").write_text("a file, where a folder belongs")
    assert cli.main(["run", "small"]) == 1
    error = capsys.readouterr().err
    assert "the run's record could not be written" in error and f"{project}/outputs/small" in error and "Not a directory" in error
    assert "remedy: check that the disk has free space" in error and not (project / "executed").exists()


def test_a_disk_that_is_full_is_told_in_one_message(project):
    write(project, "01-first", "1")
    done = subprocess.run(
        [sys.executable, "-m", "airavata_runbook.cli", "run", "small"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the run's record could not be written" in done.stderr and "File too large" in done.stderr


def test_a_disk_that_fills_up_while_a_chapter_is_executed(project, capsys, monkeypatch):
    write(project, "01-first", 'step("one", "changed")')

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("airavata_runbook.run.notebook.execute_notebook", full)
    assert cli.main(["run", "small"]) == 1
    error = capsys.readouterr().err
    assert "the run's record could not be written" in error and "No space left on device" in error
    report = report_of(project)
    assert (report["outcome"], report["failed"]) == ("failed", 1)
    assert "No space left on device" in report["chapters"][0]["error"]["message"]


def test_an_unexpected_error_is_in_the_record(project, monkeypatch):
    write(project, "01-first", 'step("one", "changed")')

    def broken(*_, **__):
        raise LookupError("no such thing")

    monkeypatch.setattr("airavata_runbook.run.notebook.execute_notebook", broken)
    with pytest.raises(LookupError):
        cli.main(["run", "small"])
    report = report_of(project)
    assert (report["outcome"], report["chapters"][0]["error"]["message"]) == ("failed", "LookupError: no such thing")


def test_a_record_that_cannot_be_replaced_stays_whole(project, monkeypatch):
    record = RunRecord("small", project)

    def full(path, text):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(run_record, "replace_file", full)
    with pytest.raises(SiteError, match="quota"):
        record.write("ok")
    assert report_of(project)["outcome"] == "running"


def test_half_a_character_does_not_keep_a_record_from_being_written(project):
    record = RunRecord("small", project)
    chapter = record.begin("01-first")
    chapter.error = ChapterError(cell=1, message="the host said \ud800")
    record.finish(chapter, [], 1.0)
    record.write("failed")
    assert "the host said �" in (record.folder / "report.html").read_text(encoding="utf-8")


def test_a_record_is_the_same_whatever_the_locale(project):
    script = (
        "from pathlib import Path; from airavata_runbook.run.record import RunRecord\n"
        "record = RunRecord('small', Path('.')); record.begin('01-gr\\u00fcn'); record.write('ok'); print(record.folder)"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    )
    page = (project / done.stdout.strip() / "report.html").read_text(encoding="utf-8")
    assert "01-grün" in page


def test_what_was_asked_for_and_set_is_kept_and_shown(project):
    for name in ("01-first", "02-second", "03-third"):
        write(project, name, "1")
    words = ["--from", "2", "--set", "airavata.api_replicas=3", "--set", "network.pods=10.60.0.0/16"]
    assert cli.main(["run", "small", *words]) == 0
    report = report_of(project)
    assert report["asked"] == ["02-second", "03-third"]
    assert report["set"] == {"airavata.api_replicas": 3, "network.pods": "10.60.0.0/16"}
    page = (project / "outputs" / "small" / "latest" / "report.html").read_text()
    assert "02-second, 03-third; set: airavata.api_replicas=3, network.pods=10.60.0.0/16" in page
    assert json.dumps(report)
