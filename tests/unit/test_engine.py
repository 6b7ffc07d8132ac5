"""The engine on this machine's own shell: what it looks at, in which order, and how often."""

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import kernel_env
from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.engine.host_run import converge
from airavata_runbook.engine.report import Report
from airavata_runbook.engine.resource import Change, Together
from airavata_runbook.engine.step import finish, step
from airavata_runbook.errors import HostUnreachable, NotYet, StepFailed
from airavata_runbook.hosts.host import Result
from airavata_runbook.kernel_env import REPORT_FILE
from airavata_runbook.resources import Cleared, Condition, File, Service
from airavata_runbook.site import Site
from tests.unit.sessions import FakeHost, open_session
from tests.unit.test_interrupted import make


class ThisMachine(FakeHost):
    """Stands in for a host: its scripts run here."""

    def __init__(self):
        self.trips = 0
        self.session = SimpleNamespace(planned={})  # of the process

    def run(self, script: str, **_) -> Result:
        self.trips += 1
        done = subprocess.run(["sh"], input=script.encode(), capture_output=True)
        return Result(done.stdout, done.returncode, done.stderr)


def work(host, *resources, planning=False):
    return converge(host.session, host, lambda: list(resources), planning, lambda *_: None)


@pytest.fixture
def host():
    return ThisMachine()


def test_a_condition_that_held_before_a_change_is_asked_again_after_it(host, tmp_path):
    looks = tmp_path / "looks"
    file, condition = File(str(tmp_path / "file"), "new\n"), Condition("peace", f"echo look >> {looks}")
    outcome = work(host, file, condition)
    assert [item.status for item in outcome.items] == ["changed", "ok"] and not outcome.error
    assert looks.read_text().count("look") == 2
    outcome = work(host, file, condition)
    assert [item.status for item in outcome.items] == ["ok", "ok"]
    assert looks.read_text().count("look") == 3, "nothing was changed: one look is enough"


def test_a_condition_that_a_change_breaks_is_waited_for(host, tmp_path):
    path = tmp_path / "file"
    path.write_text("old\n")
    condition = Condition("the old content", f"grep -q old {path}", deadline=1, remedy="look at it")
    outcome = work(host, File(str(path), "new\n"), condition)
    assert outcome.items[0].status == "changed" and outcome.error.message == "the old content: not within 1 s"


def test_what_cannot_be_looked_at_again_after_its_change_is_a_failure_in_words(host):
    class Vanishes:
        label, changed = "object it", False

        def probe(self):
            return ""

        def change(self, found, context):
            if self.changed:
                raise NotYet("the API server answers")
            return Change("create", call=lambda: setattr(self, "changed", True), shown="make it")

    outcome = work(host, Vanishes())
    assert (outcome.items[0].status, type(outcome.error)) == ("failed", StepFailed) and outcome.error.retryable
    assert (outcome.error.message, outcome.error.where, outcome.error.command) == (
        "needs: the API server answers",
        "object it",
        "make it",
    )


def test_a_run_that_has_failed_already_does_not_ask_whether_it_may_go_on(host, tmp_path):
    class Refused(File):
        def change(self, found, context):
            raise StepFailed("the API server did not answer")

    pods = Condition("pods", check=lambda: pytest.fail("it was asked"))
    outcome = work(host, Refused(str(tmp_path / "file"), "new\n"), pods)
    assert [item.status for item in outcome.items] == ["failed", "skipped"] and "did not answer" in str(outcome.error)


class Sent:
    """Stands in for an image: its call may run beside others. meet: what the call waits at, or raises."""

    def __init__(self, name, call):
        self.label, self.sent = f"image {name}", False
        self._call = call

    def probe(self):
        return ""

    def change(self, found, context):
        def call():
            self._call(context.say)
            self.sent = True

        return None if self.sent else Change("push", call=call, shown="push", beside=True)


def test_what_may_be_called_side_by_side_is(host):
    together = threading.Barrier(3, timeout=10)
    shown = []

    def call(say):
        together.wait()
        say("half of it")

    images = [Sent(str(number), call) for number in range(3)]
    outcome = converge(host.session, host, lambda: list(images), False, lambda *said: shown.append(said))
    assert [item.status for item in outcome.items] == ["changed"] * 3 and not outcome.error
    assert any("half of it" in what and "image" in what for _, what, *_ in shown)


