"""The distributions that hosts may have: what each file says, and that nothing outside of them names one."""

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import yaml

from airavata_runbook import Site, distributions, stacks
from airavata_runbook.chapters import install
from airavata_runbook.checks.facts import preflight_facts
from airavata_runbook.checks.firewall import find_firewall, find_firewalld
from airavata_runbook.checks.machine import find_kernel, find_os, find_selinux, find_swap
from airavata_runbook.checks.network import find_cloud_init, find_cloud_setup, find_nameservers
from airavata_runbook.checks.types import Problem
from airavata_runbook.configs import node
from airavata_runbook.configs.unmanaged import MANAGERS
from airavata_runbook.distributions import (
    ACCEPTED,
    KNOWN,
    SUPPORTED,
    OsRelease,
    by_distribution,
    check_repository_id,
    packaging_of,
)
from airavata_runbook.engine.target import Target
from airavata_runbook.errors import SiteError
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.hosts.snapshot import HostSnapshot
from airavata_runbook.resources import File, Resource
from airavata_runbook.stacks.render import render
from tests.unit.test_facts_host import texts

FIREWALL = Path(__file__).parent / "fixtures" / "firewall"
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
    """What follows for a host with the distribution's facts, as it is installed.

    accepted: by the check of the system. cgroup: version. resolv_conf: the kubelet's, "" for its default. selinux: containers get
    its labels. managers: told to leave pods' interfaces alone. notes and problems: of which checks.
    """

    accepted: bool
    packaging: str
    entry: str
    cgroup: int
    resolv_conf: str = ""
    selinux: bool = False
    managers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


APT, YUM = ("deb", "/etc/apt/sources.list.d/airavata-runbook.list"), ("rpm", "/etc/yum.repos.d/airavata-runbook.repo")
STUB = "/run/systemd/resolve/resolv.conf"
EL: dict[str, Any] = {"selinux": True, "managers": ("NetworkManager",), "notes": ("selinux",)}
EXPECTED = {
    "rocky-8": Expected(False, *YUM, cgroup=1, **EL, problems=("firewalld", "nm-cloud-setup", "swap")),
    "rocky-9": Expected(True, *YUM, cgroup=2, **EL, problems=("firewalld", "nm-cloud-setup")),
    "rocky-10": Expected(True, *YUM, cgroup=2, **EL, problems=("firewalld", "kernel")),
    "centos-stream-10": Expected(True, *YUM, cgroup=2, **EL, problems=("firewalld", "kernel")),
    "ubuntu-22.04": Expected(True, *APT, cgroup=2, resolv_conf=STUB),
    "ubuntu-24.04": Expected(True, *APT, cgroup=2, resolv_conf=STUB),
    "debian-12": Expected(True, *APT, cgroup=2, problems=("cloud-init",)),
    "debian-13": Expected(True, *APT, cgroup=2, problems=("cloud-init",)),
}
# The checks whose facts differ between distributions.
JUDGED = {
    "swap": find_swap,
    "kernel": find_kernel,
    "selinux": find_selinux,
    "firewalld": find_firewalld,
    "firewall": find_firewall,
    "nameservers": find_nameservers,
    "cloud-init": find_cloud_init,
    "nm-cloud-setup": find_cloud_setup,
}
SITE = Site.load("lab")
EVERY_FACT = {fact.name: fact for fact in preflight_facts(SITE, SITE.master)}


def texts_for(name: str, **changes: str) -> dict[str, str]:
    """As distributions.json has it. firewalld has the rules that were recorded on Debian, as it is installed."""
    told = {fact: one["text"] for fact, one in DATA[name]["facts"].items()}
    rules = (FIREWALL / "firewalld.txt").read_text() if told["Firewalld"] == "active\n" else ""
    return texts(DATA[name]["base"]) | {"FilterRules": rules} | told | changes


def host_of(name: str, **changes: str) -> HostSnapshot:
    wanted = texts_for(name, **changes)
    return HostSnapshot.parse(SITE.master, [EVERY_FACT[fact] for fact in wanted], wanted)


def found(name: str, check: str, **changes: str) -> list[Problem]:
    return list(JUDGED[check](SITE, host_of(name, **changes)))


def text_of(resource: Resource) -> str:
    assert isinstance(resource, File) and isinstance(resource.content, str)
    return resource.content


def resources(step: Callable, name: str, **changes: str) -> dict[str, Resource]:
    """What a step wants on the master with these facts, by label."""
    target = Target(
        SimpleNamespace(site=SITE, facts={"master": host_of(name, **changes)}, vault=SimpleNamespace(read=lambda *_: b"")),
        SimpleNamespace(name="master", node=SITE.master),
    )
    return {one.label: one for one in step.resources(target)}


def test_each_fact_says_how_it_is_known():
    assert DATA.keys() == EXPECTED.keys()
    for name, told in DATA.items():
        assert told["facts"].keys() <= EVERY_FACT.keys(), name
        for fact in told["facts"].values():
            assert fact["how"] in ("recorded", "printed", "documented", "assumed") and fact["source"], (name, fact)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_differs_between_distributions_follows_from_their_facts(name):
    host, expected = host_of(name), EXPECTED[name]
    assert (list(find_os(SITE, host)) == []) == expected.accepted
    packaging = packaging_of(host[facts.Os])
    assert (packaging.name, packaging.entry_path(SITE.repository)) == (expected.packaging, expected.entry)
    settings = derive_node_settings(host)
    assert settings.cgroup_driver == {1: "cgroupfs", 2: "systemd"}[expected.cgroup]
    assert settings.fail_cgroup_v1 == (expected.cgroup == 2) and settings.resolv_conf == expected.resolv_conf
    problems = {check: [one.note for one in found(name, check)] for check in JUDGED}
    assert {check for check, notes in problems.items() if False in notes} == set(expected.problems)
    assert {check for check, notes in problems.items() if True in notes} == set(expected.notes)


