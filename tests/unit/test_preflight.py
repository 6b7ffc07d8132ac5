"""Every check finds what it is there for, on facts that are fit but for one thing, and finds nothing on fit ones."""

import http.server
import os
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import network
from airavata_runbook.checks import facts as check_facts
from airavata_runbook.checks import preflight
from airavata_runbook.checks.facts import (
    ForeignPackages,
    FreeSpace,
    PackageIndexError,
    filled_folders,
    preflight_facts,
)
from airavata_runbook.checks.kernel import SysctlsAtBoot
from airavata_runbook.checks.machine import CONTROLLERS, FEATURES
from airavata_runbook.checks.preflight import format_findings, offline
from airavata_runbook.checks.table import CHECKS
from airavata_runbook.checks.types import Finding, HostCheck, Problem
from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.target import Target
from airavata_runbook.errors import HostKeyRefused, HostUnreachable, SiteError, StepFailed
from airavata_runbook.hosts import client as ssh_client
from airavata_runbook.hosts import facts, known_hosts
from airavata_runbook.hosts import host as host_module
from airavata_runbook.hosts.host import Host, Result
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot
from airavata_runbook.mirror import releases
from airavata_runbook.mirror.catalogue import MAINTAINER
from airavata_runbook.site.node import Node
from airavata_runbook.site.parts import Repository
from tests.unit.sessions import answer_batch
from tests.unit.ssh_servers import fingerprint, keygen, public
from tests.unit.ssh_servers import serving as serving_ssh
from tests.unit.test_facts_host import texts as texts_of

GIB = 1 << 20  # kB
# Recorded on a lab host of a finished site, 2026-11-23 (ss -Htulnp of iproute2 6.1).
LISTENING = """\
udp UNCONN 0      0         0.0.0.0:8472  0.0.0.0:*
tcp LISTEN 0      4096   10.98.0.11:2379  0.0.0.0:* users:(("etcd",pid=1130,fd=8))
tcp LISTEN 0      128       0.0.0.0:22    0.0.0.0:* users:(("sshd",pid=60,fd=3))
tcp LISTEN 0      4096    127.0.0.1:10257 0.0.0.0:* users:(("kube-controller",pid=1345,fd=5))
tcp LISTEN 0      4096            *:5000        *:* users:(("registry",pid=2049,fd=5))
tcp LISTEN 0      4096            *:5001        *:* users:(("registry",pid=2117,fd=5))
tcp LISTEN 0      4096            *:6443        *:* users:(("kube-apiserver",pid=1232,fd=5))
tcp LISTEN 0      128          [::]:22       [::]:* users:(("sshd",pid=60,fd=4))
"""
# The cgroups and executables were recorded on lab hosts of a finished site, 2026-11-25; put into PortOwners' columns.
OWNERS = """\
tcp\t2379\tetcd\tetcd.service\t/usr/bin/etcd
tcp\t10257\tkube-controller\tkube-controller-manager.service\t/usr/bin/kube-controller-manager
tcp\t5000\tregistry\tdocker-distribution.service\t/usr/bin/registry
tcp\t5001\tregistry\tdocker-distribution-pull.service\t/usr/bin/registry
tcp\t6443\tkube-apiserver\tkube-apiserver.service\t/usr/bin/kube-apiserver
"""
# What the packages install, and chapter 02 adds.
UNIT_FILES = """\
/usr/lib/systemd/system/etcd.service
/usr/lib/systemd/system/flanneld.service
/etc/systemd/system/flanneld.service.d/pod-network.conf
"""
LINK = "2: host0@if9: <UP> mtu 1500 qdisc noqueue\\    link/ether 0a:fb:00:00:00:{:02x} brd ff:ff:ff:ff:ff:ff link-netnsid 0\n"
# In the form of iproute2 6.1 on a lab host of a finished site; written from the addresses.
ROUTES = """\
default via 10.98.0.1 dev host0 proto static
{network} dev host0 proto kernel scope link src {node.address}
10.244.7.0/24 dev cni0 proto kernel scope link src 10.244.7.1
10.244.9.0/24 via 10.244.9.0 dev flannel.1 onlink
local {node.address} dev host0 table local proto kernel scope host src {node.address}
local 10.244.7.1 dev cni0 table local proto kernel scope host src 10.244.7.1
broadcast 10.244.7.255 dev cni0 table local proto kernel scope link src 10.244.7.1
"""


@pytest.fixture
def site() -> Site:
    return Site.load("lab")


def room(site: Site, node: Node, free: dict[str, int] | None = None) -> str:
    """What df prints: 64 GiB free on /, or what is said of a folder (GiB), which is then a file system of its own."""
    free = free or {}
    return "".join(
        f"{folder} /dev/vda1 999999999 1 {free.get(folder, free.get('/', 64)) * GIB} 1% {folder if folder in free else '/'}\n"
        for folder in filled_folders(site, node)
    )