def test_after_a_failed_call_no_other_one_begins_and_those_that_were_made_count(host):
    together = threading.Barrier(3, timeout=10)

    def fails(say):
        together.wait()
        raise StepFailed("the registry refuses it")

    def works(say):
        together.wait()
        time.sleep(0.3)

    more = [Sent(str(number), lambda say: pytest.fail("it was begun")) for number in range(20)]
    images = [Sent("good", works), Sent("bad", fails), Sent("other", works), *more]
    outcome = work(host, *images)
    statuses = [item.status for item in outcome.items]
    assert statuses == ["changed", "failed", "changed", *["skipped"] * 20]
    assert (outcome.error.message, outcome.error.where) == ("the registry refuses it", "image bad")


def test_one_trip_looks_at_everything(host, tmp_path):
    files = [File(str(tmp_path / str(number)), "content\n") for number in range(20)]
    work(host, *files)
    assert host.trips == 3, "look, change, look again"
    host.trips = 0
    assert {item.status for item in work(host, *files).items} == {"ok"} and host.trips == 1


def test_a_plan_changes_nothing_and_names_what_a_run_does(host, tmp_path):
    files = [File(str(tmp_path / str(number)), "content\n") for number in range(3)]
    (tmp_path / "1").write_text("content\n")
    (tmp_path / "1").chmod(0o644)
    plan = work(host, *files, planning=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]
    done = work(host, *files)
    assert [item.status for item in plan.items] == ["would change", "ok", "would change"]
    assert [item.status for item in done.items] == ["changed", "ok", "changed"]
    assert [(item.label, item.summary, item.command) for item in plan.items] == [
        (item.label, item.summary, item.command) for item in done.items
    ]


@pytest.fixture
def served(host, tmp_path, monkeypatch):
    """A service that runs, its stand-in for systemctl on the PATH, and the file that it reads."""
    root = make(tmp_path / "host")
    monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("UNITS", f"{root}/units")
    file = File(f"{root}/etc/one.conf", "one = 1\n")
    service = Service("server", [file.path])
    yield file, service


@pytest.mark.parametrize("told", [True, False])
def test_a_plan_of_a_later_notebook_knows_what_an_earlier_one_would_alter(host, served, tmp_path, monkeypatch, told):
    file, service = served
    work(host, file, service)
    Path(file.path).write_text("one = by hand\n")
    os.utime(file.path, (0, 0))  # older than the service's start: by its time alone nothing would restart
    if told:
        monkeypatch.setenv(kernel_env.PLANNED, str(tmp_path / "planned.jsonl"))
    assert work(host, file, planning=True).items[0].status == "would change"
    host.session.planned.clear()  # the next notebook has a kernel of its own
    restart = work(host, service, planning=True).items[0]
    assert (restart.status, restart.summary) == (("would change", "restart: newer " + file.path) if told else ("ok", ""))
    if told:
        monkeypatch.delenv(kernel_env.PLANNED)
        work(host, file)
        assert work(host, service).items[0].summary == restart.summary, "what was planned is what is done"


def test_what_was_planned_and_then_done_restarts_nothing_in_a_further_plan(host, served):
    file, service = served
    assert [item.status for item in work(host, file, service, planning=True).items] == ["would change"] * 2
    assert [item.status for item in work(host, file, service).items] == ["changed"] * 2
    assert [item.status for item in work(host, file, service, planning=True).items] == ["ok"] * 2


def test_the_item_at_work_when_a_host_is_lost_has_failed_and_the_rest_is_left_for_the_next_run(host, tmp_path, monkeypatch):
    files = [Condition("a look", "true"), File(str(tmp_path / "1"), "content\n"), Cleared("rest", "echo one", "true")]
    run = host.run

    def cut(script: str, **words) -> Result:
        if host.trips == 1:
            raise HostUnreachable("the connection to the host was lost")
        return run(script, **words)

    monkeypatch.setattr(host, "run", cut)
    outcome = work(host, *files)
    assert [item.status for item in outcome.items] == ["ok", "failed", "failed"] and outcome.error


SECRET = 's3cret "of" the site'


def said_and_failed(host):
    raise RuntimeError(f"the client has said {SECRET}")


