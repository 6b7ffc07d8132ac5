"""Steps over two hosts, one of which fails at every boundary; a host whose shell dies at every command; looks that fail.

tests/unit/test_interrupted.py has the stand-in for a host and its connection, and interrupts a single host's round trips.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import pytest

from airavata_runbook import kernel_env
from airavata_runbook.engine.resource import Found
from airavata_runbook.engine.step import step
from airavata_runbook.engine.target import Target, master
from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.hosts import vault
from airavata_runbook.hosts.host import Result
from airavata_runbook.kernel_env import REPORT_FILE
from airavata_runbook.pki import htpasswd
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources import (
    Authority,
    Block,
    Certificate,
    Condition,
    File,
    Folder,
    Generated,
    Htpasswd,
    Service,
    SigningKey,
    Upload,
)
from airavata_runbook.resources import certificate as certificate_module
from airavata_runbook.resources import secret as secret_module
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node
from tests import ctrl_c
from tests.unit.sessions import open_session
from tests.unit.test_interrupted import Fault, Killed, StandIn, make

SITE = Site.load(
    {
        "name": "resumed",
        "nodes": [
            {"name": "one", "address": "192.0.2.11", "role": "master"},
            {"name": "two", "address": "192.0.2.12", "role": "worker"},
        ],
    }
)
CONTENT = b"\0binary" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FRAGMENT = re.compile(r"(?<=; \( )")  # where a fragment of a batch begins
DONE = {"ok", "changed"}


@dataclass
class Connected(StandIn):
    """A stand-in as Steps want a Host. fragment: the one of the trip `at` that fails, with `status`. count, die: see `run`."""

    node: Node | None = None
    fragment: tuple[int, int, int] | None = None  # trip, number of the fragment, exit status
    die: str = ""  # "before 7", "after 7": the shell is killed there, at the host's 7th command that changes something
    fragments: list[int] = field(default_factory=list)  # of each trip
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.name = self.node.name

    def run(self, script: str, timeout: float = 600.0) -> Result:
        starts = [match.start() for match in FRAGMENT.finditer(script)] or [0]
        self.fragments.append(len(starts))
        if self.fragment and self.fragment[0] == len(self.fragments) and self.fragment[1] < len(starts):
            at = starts[self.fragment[1]]
            script = f"{script[:at]}exit {self.fragment[2]}\n{script[at:]}"
        return super().run(script, timeout)

    def _shell(self, script: str) -> Result:
        environment = {
            **os.environ,
            "UNITS": f"{self.root}/units",
            "COMMANDS": f"{self.root}/commands",
            "DIE": self.die,
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
        }
        done = subprocess.run(["sh"], input=script.encode(), capture_output=True, env=environment, start_new_session=True)
        if done.returncode == -signal.SIGKILL and self.die.startswith("after"):  # the whole host went
            raise HostUnreachable("the connection to the host was lost", where=f"host {self.name}")
        return Result(done.stdout, 137 if done.returncode < 0 else done.returncode, done.stderr)

    def pause(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise HostUnreachable("stopped by the user", where=f"host {self.name}")

    def start(self, script: str, data: bytes):
        raise HostUnreachable("no channel", where=f"host {self.name}")  # no sshd of a step's own: files come from here

    def stop(self) -> None:
        self.stopped.set()

    def resume(self) -> None:
        self.stopped.clear()


@step("Files")
def files(target: Target):
    root, package = target.host.root, target.host.root.parent / "package"
    yield Folder(f"{root}/etc/data", "0700")
    yield Upload(f"{root}/repository/tool.deb", package, SHA256, target.fan_out)
    yield File(f"{root}/etc/one.conf", "one = 1\n")
    yield Block(f"{root}/etc/hosts", "site", ("192.0.2.11 one", "192.0.2.12 two"))


@step("Keys and secrets", on=master)
def keys(target: Target):
    root = target.host.root
    yield Authority("ca", "resumed")
    yield SigningKey("tokens")
    yield Generated("password")
    yield Certificate(f"{root}/etc/server", Subject("server", dns=("one",), usages=("server",)))
    yield Htpasswd(f"{root}/etc/htpasswd", "admin", lambda: target.vault.secret("generated:password"))


@step("A service")
def service(target: Target):
    root = target.host.root
    yield File(f"{root}/etc/token", "a secret\n", "0600", secret=True)
    yield Service("server", [f"{root}/etc/one.conf", f"{root}/etc/token"])
    yield Condition("the server", f"test -e {root}/units/server.active", deadline=1)


STEPS = (files, keys, service)


class Machine:
    """Two hosts' folders and runs on them."""

    def __init__(self, folder: Path, monkeypatch):
        (folder / "package").parent.mkdir(parents=True, exist_ok=True)
        (folder / "package").write_bytes(CONTENT)
        self.roots = {node.name: make(folder / node.name) for node in SITE.nodes}
        for module in (certificate_module, vault):
            monkeypatch.setattr(module, "PKI", f"{self.roots['one']}/pki")
        for module in (secret_module, vault):
            monkeypatch.setattr(module, "SECRETS", f"{self.roots['one']}/secrets")
        self.folder, self.monkeypatch, self.hosts = folder, monkeypatch, {}

    def run(self, host: str = "", **wrong) -> tuple[list, BaseException | None]:
        """All steps, up to the first that fails, as a process of its own; wrong: what is the matter with a host."""
        self.hosts = {
            node.name: Connected(self.roots[node.name], node=node, **(wrong if node.name == host else {})) for node in SITE.nodes
        }
        self.session = open_session(self.monkeypatch, SITE, self.hosts)
        reports = []
        for one in STEPS:
            try:
                reports.append(one(SITE))
            except StepFailed as error:
                return [*reports, error.report], error
            except (Killed, KeyboardInterrupt) as end:
                return reports, end
        return reports, None

    def state(self) -> dict[str, object]:
        """Every file with its content and mode (what is random: whether it fits), and how the services are."""
        seen: dict[str, object] = {}
        for name, root in self.roots.items():
            for path in sorted(path for folder in ("etc", "repository", "pki", "secrets") for path in (root / folder).rglob("*")):
                content = path.read_bytes() if path.is_file() and not self._random(path) else b""
                seen[f"{name} {path.relative_to(root)}"] = (oct(path.stat().st_mode), path.stat().st_uid, content)
            started = (root / "units/server.started").stat().st_mtime
            read = max((root / "etc" / file).stat().st_mtime for file in ("one.conf", "token") if (root / "etc" / file).exists())
            seen[name] = ((root / "units/server.enabled").exists(), started >= read)
        one = self.roots["one"]
        if (one / "etc/server.crt").exists():
            read = {name: (one / name).read_bytes() for name in ("pki/ca.crt", "pki/ca.key", "etc/server.crt", "etc/server.key")}
            seen["pairs fit"] = pki.problems(read["pki/ca.crt"], key_pem=read["pki/ca.key"]) + pki.problems(
                read["etc/server.crt"], key_pem=read["etc/server.key"], ca_pem=read["pki/ca.crt"]
            )
            seen["password fits"] = htpasswd.htpasswd_matches(
                (one / "etc/htpasswd").read_text(), "admin", (one / "secrets/password").read_text().strip()
            )
        return seen

    def made_once(self) -> dict[str, bytes]:
        """What a site has for its whole life."""
        return {path.name: path.read_bytes() for folder in ("pki", "secrets") for path in (self.roots["one"] / folder).iterdir()}

    @staticmethod
    def _random(path: Path) -> bool:
        return path.parent.name in ("pki", "secrets") or path.name == "htpasswd" or path.name.startswith("server.")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv(kernel_env.LOCK_HELD, "1")  # there is no master to hold a lock on
    salt = bcrypt.gensalt
    monkeypatch.setattr(bcrypt, "gensalt", lambda rounds: salt(4))  # hundreds of runs: the least work there is
    made = []

    def new() -> Machine:
        if made:
            shutil.rmtree(made.pop().folder)
        made.append(Machine(tmp_path / "hosts", monkeypatch))
        return made[0]

    return new