def answers(site: Site, name: str = "master", **changes: str) -> dict[str, str]:
    """What the fragments print on a fit host of that name, but for what is given. Its interface is host0."""
    node = site.node(name)
    return (
        texts_of("lab-debian-12")
        | {
            "Hostname": f"{name}\n",
            "MachineId": f"{name * 5}\n",
            "Addresses": f"1: lo    inet 127.0.0.1/8 scope host lo\n2: host0    inet {node.address}/24 scope global host0\n"
            "3: cni0    inet 10.244.7.1/24 scope global cni0\n",
            "Listening": LISTENING,
            "KernelFeatures": "\n".join(FEATURES),
            "ContainersInPolicy": "",
            "CloudSetup": "",
            "SysctlsAtBoot": "",
            "CgroupControllers": " ".join(CONTROLLERS),
            "RegistryAddresses": "",
            "Routes": ROUTES.format(node=node, network=IPv4Interface(f"{node.address}/24").network),
            "MacAddresses": LINK.format(node.address.packed[-1]),
            "ProductUuid": "",
            "CloudInitHosts": "",
            "FilterRules": "",
            "PortOwners": OWNERS,
            "UnitFiles": UNIT_FILES,
            "Membership": "site\n",
            "ClusterRemains": "interface lo\ninterface host0\n",
            "ForeignPackages": "",
            "MissingPackages": "",
            "SiteRecord": "not\n",
            "StorageFolders": "",
            "FreeSpace": room(site, node),
            "PackageIndexError": "found",
        }
        | changes
    )


def seen(site: Site, name: str = "master", **changes: str) -> HostSnapshot:
    node = site.node(name)
    return HostSnapshot.parse(node, preflight_facts(site, node), answers(site, name, **changes))


def problems(site: Site, check: str, host: HostSnapshot) -> list[Problem]:
    (one,) = [one for one in CHECKS if one.name == check]
    return list(one.find(site, host))


def found(site: Site, host: HostSnapshot) -> dict[str, str]:
    """What the checks of one host find, by check."""
    return {one.name: problem.found for one in CHECKS if isinstance(one, HostCheck) for problem in one.find(site, host)}


def test_every_check_can_be_named_in_a_site_file_and_has_a_requirement():
    names = [one.name for one in CHECKS]
    assert len(set(names)) == len(names) and all(one.requirement for one in CHECKS)
    assert Site.load("lab", {"ignore_checks": names}).ignore_checks == names


def test_an_unknown_check_is_refused_before_any_host_is_contacted(monkeypatch):
    monkeypatch.setattr(Host, "run", lambda *_: pytest.fail("a host was contacted"))
    wrong = Site.load("lab", {"ignore_checks": ["swap", "swop", "wrong"]})
    for start in (preflight.preflight, offline, lambda site: network.preflight.look(session_of(site))):
        with pytest.raises(SiteError) as refused:
            start(wrong)
        first, second = refused.value.problems
        assert first == "ignore_checks.1: unknown check 'swop'; did you mean 'swap'?"
        assert second.startswith("ignore_checks.2: unknown check 'wrong'; known: reachable, host-key")
        assert first in str(refused.value) and "site lab" in refused.value.where


def test_fit_hosts_pass_bare_and_finished(site):
    assert found(site, seen(site)) == {}
    assert found(site, seen(site, Listening="", Membership="")) == {}
    assert (
        found(site, seen(site, "worker", RegistryAddresses="10.98.0.11      STREAM registry.lab\n10.98.0.11      DGRAM\n")) == {}
    )


OS = 'ID={}\nVERSION_ID="{}"\n'
ADDRESSES = "1: lo    inet 127.0.0.1/8 scope host lo\n2: host0    inet 10.98.0.11/24 scope global host0\n"
LINKS = "2: host0@if101: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu {} qdisc noqueue state UP\n"
ETCD, NGINX = 'users:(("etcd",pid=1,fd=8))', 'users:(("nginx",pid=7,fd=3))'


