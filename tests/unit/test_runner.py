"""Headless runs with small notebooks: what stands in outputs/ and on the terminal afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from airavata_runbook import cli, report_page, runner
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.run_progress import ChapterProgress
from airavata_runbook.site import Site

SITE = """
site:
  name: small
  nodes: [{name: one, address: 192.0.2.11, role: master, ssh: {host: 127.0.0.1, port: 1}}]  # nobody answers there
  airavata: {secrets: {canary: "env:CANARY"}}
"""
FIRST = ("site = None\nplan = False", "from airavata_runbook import Site\nsite = Site.load(site); site")
STEP = """from airavata_runbook.report import Failure, Item, Report
from airavata_runbook.step import finish
def step(title, *statuses, failures=()):
    items = [Item(f"item {n}", status, "summary", "- old\\n+ <new>", "echo done") for n, status in enumerate(statuses)]
    failures = [Failure("one", message) for message in failures]
    return finish(Report("small", title, title, plan, {"one": items}, failures, seconds=0.1))"""


def write(folder: Path, name: str, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")])
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in (*FIRST, STEP, *cells)]
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a site `small` and no notebooks yet; the working directory is inside it."""
    for name in ("notebooks", "parameters"):
        (tmp_path / name).mkdir()
    (tmp_path / "parameters" / "small.yaml").write_text(SITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_SITE", "not-this-one")
    monkeypatch.setenv("CANARY", "canary-value-6f1d")
    return tmp_path


def report_of(project: Path) -> dict:
    return json.loads((project / "outputs" / "small" / "latest" / "report.json").read_text())


def outputs_of(project: Path, name: str) -> str:
    cells = nbformat.read(project / "outputs" / "small" / "latest" / f"{name}.ipynb", as_version=4).cells
    return "".join(str(cell.get("outputs", "")) for cell in cells)


def test_chapters_in_order_with_sums_and_what_was_set(project, capsys):
    write(project, "02-second", 'step("later", "ok", "ok")', "print('replicas', site.airavata.api_replicas)")
    write(project, "01-first", 'step("one", "changed", "ok")\nstep("two", "changed", "skipped")',
          "import os; print('named', os.environ.get('AIRAVATA_RUNBOOK_SITE', 'nothing'), 'in', os.getcwd())")
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


def test_a_failing_chapter_ends_the_run_with_one_message(project, capsys):
    write(project, "01-first", 'step("one", "changed")')
    write(project, "02-second", 'report = step("two", "changed", "failed", failures=["disk full, <b>mend</b>"])',
          'print("after")')
    write(project, "03-third", 'step("three", "ok")')
    assert cli.main(["run", "small"]) == 1

    message = capsys.readouterr().err
    assert "chapter 02-second failed in cell 5 of notebooks/02-second.ipynb" in message
    assert 'report = step("two"' in message and "disk full" in message
    assert not any(word in message for word in ("Traceback", "papermill", "not foreseen"))
    report = report_of(project)
    assert [chapter["chapter"] for chapter in report["chapters"]] == ["01-first", "02-second"]
    assert (report["outcome"], report["changed"], report["failed"]) == ("failed", 2, 1)
    assert report["chapters"][1]["error"]["cell"] == 5 and "disk full" in report["chapters"][1]["error"]["message"]
    assert "disk full" in outputs_of(project, "02-second") and "'text': 'after" not in outputs_of(project, "02-second")
    page = (project / "outputs" / "small" / "latest" / "report.html").read_text()
    assert "disk full, &lt;b&gt;mend" in page and "<b>mend" not in page


def test_an_unforeseen_error_and_a_dead_kernel_name_their_cell(project):
    write(project, "01-first", "1 / 0")
    with pytest.raises(StepFailed, match=r"(?s)cell 5 of.*1 / 0.*ZeroDivisionError.*not foreseen"):
        runner.run("small")
    assert report_of(project)["failed"] == 1
    write(project, "01-first", 'step("one", "ok")', "import os; os._exit(7)")
    with pytest.raises(StepFailed, match=r"(?s)cell 6 of.*os\._exit.*kernel"):
        runner.run("small")
    assert [step["title"] for step in report_of(project)["chapters"][0]["steps"]] == ["one"]


def test_latest_is_the_newest_run_and_older_ones_stay(project):
    write(project, "01-first", 'step("one", "ok")')
    first, second = runner.run("small"), runner.run("small")
    outputs = project / "outputs" / "small"
    assert sorted(path.name for path in outputs.iterdir() if not path.name.startswith(".")) == \
        [first["run"], second["run"], "latest"]
    assert first["run"] < second["run"]
    assert (outputs / "latest").readlink() == Path(second["run"])


def test_a_plan_is_handed_to_the_notebooks_and_kept_apart(project, capsys):
    write(project, "01-first", 'step("one", "would change") if plan else step("one", "changed")',
          "import os; print('for steps:', os.environ.get('AIRAVATA_RUNBOOK_PLAN'))")
    runner.run("small")
    assert cli.main(["plan", "small"]) == 0
    plan = json.loads((project / "outputs" / "small" / "latest-plan" / "report.json").read_text())
    assert (plan["plan"], plan["changed"], plan["would_change"]) == (True, 0, 1)
    told = capsys.readouterr().out
    assert "Plan: one (1 host: 1 would change)\n  one\n    ~ item 0: summary\n        - old\n        + <new>\n" in told
    assert report_of(project)["changed"] == 1
    assert "for steps: None" in outputs_of(project, "01-first")


@pytest.mark.parametrize("words, executed", [
    (["--from", "2"], ["02-second", "03-third-part"]),
    (["--from", "third_part"], ["03-third-part"]),
    (["--only", "01-first"], ["01-first"]),
    (["--to", "02"], ["01-first", "02-second"]),
    (["--from", "2", "--to", "second"], ["02-second"]),
])
def test_part_of_the_chapters(project, words, executed, monkeypatch):
    for name in ("01-first", "02-second", "03-third-part"):
        write(project, name)
    ran = []
    monkeypatch.setattr(runner.notebook, "execute", lambda path, *rest: ran.append(path.stem))
    assert cli.main(["run", "small", *words]) == 0
    assert ran == executed


@pytest.mark.parametrize("words, told", [
    (["--set", "airavata.replicas=2"], "airavata.replicas"),
    (["--set", "airavata"], "FIELD=VALUE"),
    (["--set", "registry.password=hunter2hunter2"], "registry.password"),
    (["--from", "07"], "there is no chapter '07'"),
    (["--only", "01", "--to", "01"], "--only goes neither"),
])
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
    assert "no chapter lies between" in capsys.readouterr().err


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
    assert "failed" in failed and failed.endswith("02-second") and " run " in good and " 1 " in good
    assert "20200101T000000Z" in unreadable and "unreadable" in unreadable


def test_no_notebooks_is_an_error(project):
    with pytest.raises(SiteError, match="no notebooks"):
        runner.run("small")


def test_secrets_stay_references(project):
    write(project, "01-first", "from airavata_runbook.vault import vault_of",
          "known = vault_of(site).secret(site.airavata.secrets['canary']); step('one', 'ok')", "len(known)")
    runner.run("small")
    assert "17" in outputs_of(project, "01-first")  # the notebook itself could read it
    files = [path for path in (project / "outputs").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"canary-value" in path.read_bytes()]


def test_the_site_that_a_notebook_gets_is_the_one_that_was_checked(project):
    write(project, "01-first", "print('same', site.model_dump_json())")
    runner.run("small", {"network.pods": "10.60.0.0/16"})
    assert Site.load("small", {"network.pods": "10.60.0.0/16"}).model_dump_json() in outputs_of(project, "01-first")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_kernel_and_keeps_what_was_done(project, end):
    write(project, "01-first", 'step("one", "changed")',
          "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-m", "airavata_runbook.cli", "run", "small"], stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, start_new_session=True,
                               # A shell without job control starts what it puts in the background with Ctrl-C ignored.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_for(lambda: (project / "pid").is_file() and (project / "pid").read_text())
    process.send_signal(end)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in error, error
    wait_for(lambda: not Path("/proc", (project / "pid").read_text()).exists())
    report = report_of(project)
    assert (report["outcome"], report["changed"], report["chapters"][0]["error"]["cell"]) == ("stopped", 1, 6)


def wait_for(done) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.05)


