"""The engine on real hosts, observed from outside: a plan changes nothing, a run changes once, drift is repaired."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.step import step
from airavata_runbook.engine.target import master
from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.hosts import journal, lock
from airavata_runbook.hosts.facts import CgroupVersion
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources import Authority, Block, Certificate, Condition, File, Generated, Service
from airavata_runbook.site import Site
from tests import ctrl_c
from tests.full_picture import cut_connections, over_ssh
from tests.labs import lab_hosts

UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@step("Secrets on the master", on=master)
def secrets_of_site(target):
    yield Generated("canary")
    yield Authority("ca", "lab-authority")


@step("A service on every host")
def service(target):
    yield Block("/etc/hosts", "site", tuple(f"{node.address} {node.name}.example" for node in target.site.nodes))
    yield Certificate("/etc/kubernetes/pki/server", Subject(target.node.name, ips=(str(target.node.address),)))
    yield File("/etc/systemd/system/waiter.service", UNIT)
    yield File("/etc/waiter.conf", f"# of {target.node.name}, cgroup {target.facts[CgroupVersion]}\n")
    yield Service("waiter", reads=["/etc/waiter.conf"])
    yield Condition("the waiter", script="systemctl is-active waiter")


@pytest.fixture(scope="module", params=["root", "operator"])
def site(request, tmp_path_factory):
    """A lab: once with root, once with a user who has sudo and a firewall that is closed for all but SSH."""
    plain = request.param == "root"
    fields = {
        "name": f"steps-{request.param}",
        "ssh": {"user": request.param},
        "nodes": [
            {"name": "one", "address": "10.96.0.11", "interface": "host0", "role": "master"},
            {"name": "two", "address": "10.96.0.12", "interface": "host0"},
        ],
        "lab": {"bridge": "lab7", "network": "10.96.0.0/24", "firewall": "open" if plain else "closed"},
    }
    with lab_hosts(fields, tmp_path_factory.mktemp("lab")) as made:
        yield made


def on(site: Site, name: str, command: str) -> str:
    """The output of a command on a host, by the ssh client and not by the engine's connection."""
    return over_ssh(site, name, command, timeout=30).strip()


def test_plan_then_run_then_nothing_to_do_then_drift(site):
    inspect = "ls /etc/kubernetes /etc/airavata-runbook /etc/waiter.conf 2>&1; systemctl is-enabled waiter 2>&1; cat /etc/hosts"
    bare = on(site, "two", inspect)
    planned = [secrets_of_site(site, plan=True), service(site, plan=True)]
    assert on(site, "two", inspect) == bare
    assert all(report.count("would change") and not report.count("changed") for report in planned)

    ran = [secrets_of_site(site), service(site)]
    for plan, report in zip(planned, ran, strict=True):
        assert {(host, item.label) for host, items in plan.hosts.items() for item in items if item.status == "would change"} == {
            (host, item.label) for host, items in report.hosts.items() for item in items if item.status == "changed"
        }
    assert on(site, "two", "systemctl is-active waiter; getent hosts one.example") == "active\n10.96.0.11      one.example"
    assert on(site, "one", "stat -c %a /etc/kubernetes/pki/ca.key /etc/airavata-runbook/secrets/canary") == "600\n600"

    started = on(site, "one", "systemctl show -p ExecMainStartTimestamp waiter")
    assert [report.count("changed") for report in (secrets_of_site(site), service(site))] == [0, 0]
    assert on(site, "one", "systemctl show -p ExecMainStartTimestamp waiter") == started

    on(site, "two", "echo drift >> /etc/waiter.conf; systemctl stop waiter")
    report = service(site)
    assert {(host, item.label) for host, items in report.hosts.items() for item in items if item.status == "changed"} == {
        ("two", "file /etc/waiter.conf"),
        ("two", "service waiter"),
    }
    assert on(site, "two", "systemctl is-active waiter; cat /etc/waiter.conf").startswith("active\n# of two, cgroup")


def test_a_run_that_was_interrupted_between_file_and_restart_is_completed(site):
    secrets_of_site(site), service(site)
    before = on(site, "one", "systemctl show -p MainPID waiter")
    time.sleep(0.01)  # file times have the resolution of the kernel's clock tick
    on(site, "one", "touch /etc/waiter.conf")
    assert service(site).count("changed") == 1
    assert on(site, "one", "systemctl show -p MainPID waiter") != before


def test_secrets_are_shown_nowhere(site, capsys):
    reports = [secrets_of_site(site), service(site)]
    canary = session_of(site).vault.secret("generated:canary")
    assert len(canary) == 32
    shown = "".join(f"{report}{report._repr_html_()}{report.model_dump()}" for report in reports) + capsys.readouterr().out
    assert canary not in shown and "PRIVATE KEY" not in shown


def test_a_failed_host_does_not_lose_the_result_of_others(site):
    @step("One of two fails")
    def halves(target):
        yield File("/etc/half", "half\n")
        yield Condition("two's own file", script="test -e /never" if target.node.name == "two" else "true", deadline=1)

    with pytest.raises(StepFailed, match="two: two's own file: not within 1 s"):
        halves(site)
    assert on(site, "one", "cat /etc/half") == on(site, "two", "cat /etc/half") == "half"


def test_a_forward_reaches_a_port_of_the_host(site):
    port = session_of(site).hosts["two"].forward(22)
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        assert connection.recv(4) == b"SSH-"


def test_a_sent_file_arrives_complete(site, tmp_path):
    source = tmp_path / "large"
    source.write_bytes(bytes(range(256)) * 40_000)
    session_of(site).hosts["two"].send(source, "/opt/runbook/large")
    assert on(site, "two", "stat -c %s /opt/runbook/large") == "10240000"


