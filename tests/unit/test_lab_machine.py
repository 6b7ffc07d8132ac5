"""The lab's command lines, files and messages, without creating a host."""

import ctypes
import os
import re
import signal
import subprocess
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import lab
from airavata_runbook.distributions.rpm_format import RPM_FORMAT
from airavata_runbook.errors import CannotBuild, SiteError
from airavata_runbook.lab import cgroups, host, image, keys, network, preflight, processes, rootfs, rpm_image
from airavata_runbook.local import files, process
from airavata_runbook.mirror.catalogue import PACKAGE, description, package_of
from airavata_runbook.site import Site


def site(**lab_fields) -> Site:
    return Site.load(
        {
            "name": "lab",
            "nodes": [
                {"name": "master", "address": "10.98.0.11", "interface": "host0", "role": "master"},
                {"name": "worker", "address": "10.98.0.12", "interface": "host0"},
            ],
            "lab": {"bridge": "lab0", "network": "10.98.0.0/24", **lab_fields},
        }
    )


@pytest.fixture
def machine(monkeypatch):
    """Makes this machine one that can run a lab, but for the changes given."""

    def make(**changes) -> None:
        missing = changes.get("missing_tools", [])
        for owner, name, value in (
            (preflight.platform, "system", changes.get("system", "Linux")),
            (preflight.os, "geteuid", changes.get("uid", 0)),
            (cgroups, "detect_driver", changes.get("driver", cgroups.Driver.CGROUPFS)),
            (preflight, "_available_memory", changes.get("memory", 8000)),
            (preflight, "_free_inotify_instances", changes.get("inotify", 100)),
            (preflight, "_missing_modules", changes.get("modules", [])),
            (network, "links", changes.get("links", [network.Link("eth0", "", (IPv4Interface("192.0.2.7/24"),))])),
            (network, "routes", changes.get("routes", [(IPv4Network("192.0.2.0/24"), "eth0")])),
        ):
            monkeypatch.setattr(owner, name, lambda value=value: value)
        monkeypatch.setattr(network, "forward_drops", lambda bridge: changes.get("forward_drops", False))
        monkeypatch.setattr(preflight.shutil, "which", lambda program: program not in missing)
        monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: SimpleNamespace(free=changes.get("disk", 20000) << 20))

    return make


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))


def worker(driver: cgroups.Driver) -> host.LabHost:
    made = host.LabHost(site(memory=4096), site().node("worker"))
    made.driver = driver
    return made


def test_nspawn_starts_the_host_under_its_own_name(tmp_path):
    folder = tmp_path / "state/labs/lab0/worker"
    assert worker(cgroups.Driver.CGROUPFS).nspawn_command() == [
        "systemd-nspawn",
        "--quiet",
        "-D",
        f"{folder}/root",
        "-b",
        "--register=no",
        "--keep-unit",
        "--network-bridge=lab0",
        "-M",
        "lab0-worker",
        "--hostname=worker",
        "--link-journal=no",
        "--system-call-filter=add_key keyctl",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=pipe",
        f"--bind={folder}/containerd:/var/lib/containerd",
        f"--bind={folder}/kubelet:/var/lib/kubelet",
    ]


def test_on_cgroup_v1_the_launcher_joins_the_hosts_cgroups_first():
    groups = [Path("/sys/fs/cgroup/cpu/airavata-lab/lab0/worker"), Path("/sys/fs/cgroup/pids/airavata-lab/lab0/worker")]
    host = worker(cgroups.Driver.CGROUPFS)
    command = host.boot_command(groups)
    assert command[:2] == ["sh", "-c"] and 'echo $$ > "$1/cgroup.procs"' in command[2]
    assert command[4:7] == [*map(str, groups), "--"]
    assert command[7:] == host.nspawn_command()


def test_with_systemd_the_host_gets_a_delegated_scope():
    host = worker(cgroups.Driver.SYSTEMD)
    command = host.boot_command([])
    nspawn = command.index("systemd-nspawn")
    assert command[:nspawn] == [
        "systemd-run",
        "--scope",
        "--quiet",
        "--collect",
        "--unit=airavata-lab-lab0-worker.scope",
        "--property=Delegate=yes",
        "--property=MemoryHigh=4096M",
    ]
    assert command[nspawn:] == host.nspawn_command()