@pytest.fixture
def undisturbed(machine):
    """Trips and fragments of each host in an undisturbed run, and what it comes to."""
    one = machine()
    reports, error = one.run()
    assert error is None and len(reports) == 3
    trips = {name: host.fragments for name, host in one.hosts.items()}
    state, once = one.state(), one.made_once()
    assert state["pairs fit"] == [] and state["password fits"] and state["one"] == state["two"] == (True, True)
    reports, error = one.run()
    assert error is None and sum(report.count("changed") for report in reports) == 0 and one.made_once() == once
    return trips, state


def completed(one: Machine, wanted: dict, when: str) -> None:
    """Run again undisturbed, and once more: the first comes to the wanted end, the second changes nothing."""
    reports, error = one.run()
    assert error is None and one.state() == wanted, when
    reports, error = one.run()
    assert error is None and sum(report.count("changed") for report in reports) == 0, when


@pytest.mark.parametrize(
    ("kind", "host"),
    [
        ("answer lost", "one"),
        ("command failed", "one"),
        ("host gone", "one"),
        ("answer lost", "two"),
        ("command failed", "two"),
        ("host gone", "two"),
        ("killed after", "two"),
    ],
)
def test_a_host_that_fails_at_any_trip_costs_no_other_its_results(machine, undisturbed, tmp_path, monkeypatch, kind, host):
    trips, wanted = undisturbed
    (other,) = {"one", "two"} - {host}
    record = tmp_path / "record"
    monkeypatch.setenv(REPORT_FILE, str(record))
    for at in range(1, len(trips[host]) + 3):  # and the file that is sent, which is a trip too
        when, one = f"{kind} on {host} at trip {at}", machine()
        record.unlink(missing_ok=True)
        reports, error = one.run(host, fault=Fault(kind, at))
        if at > one.hosts[host].trips:
            assert error is None
            continue
        # A look that is repeated within the run, because it waits for something, needs no second run.
        assert error is not None or kind == "command failed" and one.state() == wanted, when
        if isinstance(error, StepFailed):
            report = reports[-1]
            assert [failure.host for failure in report.failures] == [host], when
            if other in report.hosts:
                count = len(list(STEPS[len(reports) - 1].resources(Target(one.session, one.hosts[other]))))
                assert [item.status in DONE for item in report.hosts[other]] == [True] * count, when
            assert host in str(error) and json.loads(record.read_text().splitlines()[-1])["hosts"].keys() == report.hosts.keys()
        completed(one, wanted, when)


