"""A reset over two hosts: one that fails is left as it is from there on, and Ctrl-C stops it before the next step."""

import json
import signal

import pytest

from airavata_runbook import kernel_env
from airavata_runbook.engine.step import step
from airavata_runbook.errors import HostUnreachable, SiteError, StepFailed
from airavata_runbook.hosts.host import Host
from airavata_runbook.resources import Absent, Cleared
from airavata_runbook.run import reset
from airavata_runbook.site import Site
from tests import ctrl_c
from tests.unit.sessions import open_session
from tests.unit.test_interrupted import StandIn

SITE = Site.load(
    {
        "name": "taken",
        "nodes": [{"name": "head", "address": "192.0.2.11", "role": "master"}, {"name": "other", "address": "192.0.2.12"}],
    }
)


class Machine(StandIn):
    """Stands in for a host. gone: it does not answer. halted: its user has pressed Ctrl-C, as Host.stop notes."""

    gone = False

    def run(self, script, timeout=600.0):
        if self.gone:
            raise HostUnreachable("the host does not answer", where=f"host {self.name}")
        return super().run(script, timeout)


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Two hosts with the folders one and two, and a reset of two steps on them."""
    monkeypatch.setenv(kernel_env.LOCK_HELD, "1")
    monkeypatch.setattr(reset.paths, "base_dir", lambda: tmp_path)
    made = {}
    for node in SITE.nodes:
        machine = made[node.name] = Machine(tmp_path / node.name)
        machine.name, machine.node = node.name, node
        for name in ("first", "second"):
            (machine.root / name).mkdir(parents=True)
    open_session(monkeypatch, SITE, made)

    def take(name):
        def resources(target):
            yield Absent(str(target.host.root / name))

        return step(name)(resources)

    monkeypatch.setattr(reset, "STEPS", [take("first"), take("second")])
    return made


def left(hosts, name: str) -> list[str]:
    return sorted(path.name for path in hosts[name].root.iterdir())


def record(hosts) -> dict:
    return json.loads((hosts["head"].root.parent / "outputs" / "taken" / "latest-reset" / "report.json").read_text())


def test_everything_is_taken_back_on_all_hosts(hosts, capsys):
    reset.reset(SITE, yes=True, settings={"registry.root": "/data"})
    assert left(hosts, "head") == left(hosts, "other") == [] and record(hosts)["outcome"] == "ok"
    assert record(hosts)["set"] == {"registry.root": "/data"}
    assert "4 to remove" in capsys.readouterr().out


def test_a_host_that_does_not_answer_is_left_out_and_told_and_the_others_are_reset(hosts, capsys):
    hosts["other"].gone = True
    with pytest.raises(StepFailed, match="(?s)did not complete on other.*the host does not answer"):
        reset.reset(SITE, yes=True)
    assert left(hosts, "head") == [] and left(hosts, "other") == ["first", "second"]
    assert "2 to remove" in (said := capsys.readouterr().out) and "left out, see above: other" in said
    assert record(hosts)["outcome"] == "failed" and "other" in record(hosts)["chapters"][0]["error"]["message"]


def test_when_no_host_answers_nothing_is_begun(hosts):
    for host in hosts.values():
        host.gone = True
    with pytest.raises(StepFailed, match="did not complete on head, other"):
        reset.reset(SITE, yes=True)
    assert left(hosts, "head") == left(hosts, "other") == ["first", "second"]


def test_a_step_that_cannot_begin_is_recorded_as_failed_and_not_as_stopped(hosts, monkeypatch):
    def refuse():
        raise HostUnreachable("the host refuses")

    monkeypatch.setattr(hosts["head"], "connect_in_background", refuse)
    with pytest.raises(HostUnreachable):
        reset.reset(SITE, yes=True)
    (chapter,) = record(hosts)["chapters"]
    assert (record(hosts)["outcome"], chapter["error"]["kind"]) == ("failed", "failed")
    assert chapter["error"]["message"] == "the host refuses"


def test_a_host_that_fails_in_one_step_meets_none_of_the_next(hosts, monkeypatch):
    @step("Processes")
    def processes(target):
        stays = target.host.name == "other"
        yield Cleared(
            "process", f"test ! -d {target.host.root}/first || echo 4711", "true" if stays else f"rmdir {target.host.root}/first"
        )

    monkeypatch.setattr(reset, "STEPS", [processes, reset.STEPS[1]])
    with pytest.raises(StepFailed, match="did not complete on other"):
        reset.reset(SITE, yes=True)
    assert left(hosts, "head") == [] and left(hosts, "other") == ["first", "second"], "a process may still write there"


def test_ctrl_c_stops_a_reset_before_its_next_step_and_keeps_what_was_done(hosts, monkeypatch):
    @step("Long work")
    def long_work(target):
        yield Cleared("file", f"test ! -d {target.host.root}/first || echo there", f"sleep 30; rmdir {target.host.root}/first")

    monkeypatch.setattr(reset, "STEPS", [long_work, reset.STEPS[1]])
    for host in hosts.values():
        real = Host(host.node)  # whose stop, pause and resume these are
        real._shell = lambda script=None: "sh"
        host.stop, host.resume = real.stop, real.resume
        waits = host._shell
        host._shell = lambda script, waits=waits, real=real: waits(script) if "sleep" not in script else real.pause(30)
    with ctrl_c.pressed_after(1.5), pytest.raises(KeyboardInterrupt):
        reset.reset(SITE, yes=True)
    assert left(hosts, "head") == left(hosts, "other") == ["first", "second"]
    assert record(hosts)["outcome"] == "stopped"
    assert [one["title"] for one in record(hosts)["chapters"][0]["steps"]] == ["Long work"]
    assert signal.getsignal(signal.SIGINT)


def test_a_host_that_is_removed_is_drained_first_and_forgotten_last(hosts, monkeypatch, tmp_path, capsys):
    site = Site.load(SITE, {"airavata.storage_node": "head"})
    open_session(monkeypatch, site, hosts)
    record, order = tmp_path / "site.json", []

    def note(what):
        return lambda session, address: order.append((what, address, (hosts["other"].root / "first").exists()))

    monkeypatch.setattr(reset, "RECORD", str(record))
    monkeypatch.setattr(reset.node_removal, "drain", note("drain"))
    monkeypatch.setattr(reset.node_removal, "forget", note("forget"))
    reset.remove(site, "other", yes=True)
    assert order == [("drain", "192.0.2.12", True), ("forget", "192.0.2.12", False)]
    assert (hosts["head"].root / "first").exists(), "the other hosts stay as they are"
    assert json.loads(record.read_text())["hosts"] == {"192.0.2.11": "head"}
    assert "delete other from the site file" in capsys.readouterr().out


@pytest.mark.parametrize(("host", "role"), [("head", "the master, the registry's host"), ("other", "the databases' host")])
def test_a_host_that_the_others_need_is_not_removed(hosts, host, role):
    with pytest.raises(SiteError, match="cannot be removed") as refused:
        reset.remove(SITE, host, yes=True)
    assert refused.value.found == role and (hosts[host].root / "first").exists()