def test_cgroups_of_a_host_are_below_the_labs_bridge_and_inherit_cpusets(tmp_path):
    for name in ("cpu", "cpuset", "memory"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset/cpuset.mems").write_text("0\n")
    for level in ("airavata-lab", "airavata-lab/lab0", "airavata-lab/lab0/worker"):  # the kernel makes these files
        folder = tmp_path / "cpuset" / level
        folder.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            (folder / file).write_text("\n")
    made = cgroups.create("lab0", "worker", 4096, tmp_path)
    assert made == [tmp_path / name / "airavata-lab/lab0/worker" for name in ("cpu", "cpuset", "memory")]
    assert (tmp_path / "cpuset/airavata-lab/lab0/worker/cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "memory/airavata-lab/lab0/worker/memory.soft_limit_in_bytes").read_text() == str(4096 << 20)


def test_a_good_machine_has_no_problem(machine):
    machine()
    assert preflight.problems(site(), 2) == []


@pytest.mark.parametrize(
    ("changes", "lab_fields", "what", "remedy"),
    [
        ({"system": "Darwin"}, {}, "runs Darwin", "Linux machine"),
        ({"uid": 1000}, {}, "only root can create", "sudo"),
        ({"driver": cgroups.Driver.UNSUPPORTED}, {}, "neither systemd", "unified_cgroup_hierarchy"),
        ({"missing_tools": ["systemd-nspawn"]}, {}, "systemd-nspawn", "apt-get install systemd-container"),
        ({"memory": 2000}, {}, "need 3072 MiB of memory, 2000 MiB", "fewer nodes"),
        ({"inotify": 30}, {}, "need 40 inotify instances, 30 are", "fs.inotify.max_user_instances"),
        ({"disk": 100}, {}, "disk space, 100 MiB", "AIRAVATA_RUNBOOK_STATE"),
        ({"routes": [(IPv4Network("10.96.0.0/11"), "tun0")]}, {}, "overlaps.*10.96.0.0/11 on tun0", "another lab.network"),
        ({"links": [network.Link("lab0", "", ())]}, {}, "interface lab0 exists and is not a lab's", "another lab.bridge"),
        (
            {"links": [network.Link("lab0", network.ALIAS, (IPv4Interface("10.50.0.1/24"),))]},
            {},
            "another network than 10.98.0.0/24",
            "take that lab down",
        ),
        ({"modules": ["br_netfilter"]}, {}, "not loaded: br_netfilter", "modprobe -a"),
        ({"forward_drops": True}, {}, "FORWARD policy is DROP", "iptables -I FORWARD -i lab0 -o lab0 -j ACCEPT"),
    ],
)
def test_each_problem_says_what_and_how_to_fix_it(machine, changes, lab_fields, what, remedy):
    machine(**changes)
    found = preflight.problems(site(**lab_fields), 2)
    assert len(found) == 1
    assert re.search(what, found[0].what) and remedy in found[0].remedy


def test_a_second_kind_of_hosts_needs_room_for_its_image(machine):
    machine(disk=preflight.DISK + preflight.IMAGE)
    assert preflight.problems(site(), 1) == []
    (problem,) = preflight.problems(site(hosts={"worker": {"packages": "rpm"}}), 1)
    assert "disk space" in problem.what


def test_all_problems_are_reported_at_once(machine):
    machine(uid=1000, memory=10, forward_drops=True)
    with pytest.raises(CannotBuild) as caught:
        preflight.check(site(), 2)
    message = str(caught.value)
    assert "(3 problems)" in message
    assert all(word in message for word in ("root", "MiB of memory", "FORWARD", "1.", "2.", "3.", "sudo"))


def test_a_machine_without_ip_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotBuild, match="missing tools: systemd-nspawn.*, ip,") as caught:
        lab.up(site(bridge="lab77"))
    assert "apt-get install systemd-container mmdebstrap iproute2" in caught.value.remedy


def test_a_command_that_fails_is_reported_with_its_error_output():
    with pytest.raises(CannotBuild, match="(?s)not removed.*ran: +rm /nowhere/file.*No such file"):
        process.run("rm", "/nowhere/file", failure="not removed", where="here")
    with pytest.raises(CannotBuild, match="no-such-program is not installed"):
        process.run("no-such-program", failure="not done")


def test_a_file_is_replaced_with_its_mode_and_a_link_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("kept")
    (tmp_path / "file").symlink_to(tmp_path / "target")
    files.write_file(tmp_path / "file", b"new", 0o640)
    assert (tmp_path / "file").read_bytes() == b"new" and (tmp_path / "target").read_text() == "kept"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640 and len(list(tmp_path.iterdir())) == 2


def test_the_labs_own_bridge_does_not_overlap(machine):
    ours = [network.Link("lab0", network.ALIAS, (IPv4Interface("10.98.0.1/24"),))]
    machine(links=ours, routes=[(IPv4Network("10.98.0.0/24"), "lab0")])
    assert preflight.problems(site(), 2) == []


def test_hosts_that_run_already_need_no_more_room(machine):
    machine(memory=1600)
    assert preflight.problems(site(), 1) == []


def test_links_are_parsed_from_ip():
    text = (
        '[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},'
        '{"ifname":"lab0","ifalias":"airavata-lab","addr_info":[{"family":"inet","local":"10.98.0.1",'
        '"prefixlen":24},{"family":"inet6","local":"fe80::1","prefixlen":64}]}]'
    )
    assert network.parse_links(text)[1] == network.Link("lab0", "airavata-lab", (IPv4Interface("10.98.0.1/24"),))


def test_files_of_a_root_host():
    files = rootfs.host_files(site().node("worker"), site().lab, "0" * 32, "ssh-ed25519 AAAA lab")
    assert files["etc/hostname"] == (0o644, "worker\n")
    assert "10.98.0.12 worker" in files["etc/hosts"][1]
    assert files["root/.ssh/authorized_keys"] == (0o600, "ssh-ed25519 AAAA lab\n")
    network_file = files["etc/systemd/network/10-host0.network"][1].splitlines()
    assert {"Address=10.98.0.12/24", "Gateway=10.98.0.1"} <= set(network_file)
    assert not any(name.startswith(("etc/sudoers.d", "etc/nftables", "etc/ssh")) for name in files)


def test_files_of_a_closed_host_with_its_own_user_and_port():
    node = site().node("worker")
    node = node.model_copy(update={"ssh": node.ssh.model_copy(update={"user": "operator", "port": 2222})})
    files = rootfs.host_files(node, site(firewall="closed").lab, "0" * 32, "ssh-ed25519 AAAA lab")
    assert "root/.ssh/authorized_keys" not in files and "home/operator/.ssh/authorized_keys" in files
    assert files["etc/sudoers.d/operator"] == (0o440, "operator ALL=(ALL:ALL) NOPASSWD: ALL\n")
    assert files["etc/ssh/sshd_config.d/port.conf"][1] == "Port 2222\n"
    rules = [line.strip() for line in files["etc/nftables.conf"][1].splitlines()]
    order = [
        rules.index(rule)
        for rule in ("tcp dport 2222 accept", "ip saddr 10.98.0.1 drop", "ip saddr 10.98.0.0/24 accept", "meta nfproto ipv4 drop")
    ]
    assert order == sorted(order)


def test_the_interface_of_a_host_has_the_name_that_the_site_gives_it():
    node = site().node("worker").model_copy(update={"interface": "eth0"})
    files = rootfs.host_files(node, site(firewall="closed").lab, "0" * 32, "ssh-ed25519 AAAA lab")
    assert "etc/systemd/network/10-host0.network" not in files
    assert "Name=eth0" in files["etc/systemd/network/10-eth0.network"][1].splitlines()
    renamed = files["etc/systemd/system/airavata-lab-host.service.d/interface.conf"][1]
    assert renamed == "[Service]\nExecStartPost=ip link set host0 name eth0\n"
    assert 'iifname != "eth0" accept' in files["etc/nftables.conf"][1]


def test_known_hosts_come_from_the_generated_keys(tmp_path):
    line = keys.ensure_key(tmp_path / "key", "worker")
    assert keys.ensure_key(tmp_path / "key", "worker") == line  # made once
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    kind, data, _ = line.split()
    assert keys.known_hosts([("10.98.0.11", 22, line), ("10.98.0.12", 2222, line)]) == (
        f"10.98.0.11 {kind} {data}\n[10.98.0.12]:2222 {kind} {data}\n"
    )


def test_the_image_holds_no_kubernetes_and_changes_name_with_its_recipe(monkeypatch):
    before = image.digest()
    assert image.path().name == f"host-{before}"
    assert not any(word in package for package in image.PACKAGES for word in ("kube", "containerd", "docker", "etcd", "flannel"))
    monkeypatch.setattr(image, "PACKAGES", [*image.PACKAGES, "vim"])
    assert image.digest() != before


def test_the_image_with_rpm_says_that_it_is_a_stand_in_and_changes_with_the_debian_one(monkeypatch):
    before = rpm_image.digest()
    assert rpm_image.path().name == f"rpm-host-{before}"
    for name, text in rpm_image.FILES.items():
        assert "STAND-IN" in text or name == "etc/rpm/macros.lab"
    said = dict(line.split("=", 1) for line in rpm_image.FILES["usr/lib/os-release"].splitlines())
    assert (said["ID"], said["ID_LIKE"], said["VERSION_ID"]) == ('"rocky"', '"rhel centos fedora"', '"9.6"')
    assert all("STAND-IN" in said[name] for name in ("NAME", "VERSION", "PRETTY_NAME"))
    monkeypatch.setattr(image, "PACKAGES", [*image.PACKAGES, "vim"])
    assert rpm_image.digest() != before


def test_the_rpm_database_says_what_the_debian_base_provides():
    lines = rpm_image.spec({"conntrack": "1.4.7", "socat": "1.7.4.4", "systemd-sysv": "252"}).splitlines()
    assert {"Provides: conntrack-tools = 1.4.7", "Provides: socat = 1.7.4.4", "Provides: system-release(releasever) = 9"} <= set(
        lines
    )
    assert not any("systemd-sysv" in line for line in lines) and any("STAND-IN" in line for line in lines)
    packages = [package_of(name, format=RPM_FORMAT) for name in PACKAGE]
    needs = {need for package in packages for need in description(package, Path("/"), Path("/"))["depends"]}
    provided = rpm_image.spec(dict.fromkeys(image.PACKAGES, "1")).split()
    assert [need for need in needs if need not in provided and need.split()[0] not in PACKAGE] == []


def test_a_pid_file_does_not_name_another_process_with_the_same_id(tmp_path):
    file = tmp_path / "pid"
    processes.write_pid_file(file, os.getpid())
    assert processes.read_pid_file(file) == os.getpid()
    file.write_text(f"{os.getpid()} 1\n")
    assert processes.read_pid_file(file) is None
    assert processes.read_pid_file(tmp_path / "none") is None


def test_status_of_an_absent_lab(capsys):
    lab.status(site(hosts={"worker": {"packages": "rpm"}}))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["NAME", "STATE", "ADDRESS", "USER", "PID", "SYSTEM"],
        ["master", "absent", "10.98.0.11", "root", "-", "Debian", "12"],
        ["worker", "absent", "10.98.0.12", "root", "-", "STAND-IN", "for", "Rocky", "Linux", "9.6"],
    ]


