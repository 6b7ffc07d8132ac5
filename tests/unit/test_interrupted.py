"""A run that is interrupted at any of its round trips, in any way, is completed by the next one.

The transport stands in for SSH: a host's scripts run on this machine's own shell, below a temporary folder, and so does a
`systemctl` that keeps its services' state in files.
"""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook.engine.host_run import Outcome, converge
from airavata_runbook.errors import HostUnreachable, RunbookError
from airavata_runbook.hosts.host import Result
from airavata_runbook.local.files import AS_IT_IS, Head
from airavata_runbook.pki import htpasswd
from airavata_runbook.resources import Block, Condition, File, Folder, Htpasswd, Service, Upload
from tests.unit.sessions import FakeHost

SYSTEMCTL = """#!/bin/sh
# Stands in for systemd: NAME.active, NAME.enabled and NAME.started (a time) below $UNITS.
word=$1; shift
for name; do :; done; name=${name%.service}
case $word in
show) echo LoadState=loaded
    test -e $UNITS/$name.active && echo ActiveState=active || echo ActiveState=inactive
    test -e $UNITS/$name.enabled && echo UnitFileState=enabled || echo UnitFileState=disabled
    echo NeedDaemonReload=no
    test -e $UNITS/$name.started || exit 0
    echo "ExecMainStartTimestamp=$(date -u -r $UNITS/$name.started '+%a %Y-%m-%d %H:%M:%S.%6N') UTC" ;;
start|restart) touch $UNITS/$name.active $UNITS/$name.started; echo $word >> $UNITS/log ;;
enable) touch $UNITS/$name.enabled ;;
esac
exit 0
"""


class Killed(BaseException):
    """The runner is gone in this very moment: nothing of it can catch this."""


@dataclass
class Fault:
    """What happens at the trip number `at` (from 1). kind: one of KINDS."""

    kind: str
    at: int


KINDS = ("killed before", "killed after", "cut in the middle", "answer lost", "answer cut short", "command failed", "host gone")