@pytest.mark.parametrize(
    ("check", "changes", "said"),
    [
        ("os", {"Os": OS.format("rhel", "9.5")}, "rhel 9.5"),
        ("os", {"Os": OS.format("rocky", "8.10")}, "rocky 8.10"),
        ("os", {"Os": OS.format("debian", "11")}, "debian 11"),
        ("os", {"Os": OS.format("ubuntu", "20.04")}, "ubuntu 20.04"),
        ("os", {"Os": "ID=debian\n"}, "debian without a version"),
        ("os", {"Os": "ID='alpine'\nVERSION_ID=3.20\n"}, "alpine 3.20"),
        ("os", {"Os": 'ID=rhel\nVERSION_ID="9.5"\nID_LIKE="fedora"\n'}, "rhel 9.5"),
        ("os", {"Os": "ID='debian'\nVERSION_ID='11'\n"}, "debian 11"),
        ("os", {"Systemd": "init\n"}, "PID 1 is not systemd"),
        ("architecture", {"Architecture": "riscv64\n"}, "riscv64"),
        ("architecture", {"Architecture": "aarch64\n"}, "aarch64"),
        ("cpu", {"Cpus": "1\n"}, "1 CPU"),
        ("memory", {"Memory": "MemTotal:  524288 kB\n"}, "512 MiB"),
        (
            "address",
            {"Mtus": "2: eth1: <UP> mtu 1500 qdisc noqueue\n3: lo: <UP> mtu 65536 qdisc noqueue\n"},
            "no interface host0; it has eth1, lo",
        ),
        ("address", {"Addresses": ADDRESSES.replace(".11/", ".99/")}, "host0 has address 10.98.0.99/24"),
        ("address", {"Addresses": ""}, "host0 has address none"),
        ("mtu", {"Mtus": LINKS.format(1280)}, "host0 has MTU 1280"),
        ("swap", {"Memory": "MemTotal: 4194304 kB\nSwapTotal: 1048576 kB\n"}, "1024 MiB of swap"),
        ("swap", {"SwapAtBoot": "fstab /dev/sda2\n"}, "swap at the next boot (/etc/fstab: /dev/sda2), with cgroup version 1"),
        ("swap", {"SwapAtBoot": "unit dev-zram0.swap\n"}, "swap at the next boot (dev-zram0.swap)"),
        ("firewall", {"FilterRules": "*filter\n:FORWARD DROP [0:0]\n"}, "iptables (filter FORWARD) drops packets between pods"),
        ("units", {"UnitFiles": "/etc/systemd/system/etcd.service\n"}, "/etc/systemd/system/etcd.service replaces the unit etcd"),
        (
            "leftovers",
            {"Membership": "", "Listening": "", "ClusterRemains": "interface cni0\n"},
            "interface cni0 of an earlier cluster",
        ),
        ("cloud-init", {"CloudInitHosts": "/etc/cloud/cloud.cfg:manage_etc_hosts: true\n"}, "cloud-init writes /etc/hosts"),
        ("nameservers", {"Nameservers": "file /etc/resolv.conf\nnameserver 127.0.0.53\n"}, "/etc/resolv.conf has 127.0.0.53"),
        ("selinux", {"Selinux": "1\n"}, "SELinux is enforcing"),
        (
            "sysctl",
            {"SysctlsAtBoot": "/etc/sysctl.d/99-sysctl.conf:net.ipv4.ip_forward=0\n"},
            "/etc/sysctl.d/99-sysctl.conf sets net.ipv4.ip_forward to 0 at boot",
        ),
        ("nm-cloud-setup", {"CloudSetup": "enabled\n"}, "nm-cloud-setup is enabled"),
        ("firewalld", {"Firewalld": "active\n"}, "firewalld is active, and its rules could not be read"),
        (
            "networks",
            {"Addresses": ADDRESSES + "3: tun0    inet 10.254.3.1/30 scope global tun0\n"},
            "tun0 has 10.254.3.1/30, which overlaps network.services",
        ),
        (
            "networks",
            {"Addresses": ADDRESSES + "2: host0    inet 10.244.9.9/24 scope global secondary host0\n"},
            "host0 has 10.244.9.9/24, which overlaps network.pods",
        ),
        (
            "networks",
            {"Routes": "10.244.0.0/16 via 10.98.0.1 dev host0 proto static\n"},
            "a route to 10.244.0.0/16 by host0, which overlaps network.pods",
        ),
        (
            "networks",
            {"Routes": "blackhole 10.254.3.0/26 table 52 proto bird\n"},
            "a route to 10.254.3.0/26, which overlaps network.services",
        ),
        ("networks", {"Routes": "10.254.9.9 dev tun0 table 51820 scope link\n"}, "a route to 10.254.9.9/32 by tun0"),
        ("ports", {"Listening": f"tcp LISTEN 0 128 *:30080 *:* {NGINX}\n"}, "nginx listens on 30080/tcp"),
        ("ports", {"Listening": f"tcp LISTEN 0 128 *:30930 *:* {NGINX}\n"}, "nginx listens on 30930/tcp"),
        ("ports", {"Listening": f"tcp LISTEN 0 128 127.0.0.1:10248 *:* {NGINX}\n"}, "nginx listens on 10248/tcp"),
        ("ports", {"Listening": f"tcp LISTEN 0 128 127.0.0.1:10249 *:* {NGINX}\n"}, "nginx listens on 10249/tcp"),
        ("ports", {"Listening": f"tcp LISTEN 0 128 *:6443 *:* {NGINX}\n"}, "nginx listens on 6443/tcp"),
        ("ports", {"Listening": 'udp UNCONN 0 0 *:8472 *:* users:(("vpn",pid=7,fd=3))\n'}, "vpn listens on 8472/udp"),
        ("ports", {"Listening": "tcp LISTEN 0 128 *:5000 *:*\n"}, "something listens on 5000/tcp"),
        ("ports", {"Listening": f"tcp LISTEN 0 128 *:5001 *:* {NGINX}\n"}, "nginx listens on 5001/tcp"),
        (
            "ports",
            {"Listening": f"tcp LISTEN 0 128 10.98.0.11:2379 *:* {NGINX}\ntcp LISTEN 0 128 127.0.0.1:2379 *:* {ETCD}\n"},
            "nginx listens on 2379/tcp",
        ),
        (
            "ports",
            {"Listening": f"tcp LISTEN 0 128 10.98.0.11:2379 *:* {ETCD}\ntcp LISTEN 0 128 127.0.0.1:2379 *:* {NGINX}\n"},
            "nginx listens on 2379/tcp",
        ),
        ("kernel", {"KernelFeatures": "overlay\nbr_netfilter\nnf_conntrack\n"}, "no vxlan"),
        ("cgroup", {"CgroupControllers": "cpuset\ncpu\ncpuacct\nblkio\npids\n"}, "no controllers memory in cgroup version 1"),
        (
            "cgroup",
            {"CgroupVersion": "cgroup2fs\n", "CgroupControllers": "cpu io memory\n"},
            "no controllers cpuset, pids in cgroup version 2",
        ),
        ("packages", {"ForeignPackages": "docker.io\n"}, "docker.io is installed, which conflicts with containerd"),
        ("packages", {"ForeignPackages": "kubelet\n"}, "kubelet is installed, which conflicts with kubernetes-node"),
        ("packages", {"ForeignPackages": "containerd\n"}, "containerd from another maintainer is installed"),
        ("registry-name", {"RegistryAddresses": "192.0.2.7 STREAM registry.lab\n"}, "registry.lab resolves to 192.0.2.7"),
        ("settings", {"CanRaiseLimits": "nonsense\n"}, "unexpected probe output: nonsense"),
    ],
)
def test_one_thing_that_is_wrong_is_found_by_its_check_alone(site, monkeypatch, check, changes, said):
    (finding,) = of_site(monkeypatch, site, master=seen(site, **changes))
    assert finding.check == check and said in finding.found and finding.needed and finding.remedy


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/etc/sysctl.d/10-cis.conf:net.ipv4.ip_forward = 0\n", {}),  # ours comes later
        ("/etc/sysctl.d/90-airavata-runbook.conf:net.ipv4.ip_forward = 1\n", {}),
        (
            "/etc/sysctl.d/95-on.conf:net.ipv4.ip_forward = 1\n/usr/lib/sysctl.d/99-off.conf:-net/ipv4/ip_forward=0 \n"
            "/usr/lib/sysctl.d/95-on.conf:net.ipv4.ip_forward = 2\n",  # another of its name is read instead
            {"net.ipv4.ip_forward": ("/usr/lib/sysctl.d/99-off.conf", "0")},
        ),
        (
            "/etc/sysctl.d/99-x.conf:net.bridge.bridge-nf-call-iptables = 0\n/etc/sysctl.d/99-x.conf:"
            "net.bridge.bridge-nf-call-iptables = 1\n",
            {"net.bridge.bridge-nf-call-iptables": ("/etc/sysctl.d/99-x.conf", "1")},
        ),
    ],
)
def test_the_kernel_settings_at_boot_are_those_of_the_last_file(text, found):
    assert SysctlsAtBoot().parse(text) == found


