"""Headless runs with small notebooks: what stands in outputs/ and on the terminal afterwards."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airavata_runbook import cli
from airavata_runbook.engine.report import Failure, Item, Report
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.run import notebook, runner
from airavata_runbook.run.progress import ChapterProgress
from airavata_runbook.site import Site
from tests.unit.small_project import outputs_of, report_of, wait_for, write


def test_chapters_in_order_with_sums_and_what_was_set(project, capsys):
    write(project, "02-second", 'step("later", "ok", "ok")', "print('replicas', site.airavata.api_replicas)")
    write(
        project,
        "01-first",
        'step("one", "changed", "ok")\nstep("two", "changed", "skipped")',
        "import os; print('named', os.environ.get('AIRAVATA_RUNBOOK_SITE', 'nothing'), 'in', os.getcwd())",
    )
    assert cli.main(["run", "small", "--set", "airavata.api_replicas=3"]) == 0

    report = report_of(project)
    assert [chapter["chapter"] for chapter in report["chapters"]] == ["01-first", "02-second"]
    assert [[step["title"] for step in chapter["steps"]] for chapter in report["chapters"]] == [["one", "two"], ["later"]]
    assert (report["site"], report["changed"], report["failed"], report["outcome"]) == ("small", 2, 0, "ok")
    assert [chapter["changed"] for chapter in report["chapters"]] == [2, 0]
    assert 0 < sum(chapter["seconds"] for chapter in report["chapters"]) <= report["seconds"] + 0.01
    assert "replicas 3" in outputs_of(project, "02-second")
    assert f"named nothing in {project}" in outputs_of(project, "01-first")
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 5  # the site, a line a chapter, the verdict, where the report is
    assert told[1].startswith("01-first") and " s " in told[1] and "2 changed" in told[1]
    assert (project / told[4]).is_file()


def test_the_saved_notebook_shows_what_is_executed_while_it_is(project):
    """Who opens it, or finds it after a crash, sees the outputs so far and which cell has started."""
    look = """import json, time
end, statuses = time.monotonic() + 10, [""]
while statuses[-1] != "running" and time.monotonic() < end:
    try:
        cells = json.load(open("outputs/small/latest/01-first.ipynb"))["cells"]
    except ValueError:  # it is being written
        continue
    statuses = [cell["metadata"]["papermill"]["status"] for cell in cells if cell["cell_type"] == "code"]
    time.sleep(0.05)