def test_a_site_without_a_lab_and_an_unknown_host_are_explained():
    real = Site.load({"name": "real", "nodes": [{"name": "master", "address": "192.0.2.1", "role": "master"}]})
    for function in (lab.up, lab.down, lab.status):
        with pytest.raises(CannotBuild, match="site real has no lab"):
            function(real)
    with pytest.raises(SiteError, match="no node 'third'"):
        host.lab_host(site(), "third")


def test_inotify_instances_in_use_are_counted():
    before, instances = preflight._free_inotify_instances(), [ctypes.CDLL(None).inotify_init() for _ in range(20)]
    try:
        assert min(instances) >= 0 and preflight._free_inotify_instances() <= before - 10  # others may end some in the meantime
    finally:
        for instance in instances:
            os.close(instance)


def test_a_child_that_ends_just_after_it_was_checked_does_not_stay_a_zombie(monkeypatch):
    child, waitpid = subprocess.Popen(["sleep", "60"]), os.waitpid

    def wait_and_end(pid: int, options: int) -> tuple[int, int]:
        answer = waitpid(pid, options)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return answer

    monkeypatch.setattr(
        os,
        "waitpid",
        lambda pid, options: wait_and_end(pid, options) if pid == child.pid and running() else waitpid(pid, options),
    )

    def running() -> bool:
        return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"

    assert processes.kill_all(lambda: {child.pid})
    monkeypatch.undo()
    assert not Path(f"/proc/{child.pid}").exists()
    child.returncode = 0  # Popen must not ask for it again
