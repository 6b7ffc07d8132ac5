"""Who fetches what from whom, and when nobody can: hosts that only remember what they were asked."""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts import fan_out
from airavata_runbook.hosts.fan_out import PORTS, FanOut, Shared
from airavata_runbook.hosts.host import Result
from airavata_runbook.resources import Upload

FIRST, SECOND, THIRD = (Shared(f"/opt/packages/{name}.deb", name[0] * 64) for name in ("a", "b", "c d"))


class Remembers:
    """Stands in for a host: what it was asked to run and what was sent to it."""

    def __init__(self, name: str, answer: Result | None = None):
        self.name, self.answer = name, answer or Result()
        self.node = SimpleNamespace(address="10.0.0.2")
        self.ran, self.sent, self.serves = [], [], 0

    def run(self, script: str, timeout: float) -> Result:
        self.ran.append(script)
        return self.answer

    def send(self, source, target: str, head, done) -> None:
        self.sent.append(target)

    def start(self, script: str, data: bytes):
        self.serves += 1
        lines = SimpleNamespace(readline=lambda: b"port 5000\n", read=lambda: b"")
        return SimpleNamespace(
            settimeout=lambda seconds: None,
            sendall=lambda data: None,
            recv=lambda size: b"",
            makefile=lambda mode: lines,
            shutdown_write=lambda: None,
            close=lambda: None,
        )


@pytest.fixture
def hosts():
    return SimpleNamespace(source=Remembers("source"), one=Remembers("one"), two=Remembers("two"))


@pytest.fixture
def way(hosts):
    with FanOut(hosts.source, vars(hosts).values(), 5000) as way:
        yield way


def fetched(script: str) -> list[str]:
    return [line.split('"')[1] for line in script.splitlines() if line.startswith("get ")]


def test_what_is_there_is_fetched_at_once_and_the_rest_as_it_comes(hosts, way):
    for file in (FIRST, SECOND, THIRD):
        way.note(hosts.one, file, False)
    way.note(hosts.source, FIRST, True), way.note(hosts.source, SECOND, True)
    later = threading.Timer(0.2, lambda: way.note(hosts.source, THIRD, True))
    later.start()
    assert [way.fetch(hosts.one, file) for file in (FIRST, SECOND, THIRD)] == ["", "", ""]
    assert [fetched(script) for script in hosts.one.ran] == [[FIRST.path, SECOND.path], [THIRD.path]]
    assert hosts.source.serves == 1 and "'/opt/packages/c d.deb.part'" in hosts.one.ran[1]


def test_nothing_is_served_when_nobody_asks(hosts, way):
    way.note(hosts.source, FIRST, True), way.note(hosts.one, FIRST, True)
    assert hosts.source.serves == 0


@pytest.mark.parametrize("end", [lambda: None, lambda: 1 / 0])
def test_nobody_waits_for_a_source_whose_work_has_ended(hosts, way, end):
    def work():
        time.sleep(0.2)
        end()

    way.note(hosts.one, FIRST, False)
    waiting = threading.Thread(target=lambda: hosts.one.ran.append(way.fetch(hosts.one, FIRST)))
    waiting.start()
    with suppress(ZeroDivisionError):
        way.watch(hosts.source, work)
    waiting.join(5)
    assert hosts.one.ran == ["source does not have it"]


def test_a_step_without_the_source_waits_for_nobody(hosts):
    way = FanOut(hosts.source, [hosts.one], 5000)
    way.note(hosts.one, FIRST, False)
    assert way.fetch(hosts.one, FIRST) == "source does not have it"


def test_a_host_that_cannot_fetch_tries_once_and_does_not_keep_another_from_it(hosts, way):
    hosts.one.answer = Result(b"", 255, b"ssh: connect to host 10.0.0.2 port 5000: Connection timed out\nConnection closed.\n")
    for host in (hosts.one, hosts.two):
        for file in (FIRST, SECOND):
            way.note(host, file, False)
    way.note(hosts.source, FIRST, True)
    why = "from source: ssh: connect to host 10.0.0.2 port 5000: Connection timed out"
    assert way.fetch(hosts.one, FIRST) == why
    way.note(hosts.source, SECOND, True)
    assert way.fetch(hosts.one, SECOND) == why and len(hosts.one.ran) == 1
    assert way.fetch(hosts.two, FIRST) == way.fetch(hosts.two, SECOND) == "" and hosts.source.serves == 1