@pytest.mark.parametrize(("ahead", "said"), [(-3600, "3600 s behind"), (90, "90 s ahead of")])
def test_a_clock_that_is_wrong_is_found(site, ahead, said):
    texts = answers(site, Clock=f"{1_800_000_000 + ahead}\n")
    host = HostSnapshot.parse(site.master, preflight_facts(site, site.master), texts, 1_800_000_000, 1_800_000_000)
    assert said in found(site, host)["clock"]


@pytest.mark.parametrize(
    "changes",
    [
        {"Os": OS.format("debian", "13")},
        {"Os": OS.format("ubuntu", "24.04")},
        {"Os": OS.format("ubuntu", "25.10")},
        {"Os": OS.format("ubuntu", "22.04")},
        {"Os": OS.format("rocky", "9.6")},
        {"Memory": "MemTotal: 983040 kB\n"},  # what the kernel of a machine of 1 GiB shows
        {"Addresses": "2: host0    inet 203.0.113.9/24 scope global host0\n2: host0    inet 10.98.0.11/24 secondary host0\n"},
    ],
)
def test_what_will_do_is_not_refused(site, changes):
    assert found(site, seen(site, **changes)) == {}


@pytest.mark.parametrize(
    ("free", "said"),
    [
        ({"/": 7}, "7.0 GiB free on /, for /usr, /var/lib, /var/lib/containerd, /opt/airavata-runbook/repository, /opt/registry"),
        ({"/var/lib/containerd": 7}, "7.0 GiB free on /var/lib/containerd, for /var/lib/containerd"),
        ({"/var/lib": 1}, "1.0 GiB free on /var/lib, for /var/lib"),
        ({"/opt/registry": 1}, "1.0 GiB free on /opt/registry, for /opt/registry"),
        ({"/opt/airavata-runbook/repository": 1}, "1.0 GiB free on /opt/airavata-runbook/repository, for"),
    ],
)
def test_room_is_looked_for_wherever_the_runbook_fills_a_folder(site, free, said):
    (what,) = found(site, seen(site, FreeSpace=room(site, site.master, free))).values()
    assert what.startswith(said)


def test_the_storage_s_room_is_looked_for_on_its_host_alone(site):
    assert (
        "1.0 GiB free on /var/lib/airavata"
        in found(site, seen(site, "worker", FreeSpace=room(site, site.node("worker"), {"/var/lib/airavata": 1})))["disk"]
    )
    assert "/var/lib/airavata" not in filled_folders(site, site.master)
    assert "/opt/registry" not in filled_folders(site, site.node("worker"))


def test_of_a_host_that_is_a_node_already_less_room_is_asked(site):
    node = LISTENING + 'tcp LISTEN 0 4096 *:10250 *:* users:(("kubelet",pid=9,fd=5))\n'
    assert found(site, seen(site, Listening=node, FreeSpace=room(site, site.master, {"/": 3}))) == {}
    assert "1.0 GiB free on /" in found(site, seen(site, Listening=node, FreeSpace=room(site, site.master, {"/": 1})))["disk"]


