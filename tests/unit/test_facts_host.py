"""Facts of hosts as text, read. lab-debian-12 is a recording; rocky-9 and ubuntu-24.04 are NOT RECORDED but
written from the distributions' documentation, as each file's `source` says."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.batch import Answer, batch, split
from airavata_runbook.hosts.facts import FRAGMENTS, WRITABLE, fields, look, parse

FIXTURES = Path(__file__).parent / "fixtures" / "facts"


def texts(name: str) -> dict[str, str]:
    return json.loads((FIXTURES / f"{name}.json").read_text())["facts"]


@pytest.mark.parametrize("name", ["lab-debian-12", "rocky-9", "ubuntu-24.04"])
def test_every_fixture_answers_exactly_the_fragments_and_says_where_it_is_from(name):
    fixture = json.loads((FIXTURES / f"{name}.json").read_text())
    assert fixture["facts"].keys() == FRAGMENTS.keys()
    assert fixture["source"].startswith("RECORDED" if name.startswith("lab") else "NOT RECORDED")


def test_a_recorded_lab_host():
    host = parse(texts("lab-debian-12"))
    assert (host.os, host.version, host.architecture) == ("debian", "12", "x86_64")
    assert (host.hostname, len(host.machine_id), host.cpus) == ("one", 32, 2)
    assert host.memory == 24684084 * 1024 and host.swap == 0
    assert (host.cgroup, host.systemd, host.container) == (1, 252, "systemd-nspawn")
    assert not host.cap_sys_resource and (host.max_files, host.nr_open) == (20000, 1048576)
    assert host.sysctls["vm/overcommit_memory"] == (True, "1")
    assert host.sysctls["net/netfilter/nf_conntrack_max"] == (False, "262144")
    assert (host.selinux, host.firewalld, host.resolved) == ("absent", False, False)
    assert host.addresses == {"lo": ("127.0.0.1/8",), "host0": ("10.98.31.11/24",)}
    assert host.mtu == {"lo": 65536, "host0": 1500}  # printed as host0@if…, its peer outside


def test_a_rocky_host_enforces_selinux_and_has_a_firewall():
    host = parse(texts("rocky-9"))
    assert (host.os, host.version, host.selinux, host.firewalld) == ("rocky", "9.5", "enforcing", True)
    assert (host.cgroup, host.systemd, host.cap_sys_resource, host.container) == (2, 252, True, "")
    assert host.addresses["eno1"] == ("192.0.2.21/24",)


def test_an_ubuntu_host_resolves_by_systemd_and_has_no_connection_table_yet():
    host = parse(texts("ubuntu-24.04"))
    assert (host.os, host.version, host.systemd, host.resolved) == ("ubuntu", "24.04", 255, True)
    assert "net/netfilter/nf_conntrack_max" not in host.sysctls


@pytest.mark.parametrize("ahead", [-120, 0, 120])
def test_a_clock_is_compared_with_this_machines_at_the_moment_of_looking(ahead):
    def ask(fragments) -> dict[str, Answer]:
        answers = texts("rocky-9") | {"clock": str(time.time() + ahead)}
        return {name: Answer(answers[name].encode(), 0) for name in fragments}

    assert look(ask).skew == pytest.approx(ahead, abs=1)


@pytest.mark.parametrize(
    "changes, field, wanted",
    [
        ({"files": "unlimited\n1048576\n"}, "max_files", 1048576),
        ({"selinux": "0"}, "selinux", "permissive"),
        ({"container": ""}, "container", ""),  # a host without systemd-detect-virt
        ({"pid1": "init\n"}, "systemd", 0),
        ({"pid1": "systemd\nsystemd 257~rc1 (257~rc1-1)\n"}, "systemd", 257),
        ({"hostname": "bare\n"}, "machine_id", ""),
        ({"addresses": "3: tun0    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun0\n"}, "addresses", {"tun0": ("10.8.0.2/32",)}),
        (
            {
                "addresses": "2: eth0    inet 192.0.2.1/24 scope global eth0\n2: eth0    inet 192.0.2.9/24 scope global "
                "secondary eth0\n"
            },
            "addresses",
            {"eth0": ("192.0.2.1/24", "192.0.2.9/24")},
        ),
    ],
)
def test_less_usual_answers(changes, field, wanted):
    assert getattr(parse(texts("rocky-9") | changes), field) == wanted


NUMBERS = ("cpus", "memory", "capabilities", "files", "clock")
WORDS = ("os", "kernel", "cgroup", "links")


@pytest.mark.parametrize(
    "name, text",
    [
        *((name, text) for name in NUMBERS + WORDS for text in ("", "\n", "\ufffd\x00\x1b[31m nonsense", "9" * 5000)),
        *((name, text) for name in ("hostname", "pid1") for text in ("", "\n")),
        ("pid1", "systemd\nnonsense\n"),
        ("container", "two words"),
    ],
)
def test_what_cannot_be_a_fact_is_refused_by_name(name, text):
    with pytest.raises(StepFailed) as caught:
        parse(texts("rocky-9") | {name: text})
    assert caught.value.where == f"fact {name}" and FRAGMENTS[name] in caught.value.needed
    assert len(caught.value.found) <= 200 and ("iproute2" in caught.value.remedy) == (name == "links")


def test_what_cannot_be_read_hides_no_other_fact():
    found = fields(texts("rocky-9") | {"addresses": "ip fails\n", "links": "", "clock": ""})
    unread = {name for name, value in found.items() if isinstance(value, StepFailed)}
    assert unread == {"addresses", "mtu", "clock", "skew"} and found["version"] == "9.5"


@pytest.mark.parametrize("name", ["sysctls", "addresses", "links"])
def test_a_table_cut_in_the_middle_of_a_row_is_refused(name):
    with pytest.raises(StepFailed, match="cannot be read"):
        parse(texts("rocky-9") | {name: texts("rocky-9")[name].splitlines()[0][:12].rsplit(" ", 1)[0]})


@pytest.mark.skipif(not shutil.which("ip"), reason="needs iproute2")
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_this_machine_can_be_looked_at_and_stays_as_it_is(shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")

    def ask(fragments) -> dict[str, Answer]:
        done = subprocess.run([shell], input=batch(fragments, "5f0c2d9a71e3b846").encode(), capture_output=True, check=True)
        return split(done.stdout, "5f0c2d9a71e3b846", fragments)

    def values() -> dict[str, str]:
        return {name: path.read_text() for name in WRITABLE if (path := Path("/proc/sys") / name).exists()}

    before = values()
    host = look(ask)
    assert host.hostname == Path("/proc/sys/kernel/hostname").read_text().strip()
    assert host.mtu["lo"] > 0 and host.memory > host.swap >= 0 and host.cpus > 0
    assert {name: value for name, (_, value) in host.sysctls.items()} == {
        name: " ".join(value.split()) for name, value in before.items()
    }
    assert values() == before
