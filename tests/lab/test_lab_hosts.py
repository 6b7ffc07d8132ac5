"""The lab from outside: hosts boot, recover from crashes, and leave nothing behind. Needs root, about 30 s."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from airavata_runbook import lab
from airavata_runbook.errors import CannotBuild, HostUnreachable
from airavata_runbook.lab.host import lab_host
from airavata_runbook.site import Site

BRIDGES = ("lab9", "lab8")


def site(bridge: str, network: str, user: str = "root", firewall: str = "open", **lab_fields: object) -> Site:
    prefix = network.rpartition(".")[0]
    return Site.load(
        {
            "name": bridge,
            "ssh": {"user": user},
            "nodes": [
                {"name": "one", "address": f"{prefix}.11", "interface": "host0", "role": "master"},
                {"name": "two", "address": f"{prefix}.12", "interface": "host0"},
            ],
            "lab": {"bridge": bridge, "network": network, "firewall": firewall, **lab_fields},
        }
    )


@pytest.fixture(scope="module")
def labs(tmp_path_factory):
    """A lab with open firewalls and one with closed firewalls and a user who is not root; nothing of them is left behind."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRAVATA_RUNBOOK_STATE", str(folder))
        opened = site("lab9", "10.99.0.0/24", hosts={"two": {"packages": "rpm"}})
        closed = site("lab8", "10.97.0.0/24", user="operator", firewall="closed")
        before = traces(folder)
        try:
            lab.up(opened)
            lab.up(closed)
            yield opened, closed
        finally:
            lab.down(opened)
            lab.down(closed)
        left = {kind: [one for one in found if one not in before[kind]] for kind, found in traces(folder).items()}
        assert left == {kind: [] for kind in before}
        assert [path.name for path in (folder / "labs").iterdir() if not path.name.startswith(".")] == []


def traces(folder: Path) -> dict[str, list[str]]:
    """What could be left of these two labs; other labs on this machine are left out."""

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def ours(text: str) -> bool:
        return str(folder) in text or any(bridge in text for bridge in BRIDGES)

    return {
        "processes": [line for line in lines("ps", "-eo", "pid,args") if ours(line)]
        + [line for line in lines("ps", "-eo", "stat,comm") if line.startswith("Z") and "nspawn" in line],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if ours(line)],
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob("*/airavata-lab/*") if ours(path.name)],
        "interfaces": [line for line in lines("ip", "-brief", "link") if ours(line)],
        "firewall": [line for line in lines("iptables-save") if line.startswith(("-A", ":"))],
        "nspawn": sorted(str(path) for path in Path("/run/systemd/nspawn").glob("*/*")),
    }