def test_a_fragment_that_fails_once_is_made_good_by_the_next_run(machine, undisturbed):
    trips, wanted = undisturbed
    for trip, count in enumerate(trips["one"], 1):
        for number in range(count):
            one = machine()
            one.run("one", fragment=(trip, number, 1))
            completed(one, wanted, f"fragment {number} of trip {trip}")


@pytest.mark.parametrize("status", [1, 2, 137])
def test_a_look_that_fails_on_a_finished_site_alters_nothing_that_is_made_once(machine, undisturbed, status):
    _, wanted = undisturbed
    one = machine()
    one.run()
    once = one.made_once()
    one.run()
    for trip, count in enumerate(one.hosts["one"].fragments, 1):
        for number in range(count):
            reports, error = one.run("one", fragment=(trip, number, status))
            when = f"fragment {number} of trip {trip}, exit status {status}"
            assert one.made_once() == once and one.state() == wanted, when
            changed = [
                item.label for report in reports for items in report.hosts.values() for item in items if item.status == "changed"
            ]
            assert error or not changed or changed[0].endswith(".deb"), when  # what is not made, but sent, is sent again
    completed(one, wanted, "in the end")
    assert one.made_once() == once


WRAPPER = """#!/bin/sh
# Counts, and kills the shell of the host at the command that is named by $DIE.
test -s $COMMANDS || echo 0 > $COMMANDS; read -r count < $COMMANDS; count=$((count + 1)); echo $count > $COMMANDS
test "$DIE" != "before $count" || kill -9 0
{real} "$@"; status=$?
test "$DIE" != "after $count" || kill -9 0
exit $status
"""