def test_room_is_measured_where_a_folder_will_lie(tmp_path):
    (tmp_path / "there").mkdir()
    asked = [str(tmp_path / "there"), str(tmp_path / "not" / "yet"), "/nowhere-at-all/deep"]
    space = FreeSpace(asked)
    said = subprocess.run(["sh"], input=space.command.encode(), capture_output=True).stdout.decode()
    systems = space.parse(said)
    assert list(systems) == asked and systems[asked[2]].mount == "/"
    assert systems[asked[0]].mount == systems[asked[1]].mount
    assert all(system.free > 0 for system in systems.values())


def test_one_answer_that_cannot_be_read_hides_no_other_finding(site, monkeypatch):
    # A host without iproute2.
    bare = seen(site, Listening="ss fails\n", Addresses="ip fails\n", Mtus="", Memory="MemTotal: 1 kB\n", Cpus="1\n")
    findings = of_site(monkeypatch, site, master=bare)
    assert {"memory", "cpu", "ports", "address", "mtu", "networks"} <= {one.check for one in findings}
    (ports,) = [one for one in findings if one.check == "ports"]
    assert "ss fails" in ports.found and "ss -Htulnp" in ports.needed and "iproute2" in ports.remedy


def test_a_host_network_around_those_of_pods_and_services_overlaps_both(site):
    wide = seen(site, Addresses=ADDRESSES.replace("10.98.0.11/24", "10.98.0.11/8"))
    assert [problem.found.partition("which ")[2] for problem in problems(site, "networks", wide)] == [
        "overlaps network.pods 10.244.0.0/16",
        "overlaps network.services 10.254.0.0/16",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ID=debian\nVERSION_CODENAME=forky\n", "debian without a version"),  # testing, as base-files has it
        ('ID=linuxmint\nVERSION_ID="22"\nID_LIKE="ubuntu debian"\n', "linuxmint 22, like ubuntu"),
        ("ID=raspbian\nVERSION_ID=12\nID_LIKE=debian\n", "raspbian 12, like debian"),
        ("ID=kali\nID_LIKE='debian'\nVERSION_ID=2026.3\n", "kali 2026.3, like debian"),
    ],
)
def test_a_system_that_was_not_tried_is_told_and_not_refused(site, monkeypatch, text, said):
    findings = of_site(monkeypatch, site, master=seen(site, Os=text))
    (one,) = findings
    assert (one.check, one.found, one.failed) == ("os", said, False) and f"{said}  (note)" in format_findings(findings)
    of_site(monkeypatch, site, master=seen(site, Os=text))
    assert ["os", one.needed + ", with systemd", f"note: master: {said}"] in network.preflight.look(session_of(site))


def test_packages_of_the_distribution_that_are_nowhere_are_a_note(site):
    (problem,) = problems(site, "dependencies", seen(site, MissingPackages="socat\nconntrack\n"))
    assert problem.note and problem.found.startswith("conntrack, socat: neither installed nor in a repository")


def test_a_note_beside_a_failure_is_not_counted(site, monkeypatch):
    of_site(monkeypatch, site, master=seen(site, Os="ID=debian\n", Cpus="1\n"))
    with pytest.raises(StepFailed, match="found 1 problem") as refused:
        network.preflight.look(session_of(site))
    assert [row[:3] for row in refused.value.rows[1:]] == [
        ["os", "master", "debian without a version  (note)"],
        ["cpu", "master", "1 CPU"],
    ]


def test_swap_is_no_matter_where_pods_are_kept_out_of_it(site):
    assert found(site, seen(site, Memory="MemTotal: 4194304 kB\nSwapTotal: 1048576 kB\n", CgroupVersion="cgroup2fs\n")) == {}


def test_a_worker_may_have_one_cpu(site):
    assert found(site, seen(site, "worker", Cpus="1\n")) == {}


def test_a_worker_may_have_the_masters_ports_taken(site):
    assert found(site, seen(site, "worker", Listening=f"tcp LISTEN 0 128 *:6443 *:* {NGINX}\n")) == {}


def test_a_worker_may_have_what_is_in_the_masters_way(site):
    assert found(site, seen(site, "worker", ForeignPackages="etcd-server docker-registry\n")) == {}
    assert len(problems(site, "packages", seen(site, ForeignPackages="etcd-server docker-registry\n"))) == 2


