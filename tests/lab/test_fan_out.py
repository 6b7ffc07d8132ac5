"""Packages are sent to the hosts once: counted from outside, on the bridge with this machine's own address."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airavata_runbook.chapters import install
from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.step import step
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.fan_out import Shared, _Server
from airavata_runbook.mirror import catalogue, everything, packages
from airavata_runbook.mirror.repository import HostRepository
from airavata_runbook.resources import Upload
from airavata_runbook.site import Site
from tests.full_picture import over_ssh
from tests.labs import lab_hosts

FOLDER = "/opt/airavata-runbook/repository"
HOSTS = ("one", "two", "three")
# Of these a step leaves nothing behind: listeners, servers and clients, temporary folders, partial files, keys.
TRACES = """ss -Htln | awk '{print $4}' | sort
all=$(ps -eo args); echo "$all" | grep -E 'sshd -D -e|sftp|nobody' | sort
ls -d /run/airavata-runbook.??????
find / -xdev -name '*.part'
find /root /home -path '*.ssh*' -type f | xargs sha256sum"""


@pytest.fixture(scope="module", params=["root", "operator"])
def site(request, tmp_path_factory):
    """A lab: once with root, once with rpm, sudo, a closed firewall and a host behind a jump host."""
    plain = request.param == "root"
    fields = {
        "name": f"fan-out-{request.param}",
        "ssh": {"user": request.param},
        "registry": {"node": "two"},
        "nodes": [
            {"name": "one", "address": "10.90.0.11", "interface": "host0", "role": "master"},
            {"name": "two", "address": "10.90.0.12", "interface": "host0"},
            {
                "name": "three",
                "address": "10.90.0.13",
                "interface": "host0",
                "ssh": {} if plain else {"jump": "operator@10.90.0.11"},
            },
        ],
        "lab": {
            "bridge": "lab4",
            "network": "10.90.0.0/24",
            "firewall": "open" if plain else "closed",
            "hosts": {name: {"packages": "deb" if plain else "rpm"} for name in HOSTS},
        },
    }
    with lab_hosts(fields, tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_is_left_behind(site):
    before = traces(site)
    yield
    assert traces(site) == before


@pytest.fixture
def uploads(tmp_path):
    """A step that puts two small files on every host; their folder is new in every test."""
    contents = {"first": os.urandom(3_000_000), "second file": os.urandom(3_000_000)}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    @step("Two files on every host")
    def files(target):
        for name, digest in sums.items():
            yield Upload(f"/opt/{tmp_path.name}/{name}", tmp_path / name, digest, target.fan_out)

    files.folder, files.files, files.sums = f"/opt/{tmp_path.name}", f"/opt/{tmp_path.name}/*", sorted(sums.values())
    return files


def bytes_sent() -> int:
    """Bytes that this machine has sent to hosts of the lab, without those that hosts send to each other."""
    return int(Path("/sys/class/net/lab4/statistics/tx_bytes").read_text())


def sums(site: Site, name: str, files: str) -> list[str]:
    return sorted(line.split()[0] for line in over_ssh(site, name, f"sha256sum {files}").splitlines())


def traces(site: Site) -> dict[str, str]:
    return {name: over_ssh(site, name, TRACES) for name in HOSTS}


def actions(report) -> set[tuple[str, ...]]:
    return {
        (host, item.label, item.summary, item.command)
        for host, items in report.hosts.items()
        for item in items
        if item.status in ("would change", "changed")
    }


def summaries(report, name: str) -> set[str]:
    return {item.summary for item in report.hosts[name]}


def test_packages_are_sent_once_and_the_report_says_how_each_was_transferred(site, capsys):
    (format,) = everything.packages_of(site)
    built = {node.name: packages.make(catalogue.of_host(site, node), format=format) for node in site.nodes}
    one_copy = sum({one.path: one.path.stat().st_size for each in built.values() for one in each}.values())
    every_copy = sum(one.path.stat().st_size for each in built.values() for one in each)
    install.repository_key(site)
    planned, sent = install.repository(site, plan=True), bytes_sent()
    ran, sent = install.repository(site), bytes_sent() - sent
    print(
        f"{site.name}: {sent / 1e6:.0f} MB sent, one copy is {one_copy / 1e6:.0f}, all are {every_copy / 1e6:.0f}, "
        f"{ran.seconds:.1f} s"
    )
    assert one_copy < sent < 1.06 * one_copy < 0.7 * every_copy
    for name, each in built.items():
        names = [one.name for one in each]
        ours = HostRepository(names, (), format, lambda: session_of(site).vault.repository_key(format.key))
        assert set(sums(site, name, f"{FOLDER}/*.{format.name}")) == set(map(ours.sha256, names))
        assert over_ssh(site, name, f"stat -c %a:%U {FOLDER}/*.{format.name} | sort -u") == "644:root\n"
    assert actions(planned) == actions(ran)
    transfers = {
        name: [item.command.split(":")[0] for item in ran.hosts[name] if item.label.endswith(f".{format.name}")] for name in HOSTS
    }
    assert transfers["three"] == ["sftp two"] * 4 and {transfer.split()[0] for transfer in transfers["two"]} == {"scp"}
    assert sorted(transfer.split()[0] for transfer in transfers["one"]) == ["scp"] * 4 + ["sftp"] * 4
    shown = f"{ran}{ran._repr_html_()}{ran.model_dump()}" + capsys.readouterr().out
    assert "PRIVATE" not in shown and "sent from this machine" not in shown

    sent = bytes_sent()
    assert install.repository(site).count("changed") == 0
    over_ssh(site, "three", f"rm -r {FOLDER}")
    assert install.repository(site).count("changed") == 4 + len(format.index_files) + 1, "four packages and the index"
    assert bytes_sent() - sent < 1_000_000, "for a host that is added later nothing is sent again"


def test_the_registrys_port_may_be_in_use(site, uploads):
    listener = over_ssh(site, "two", "setsid socat TCP-LISTEN:5001,fork /dev/null >/dev/null 2>&1 </dev/null & echo $!").strip()
    sent = bytes_sent()
    try:
        report = uploads(site)
    finally:
        over_ssh(site, "two", f"kill {listener}")
    assert summaries(report, "one") == summaries(report, "three") == {"create"} and bytes_sent() - sent < 7_000_000
    assert all(sums(site, name, uploads.files) == uploads.sums for name in HOSTS)


def test_files_come_from_this_machine_when_the_port_is_blocked_and_the_report_says_so(site, uploads):
    over_ssh(
        site,
        "two",
        "nft -f - <<END\ntable inet blocked { chain input { type filter hook input priority 0;\n"
        "ip saddr 10.90.0.13 tcp dport { 5001, 22022, 22023 } drop\n}\n}\nEND\n",
    )
    try:
        report = uploads(site)
    finally:
        over_ssh(site, "two", "nft delete table inet blocked")
    assert summaries(report, "one") == {"create"}
    (reason,) = summaries(report, "three")
    assert reason.startswith(
        "create, sent from this machine (from two: ssh: connect to host 10.90.0.12 port 5001: Connection timed"
    )
    assert report.seconds < 30 and all(sums(site, name, uploads.files) == uploads.sums for name in HOSTS)


@pytest.mark.parametrize(
    "name, program, reason",
    [("three", "/usr/bin/sftp", "from two: it has no sftp"), ("two", "/usr/sbin/sshd", "two does not serve it: it has no sshd")],
)
def test_a_missing_program_is_not_an_error(site, uploads, name, program, reason):
    over_ssh(site, name, f"mv {program} {program}.away")
    try:
        report = uploads(site)
    finally:
        # Without its sshd the host accepts no new connection: the file is restored on its root file system.
        root = Path(site.master.ssh.key).parent / name / "root"
        (root / f"{program[1:]}.away").rename(root / program[1:])
    assert summaries(report, "three") == {f"create, sent from this machine ({reason})"}
    assert all(sums(site, host, uploads.files) == uploads.sums for host in HOSTS)


def test_other_hosts_get_their_files_when_the_source_fails(site, uploads):
    over_ssh(site, "two", f"touch {uploads.folder}")
    with pytest.raises(StepFailed) as failed:
        uploads(site)
    report = failed.value.report
    assert [one.host for one in report.failures] == ["two"]
    assert summaries(report, "one") == summaries(report, "three") == {"create, sent from this machine (two does not have it)"}
    assert sums(site, "one", uploads.files) == sums(site, "three", uploads.files) == uploads.sums


def test_the_one_time_key_reads_world_readable_files_and_permits_nothing_else(site):
    hosts = session_of(site).hosts
    server = _Server(hosts["two"], (5000,))
    try:
        script = server.fetch_script([Shared("/etc/hostname", hashlib.sha256(b"two\n").hexdigest())])
        script = script.replace("/etc/hostname.part", "/tmp/got").replace("mv -f /tmp/got /etc/hostname", "cat /tmp/got")
        assert hosts["three"].run(script).text == "two\n"
        for refused in ('get /etc/shadow "/tmp/got"', "put /etc/hostname /tmp/put", "rm /tmp", "mkdir /tmp/made"):
            answer = hosts["three"].run(script.replace('get "/etc/hostname" "/tmp/got"', refused))
            assert answer.status and "ermission denied" in answer.last_lines, refused
        command = script.replace("timeout 3600 sftp -b -", "timeout 9 ssh").replace("-P ", "-p ")
        assert "a shell" not in hosts["three"].run(command.replace("@10.90.0.12 >/dev/null", "@10.90.0.12 echo a shell")).text
        forward = command.replace("ssh -F", "ssh -N -o ExitOnForwardFailure=yes -R 7777:127.0.0.1:22 -F")
        assert "remote port forwarding failed" in hosts["three"].run(forward).last_lines
    finally:
        server.close()


FETCH = """
import sys
from airavata_runbook.cluster.session import session_of
from airavata_runbook.hosts import heartbeat
from airavata_runbook.hosts.fan_out import FanOut, Shared
from airavata_runbook.site import Site
heartbeat.TIMEOUT, heartbeat.INTERVAL = 3, 1
hosts, large = session_of(Site.model_validate_json(sys.argv[1])).hosts, Shared("/var/tmp/large", "0" * 64)
with FanOut(hosts["two"], hosts.values(), 5000) as fan_out:
    fan_out.note(hosts["two"], large, True), fan_out.note(hosts["three"], large, False)
    fan_out.fetch(hosts["three"], large)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_run_leaves_nothing_behind(site, end):
    before = traces(site)
    over_ssh(site, "two", "truncate -s 30G /var/tmp/large")
    runner = subprocess.Popen([sys.executable, "-c", FETCH, site.model_dump_json(exclude_unset=True)])
    try:
        wait_for(lambda: over_ssh(site, "three", "test -s /var/tmp/large.part && echo started"), 20)
        for name in ("two", "three"):
            assert "PRIVATE" not in over_ssh(site, name, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '")
        assert over_ssh(site, "three", "stat -c %a /run/airavata-runbook.*/key /run/airavata-runbook.*") == "600\n700\n"
        assert over_ssh(site, "two", "stat -c %a /run/airavata-runbook.*/host_key") == "600\n"
        runner.send_signal(end)
        started = time.monotonic()
        wait_for(lambda: traces(site) == before, 20)
        print(f"{site.name}: all gone {time.monotonic() - started:.1f} s after {end.name}")
    finally:
        runner.kill()
        runner.wait()
        over_ssh(site, "two", "rm /var/tmp/large")


def wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