def counted(one: Machine) -> None:
    """Let the first host count its commands that change something."""
    for name in ("install", "mv", "cp", "chmod", "chown", "mkdir", "cat"):
        wrapper = one.roots["one"] / "bin" / name
        wrapper.write_text(WRAPPER.replace("{real}", shutil.which(name)))
        wrapper.chmod(0o755)
    systemctl = one.roots["one"] / "bin" / "systemctl"
    (one.roots["one"] / "bin" / "systemctl.real").write_text(systemctl.read_text())
    (one.roots["one"] / "bin" / "systemctl.real").chmod(0o755)
    systemctl.write_text(
        WRAPPER.replace("{real}", f"{systemctl}.real").replace(
            "/bin/sh\n", f'/bin/sh\ntest $1 != show || exec {systemctl}.real "$@"\n'
        )
    )


def test_a_shell_that_dies_at_any_command_is_made_good_by_the_next_run(machine, undisturbed):
    _, wanted = undisturbed
    one = machine()
    counted(one)
    assert one.run()[1] is None and one.state() == wanted
    commands = int((one.roots["one"] / "commands").read_text())
    assert commands > 20
    for number in range(1, commands + 1):
        for when in (f"before {number}", f"after {number}"):
            one = machine()
            counted(one)
            reports, error = one.run("one", die=when)
            assert error is not None or one.state() == wanted, when  # a read that is repeated within the run
            others = [line for line in (one.roots["one"] / "etc/hosts").read_text().splitlines() if "localhost" in line]
            assert others == ["127.0.0.1 localhost"], f"{when}: the lines of others are lost"
            completed(one, wanted, when)


def test_a_script_that_did_not_arrive_whole_does_nothing(tmp_path):
    """As Host.run sends it: one compound command, which a shell runs when it has read its end."""
    script = File(str(tmp_path / "file"), "content\n").change(Found(status=44), None).script
    whole = "{\n" + script + "\n} </dev/null\n"
    for end in range(len(whole) - len("} </dev/null\n")):
        subprocess.run(["sh"], input=whole[:end].encode(), capture_output=True)
        assert list(tmp_path.iterdir()) == [], whole[:end]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, Killed])
def test_what_is_no_error_passes_through_and_the_other_host_gets_done(machine, monkeypatch, end):
    one = machine()
    one.run()
    (one.roots["two"] / "etc/one.conf").write_text("one = 0\n")

    @step("Ends")
    def ends(target: Target):
        if target.node.name == "one":
            raise end
        return files.resources(target)

    with pytest.raises(end):
        ends(SITE)
    assert (one.roots["two"] / "etc/one.conf").read_text() == "one = 1\n"
    assert one.session.lock._held_by is None


def test_ctrl_c_lets_go_of_the_host_that_waits_and_keeps_what_the_other_did(machine):
    one = machine()
    one.run()
    (one.roots["two"] / "etc/one.conf").write_text("one = 0\n")

    @step("Waits")
    def waits(target: Target):
        if target.node.name == "one":
            yield Condition("what never comes", check=lambda: "nothing", deadline=60)
        else:
            yield from files.resources(target)

    with ctrl_c.pressed_after(1.5), pytest.raises(StepFailed, match="stopped by the user") as stopped:
        waits(SITE)
    assert [failure.host for failure in stopped.value.report.failures] == ["one"]
    assert {item.status for item in stopped.value.report.hosts["two"]} <= DONE and one.run()[1] is None