def test_of_the_packages_on_a_host_those_of_others_count(tmp_path, monkeypatch):
    """As dpkg-query prints them: the runbook's own, one of another maker by the same name, one in the way, one removed, and
    one that dpkg unpacks (recorded on 2026-11-24 with dpkg 1.21)."""
    rows = (
        ("ii ", "etcd", MAINTAINER),
        ("hi ", "containerd", "Debian Go <x@example.org>"),
        ("ii ", "runc", "Debian <y@z>"),
        ("rc ", "docker.io", "Debian <y@z>"),
        ("un ", "kubelet", ""),
        ("iHR", "kubernetes-node", ""),
    )
    (tmp_path / "rows").write_text("".join("\t".join(row) + "\n" for row in rows))
    (tmp_path / "dpkg-query").write_text(f"#!/bin/sh\ncase $2 in *'\\t${{Maintainer}}\\n'*) cat {tmp_path}/rows;; esac\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = subprocess.run(["sh", "-c", ForeignPackages.command], capture_output=True, text=True)
    assert done.stdout.split() == ["containerd", "runc"]


def test_a_site_s_own_repository_may_have_brought_packages_of_these_names(site):
    own = site.model_copy(update={"repository": Repository(baseurl="https://packages.example.org")})
    assert problems(own, "packages", seen(own, ForeignPackages="containerd\n")) == []


def of_site(monkeypatch, site: Site, **hosts) -> list[Finding]:
    """The findings of a whole site; hosts: name → its snapshot or an exception."""
    monkeypatch.setattr(preflight, "run_parallel", lambda *_: hosts)
    return preflight.preflight(site)


def test_hosts_that_were_cloned_are_told_apart_by_nothing_and_said_so(site, monkeypatch):
    same = {"Hostname": "same\n", "MachineId": "1\n"}
    findings = of_site(monkeypatch, site, master=seen(site, **same), worker=seen(site, "worker", **same))
    assert [(one.check, one.host) for one in findings] == [
        ("hostname", "master"),
        ("hostname", "worker"),
        ("machine-id", "master"),
        ("machine-id", "worker"),
    ]
    assert findings[0].found == "same, as worker"


def test_hosts_whose_packets_differ_in_size_are_found(site, monkeypatch):
    findings = of_site(monkeypatch, site, master=seen(site, Mtus=LINKS.format(9000)), worker=seen(site, "worker"))
    assert [(one.check, one.host, one.found) for one in findings] == [
        ("mtu", "master", "host0 has MTU 9000, worker has 1500"),
        ("mtu", "worker", "host0 has MTU 1500, master has 9000"),
    ]


SMALL = "MemTotal: 1 kB\n"
DOWN = HostUnreachable(
    "the host does not answer", where="host worker, root@10.98.0.12:22", found="no answer", remedy="see that it is up"
)


def test_a_host_that_cannot_be_reached_does_not_hide_the_others_trouble(site, monkeypatch):
    findings = of_site(monkeypatch, site, master=seen(site, Memory=SMALL), worker=DOWN)
    assert [(one.check, one.host) for one in findings] == [("reachable", "worker"), ("memory", "master")]
    assert findings[0].found == "the host does not answer: no answer (host worker, root@10.98.0.12:22)"


def test_a_check_is_left_out_by_its_name_and_still_reported(site, monkeypatch):
    ignoring = Site.load("lab", {"ignore_checks": ["memory"]})
    (finding,) = of_site(monkeypatch, ignoring, master=seen(site, Memory=SMALL), worker=seen(site, "worker"))
    assert finding.ignored and "(ignored)" in format_findings([finding])


def test_each_ignored_finding_has_a_row_also_beside_what_is_refused(site, monkeypatch):
    ignoring = Site.load("lab", {"ignore_checks": ["memory"]})
    hosts = {"master": seen(site, Memory=SMALL), "worker": seen(site, "worker", Memory=SMALL)}
    of_site(monkeypatch, ignoring, **hosts)
    assert [row[2] for row in network.preflight.look(session_of(ignoring)) if row[0] == "memory"] == [
        "ignored: master: 0 MiB",
        "ignored: worker: 0 MiB",
    ]
    of_site(monkeypatch, ignoring, **hosts | {"master": seen(site, Memory=SMALL, Cpus="1\n")})
    with pytest.raises(StepFailed, match="the preflight checks found 1 problem") as refused:
        network.preflight.look(session_of(ignoring))
    assert [row[:3] for row in refused.value.rows[1:]] == [
        ["cpu", "master", "1 CPU"],
        ["memory", "master", "0 MiB  (ignored)"],
        ["memory", "worker", "0 MiB  (ignored)"],
    ]


def test_a_registry_in_maintenance_is_a_note():
    assert not [one for one in offline(Site.load("lab")) if one.check == "registry-maintenance"]
    (found,) = [one for one in offline(Site.load("lab", {"registry.maintenance": True})) if one.check == "registry-maintenance"]
    assert found.note and found.found == "admin can delete images"


def test_what_was_not_looked_at_is_never_called_ok(site, monkeypatch):
    ignoring = Site.load("lab", {"ignore_checks": ["reachable", "host-key"]})
    of_site(monkeypatch, ignoring, master=HostKeyRefused("the host's key is not known"), worker=DOWN)
    rows = [(row[0], row[2]) for row in network.preflight.look(session_of(ignoring))]
    assert rows[1][0] == "reachable" and rows[1][1].startswith("ignored: worker: the host does not answer")
    assert rows[2][1].startswith("ignored: master: the host's key is not known") and rows[3][1] == "not checked on worker"
    assert {name for name, verdict in rows if verdict == "ok"} == {
        "versions",
        "stack",
        "sources",
        "known-hosts",
        "registry-maintenance",
    }
    assert ("memory", "not checked on master, worker") in rows and ("sudo", "not checked on master, worker") in rows


class Answering:
    """Hosts that answer like fit ones, but for `changes`; scripts: those that they were given, by host."""

    def __init__(self, monkeypatch, **changes: str):
        self.changes, self.scripts = changes, []
        monkeypatch.setattr(Host, "run", lambda host, script: self.run(host, script))
        monkeypatch.setattr(Host, "check_forward", lambda *_: None)

    def run(self, host: Host, script: str) -> Result:
        self.scripts.append(host.name)
        return answer_batch(script, answers(Site.load("lab"), host.name, Clock=f"{time.time()}\n", **self.changes))


def test_a_mended_host_is_looked_at_anew_in_one_round_trip(site, monkeypatch):
    hosts = Answering(monkeypatch, Memory=SMALL)
    assert {one.check for one in preflight.preflight(site)} == {"memory"} and sorted(hosts.scripts) == ["master", "worker"]
    hosts.changes = {"Memory": "MemTotal: 4194304 kB\n"}
    assert preflight.preflight(site) == [] and len(hosts.scripts) == 4
    target = Target(session_of(site), session_of(site).master)
    assert target.facts[facts.Memory].total == 4 << 30 and len(hosts.scripts) == 4, "the steps that follow take what was seen"


def test_a_fact_that_could_not_be_parsed_is_gathered_again_by_the_next_step(site, monkeypatch):
    hosts = Answering(monkeypatch, CanRaiseLimits="nonsense")
    assert {one.check for one in preflight.preflight(site)} == {"settings"}
    session = session_of(site)
    with pytest.raises(StepFailed, match="unexpected probe output"):
        Target(session, session.master).settings  # noqa: B018
    hosts.changes = {}
    assert Target(session, session.master).settings.oom_score_adj == 0
    assert len(hosts.scripts) == 4 and Target(session, session.master).facts is session.facts["master"]


def test_every_fact_of_the_checks_is_gathered(site):
    declared = {one for one in vars(check_facts).values() if isinstance(one, type) and issubclass(one, Fact)}
    own = Site.load(at("https://packages.example.org/debian"), {"sources.etcd": "host"})
    gathered = {type(fact) for fact in preflight_facts(own, site.master)}
    assert declared - {Fact, check_facts.WordSet} <= gathered and {type(fact) for fact in facts.HOST_FACTS} <= gathered


def test_facts_of_a_host_that_is_gone_are_not_kept(site, monkeypatch):
    Answering(monkeypatch)
    host = session_of(site).master
    preflight._snapshot(session_of(site), host)
    monkeypatch.setattr(Host, "run", lambda host, script: (_ for _ in ()).throw(DOWN))
    with pytest.raises(HostUnreachable):
        preflight._snapshot(session_of(site), host)
    with pytest.raises(HostUnreachable):
        Target(session_of(site), host).facts  # noqa: B018


@pytest.mark.parametrize(
    "status, said",
    [(1, "sudo: a password is required"), (127, "sh: 1: sudo: not found"), (1, "operator is not in the sudoers file.")],
)
def test_a_user_who_cannot_become_root_is_told_as_that(monkeypatch, status, said):
    site = Site.load("lab-three")
    monkeypatch.setattr(Host, "_open", lambda host: SimpleNamespace(transport=None))
    monkeypatch.setattr(host_module, "run_command", lambda *_: ([b"Welcome!\n"], [said.encode()], status))
    monkeypatch.setattr(Host, "check_forward", lambda *_: None)
    findings = preflight.preflight(site)
    assert [(one.check, one.host) for one in findings] == [("sudo", "head"), ("sudo", "node-a"), ("sudo", "node-b")]
    assert said in findings[0].found and findings[0].needed == "root, or sudo without a password"
    assert "operator ALL=(ALL) NOPASSWD: ALL" in findings[0].remedy and "/etc/sudoers.d" in findings[0].remedy
    with pytest.raises(HostUnreachable, match="as root"):  # a step that is run without the check
        Target(session_of(site), session_of(site).master).facts  # noqa: B018


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A site with one node, and the server that it connects to; this user has no known hosts and no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(known_hosts, "SYSTEM_FILES", ())
    host, user = keygen(tmp_path / "host"), keygen(tmp_path / "user")
    with serving_ssh([host], []) as server:  # no user's key is accepted
        ssh = {"host": "127.0.0.1", "port": server.port, "key": str(user), "fingerprint": fingerprint(host)}
        yield {"name": "refusing", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master", "ssh": ssh}]}


@pytest.mark.parametrize(
    ("ssh", "check", "message"),
    [
        ({"fingerprint": "SHA256:" + "A" * 43}, "host-key", "not match the fingerprint"),
        ({"fingerprint": None, "known_hosts": "nowhere"}, "host-key", "the host key is unknown"),
        ({"fingerprint": None, "known_hosts": "other"}, "host-key", "the host key has changed"),
        ({}, "reachable", "refused the login"),
        ({"port": 1}, "reachable", "does not answer"),
    ],
)
def test_a_key_that_is_refused_and_a_host_that_is_not_reached_have_names_of_their_own(alone, tmp_path, ssh, check, message):
    (tmp_path / "other").write_text(f"127.0.0.1 {public(keygen(tmp_path / 'another'))}\n")
    alone["nodes"][0]["ssh"] |= {name: str(tmp_path / value) if name == "known_hosts" else value for name, value in ssh.items()}
    site = Site.load(alone)
    findings = [one for one in preflight.preflight(site) if one.check in ("reachable", "host-key", "sudo")]
    session_of(site).close()
    (finding,) = findings
    assert (finding.check, finding.host) == (check, "one") and message in finding.found
    assert finding.needed and finding.remedy


def test_a_host_that_does_not_answer_in_time_is_not_reached(alone, monkeypatch):
    monkeypatch.setattr(ssh_client, "_prompt_socket", lambda _: (_ for _ in ()).throw(TimeoutError()))
    (finding,) = [one for one in preflight.preflight(Site.load(alone)) if one.host == "one"]
    assert finding.check == "reachable" and "no answer" in finding.found and finding.needed and finding.remedy


def test_a_site_is_checked_without_a_host(monkeypatch):
    monkeypatch.setattr(Host, "run", lambda *_: pytest.fail("a host was asked"))
    assert offline(Site.load("lab")) == offline(Site.load("lab-three")) == []
    missing, *others = offline(
        Site.load("lab", {"airavata.stand_in": False, "airavata.images": {"api-server": {"archive": "/nowhere"}}})
    )
    assert missing.check == "sources" and "/nowhere" in missing.found
    assert {one.check for one in others} == {"stack"}
    assert any("api-server.needs: found orchestrator left out" in one.found for one in others)


def of_file(check: str, **changes) -> dict[str, str]:
    """The findings of a check on a site that is no lab, by the field that they begin with."""
    site = Site.load(
        {"name": "far", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}], "airavata": {"stand_in": True}},
        changes,
    )
    return {one.found.partition(": ")[0]: one.found for one in offline(site) if one.check == check}