print("statuses", statuses, cells[-2]["outputs"][0]["text"])"""
    write(project, "01-first", "print('said before')", look)
    assert cli.main(["run", "small"]) == 0
    shown = outputs_of(project, "01-first")
    assert "'running'] ['said before" in shown and "'pending'" not in shown


BACKED_UP = """from airavata_runbook.wellknown import DATABASE_BACKUP
backup = Item(label=DATABASE_BACKUP, status="STATUS")
finish(Report(chapter="small", step="backing", title="Databases", plan=plan, hosts={"one": [backup]}))"""


@pytest.mark.parametrize("status, named", [("changed", True), ("ok", False)])
def test_a_run_that_upgraded_airavata_and_fails_names_the_way_back(project, capsys, status, named):
    write(project, "05-deploy", BACKED_UP.replace("STATUS", status))
    write(project, "06-verify", 'step("servers", failures=["it refused the call"])')
    assert cli.main(["run", "small"]) == 1
    message = capsys.readouterr().err
    assert "it refused the call" in message
    assert ("back to the release before: airavata-runbook rollback small\n" in message) == named


def test_a_failing_chapter_ends_the_run_with_one_message(project, capsys):
    write(project, "01-first", 'step("one", "changed")')
    write(
        project, "02-second", 'report = step("two", "changed", "failed", failures=["disk full, <b>mend</b>"])', 'print("after")'
    )
    write(project, "03-third", 'step("three", "ok")')
    assert cli.main(["run", "small"]) == 1

    message = capsys.readouterr().err
    assert "chapter 02-second failed in cell 5 of notebooks/02-second.ipynb" in message
    assert 'report = step("two"' in message and "disk full" in message and "Later chapters were not run. Exec" in message
    assert not any(word in message for word in ("Traceback", "papermill", "unexpected"))
    report = report_of(project)
    assert [chapter["chapter"] for chapter in report["chapters"]] == ["01-first", "02-second"]
    assert (report["outcome"], report["changed"], report["failed"]) == ("failed", 2, 1)
    assert report["chapters"][1]["error"]["cell"] == 5 and "disk full" in report["chapters"][1]["error"]["message"]
    assert "disk full" in outputs_of(project, "02-second") and "'text': 'after" not in outputs_of(project, "02-second")
    page = (project / "outputs" / "small" / "latest" / "report.html").read_text()
    assert "disk full, &lt;b&gt;mend" in page and "<b>mend" not in page
    assert "Later chapters were not run: 03-third." in page and "(--from 02 begins at 02-second)" in page


def test_an_unforeseen_error_and_a_dead_kernel_name_their_cell(project):
    write(project, "01-first", "1 / 0")
    with pytest.raises(StepFailed, match=r"(?s)cell 5 of.*1 / 0.*ZeroDivisionError.*unexpected") as failed:
        runner.run("small")
    assert "Later chapters" not in str(failed.value)
    assert report_of(project)["failed"] == 1
    write(project, "01-first", 'step("one", "ok")', "import os; os._exit(7)")
    with pytest.raises(StepFailed, match=r"(?s)cell 6 of.*os\._exit.*kernel"):
        runner.run("small")
    assert [step["title"] for step in report_of(project)["chapters"][0]["steps"]] == ["one"]


@pytest.mark.parametrize("error", ["SiteError", "HostUnreachable", "StepFailed"])
def test_an_error_of_the_runbook_is_known_by_its_type_and_shown_as_it_is(project, error):
    write(project, "01-first", f"from airavata_runbook.errors import {error}", f"raise {error}('no luck', remedy='try again')")
    with pytest.raises(StepFailed) as failed:
        runner.run("small")
    assert "\nno luck\n  remedy: try again\n" in str(failed.value) and "unexpected" not in str(failed.value)


def test_a_foreign_error_that_renders_itself_like_one_of_the_runbook_stays_unexpected(project):
    write(
        project,
        "01-first",
        "class Foreign(Exception):\n    def _render_traceback_(self):\n        return [f'Foreign: {self}']",
        "raise Foreign('no luck')",
    )
    with pytest.raises(StepFailed, match=r"(?s)Foreign: no luck\nThis error is unexpected"):
        runner.run("small")


def test_latest_is_the_newest_run_and_older_ones_stay(project):
    write(project, "01-first", 'step("one", "ok")')
    first, second = runner.run("small").run, runner.run("small").run
    outputs = project / "outputs" / "small"
    assert sorted(path.name for path in outputs.iterdir() if not path.name.startswith(".")) == [
        first,
        second,
        "latest",
    ]
    assert first < second
    assert (outputs / "latest").readlink() == Path(second)


def test_a_plan_is_handed_to_the_notebooks_and_kept_apart(project, capsys, monkeypatch):
    write(
        project,
        "01-first",
        'step("one", "would change") if plan else step("one", "changed")',
        "import os; print('for steps:', os.environ.get('AIRAVATA_RUNBOOK_PLAN'), os.environ.get('AIRAVATA_RUNBOOK_PLANNED'))",
        "from airavata_runbook.engine import planned; planned.share('one', {'/etc/x'})",
    )
    write(project, "02-second", "from airavata_runbook.engine import planned; print('known:', planned._of_other_kernels('one'))")
    monkeypatch.setenv("AIRAVATA_RUNBOOK_PLANNED", "of somebody else")
    runner.run("small")
    assert cli.main(["plan", "small"]) == 0
    plan = json.loads((project / "outputs" / "small" / "latest-plan" / "report.json").read_text())
    assert (plan["plan"], plan["changed"], plan["would_change"]) == (True, 0, 1)
    told = capsys.readouterr().out
    assert "Plan: one (1 host: 1 would change)\n  one\n    ~ item 0: summary\n        - old\n        + <new>\n" in told
    assert report_of(project)["changed"] == 1
    assert "for steps: None None" in outputs_of(project, "01-first") and "known: set()" in outputs_of(project, "02-second")
    assert "known: {'/etc/x'}" in outputs_of(project, "02-second", "latest-plan").replace("\\", "")


@pytest.mark.parametrize(
    "words, executed",
    [
        (["--from", "2"], ["02-second", "03-third-part"]),
        (["--from", "third_part"], ["03-third-part"]),
        (["--only", "01-first"], ["01-first"]),
        (["--to", "02"], ["01-first", "02-second"]),
        (["--from", "2", "--to", "second"], ["02-second"]),
    ],
)
def test_part_of_the_chapters(project, words, executed, monkeypatch):
    for name in ("01-first", "02-second", "03-third-part"):
        write(project, name)
    ran = []
    monkeypatch.setattr(notebook, "execute", lambda path, *rest: ran.append(path.stem))
    assert cli.main(["run", "small", *words]) == 0
    assert ran == executed


@pytest.mark.parametrize(
    "words, told",
    [
        (["--set", "airavata.replicas=2"], "airavata.replicas"),
        (["--set", "airavata"], "FIELD=VALUE"),
        (["--set", "registry.password=hunter2hunter2"], "registry.password"),
        (["--from", "07"], "no chapter '07'"),
        (["--only", "01", "--to", "01"], "--only cannot be combined"),
        (["--only", ""], "no chapter ''"),
        (["--from", ""], "no chapter ''"),
        (["--to", ""], "no chapter ''"),
        (["--only", "01", "--from", ""], "--only cannot be combined"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_executed(project, words, told, capsys):
    write(project, "01-first", 'step("one", "ok")')
    assert cli.main(["run", "small", *words]) == 1
    error = capsys.readouterr().err
    assert told in error and "hunter2" not in error
    assert not list(project.glob("outputs/small/2*"))


def test_chapters_that_end_before_they_begin_are_refused(project, capsys):
    write(project, "01-first")
    write(project, "02-second")
    assert cli.main(["run", "small", "--from", "02", "--to", "01"]) == 1
    assert "the first chapter is after the last" in capsys.readouterr().err


def test_no_notebooks_is_an_error(project):
    with pytest.raises(SiteError, match="no notebooks"):
        runner.run("small")


def test_secrets_stay_references(project):
    write(
        project,
        "01-first",
        "from airavata_runbook.cluster.session import session_of",
        "known = session_of(site).vault.secret(site.airavata.secrets['mariadb-root']); step('one', 'ok')",
        "len(known)",
    )
    runner.run("small")
    assert "17" in outputs_of(project, "01-first")  # the notebook itself could read it
    files = [path for path in (project / "outputs").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"canary-value" in path.read_bytes()]


def test_the_site_that_a_notebook_gets_is_the_one_that_was_checked(project):
    write(project, "01-first", "print('same', site.model_dump_json())")
    runner.run("small", {"network.pods": "10.60.0.0/16"})
    assert Site.load("small", {"network.pods": "10.60.0.0/16"}).model_dump_json() in outputs_of(project, "01-first")


def test_bare_papermill_works_on_a_site_file(project):
    write(project, "01-first", "print('the site is', site.name)")
    environment = {name: value for name, value in os.environ.items() if name != "AIRAVATA_RUNBOOK_SITE"}
    subprocess.run(
        [
            Path(sys.executable).with_name("papermill"),
            "notebooks/01-first.ipynb",
            "out.ipynb",
            "-k",
            "python3",
            "-l",
            "python",
            "-f",
            "parameters/small.yaml",
        ],
        check=True,
        capture_output=True,
        env=environment,
    )
    assert "the site is small" in (project / "out.ipynb").read_text()


class Terminal:
    """A stream that says it is a terminal and keeps what is written."""

    def __init__(self):
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_a_terminal_sees_each_step_as_it_ends(tmp_path):
    stream, record = Terminal(), tmp_path / "steps.jsonl"
    items = [Item(label="etcd", status="changed"), Item(label="containerd", status="ok")]
    step = Report(chapter="install", step="packages", title="Packages", plan=False, hosts={"one": items}, seconds=4.21)
    step.failures = [Failure(host="two", message="a path that is no UTF-8: \udcff")]
    with ChapterProgress("02-install", record, stream):
        record.write_text(json.dumps(step.model_dump(mode="json")) + "\n" + '{"title": "half')
        wait_for(lambda: "4.2 s" in stream.text)
    assert "\n" in stream.text and "  Packages: FAILED: 1 changed, 1 ok (4.2 s)\n" in stream.text
    assert "half" not in stream.text


@pytest.mark.parametrize(("stream", "line"), [(Terminal(), "\r  02-install, 0 s: Packages, 3 s: one 1/4"), (io.StringIO(), "")])
def test_a_run_shows_what_a_step_is_doing(tmp_path, stream, line):
    """On a terminal at once; in a log when some seconds have passed."""
    record = tmp_path / "02-install.jsonl"
    doing = tmp_path / "02-install.doing"
    with ChapterProgress("02-install", record, stream) as chapter:
        doing.write_text("Packages, 3 s: one 1/4\n")
        if not line:
            chapter.line.printed -= 60
        text = (lambda: stream.text) if line else stream.getvalue
        wait_for(lambda: "Packages" in text())
    assert (line in text()) if line else text() == "  02-install, 0 s: Packages, 3 s: one 1/4\n"
    assert not doing.exists()


def test_a_reset_is_of_the_site_that_was_run(project, monkeypatch):
    seen = []
    monkeypatch.setattr("airavata_runbook.run.reset.reset", lambda site, data, yes, settings: seen.append((site, settings)))
    assert cli.main(["reset", "small", "--yes", "--set", "network.pods=10.60.0.0/16"]) == 0
    assert seen == [(Site.load("small", wanted := {"network.pods": "10.60.0.0/16"}), wanted)]
