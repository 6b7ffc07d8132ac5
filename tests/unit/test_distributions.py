"""The distributions that hosts may have: what each file says, and that nothing outside of them names one."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from airavata_runbook import Site, distributions
from airavata_runbook.checks.machine import find_firewalld, find_os, find_selinux
from airavata_runbook.distributions import (
    ACCEPTED,
    KNOWN,
    SUPPORTED,
    OsRelease,
    by_distribution,
    check_repository_id,
    packaging_of,
)
from airavata_runbook.errors import SiteError
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.facts import HOST_FACTS
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.hosts.snapshot import HostSnapshot
from tests.unit.test_facts_host import snapshot

PACKAGE = Path(distributions.__file__).parent


def test_the_accepted_distributions_are_those_of_the_documentation():
    assert SUPPORTED == "CentOS Stream 9, Debian 12, Rocky Linux 9, Ubuntu 22.04, or later"
    assert set(ACCEPTED) == {"centos", "debian", "rocky", "ubuntu"}


@pytest.mark.parametrize(
    ("name", "version", "too_old"),
    [
        ("debian", "11", True),
        ("debian", "12", False),
        ("debian", "12.11", False),
        ("debian", "13", False),
        ("ubuntu", "20.04", True),
        ("ubuntu", "22.04", False),
        ("ubuntu", "24.04", False),
        ("ubuntu", "24.10", False),
        ("ubuntu", "rolling", True),
        ("rocky", "8.10", True),
        ("rocky", "9.6", False),
        ("rocky", "10.1", False),
        ("centos", "7", True),
        ("centos", "10", False),
    ],
)
def test_a_version_is_compared_as_numbers(name, version, too_old):
    assert KNOWN[name].is_too_old(version) == too_old


def test_to_add_a_distribution_is_to_add_a_file():
    """Nothing outside the package compares the name of one; each file has one, under its own name."""
    for name in KNOWN:
        assert f'Distribution("{name}"' in re.sub(r"\(\s+", "(", (PACKAGE / f"{name}.py").read_text())
    compared = re.compile(rf"""(==|!=|\bin) *[(\[{{]?["']({"|".join(KNOWN)})["']""")
    for path in PACKAGE.parent.rglob("*.py"):
        if path.parent != PACKAGE:
            assert not compared.search(path.read_text()), path


@pytest.mark.parametrize(
    ("system", "packaging"),
    [
        (OsRelease("debian", "12"), "deb"),
        (OsRelease("raspbian", "12", ("debian",)), "deb"),
        (OsRelease("linuxmint", "22", ("ubuntu", "debian")), "deb"),
        (OsRelease("rocky", "9.5", ("rhel", "centos", "fedora")), "rpm"),
        (OsRelease("centos", "10", ("rhel", "fedora")), "rpm"),
        (OsRelease("almalinux", "9.5", ("rhel", "centos", "fedora")), "rpm"),
        (OsRelease("rhel", "9.5", ("fedora",)), "rpm"),
        (OsRelease("nixos", "24.11"), "deb"),
        (None, "deb"),
    ],
)
def test_a_host_s_packages_are_managed_as_those_of_the_distribution_that_it_has_or_is_like(system, packaging, tmp_path):
    assert packaging_of(system).name == packaging
    # A host whose distribution is not known yet decides the same by itself.
    if system:
        (tmp_path / "os-release").write_text(f"ID='{system.id}'\nID_LIKE=\"{' '.join(system.like)}\"\n")
    script = by_distribution(lambda one: f"echo {one.name}").replace("/etc/os-release", f"{tmp_path}/os-release")
    script = script.replace("/usr/lib/os-release", f"{tmp_path}/none")
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, env={"PATH": os.environ["PATH"], "ID": "rocky"})
    assert (done.stdout, done.stderr) == (f"{packaging}\n", "")


@pytest.mark.parametrize(
    ("system", "id", "whose"),
    [
        (OsRelease("rocky", "9.6", ("rhel", "centos", "fedora")), "baseos", "Rocky Linux"),
        (OsRelease("rocky", "9.6", ("rhel", "centos", "fedora")), "EPEL", "Rocky Linux"),
        (OsRelease("rocky", "9.6", ("rhel", "centos", "fedora")), "rocky-extras", "Rocky Linux"),
        (OsRelease("centos", "10", ("rhel", "fedora")), "extras-common", "CentOS Stream"),
        (OsRelease("almalinux", "9.5", ("rhel", "centos", "fedora")), "appstream", "Red Hat Enterprise Linux"),
        (OsRelease("rocky", "9.6", ("rhel", "centos", "fedora")), "virt7-docker-common-release", ""),
        (OsRelease("debian", "12"), "baseos", ""),
        (None, "baseos", ""),
    ],
)
def test_the_site_s_repository_cannot_have_the_id_of_one_of_the_distribution(system, id, whose):
    repository = Site.load("lab", {"repository.id": id}).repository
    if not whose:
        check_repository_id(system, repository)
        return
    with pytest.raises(SiteError, match=f"{id} is the id of a repository of {whose} itself") as raised:
        check_repository_id(system, repository)
    assert raised.value.where == "site.repository.id" and "choose another repository.id" in raised.value.remedy


# --- each distribution's facts, where they differ ------------------------------------------------------------------

# fixtures/distributions.json: of each distribution the facts that differ, each with how it is known: recorded (from a host of our
# own), printed (in public, by somebody with such a host), documented (by the distribution or Kubernetes), or assumed.
DATA = json.loads((Path(__file__).parent / "fixtures" / "distributions.json").read_text())


class Expected(NamedTuple):
    """accepted: by the check of the system. cgroup: version. resolv_conf: the kubelet's, "" for its default."""

    accepted: bool
    packaging: str
    entry: str
    cgroup: int
    resolv_conf: str = ""
    enforcing: bool = False
    firewalld: bool = False


APT, YUM = ("deb", "/etc/apt/sources.list.d/airavata-runbook.list"), ("rpm", "/etc/yum.repos.d/airavata-runbook.repo")
STUB = "/run/systemd/resolve/resolv.conf"
EXPECTED = {
    "rocky-8": Expected(False, *YUM, cgroup=1, enforcing=True, firewalld=True),
    "rocky-9": Expected(True, *YUM, cgroup=2, enforcing=True, firewalld=True),
    "rocky-10": Expected(True, *YUM, cgroup=2, enforcing=True, firewalld=True),
    "centos-stream-10": Expected(True, *YUM, cgroup=2, enforcing=True, firewalld=True),
    "ubuntu-22.04": Expected(True, *APT, cgroup=2, resolv_conf=STUB),
    "ubuntu-24.04": Expected(True, *APT, cgroup=2, resolv_conf=STUB),
    "debian-12": Expected(True, *APT, cgroup=2),
    "debian-13": Expected(True, *APT, cgroup=2),
}


def host_of(name: str) -> HostSnapshot:
    return snapshot(DATA[name]["base"], **{fact: told["text"] for fact, told in DATA[name]["facts"].items()})


def test_each_fact_says_how_it_is_known():
    assert DATA.keys() == EXPECTED.keys()
    for name, told in DATA.items():
        assert told["facts"].keys() <= {fact.name for fact in HOST_FACTS}, name
        for fact in told["facts"].values():
            assert fact["how"] in ("recorded", "printed", "documented", "assumed") and fact["source"], (name, fact)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_differs_between_distributions_follows_from_their_facts(name):
    host, expected, site = host_of(name), EXPECTED[name], Site.load("lab")
    assert (list(find_os(site, host)) == []) == expected.accepted
    packaging = packaging_of(host[facts.Os])
    assert (packaging.name, packaging.entry_path(site.repository)) == (expected.packaging, expected.entry)
    settings = derive_node_settings(host)
    assert settings.cgroup_driver == {1: "cgroupfs", 2: "systemd"}[expected.cgroup]
    assert settings.fail_cgroup_v1 == (expected.cgroup == 2) and settings.resolv_conf == expected.resolv_conf
    assert bool(list(find_selinux(site, host))) == expected.enforcing
    assert bool(list(find_firewalld(site, host))) == expected.firewalld
