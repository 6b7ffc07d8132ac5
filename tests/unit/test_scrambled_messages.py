"""Outcomes stay what they are when every message of the runbook reads otherwise: nothing decides by words.

(The source itself is searched for that in test_outcomes.py.)
"""

import pytest

from airavata_runbook.checks.preflight import preflight
from airavata_runbook.engine.report import Report
from airavata_runbook.engine.step import finish
from airavata_runbook.errors import (
    HostKeyRefused,
    HostUnreachable,
    NotRoot,
    NotYet,
    RunbookError,
    SiteError,
    StepFailed,
    StoppedByUser,
)
from airavata_runbook.hosts import lock
from airavata_runbook.hosts.fan_out import FanOut, Shared
from airavata_runbook.run import notebook, runner
from airavata_runbook.run.reset import reset as reset_site
from airavata_runbook.site import Site
from tests.unit.sessions import FakeHost, open_session
from tests.unit.small_project import report_of, write
from tests.unit.test_fan_out import Remembers
from tests.unit.test_lock import Channel, master  # noqa: F401  (a fixture)
from tests.unit.test_reset import SITE, hosts, left, record  # noqa: F401  (a fixture)


@pytest.fixture(autouse=True)
def scrambled(monkeypatch):
    """Each text of each error of the runbook begins with other words."""
    construct = RunbookError.__init__

    def scramble(error, message, **parts):
        construct(error, f"xx {message}", **{name: f"xx {text}" for name, text in parts.items() if text})

    monkeypatch.setattr(RunbookError, "__init__", scramble)
    assert str(StepFailed("a text", found="another")).startswith("xx a text\n  found:  xx another")


def test_a_step_reports_hosts_that_failed_and_that_were_stopped():
    report = Report(chapter="install", step="files", title="Files", plan=False, hosts={"one": [], "two": [], "three": []})
    errors = {"one": StoppedByUser(), "two": StepFailed("it is full", retryable=True), "three": NotYet("etcd answers")}
    with pytest.raises(StepFailed) as failed:
        finish(report, errors)
    assert {one.host: one.kind for one in failed.value.report.failures} == {"one": "stopped", "two": "failed", "three": "failed"}
    assert (report.stopped, report.failed, failed.value.retryable) == (1, 2, False)


@pytest.mark.parametrize(
    ("error", "check"),
    [(HostKeyRefused, "host-key"), (NotRoot, "sudo"), (HostUnreachable, "reachable"), (StepFailed, "reachable")],
)
def test_a_host_without_a_session_is_found_by_the_check_of_its_error(monkeypatch, error, check):
    site = Site.load({"name": "scrambled", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}]})

    class Refuses(FakeHost):
        name, node = "one", site.master

        def run_batch(self, fragments):
            raise error("it is so")

    open_session(monkeypatch, site, {"one": Refuses()})
    assert [finding.check for finding in preflight(site) if finding.host == "one"] == [check]


def test_a_lock_that_another_run_has_is_not_taken(master):  # noqa: F811
    site_lock, channels, _ = master
    channels.put(Channel(b"taken\nsomebody@elsewhere, process 1, a run, since 2026-11-25 09:00:00 UTC\n"))
    with pytest.raises(StepFailed) as taken, site_lock.held("a test"):
        raise AssertionError("the work went on")
    assert taken.value.retryable


def test_a_lost_lock_waits_for_its_own_shell_and_for_an_answer_but_not_for_another_run(master, monkeypatch):  # noqa: F811
    site_lock, channels, opened = master
    interrupted = []
    monkeypatch.setattr(lock, "_interrupt_main", lambda: interrupted.append(True))
    first, own = Channel(b"held\n"), f"taken\n{lock._holder('a test')}, since 2026-11-25 09:00:00 UTC\n"
    others = "taken\nsomebody@elsewhere, process 1, a test, since 2026-11-25 09:00:00 UTC\n"
    for channel in (first, Channel(own.encode()), Channel(b""), Channel(others.encode())):
        channels.put(channel)
    with pytest.raises(StepFailed) as lost, site_lock.held("a test"):
        assert opened.get(timeout=10) is first
        first.close()
        for _ in range(3):
            opened.get(timeout=10).closed.wait(10)
        while not interrupted:
            pass
        raise KeyboardInterrupt  # what the interrupt raises in the work
    assert lost.value.retryable and channels.empty()


def test_a_fan_out_without_its_server_gives_the_reason():
    source, one = Remembers("source"), Remembers("one")

    def lost(*_):
        raise HostUnreachable("the connection was lost", where="host source")

    source.start, file = lost, Shared("/opt/a.deb", "a" * 64)
    with FanOut(source, [source, one], 5000) as way:
        way.note(source, file, True), way.note(one, file, False)
        assert way.fetch(one, file).endswith("xx the connection was lost") and not one.ran


def test_a_reset_leaves_out_the_host_that_does_not_answer(hosts):  # noqa: F811
    hosts["other"].gone = True
    with pytest.raises(StepFailed):
        reset_site(SITE, yes=True)
    assert left(hosts, "head") == [] and left(hosts, "other") == ["first", "second"] and record(hosts)["outcome"] == "failed"


def test_a_reset_that_the_user_stops_is_recorded_as_stopped(hosts, monkeypatch):  # noqa: F811
    run = hosts["other"].run

    def stopped(script, *words, **more):
        if "rm -rf" in script:
            raise StoppedByUser(where="host other")
        return run(script, *words, **more)

    monkeypatch.setattr(hosts["other"], "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        reset_site(SITE, yes=True)
    assert (record(hosts)["outcome"], record(hosts)["chapters"][0]["error"]["kind"]) == ("stopped", "stopped")


@pytest.mark.parametrize(
    ("end", "raised", "outcome"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, "stopped"),
        (SiteError("a field is wrong"), SiteError, "failed"),
        (notebook.NotebookFailed(5, "a cell", "stopped by the user", True), StepFailed, "failed"),
    ],
)
def test_a_run_and_its_chapter_end_by_the_type_of_what_was_raised(project, monkeypatch, end, raised, outcome):
    write(project, "01-first", "a cell")

    def execute(*_):
        raise end

    monkeypatch.setattr(notebook, "execute", execute)
    with pytest.raises(raised):
        runner.run("small")
    report = report_of(project)
    assert (report["outcome"], report["chapters"][0]["error"]["kind"]) == (outcome, outcome)