def test_bare_papermill_works_on_a_site_file(project):
    write(project, "01-first", "print('the site is', site.name)")
    environment = {name: value for name, value in os.environ.items() if name != "AIRAVATA_RUNBOOK_SITE"}
    subprocess.run([Path(sys.executable).with_name("papermill"), "notebooks/01-first.ipynb", "out.ipynb", "-k", "python3",
                    "-l", "python", "-f", "parameters/small.yaml"], check=True, capture_output=True, env=environment)
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
    step = {"title": "Packages", "hosts": {"one": [{"status": "changed"}, {"status": "ok"}]}, "failed": 0, "seconds": 4.21}
    with ChapterProgress("02-install", record, stream):
        record.write_text(json.dumps(step) + "\n" + '{"title": "half')
        wait_for(lambda: "4.2 s" in stream.text)
    assert "\n" in stream.text and "  Packages: 1 changed, 1 ok (4.2 s)\n" in stream.text
    assert "half" not in stream.text


def test_the_page_stands_alone():
    item = {"label": "/etc/x", "status": "changed", "summary": "", "detail": "- a\n+ <script>", "command": "", "seconds": 0.2}
    chapter = {"chapter": "01-a", "notebook": "01-a.ipynb", "seconds": 75.0, "changed": 1, "would_change": 0, "failed": 0,
               "error": None, "steps": [{"title": "Files", "hosts": {"one": [item]}, "failures": [], "rows": [["a"], ["b"]],
                                         "failed": 0, "started": 9.0, "seconds": 3.0}]}
    page = report_page.render({"site": "small", "run": "r", "what": "run", "plan": False, "started": "s", "outcome": "ok",
                               "seconds": 80.4, "changed": 1, "would_change": 0, "failed": 0, "chapters": [chapter]})
    assert "1 chapter in 1 min 20 s: 1 changed, 0 failed" in page
    assert "&lt;script&gt;" in page and "<script" not in page
    assert "http://" not in page and "https://" not in page and "src=" not in page
    assert "prefers-color-scheme: dark" in page and "Timeline" in page


def test_the_timeline_places_steps_by_when_they_ran_and_how_long():
    steps = [{"title": "one", "started": 100.0, "seconds": 1.0, "failed": 0}, {"title": "two", "started": 103.0, "seconds": 1.0,
                                                                               "failed": 1}]
    bars = report_page.timeline({"chapters": [{"chapter": "01", "steps": steps[:1]}, {"chapter": "02", "steps": steps[1:]}]})
    assert [(bar["title"], bar["left"], bar["width"], bar["failed"]) for bar in bars] == [("one", 0, 25, 0), ("two", 75, 25, 1)]
    assert report_page.timeline({"chapters": []}) == []