def test_an_empty_password_of_the_registry_is_found(tmp_path):
    (tmp_path / "password").touch(0o600)
    found = of_file("sources", **{"registry.password": f"file:{tmp_path / 'password'}"})
    assert "a secret is empty" in found["registry.password"]


@pytest.mark.parametrize("password", ["x" * 73, "é" * 37])
def test_a_password_that_the_registry_cannot_have_is_found(tmp_path, password):
    (tmp_path / "password").write_text(password)
    (tmp_path / "password").chmod(0o600)
    found = of_file("sources", **{"registry.password": f"file:{tmp_path / 'password'}"})
    assert "does not fit bcrypt: " in found["registry.password"] and "xx" not in str(found) and "éé" not in str(found)


def test_ssh_files_that_are_named_and_not_there_are_found(tmp_path):
    keygen(tmp_path / "id")
    found = of_file(
        "sources",
        **{
            "ssh.key": "/nowhere/id",
            "ssh.known_hosts": str(tmp_path / "hosts"),
            "nodes.one.ssh": {"key": str(tmp_path / "id"), "known_hosts": "/nowhere/hosts"},
        },
    )
    assert found.keys() == {"ssh.key", "ssh.known_hosts", "nodes.one.ssh.known_hosts"}
    assert "/nowhere/id" in found["ssh.key"]