@dataclass
class StandIn(FakeHost):
    """Stands in for a host and its SSH connection."""

    root: Path
    fault: Fault | None = None
    name: str = "here"
    trips: int = 0
    node: object = field(default_factory=lambda: SimpleNamespace(ssh=SimpleNamespace(user="root")))

    def run(self, script: str, timeout: float = 600.0) -> Result:
        return self._trip(lambda text: self._shell(text), script)

    def send(self, source: Path, target: str, head: Head = AS_IT_IS, done: object = None) -> None:
        def carry(script: str) -> Result:
            part = Path(f"{target}.part")
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(head.content + source.read_bytes()[head.instead :])
            if "kill" not in script:
                part.rename(target)
            return Result()

        self._trip(carry, "mv -f")

    def pause(self, seconds: float) -> None:
        pass

    def _trip(self, work, script: str) -> Result:
        self.trips += 1
        kind = self.fault.kind if self.fault and self.trips == self.fault.at else ""
        if self.fault and self.fault.kind == "host gone" and self.trips >= self.fault.at:
            raise HostUnreachable("the host does not answer", where="host here")
        if kind == "killed before":
            raise Killed
        if kind == "cut in the middle":  # just before what a fragment does becomes visible
            work(script.replace("mv -f", "kill -9 0; mv -f", 1))
            raise HostUnreachable("the connection to the host was lost", where="host here")
        if kind == "command failed":
            return Result(b"", 1, b"it did not work")
        result = work(script)
        if kind == "killed after":
            raise Killed
        if kind == "answer lost":
            raise HostUnreachable("the connection to the host was lost", where="host here")
        return Result(result.stdout[: len(result.stdout) // 2], result.status) if kind == "answer cut short" else result

    def _shell(self, script: str) -> Result:
        environment = {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}", "UNITS": f"{self.root}/units"}
        done = subprocess.run(["sh"], input=script.encode(), capture_output=True, env=environment, start_new_session=True)
        return Result(done.stdout, done.returncode, done.stderr)


def steps(root: Path) -> list:
    """Three steps as chapters have them; each a list of resources."""
    etc, package = root / "etc", root.parent / "package"
    return [
        lambda: [
            Folder(f"{etc}/data", "0700"),
            Upload(f"{root}/repository/tool.deb", package, hashlib.sha256(package.read_bytes()).hexdigest()),
            File(f"{root}/repository/Packages", "tool\n"),
        ],
        lambda: [
            File(f"{etc}/one.conf", "one = 1\n"),
            File(f"{etc}/secret", "a secret\n", "0600", secret=True),
            Block(f"{etc}/hosts", "site", ("10.0.0.1 one", "10.0.0.2 two")),
            Htpasswd(f"{etc}/htpasswd", "admin", lambda: "password"),
        ],
        lambda: [
            Service("server", [f"{etc}/one.conf", f"{etc}/htpasswd"]),
            Condition("the server", f"test -e {root}/units/server.active", deadline=1),
            File(f"{etc}/last", "done\n"),
        ],
    ]


def run(host: StandIn) -> list:
    """One run in a process of its own: all steps, up to the first that fails. Returns the items of each."""
    session = SimpleNamespace(planned={})
    reports = []
    for resources in steps(host.root):
        try:
            outcome = converge(session, host, resources, False, lambda *_: None)
        except RunbookError as error:  # it could not be looked at; a Step reports this for the host
            outcome = Outcome([], error)
        reports.append(outcome)
        if outcome.error:
            break
    return reports


def make(root: Path) -> Path:
    """A bare host's folder; it has a configuration of an earlier day and a service that is younger."""
    (root / "bin").mkdir(parents=True)
    (root / "units").mkdir()
    (root / "etc").mkdir()
    (root / "bin" / "systemctl").write_text(SYSTEMCTL)
    (root / "bin" / "systemctl").chmod(0o755)
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc" / "one.conf").write_text("one = 0\n")
    (root / "units" / "server.active").touch()
    (root / "units" / "server.started").touch()
    return root


def end_state(root: Path) -> dict[str, object]:
    """Every file with its content and mode, and whether the service is on, and younger than what it reads."""
    seen: dict[str, object] = {}
    for path in sorted((root / "etc").rglob("*")) + sorted((root / "repository").rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        if path.name == "htpasswd":  # salted: another one each time
            content = htpasswd.htpasswd_matches(content.decode().strip(), "admin", "password")
        seen[str(path.relative_to(root))] = (oct(path.stat().st_mode), content)
    units = root / "units"
    started = (units / "server.started").stat().st_mtime
    read = max((root / "etc" / name).stat().st_mtime for name in ("one.conf", "htpasswd"))
    return seen | {
        "enabled": (units / "server.enabled").exists(),
        "active": (units / "server.active").exists(),
        "younger than what it reads": started >= read,
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """How many trips a run takes, and what it comes to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "package").write_bytes(b"\0binary" * 1000)
    host = StandIn(make(folder / "host"))
    assert all(outcome.error is None for outcome in run(host))
    return host.trips, end_state(host.root)


def test_the_undisturbed_run_does_it_all_and_then_nothing(undisturbed, tmp_path):
    trips, state = undisturbed
    assert trips >= 9 and state["younger than what it reads"] and len(state) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_after_an_interrupted_one_comes_to_the_same_end(undisturbed, tmp_path, kind):
    trips, wanted = undisturbed
    (tmp_path / "package").write_bytes(b"\0binary" * 1000)
    told = 0
    for at in range(1, trips + 1):
        root = make(tmp_path / f"host-{at}")
        try:
            broken = run(StandIn(root, Fault(kind, at)))[-1]
            told += broken.error is not None
        except Killed:
            told += 1
        again = run(StandIn(root))
        assert [outcome.error for outcome in again] == [None, None, None], f"{kind} at trip {at}"
        assert end_state(root) == wanted, f"{kind} at trip {at}"
        if at % 5 == 0:
            third = run(StandIn(root))
            left = [item.label for outcome in third for item in outcome.items if item.status != "ok"]
            assert left == [], f"{kind} at trip {at}"
        shutil.rmtree(root)
    # Every interruption was noticed; but what carries a file has no answer that could be cut short.
    assert told == trips - (kind == "answer cut short")