def output(site: Site, name: str, command: str) -> str:
    """The output of a command on a host, by the ssh client with the lab's key files."""
    node = site.node(name)
    done = subprocess.run(
        [
            "ssh",
            "-F",
            "none",
            "-i",
            node.ssh.key,
            "-o",
            f"UserKnownHostsFile={node.ssh.known_hosts}",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "BatchMode=yes",
            f"{node.ssh.user}@{node.address}",
            command,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def boot_time(site: Site, name: str) -> str:
    return output(site, name, "cut -d' ' -f22 /proc/1/stat")


def supervisor(site: Site, name: str) -> int:
    return int(next(row for row in lab.status(site) if row["NAME"] == name)["PID"])


def answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1.5) as connection:
            return connection.recv(3) == b"hey"
    except OSError:
        return False


def serve(site: Site, name: str, port: int) -> None:
    sudo = "" if site.node(name).ssh.user == "root" else "sudo -n "
    output(
        site,
        name,
        f"""{sudo}systemd-run --quiet --unit=hey{port} \\
                             socat TCP-LISTEN:{port},fork,reuseaddr "SYSTEM:printf hey"
                         for i in $(seq 100); do ss -tln | grep -q :{port} && exit 0; sleep 0.05; done; exit 1""",
    )


def test_hosts_are_whole_machines(labs):
    opened, _ = labs
    for node in opened.nodes:
        assert output(opened, node.name, "hostname; cat /proc/1/comm").split() == [node.name, "systemd"]
        assert output(opened, node.name, "systemctl is-system-running --wait || systemctl --failed") == "running"
        assert f"{node.address}/24" in output(opened, node.name, "ip -brief address show host0")
        assert output(opened, node.name, "command -v kubelet etcd flanneld containerd docker || echo none") == "none"
    ids = {output(opened, node.name, "cat /etc/machine-id") for node in opened.nodes}
    assert len(ids) == 2


def test_a_host_with_rpm_is_a_stand_in_that_is_managed_by_dnf_alone(labs, tmp_path):
    opened, _ = labs
    said = output(opened, "two", ". /etc/os-release; echo $ID; echo $PRETTY_NAME; cat /etc/redhat-release")
    assert said.splitlines() == ["rocky", *["STAND-IN for Rocky Linux 9.6 on a Debian 12 base"] * 2]
    assert output(opened, "two", "command -v apt-get apt dpkg dpkg-query || echo none") == "none"
    assert output(opened, "two", "rpm -qa --qf '%{NAME}'; rpm -q --whatprovides --qf ' %{NAME}' conntrack-tools") == (
        "airavata-lab-base airavata-lab-base"
    )
    assert output(opened, "two", "dnf --version | head -n 1; yum --version | head -n 1").split() == ["4.14.0"] * 2
    assert output(opened, "one", "command -v rpm dnf || echo none") == "none", "a host with dpkg is as before"
    row = next(row for row in lab.status(opened) if row["NAME"] == "two")
    assert row["SYSTEM"] == "STAND-IN for Rocky Linux 9.6"


def test_hosts_can_run_kubernetes(labs):
    opened, _ = labs
    rules = (
        "iptables -t nat -A PREROUTING -p tcp --dport 7001 -j DNAT --to-destination 10.99.0.11:7002 && "
        "iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -m comment --comment x -j ACCEPT && "
        "iptables -t nat -A POSTROUTING -m statistic --mode random --probability 0.5 -j MASQUERADE && "
        "iptables-save -t nat | grep -c -e DNAT -e MASQUERADE"
    )
    assert output(opened, "one", rules) == "2"
    assert "dst=10.99.0.11" in output(opened, "one", "conntrack -L -p tcp --dport 22; iptables -t nat -F; iptables -F")
    made = "ip link add v1 type vxlan id 1 dev host0 dstport 8472 && ip link add c0 type bridge && ip -br link | wc -l"
    assert int(output(opened, "two", made + "; ip link del v1; ip link del c0")) >= 4
    settings = output(
        opened,
        "one",
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/bridge/bridge-nf-call-iptables "
        "/proc/sys/vm/overcommit_memory /proc/sys/kernel/panic; ls /dev/kmsg /dev/net/tun",
    )
    assert settings.split() == ["1", "1", "1", "10", "/dev/kmsg", "/dev/net/tun"]
    overlay = "cd /var/lib/containerd && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m"
    output(opened, "one", f"{overlay} && umount m && rmdir l u m && rm -r w")


def test_an_unknown_host_key_is_refused(labs, tmp_path):
    opened, _ = labs
    node = opened.node("one")
    known = tmp_path / "known_hosts"
    known.write_text(
        Path(node.ssh.known_hosts)
        .read_text()
        .replace("10.99.0.12", "10.99.0.77")
        .replace("10.99.0.11", "10.99.0.12")
        .replace("10.99.0.77", "10.99.0.11")
    )
    done = subprocess.run(
        [
            "ssh",
            "-F",
            "none",
            "-i",
            node.ssh.key,
            "-o",
            f"UserKnownHostsFile={known}",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "BatchMode=yes",
            f"root@{node.address}",
            "true",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 255 and "HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_a_closed_firewall_lets_only_ssh_in(labs):
    opened, closed = labs
    for site_, address, reachable in ((opened, "10.99.0.11", True), (closed, "10.97.0.11", False)):
        serve(site_, "one", 7070)
        assert answers(address, 7070) is reachable
        ask = f"python3 -c \"import socket; print(socket.create_connection(('{address}', 7070), 3).recv(3))\""
        assert output(site_, "two", ask) == "b'hey'"
    assert output(closed, "one", "id -un; sudo -n id -un").split() == ["operator", "root"]
    assert output(opened, "one", "id -un") == "root"


def test_up_again_changes_nothing_and_is_quick(labs, capsys):
    opened, _ = labs
    before = [supervisor(opened, node.name) for node in opened.nodes]
    started = time.monotonic()
    lab.up(opened)
    assert time.monotonic() - started < 2
    assert [supervisor(opened, node.name) for node in opened.nodes] == before
    capsys.readouterr()
    lab.status(opened)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["NAME", "STATE", "ADDRESS"],
        ["one", "running", "10.99.0.11"],
        ["two", "running", "10.99.0.12"],
    ]


def test_poweroff_keeps_the_disk(labs):
    _, closed = labs
    key = output(closed, "two", "cat /etc/ssh/ssh_host_ed25519_key.pub; echo kept > ~/note; sync")
    output(closed, "two", "sudo -n systemd-run --quiet --property=ExecStop='/bin/touch /home/operator/stopped' sleep 999")
    lab_host(closed, "two").poweroff()
    assert {row["NAME"]: row["STATE"] for row in lab.status(closed)} == {"one": "running", "two": "off"}
    with pytest.raises(HostUnreachable, match="off"):
        lab.ssh(closed, "two", ["true"])
    lab.up(closed)
    assert output(closed, "two", "cat /etc/ssh/ssh_host_ed25519_key.pub ~/note") == f"{key}\nkept"
    output(closed, "two", "test -e ~/stopped")  # its services were stopped, not killed
    serve(closed, "two", 7070)
    assert output(closed, "one", "socat -u TCP:10.97.0.12:7070 -") == "hey"
    assert not answers("10.97.0.12", 7070)  # the firewall came back with the host


def test_up_boots_a_host_that_is_still_powering_off(labs):
    opened, _ = labs
    before = boot_time(opened, "one")
    output(opened, "one", "systemd-run --quiet --property=ExecStop='/bin/sleep 4' sleep 999; systemctl --no-block poweroff")
    assert lab_host(opened, "one").state == "running"  # its services take four seconds to stop
    lab.up(opened)
    time.sleep(5)
    assert lab_host(opened, "one").state == "running" and boot_time(opened, "one") != before


def test_up_recovers_from_a_crash_and_a_killed_supervisor(labs):
    opened, _ = labs
    before = boot_time(opened, "one"), boot_time(opened, "two")
    output(opened, "one", "systemd-run --quiet --property=ExecStop='/bin/touch /root/stopped' sleep 999")
    output(opened, "one", "echo kept > /root/note; sync")
    lab_host(opened, "one").crash()
    os.kill(supervisor(opened, "two"), signal.SIGKILL)
    lab.up(opened)
    assert output(opened, "one", "cat /root/note; ls /root/stopped 2>/dev/null || true") == "kept"
    assert boot_time(opened, "one") != before[0] and boot_time(opened, "two") != before[1]


def test_up_recovers_a_host_whose_network_namespace_outlives_it(labs):
    opened, _ = labs
    init = Path(f"/proc/{supervisor(opened, 'one')}/task/{supervisor(opened, 'one')}/children").read_text().split()[0]
    with Path(f"/proc/{init}/ns/net").open():  # as a mount or a process outside would hold it open
        os.kill(supervisor(opened, "one"), signal.SIGKILL)  # which would have removed the host's interface
        lab.up(opened)
        assert output(opened, "one", "hostname") == "one"


def test_up_recovers_from_a_removed_bridge(labs):
    opened, _ = labs
    subprocess.run(["ip", "link", "delete", "lab9"], check=True)
    lab.up(opened)
    assert output(opened, "one", "cat /root/note") == "kept"


def test_down_leaves_another_lab_running(labs):
    opened, closed = labs
    pids = [supervisor(opened, node.name) for node in opened.nodes]
    lab.down(closed)
    assert [row["STATE"] for row in lab.status(closed)] == ["absent", "absent"]
    lab.down(closed)  # nothing to do
    assert [supervisor(opened, node.name) for node in opened.nodes] == pids
    assert output(opened, "two", "hostname") == "two"


def test_down_removes_a_host_that_the_site_no_longer_names(labs):
    opened, _ = labs
    lab.down(opened.model_copy(update={"nodes": opened.nodes[:1]}))
    assert [row["STATE"] for row in lab.status(opened)] == ["absent", "absent"]
    lab.up(opened)


def test_an_overlapping_network_is_refused_before_anything_is_created(labs):
    overlapping = site("lab7", "10.99.0.0/24")
    with pytest.raises(CannotBuild, match="overlaps a network.*10.99.0.0/24 on lab9"):
        lab.up(overlapping)
    assert "lab7" not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout


def test_a_lab_of_another_state_folder_is_neither_stopped_nor_used(labs, tmp_path, monkeypatch):
    opened, _ = labs
    pids = [supervisor(opened, node.name) for node in opened.nodes]
    before = os.environ["AIRAVATA_RUNBOOK_STATE"]
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path))
    for command in (lab.up, lab.down):
        with pytest.raises(CannotBuild, match="one, two of the lab in " + before):
            command(site("lab9", "10.99.0.0/24"))
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", before)
    assert [supervisor(opened, node.name) for node in opened.nodes] == pids