SIGNED = {"repository.gpgcheck": True, "repository.gpgkey": "/etc/apt/keyrings/site.gpg"}


def test_versions_that_the_mirror_does_not_build_are_found_unless_a_repository_has_them():
    old = {"versions.etcd": "3.4.1"}
    assert "3.4.1 (the mirror has" in of_file("versions", **old)["etcd"]
    assert of_file("versions", **old, **SIGNED, **{"repository.baseurl": "https://packages.example.org/debian"}) == {}


def test_releases_without_a_known_digest_are_found(monkeypatch, tmp_path):
    assert of_file("versions", **{"sources.kubernetes": "release"}) == {}
    (tmp_path / "lock.yaml").write_text("")
    monkeypatch.setattr(releases, "LOCK", tmp_path / "lock.yaml")
    (found,) = of_file("versions", **{"sources.runc": "release", "sources.cri_tools": "release"}).values()
    assert "of cri_tools: no entry" in found and "of runc: no entry" in found


@contextmanager
def serving(folder: Path):
    """The URL of a server of the folder's files on this machine."""

    def handler(*arguments):
        return http.server.SimpleHTTPRequestHandler(*arguments, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def at(url: str) -> Site:
    """A site whose package repository is there."""
    return Site.load("lab", SIGNED | {"repository.baseurl": url})


def index_at(url: str) -> str:
    """What the probe for a package index prints, run by this machine's shell and apt."""
    return subprocess.run(["sh"], input=PackageIndexError(at(url)).command.encode(), capture_output=True).stdout.decode()


@pytest.mark.parametrize("file", ["InRelease", "Packages", "Packages.gz"])
def test_a_package_index_is_found_by_any_of_its_names(tmp_path, file):
    (tmp_path / file).write_text("Package: etcd\n")
    with serving(tmp_path) as url:
        assert index_at(url) == "found\n"


def test_why_there_is_no_package_index_is_said_without_the_url_s_password(site, tmp_path):
    with serving(tmp_path) as url:
        assert "404" in index_at(url)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/debs?token=canary"
    said = index_at(url)
    assert "Connection refused" in said
    one = at(url)
    (problem,) = problems(one, "repository", seen(one, PackageIndexError=said))
    assert "Connection refused" in problem.found and "canary" not in problem.found
    assert problems(one, "repository", seen(one)) == []