@pytest.mark.parametrize(
    "loud",
    [
        Cleared("file", "echo there", f"echo 'it is {SECRET}' >&2; printf %s '{SECRET}' | base64 >&2; exit 3"),
        Condition("peace", f"echo 'no login with {SECRET}' >&2; false", deadline=1),
        Condition("an answer", check=said_and_failed),
        File("/proc/nothing", lambda: f"a = {SECRET}\n"),
    ],
    ids=["change", "condition", "check", "difference"],
)
def test_a_failure_says_what_was_run_and_nowhere_a_secret_that_the_run_knows(host, monkeypatch, tmp_path, capsys, loud):
    monkeypatch.setenv("LOUD", SECRET)
    monkeypatch.setenv(kernel_env.LOCK_HELD, "1")
    monkeypatch.setenv(REPORT_FILE, str(tmp_path / "record"))
    site = Site.load({"name": "loud", "nodes": [{"name": "here", "address": "192.0.2.11", "role": "master"}]})
    host.node = site.master
    open_session(monkeypatch, site, {"here": host})

    @step("A loud step")
    def told(target):
        target.vault.secret("env:LOUD")
        yield loud

    with pytest.raises(StepFailed) as failed:
        told(site)
    everything = [str(failed.value), (tmp_path / "record").read_text(), *capsys.readouterr()]
    assert all("s3cret" not in text and "czNjcmV0" not in text for text in everything)
    assert "(chapter test_engine, step told)" in str(failed.value)
    if loud.label == "no file":
        assert "ran:    echo 'it is (a secret)'" in str(failed.value)
        assert "found:  it is (a secret)\n            (a secret)" in str(failed.value)
    if loud.label == "wait for peace":
        assert "ran:    echo 'no login with (a secret)'" in str(failed.value)


@pytest.mark.parametrize("runner", [True, False])
def test_every_failed_host_is_told_whole_and_by_hand_how_to_go_on(monkeypatch, tmp_path, capsys, runner):
    if runner:
        monkeypatch.setenv(REPORT_FILE, str(tmp_path / "record"))
    report = Report(chapter="install", step="files", title="Files", plan=False, hosts={"one": [], "two": []})
    errors = {"one": StepFailed("it is full", where="/dev", remedy="make room"), "two": StepFailed("it is open")}
    with pytest.raises(StepFailed) as failed:
        finish(report, errors)
    assert str(failed.value).splitlines()[:5] == [
        "Files did not succeed on one, two (chapter install, step files)",
        "  one: it is full",
        "    where:  /dev",
        "    remedy: make room",
        "  two: it is open",
    ]
    assert ("run the step again" in str(failed.value)) != runner


def test_what_a_step_misses_is_told_as_what_it_needs():
    with pytest.raises(StepFailed, match="(?m)^  two: needs: etcd answers$") as failed:
        report = Report(chapter="install", step="files", title="Files", plan=False, hosts={"two": []})
        finish(report, {"two": NotYet("etcd answers")})
    assert failed.value.retryable and "NotYet" not in str(failed.value)


def test_what_several_resources_ask_for_together_is_asked_once_unless_it_fails():
    together, asked = Together(), []

    def ask() -> str:
        asked.append(threading.get_ident())
        time.sleep(0.05)
        if fails:
            raise StepFailed("no answer")
        return "an answer"

    for key, fails, times in (("works", False, 1), ("fails", True, 4)):
        asked.clear()
        with ThreadPoolExecutor(4) as threads:
            answers = [threads.submit(together, key, ask) for _ in range(4)]
        errors = [answer.exception() for answer in answers if answer.exception()]
        assert len(asked) == times and len(set(map(id, errors))) == len(errors) == 4 * fails  # each has an error of its own
        assert fails or {answer.result() for answer in answers} == {"an answer"}


def test_a_plan_expects_to_be_refused_while_the_admin_has_no_role(host):
    """As of a site whose first run was stopped between the API server and its role bindings."""
    refused = SimpleNamespace(
        label="Deployment x",
        probe=lambda: "",
        change=lambda found, context: (_ for _ in ()).throw(ApiError(403, "forbidden", "")),
    )
    binding = SimpleNamespace(
        label="ClusterRoleBinding admin",
        probe=lambda: "",
        change=lambda found, context: Change("create", touches=frozenset({"ClusterRoleBinding admin"}), creates=True),
    )
    outcome = work(host, binding, refused, planning=True)
    assert not outcome.error and [item.summary for item in outcome.items] == ["create", "known after the admin has its role"]
    host.session.planned.clear()
    assert work(host, refused, planning=True).error.found == "forbidden", "nothing would give it the role"
