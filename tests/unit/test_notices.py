"""What keeps a step waiting is known while it goes on: to who steps through a notebook, at a terminal, and in the report."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from airavata_runbook.cluster import causes
from airavata_runbook.cluster.causes import RULES, Cause, Patience
from airavata_runbook.engine.report import Report
from airavata_runbook.engine.step import step
from airavata_runbook.kernel_env import LOCK_HELD, REPORT_FILE
from airavata_runbook.local.step_progress import step_progress
from airavata_runbook.resources import Condition
from airavata_runbook.run.progress import ChapterProgress
from airavata_runbook.run.record import RunRecord
from airavata_runbook.run.report import read_steps
from airavata_runbook.site import Site
from tests.unit.sessions import open_session
from tests.unit.test_causes import Clock
from tests.unit.test_engine import ThisMachine
from tests.unit.test_runner import wait_for

UNSCHEDULED = Cause("pod not scheduled", "pod x", "0/2 nodes are available: 2 Insufficient memory.")
PROBE = Cause("container not ready", "pod x", "Readiness probe failed: refused", details=lambda: "last lines of its log:\nlost")


def noticed(*steps: tuple[float, Cause | None]) -> list[int]:
    """How many causes are noticed at each step: (seconds since the one before, the cause seen then)."""
    clock = Clock()
    patience, counts = Patience(clock), []
    for seconds, cause in steps:
        clock.now += seconds
        seen = [cause] if cause else []
        patience.final(seen, 100)
        counts.append(len(patience.lasting(seen)))
    return counts


def test_a_cause_that_lasts_is_noticed_once_and_one_that_passes_never():
    assert noticed((0, UNSCHEDULED), (7, UNSCHEDULED), (1, UNSCHEDULED), (5, UNSCHEDULED)) == [0, 0, 1, 0]
    assert noticed((0, UNSCHEDULED), (7, None), (1, UNSCHEDULED), (7, UNSCHEDULED), (1, UNSCHEDULED)) == [0, 0, 0, 0, 1]
    assert noticed((0, PROBE), (11, PROBE), (1, PROBE)) == [0, 0, 1], "servers take their time to start"


def test_every_cause_is_noticed_or_ends_the_wait_within_15_seconds_but_for_what_is_no_fault():
    slow = [kind for kind, rule in RULES.items() if rule.noticed is None or rule.noticed > 12]  # a look comes every 2 s
    assert slow == ["unit logs errors", "pod ends"]


def test_a_wait_tells_its_cause_with_the_log_and_goes_on_until_it_holds(monkeypatch):
    monkeypatch.setitem(causes.RULES, PROBE.kind, replace(PROBE.rule, noticed=0))
    answers, told = iter(["0 of 1 pods ready"] * 3 + [""]), []
    host = SimpleNamespace(pause=lambda seconds: None)
    monkeypatch.setattr("airavata_runbook.resources.condition.LOOK", 0.0)
    Condition("Deployment x", check=lambda: next(answers), causes=lambda: [PROBE], deadline=5).wait(host, told.append)
    (text,) = told
    assert text.startswith("wait for Deployment x, for 0 s so far: 0 of 1 pods ready\npod x: Readiness probe failed: refused\n")
    assert text.endswith("its log:\n  lost")


@pytest.fixture
def waiting(monkeypatch, tmp_path):
    """A step that waits for a moment, with a cause whose log has a secret; (the site, the step, the runner's file)."""
    site = Site.load({"name": "small", "nodes": [{"name": "one", "address": "192.0.2.1", "role": "master"}]})
    host = ThisMachine()
    host.name, host.node = "one", site.master
    host.pause = lambda seconds: None
    session = open_session(monkeypatch, site, {"one": host})
    monkeypatch.setattr(session.vault, "mask", lambda text: text.replace("hunter2", "***"))
    monkeypatch.setattr("airavata_runbook.resources.condition.LOOK", 0.0)
    monkeypatch.setitem(causes.RULES, PROBE.kind, replace(PROBE.rule, noticed=0))
    monkeypatch.setenv(LOCK_HELD, "1")
    monkeypatch.setenv(REPORT_FILE, str(tmp_path / "steps.jsonl"))
    cause = replace(PROBE, details=lambda: "no login with hunter2")

    @step("Servers")
    def servers(target):
        answers = iter(["0 of 1 pods ready"] * 4 + [""] * 9)
        yield Condition("Deployment x", check=lambda: next(answers), causes=lambda: [cause], deadline=5)

    return site, servers, tmp_path / "steps.jsonl"


def test_a_step_reports_what_keeps_it_waiting_at_once_and_in_the_end(waiting, capsys):
    site, servers, file = waiting
    servers(site)
    lines = [Report.model_validate_json(line) for line in file.read_text().splitlines()]
    assert [(line.running, len(line.notices)) for line in lines] == [(True, 1), (False, 1)]
    assert "one: wait for Deployment x" in lines[0].notices[0] and "no login with ***" in lines[0].notices[0]
    assert "hunter2" not in file.read_text()
    (read,) = read_steps(file)
    assert not read.running and read.notices == lines[0].notices
    assert "Servers: one: wait for Deployment x" in capsys.readouterr().err


def running_line(*notices: str, running: bool = True) -> str:
    report = Report(
        chapter="airavata", step="servers", title="Servers", plan=False, hosts={}, notices=list(notices), running=running
    )
    return json.dumps(report.model_dump(mode="json")) + "\n"


def test_a_run_in_a_log_prints_a_notice_when_it_comes_and_writes_its_report(tmp_path, capsys):
    file, called = tmp_path / "steps.jsonl", []
    with ChapterProgress("05-deploy-airavata", file, on_notice=lambda: called.append(len(read_steps(file)))):
        file.write_text(running_line("one: wait\nfor x"))
        wait_for(lambda: called)
        printed = capsys.readouterr().out
        with file.open("a") as more:
            more.write(
                running_line("one: wait\nfor x", "one: for y") + running_line("one: wait\nfor x", "one: for y", running=False)
            )
    assert printed == "  Servers: one: wait\n  for x\n" and called[0] == 1
    assert capsys.readouterr().out == "  Servers: one: for y\n", "no step is printed in a log, and no notice twice"


def test_the_page_of_a_run_that_goes_on_has_the_notice(tmp_path):
    record = RunRecord("small", tmp_path)
    chapter = record.begin("05-deploy-airavata", "05-deploy-airavata.ipynb")
    file = tmp_path / "steps.jsonl"
    file.write_text(running_line("one: wait for <x>"))
    record.finish(chapter, read_steps(file), 1.0)
    page = (record.folder / "report.html").read_text()
    assert "one: wait for &lt;x&gt;" in page and "Servers (goes on)" in page
    with file.open("a") as more:
        more.write(running_line("one: wait for <x>", running=False))
    record.finish(chapter, read_steps(file), 2.0)
    page = (record.folder / "report.html").read_text()
    assert "one: wait for &lt;x&gt;" in page and "goes on" not in page


def test_what_a_step_says_stays_on_a_terminal_and_no_escape_reaches_it(monkeypatch, capsys):
    with step_progress("Servers", ["one"]) as progress:
        progress("one", "Deployment x")
        progress.say("the log: \x1b[31mred")
    assert "the log: �[31mred\n" in capsys.readouterr().err
