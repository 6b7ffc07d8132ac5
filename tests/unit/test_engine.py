"""The engine on this machine's own shell: what it looks at, in which order, and how often."""

import subprocess
from types import SimpleNamespace

import pytest

from airavata_runbook.engine import bring_about
from airavata_runbook.resources import Cleared, Condition, File
from airavata_runbook.site import Site
from airavata_runbook.ssh import Result
from airavata_runbook.vault import vault_of


class ThisMachine:
    """Stands in for a host: its scripts run here."""

    name, site = "here", SimpleNamespace(name="test")

    def __init__(self):
        self.trips = 0

    def run(self, script: str, **_) -> Result:
        self.trips += 1
        done = subprocess.run(["sh"], input=script.encode(), capture_output=True)
        return Result(done.returncode, done.stdout, done.stderr)


def work(host, *resources, planning=False):
    return bring_about(host, lambda: list(resources), planning, lambda *_: None)


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
    planned = work(host, *files, planning=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]
    done = work(host, *files)
    assert [item.status for item in planned.items] == ["would change", "ok", "would change"]
    assert [item.status for item in done.items] == ["changed", "ok", "changed"]
    assert [(item.label, item.summary, item.command) for item in planned.items] == [
        (item.label, item.summary, item.command) for item in done.items]


def test_a_failure_says_what_was_run_and_masks_what_it_knows_to_be_secret(host, monkeypatch):
    secret = "s3cret-of-the-site"
    monkeypatch.setenv("LOUD", secret)
    site = Site.load({"name": "loud", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}]})
    host.site = site
    vault_of(site).secret("env:LOUD")
    loud = Cleared("file", "echo there", f"echo it is {secret} >&2; printf %s {secret} | base64 >&2; exit 3")
    error = work(host, loud).error
    assert "found:  it is (a secret)\n          (a secret)" in str(error) and secret not in str(error)
    assert "where:  no file" in str(error) and "ran:    echo it is (a secret)" in str(error)