@pytest.mark.parametrize("name", EXPECTED)
def test_swap_of_any_distribution_is_for_the_kubelet_to_keep_pods_out_of_but_with_cgroup_version_1(name):
    settings = derive_node_settings(host_of(name))
    assert not settings.fail_swap_on and "switches swap on at boot" in settings.reasons["failSwapOn"]
    zram = "unit dev-zram0.swap\n"  # of systemd-zram-generator, as systemctl lists it
    assert [one.remedy for one in found(name, "swap", SwapAtBoot=zram)] == (
        ["swapoff -a, and remove it from /etc/fstab; systemctl mask dev-zram0.swap"] if EXPECTED[name].cgroup == 1 else []
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_the_files_of_a_host_follow_from_its_distribution(name):
    settings, rpm = derive_node_settings(host_of(name)), EXPECTED[name].packaging == "rpm"
    containerd = tomllib.loads(node.containerd(SITE, settings, "registry.lab:5001/pause:1@sha256:00"))
    runtime = containerd["plugins"]["io.containerd.cri.v1.runtime"]
    # Where there is no policy for containers the file says nothing of it, as ever.
    assert runtime.get("enable_selinux") == (True if EXPECTED[name].selinux else None)
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] == (EXPECTED[name].cgroup == 2)

    wanted = resources(install.host_settings, name)
    modules = text_of(wanted["file /etc/modules-load.d/airavata-runbook.conf"]).splitlines()
    assert [line for line in modules if line[0] != "#"] == ["br_netfilter"] + ["nf_conntrack"] * rpm
    assert ("kernel modules nf_conntrack" in wanted) == rpm
    told = tuple(one for one in MANAGERS if f"interfaces of pods: none managed by {one}" in wanted)
    assert told == EXPECTED[name].managers
    assert {f"file {MANAGERS[one].path}" for one in told} <= wanted.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_enforcing_stays_enforcing_and_only_hosts_with_selinux_get_its_contexts(name):
    commands = [one.remedy for check in ("selinux",) for one in found(name, check)]
    commands += [str(vars(one)) + one.probe() for one in resources(install.packages, name).values()]
    assert not any(word in text for text in commands for word in ("setenforce", "SELINUX=", "permissive"))
    for mode, wanted in (("1\n", True), ("0\n", True), ("absent\n", False)):
        labels = resources(install.packages, name, Selinux=mode).keys()
        is_there = {label for label in labels if label.startswith("SELinux")}
        policy = {"SELinux policy for containers", "SELinux contexts of packages' files"}
        assert is_there == (policy if wanted and EXPECTED[name].selinux else set())
        if is_there:
            labelled = set(resources(install.packages, name, Selinux=mode)["SELinux contexts of packages' files"].paths)
            assert {"/usr/bin/containerd", "/usr/bin/runc", "/usr/bin/kubelet", "/opt/cni/bin/bridge"} <= labelled
    assert found(name, "selinux", ContainersInPolicy="system_u:object_r:container_var_lib_t:s0\n") == []


def test_a_distribution_without_a_policy_for_containers_cannot_enforce():
    (problem,) = found("debian-12", "selinux", Selinux="1\n")
    assert (problem.found, problem.needed, problem.note) == ("SELinux is enforcing", "not enforcing", False)
    assert found("debian-12", "selinux", Selinux="0\n") == []


def test_missing_modules_are_named_with_the_distribution_s_package():
    (problem,) = found("rocky-10", "kernel")
    assert problem.found == "no br_netfilter, nft_compat, xt_comment, xt_addrtype, xt_MASQUERADE"
    assert problem.remedy.startswith("dnf install kernel-modules-extra-$(uname -r)")
    (problem,) = found("debian-13", "kernel", KernelFeatures="overlay\n")
    assert problem.remedy == "use a kernel that has them (Debian's and Ubuntu's do)"


def test_the_resolver_stub_of_ubuntu_never_becomes_the_pods_own():
    """Else CoreDNS would ask itself: the kubelet gives its pods the host's file, which names the servers behind the stub."""
    for name in ("ubuntu-22.04", "ubuntu-24.04"):
        kubelet = yaml.safe_load(node.kubelet(SITE, SITE.master, derive_node_settings(host_of(name))))
        assert kubelet["resolvConf"] == STUB
        (problem,) = found(name, "nameservers", Nameservers="file /etc/resolv.conf\nnameserver 127.0.0.53\n")
        assert "has 127.0.0.53, and no other file has name servers that pods can reach" in problem.found
    # And CoreDNS asks the servers of that file, not the cluster's name server, which it is.
    files = render(Path(stacks.__file__).parent / "system", "coredns", SITE, "kube-system", False, "{}:1".format)
    of_kind = {one["kind"]: one for file in files for one in file.objects}
    assert of_kind["Deployment"]["spec"]["template"]["spec"]["dnsPolicy"] == "Default"
    assert "forward . /etc/resolv.conf" in of_kind["ConfigMap"]["data"]["Corefile"]
