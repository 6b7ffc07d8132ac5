"""Facts of hosts as text, parsed. lab-debian-12 is a recording; rocky-9 and ubuntu-24.04 are NOT RECORDED but
written from the distributions' documentation, as each file's `source` says."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airavata_runbook import Site
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.facts import HOST_FACTS
from airavata_runbook.hosts.host import Result
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot, gather
from tests.unit.sessions import FakeHost, answer_batch

FIXTURES = Path(__file__).parent / "fixtures" / "facts"
NODE = Site.load("lab").master
COMMANDS = {fact.name: fact.command for fact in HOST_FACTS}


def texts(name: str) -> dict[str, str]:
    return json.loads((FIXTURES / f"{name}.json").read_text())["facts"]


def snapshot(name: str, **changes: str) -> HostSnapshot:
    """A recorded host; changes: fact → what its command prints instead."""
    return HostSnapshot.parse(NODE, HOST_FACTS, texts(name) | changes)


def host_that(runs: Callable[[str], Result]) -> FakeHost:
    host = FakeHost()
    host.node, host.run = NODE, runs
    return host


@pytest.mark.parametrize("name", ["lab-debian-12", "rocky-9", "ubuntu-24.04"])
def test_every_fixture_answers_exactly_the_commands_and_says_where_it_is_from(name):
    fixture = json.loads((FIXTURES / f"{name}.json").read_text())
    assert fixture["facts"].keys() == COMMANDS.keys()
    assert fixture["source"].startswith("RECORDED" if name.startswith("lab") else "NOT RECORDED")


def test_a_recorded_lab_host():
    host = snapshot("lab-debian-12")
    assert host[facts.Os] == ("debian", "12", ()) and host[facts.Architecture] == "x86_64"
    assert (host[facts.Hostname], len(host[facts.MachineId]), host[facts.Cpus]) == ("one", 32, 2)
    assert host[facts.Memory] == (24684084 * 1024, 0)
    assert (host[facts.CgroupVersion], host[facts.Systemd], host[facts.Container]) == (1, 252, "systemd-nspawn")
    assert not host[facts.CanRaiseLimits] and host[facts.OpenFiles] == (20000, 1048576)
    assert not host[facts.ConntrackWritable]
    assert (host[facts.Selinux], host[facts.Firewalld], host[facts.Resolved]) == ("absent", False, False)
    assert host[facts.Addresses] == {"lo": ("127.0.0.1/8",), "host0": ("10.98.31.11/24",)}
    assert host[facts.Mtus] == {"lo": 65536, "host0": 1500}  # printed as host0@if…, its peer outside


def test_a_rocky_host_enforces_selinux_and_has_a_firewall():
    host = snapshot("rocky-9")
    assert (host[facts.Os], host[facts.Selinux], host[facts.Firewalld]) == (
        ("rocky", "9.5", ("rhel", "centos", "fedora")),
        "enforcing",
        True,
    )
    assert (host[facts.CgroupVersion], host[facts.Systemd], host[facts.CanRaiseLimits]) == (2, 252, True)
    assert host[facts.Container] == "" and host[facts.Addresses]["eno1"] == ("192.0.2.21/24",)


def test_an_ubuntu_host_resolves_by_systemd_and_its_connection_table_can_be_set():
    host = snapshot("ubuntu-24.04")
    assert (host[facts.Os], host[facts.Systemd], host[facts.Resolved]) == (("ubuntu", "24.04", ("debian",)), 255, True)
    assert host[facts.ConntrackWritable]


@pytest.mark.parametrize("ahead", [-120, 0, 120])
def test_a_clock_is_compared_with_this_machines_at_the_moment_of_gathering(ahead):
    def run(script: str) -> Result:
        return answer_batch(script, texts("rocky-9") | {"Clock": str(time.time() + ahead)})

    host = gather(host_that(run), HOST_FACTS)
    assert facts.clock_skew(host) == pytest.approx(ahead, abs=1)


@pytest.mark.parametrize(
    "changes, fact, value",
    [
        ({"OpenFiles": "unlimited\n1048576\n"}, facts.OpenFiles, (1048576, 1048576)),
        ({"Selinux": "0"}, facts.Selinux, "permissive"),
        ({"Container": ""}, facts.Container, ""),  # a host without systemd-detect-virt
        ({"Systemd": "init\n"}, facts.Systemd, 0),
        ({"Systemd": "systemd\nsystemd 257~rc1 (257~rc1-1)\n"}, facts.Systemd, 257),
        ({"MachineId": ""}, facts.MachineId, ""),
        (
            {"Addresses": "3: tun0    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun0\n"},
            facts.Addresses,
            {"tun0": ("10.8.0.2/32",)},
        ),
        (
            {
                "Addresses": "2: eth0    inet 192.0.2.1/24 scope global eth0\n2: eth0    inet 192.0.2.9/24 scope global "
                "secondary eth0\n"
            },
            facts.Addresses,
            {"eth0": ("192.0.2.1/24", "192.0.2.9/24")},
        ),
    ],
)
def test_less_usual_output(changes, fact, value):
    assert snapshot("rocky-9", **changes)[fact] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ID='debian'\nVERSION_ID='12'\n", ("debian", "12", ())),
        ("ID=deb\\ian\nVERSION_ID=12\n", ("debian", "12", ())),
        ('ID="debian" # a comment\nVERSION_ID="1"2\n', ("debian", "12", ())),
        ('ID=old\nID=debian\nPRETTY_NAME="Debian \\"13\\""\nBAD=\'\n', ("debian", "", ())),
        ("ID=linuxmint\nVERSION_ID=\"22\"\nID_LIKE='ubuntu debian'\n", ("linuxmint", "22", ("ubuntu", "debian"))),
        ("ID=raspbian\nID_LIKE=debian\n", ("raspbian", "", ("debian",))),
        ("NAME=ID=x\nID=debian\nUBUNTU_ID=y\nVERSION_ID=\n", ("debian", "", ())),
    ],
)
def test_os_release_is_read_as_a_shell_would(text, value, tmp_path):
    assert snapshot("rocky-9", Os=text)[facts.Os] == value
    if "BAD" not in text:
        (tmp_path / "os-release").write_text(text)
        script = f'. {tmp_path}/os-release; printf "%s|%s|%s" "$ID" "$VERSION_ID" "$ID_LIKE"'
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout.split("|")
        assert (said[0], said[1], tuple(said[2].split())) == value


@pytest.mark.parametrize("text", ["ID='deb\n", "ID=\n", "ID=two words\n", "VERSION_ID=12\n", "ID=$(reboot)\n"])
def test_what_no_distribution_is_named_is_refused(text):
    refused("Os", text)


def test_swap_that_comes_with_the_next_boot_is_seen(tmp_path, monkeypatch):
    (tmp_path / "fstab").write_text(
        "# /dev/old none swap sw 0 0\nUUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n"
        "/swapfile swap swap defaults,noauto 0 0\n/swap.img\tnone\tswap\tsw\t0\t0\n"
    )
    (tmp_path / "systemctl").write_text(
        '#!/bin/sh\ncase $1 in is-enabled) test "$2" = zramswap && echo enabled ;; list-unit-files) cat <<END\n'
        "dev-sda2.swap  generated -\ndev-zram0.swap generated -\nold.swap masked enabled\nmine.swap disabled enabled\n"
        "home-swap.swap enabled enabled\nEND\nesac\n"
    )
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    command = facts.SwapAtBoot.command.replace("/etc/fstab", f"{tmp_path}/fstab")
    text = subprocess.run(["sh"], input=command.encode(), capture_output=True).stdout.decode()
    assert facts.SwapAtBoot().parse(text) == [
        "/etc/fstab: /dev/sda2",
        "/etc/fstab: /swap.img",
        "dev-sda2.swap",
        "dev-zram0.swap",
        "home-swap.swap",
        "zramswap",
    ]


def test_name_servers_are_read_of_each_file_that_exists(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("# nameserver 1.1.1.1\nnameserver 127.0.0.53\nnameserver\noptions edns0\n")
    (tmp_path / "run/systemd/resolve").mkdir(parents=True)
    (tmp_path / "run/systemd/resolve/resolv.conf").write_text("nameserver 10.0.0.1\n nameserver 10.0.0.2 # so\n")
    command = facts.Nameservers.command.replace("/etc/", f"{tmp_path}/etc/").replace("/run/", f"{tmp_path}/run/")
    text = subprocess.run(["sh"], input=command.encode(), capture_output=True).stdout.decode().replace(str(tmp_path), "")
    assert facts.Nameservers().parse(text) == {
        "/etc/resolv.conf": ("127.0.0.53",),
        "/run/systemd/resolve/resolv.conf": ("10.0.0.1", "10.0.0.2"),
    }


def refused(name: str, text: str) -> StepFailed:
    """How a fact refuses what its command printed."""
    host = snapshot("rocky-9", **{name: text})
    with pytest.raises(StepFailed, match="unexpected probe output") as caught:
        host[getattr(facts, name)]
    assert host.get(getattr(facts, name)) is None
    return caught.value


NUMBERS = ("Cpus", "Memory", "CanRaiseLimits", "OpenFiles", "Clock")
WORDS = ("Os", "CgroupVersion", "ConntrackWritable", "Mtus")


@pytest.mark.parametrize(
    "name, text",
    [
        *((name, text) for name in NUMBERS + WORDS for text in ("", "\n", "\ufffd\x00\x1b[31m nonsense", "9" * 5000)),
        *(("Architecture", text) for text in ("", "\n", "\ufffd\x00\x1b[31m nonsense", "9" * 5000)),
        *((name, text) for name in ("Hostname", "Systemd") for text in ("", "\n")),
        ("Systemd", "systemd\nnonsense\n"),
        ("Container", "two words"),
        ("MachineId", "two words"),
        ("SwapAtBoot", "Welcome to one!\n"),
        ("Nameservers", "Welcome to one!\n"),
        ("Nameservers", "Welcome!\n"),
        ("Nameservers", "nameserver 10.0.0.1\n"),
        ("Nameservers", "file /etc/shadow\n"),
    ],
)
def test_unexpected_output_is_refused_with_the_facts_name(name, text):
    error = refused(name, text)
    assert error.where == f"fact {name}" and COMMANDS[name] in error.needed
    assert len(error.found) <= 200 and ("iproute2" in error.remedy) == (name == "Mtus")


def test_a_fact_that_could_not_be_parsed_affects_no_other():
    host = snapshot("rocky-9", Addresses="ip fails\n", Mtus="", Clock="")
    unparsed = {fact for fact, value in host.values.items() if isinstance(value, StepFailed)}
    assert unparsed == {facts.Addresses, facts.Mtus, facts.Clock} and host[facts.Os].version == "9.5"
    with pytest.raises(StepFailed):
        facts.clock_skew(host)


@pytest.mark.parametrize("name", ["Addresses", "Mtus"])
def test_a_table_cut_in_the_middle_of_a_row_is_refused(name):
    refused(name, texts("rocky-9")[name].splitlines()[0][:12].rsplit(" ", 1)[0])


def test_every_fact_is_gathered_and_has_a_name_of_its_own():
    declared = {one for one in vars(facts).values() if isinstance(one, type) and issubclass(one, Fact)}
    assert {type(fact) for fact in HOST_FACTS} == declared - {Fact, facts.UnitActive}
    assert len(COMMANDS) == len(HOST_FACTS)


@pytest.mark.skipif(not shutil.which("ip"), reason="needs iproute2")
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_this_machine_can_be_looked_at_and_stays_as_it_is(shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    table = Path("/proc/sys/net/netfilter/nf_conntrack_max")

    def run(script: str) -> Result:
        done = subprocess.run([shell], input=script.encode(), capture_output=True, check=True)
        return Result(done.stdout, 0, done.stderr)

    def size() -> str:
        return table.read_text() if table.exists() else ""

    before = size()
    host = gather(host_that(run), HOST_FACTS)
    assert host[facts.Hostname] == Path("/proc/sys/kernel/hostname").read_text().strip()
    memory = host[facts.Memory]
    assert host[facts.Mtus]["lo"] > 0 and memory.total > memory.swap >= 0 and host[facts.Cpus] > 0
    assert isinstance(host[facts.ConntrackWritable], bool) and size() == before