@pytest.mark.parametrize("message", ["the connection to the host was lost", "port 22"])
def test_a_source_that_cannot_be_reached_any_more_is_a_reason_and_no_error(hosts, way, message):
    def lost(script, data):
        raise HostUnreachable(message, where="host source")

    hosts.source.start = lost
    way.note(hosts.source, FIRST, True), way.note(hosts.one, FIRST, False)
    assert way.fetch(hosts.one, FIRST) == f"source does not serve it: {message}"


def test_the_keys_show_only_in_what_goes_to_standard_input(hosts, way):
    way.note(hosts.source, FIRST, True), way.note(hosts.one, FIRST, False)
    way.fetch(hosts.one, FIRST)
    assert hosts.one.ran[0].count("PRIVATE KEY") == 2
    server = way._server
    assert "PRIVATE" not in server._script((5000,)) + repr(server.user_key) + repr(vars(server)) + repr(vars(way))
    assert fan_out._KeyPair.new().private != fan_out._KeyPair.new().private


def test_an_upload_says_which_way_it_goes_and_what_went_otherwise(hosts, way, tmp_path):
    (tmp_path / "cached-a.deb").write_bytes(b"a")
    upload = Upload(FIRST.path, tmp_path / "cached-a.deb", FIRST.sha256, way)
    missing, there = Found(b"", 1), Found(FIRST.sha256.encode() + b"  -\n")
    assert upload.change(missing, Context(hosts.source, None)).command.startswith("scp a.deb source:")
    change = upload.change(missing, Context(hosts.one, None))
    assert change.command == f"sftp source:{FIRST.path} {FIRST.path}   # 0.0 MB, inside the private network"
    assert upload.change(there, Context(hosts.source, None)) is None
    assert not change.call() and hosts.one.sent == []

    hosts.two.answer = Result(b"it has no sftp\n", 1)
    assert upload.change(missing, Context(hosts.two, None)).call() == "sent from this machine (from source: it has no sftp)"
    assert hosts.two.sent == [FIRST.path]


SSHD = """#!/bin/sh
# Stands in for sshd: a taken port ends it, else it takes a while to listen, and writes its pid then.
while [ $# -gt 0 ]; do case $1 in -p) port=$2;; -f) config=$2;; esac; shift; done
case $port in 5000|22022) echo "Address already in use"; exit 255;; esac
echo $$ > $STARTED; sleep $SLOW; echo $$ > ${config%/*}/pid; exec sleep 60
"""


@pytest.mark.parametrize(("slow", "end"), [(0.3, "closed"), (30, "killed")])
def test_the_servers_shell_finds_the_port_that_is_free_and_leaves_nothing_whenever_it_ends(tmp_path, slow, end):
    program, started = tmp_path / "bin" / "sshd", tmp_path / "started"
    program.parent.mkdir()
    program.write_text(SSHD)
    program.chmod(0o755)
    script = fan_out._Server(Remembers("source"), (5000, *PORTS))._script((5000, *PORTS)).replace("/run/", f"{tmp_path}/")
    shell = subprocess.Popen(
        ["sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "SLOW": str(slow), "STARTED": str(started)},
    )
    try:
        shell.stdin.write(fan_out._Server(Remembers("source"), (5000, *PORTS)).host_key.private.encode())
        shell.stdin.flush()
        if end == "closed":
            assert shell.stdout.readline() == b"port 22023\n"
            shell.stdin.close()
        else:
            deadline = time.monotonic() + 20
            while not started.exists() or not started.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            shell.terminate()
        shell.wait(timeout=20)
        assert not Path(f"/proc/{int(started.read_text())}").exists() and list(tmp_path.glob("airavata*")) == []
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