def test_a_wrong_host_key_is_refused_by_name(site):
    wrong = Site.load(
        {
            "name": "wrong",
            "nodes": [
                {
                    "name": "one",
                    "address": "10.96.0.11",
                    "role": "master",
                    "ssh": {"user": site.master.ssh.user, "key": site.master.ssh.key, "fingerprint": "SHA256:" + "A" * 43},
                }
            ],
        }
    )
    with pytest.raises(HostUnreachable, match="does not match the fingerprint in the site file") as refused:
        session_of(wrong).hosts["one"].run("true")
    assert "host one" in str(refused.value)


def sockets() -> set[str]:
    """The sockets that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the folder's own descriptor
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {link for link in found if link.startswith("socket:")}


def test_a_closed_session_leaves_no_thread_forward_or_connection(site):
    session_of(site).close()  # of the tests before
    threads, open_before = set(threading.enumerate()), sockets()
    session = session_of(site)
    with session.lock.held("a test of its end"):
        for host in session.hosts.values():
            host.connect_in_background()
        assert secrets_of_site(site).failed == 0
        port = session.hosts["two"].forward(22)
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            assert connection.recv(4) == b"SSH-"
            assert len(threading.enumerate()) > len(threads) and len(sockets()) > len(open_before)
            session.hosts["two"].close()
            assert connection.recv(1000) is not None and connection.recv(1) == b"", "the forward ends with its connection"
        session.hosts["two"].run("true")
        session.hosts["two"].forward(22)
    session.close()
    # None is new; one of a connection that an earlier test saw refused may have ended since.
    assert set(threading.enumerate()) <= threads and sockets() <= open_before
    assert session_of(site) is not session and on(site, "two", "echo again") == "again"


HOLD = """
import sys, time
from airavata_runbook.cluster.session import session_of
from airavata_runbook.hosts import heartbeat
from airavata_runbook.site import Site
heartbeat.TIMEOUT, heartbeat.INTERVAL = 3, 1
with session_of(Site.model_validate_json(sys.argv[1])).lock.held("a test that keeps the lock"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_second_run_is_refused_until_the_first_ends_or_stops_responding(site, end):
    holder = hold_lock(site)
    try:
        started = time.monotonic()
        message = rf"(?s)another run is in progress.*process {holder.pid}, a test that keeps the lock, since 20\d\d-"
        with pytest.raises(StepFailed, match=message):
            service(site)
        assert time.monotonic() - started < 15
        service(site, plan=True)  # a plan changes nothing and needs no lock
        holder.send_signal(end)
        wait_for(lambda: service(site), 15)
    finally:
        holder.kill()
        holder.communicate()
    assert on(site, "one", "cat /run/airavata-runbook.lock; stat -c %a /run/airavata-runbook.lock") == "600"


def test_the_master_keeps_a_journal_of_what_was_done(site):
    secrets_of_site(site)
    service(site)  # it gets the lock when the script of the step before has written its line and ended
    found = journal.read(session_of(site).master, lock.PATH, 9).entries
    newest = next(entry for entry in found if entry.what == "step 'Secrets on the master' of chapter test_steps")
    assert newest.outcome in ("1 host: 2 ok", "1 host: 2 changed") and newest.since <= newest.until and "@" in newest.who
    assert on(site, "one", f"stat -c '%a %U' {journal.PATH}") == "600 root"


def hold_lock(site) -> subprocess.Popen:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, site.model_dump_json(exclude_unset=True)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_run_that_lost_its_connection_takes_its_lock_again(site):
    holder = hold_lock(site)
    try:
        cut_connections(site, "one")
        deadline = time.monotonic() + 20
        while "a test that keeps the lock" not in (state := over_ssh(site, "one", f"cat {lock.PATH}; fuser {lock.PATH} 2>&1")):
            assert time.monotonic() < deadline, state
            time.sleep(0.2)
        with pytest.raises(StepFailed, match=f"process {holder.pid}, a test that keeps the lock"):
            service(site)
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.communicate()


def test_a_run_that_finds_its_lock_taken_stops_and_names_the_holder(site):
    holder = hold_lock(site)
    try:
        # Another process is waiting for the lock when the connection is lost.
        over_ssh(
            site,
            "one",
            f"systemd-run -q --collect --unit=other sh -c 'exec 9>>{lock.PATH}; flock 9; "
            f"echo somebody else > {lock.PATH}; sleep 60'",
        )
        cut_connections(site, "one")
        _, error = holder.communicate(timeout=30)
        assert holder.returncode and "could not be taken again" in error and "somebody else" in error
    finally:
        holder.kill()
        holder.wait()
        over_ssh(site, "one", f"systemctl stop other; : > {lock.PATH}")


def wait_for(work, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return work()
        except StepFailed as error:
            assert error.retryable and time.monotonic() < deadline


def test_ctrl_c_stops_a_step_at_once_and_every_hosts_result_is_reported(site):
    @step("One waits")
    def waiting(target):
        yield File("/etc/before-the-wait", "done\n")
        yield Condition("what never comes", script="test -e /never" if target.node.name == "two" else "true", deadline=60)

    started = time.monotonic()
    with ctrl_c.pressed_after(3), pytest.raises(StepFailed, match="two: stopped by the user") as stopped:
        waiting(site)
    assert time.monotonic() - started < 15 and "one:" not in str(stopped.value)
    assert on(site, "one", "cat /etc/before-the-wait") == on(site, "two", "cat /etc/before-the-wait") == "done"
    assert service(site).count("changed") == 0, "the hosts accept work again"
