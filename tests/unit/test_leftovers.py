"""The checks `leftovers`, `units` and `ports`: what an earlier cluster or somebody else's service left on a host."""

import shlex
import subprocess
from pathlib import Path

import pytest

from airavata_runbook import Site
from airavata_runbook.checks import owners
from airavata_runbook.checks.facts import preflight_facts
from airavata_runbook.checks.leftovers import ClusterRemains, Membership
from airavata_runbook.checks.owners import Owner, PortOwners, UnitFiles
from airavata_runbook.checks.types import Problem
from airavata_runbook.errors import StepFailed
from airavata_runbook.pki.issue import new_ca
from airavata_runbook.site.parts import Repository
from tests.unit.test_preflight import ETCD, OWNERS, UNIT_FILES, problems, seen


@pytest.fixture
def site() -> Site:
    return Site.load("lab")


BARE = "interface lo\ninterface host0\n"
EARLIER = BARE + "interface cni0\ninterface flannel.1\ninterface kube-ipvs0\nfolder /var/lib/etcd\nfolder /var/lib/kubelet\n"
RULES = (Path(__file__).parent / "fixtures" / "firewall" / "living.txt").read_text()


def authority(name: str) -> str:
    """The certificate that a host has at /etc/kubernetes/pki/ca.crt."""
    return new_ca(name).cert.decode()


def leftovers(site: Site, member: str = "", remains: str = EARLIER, rules: str = RULES) -> list[Problem]:
    return problems(site, "leftovers", seen(site, Membership=member, ClusterRemains=remains, FilterRules=rules))


def test_each_thing_that_an_earlier_cluster_left_is_found_with_a_remedy(site):
    assert leftovers(site, remains=BARE, rules="") == []
    found = leftovers(site)
    assert [one.found for one in found] == [
        "interface cni0 of an earlier cluster",
        "interface flannel.1 of an earlier cluster",
        "interface kube-ipvs0 of an earlier cluster",
        "packet filter rules of an earlier cluster: CNI-HOSTPORT-DNAT, FLANNEL-FWD, FLANNEL-POSTRTG, KUBE-EXTERNAL-SERVICES, …",
        "/var/lib/etcd holds data of an earlier cluster",
        "/var/lib/kubelet holds data of an earlier cluster",
    ]
    assert all("airavata-runbook reset lab if an earlier run of the runbook made it, else" in one.remedy for one in found)
    assert all("kubeadm reset" in one.remedy for one in found)


@pytest.mark.parametrize("member", ["site\n", "site\nrunbook\n", "AUTHORITY"])
def test_what_a_living_site_or_an_interrupted_run_of_it_left_is_never_a_finding(site, member):
    member = member.replace("AUTHORITY", authority("lab authority"))
    assert leftovers(site, member, EARLIER + "cni 10-airavata.conflist\ncni 99-loopback.conf\n") == []


def test_a_site_whose_hosts_file_was_written_anew_is_known_by_its_authority(site):
    assert leftovers(site, "runbook\n" + authority("lab authority")) == []


def test_another_site_of_the_runbook_and_another_cluster_are_named_with_their_reset(site):
    first, *_ = leftovers(site, authority("demo authority"))
    assert "the certificate authority 'demo authority' of another cluster" in first.found
    assert first.remedy == "airavata-runbook reset with the file of site demo"
    first, *_ = leftovers(site, authority("kubernetes"))
    assert "kubeadm reset" in first.remedy and "airavata-runbook" not in first.remedy


def test_what_an_interrupted_reset_left_is_removed_by_the_reset(site):
    (one,) = leftovers(site, "runbook\n", BARE + "folder /var/lib/etcd\n", rules="")
    assert one.remedy.startswith("airavata-runbook reset lab;")


@pytest.mark.parametrize(
    ("name", "on_a_bare_host", "on_a_node"),
    [
        ("05-old.conflist", True, True),
        ("00-multus.conf", True, True),
        ("10-flannel.conflist", True, False),  # containerd takes 10-airavata.conflist, which is sorted before
        ("99-old.conf", True, False),
        ("old network.json", True, False),
        ("87-podman-bridge.conflist", False, False),
        ("99-loopback.conf", False, False),
        ("05-loopback.conf", True, True),
        ("10-airavata.conflist", False, False),
    ],
)
def test_a_pod_network_of_somebody_else_is_found_before_containerd_uses_it(site, name, on_a_bare_host, on_a_node):
    for member, expected in (("", on_a_bare_host), ("site\n", on_a_node)):
        found = leftovers(site, member, f"{BARE}cni {name}\n", rules="")
        assert [one.found.split(" configures")[0] for one in found] == [f"/etc/cni/net.d/{name}"] * expected
        assert all(one.remedy.startswith(f"rm {shlex.quote(f'/etc/cni/net.d/{name}')}") for one in found)


def test_damaged_certificates_and_odd_output_are_handled(site):
    assert leftovers(site, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", BARE, "") == []
    for text in ("", "Welcome!\n", "folder\n", "folder /var/lib/etcd\n"):
        with pytest.raises(StepFailed, match="unexpected probe output"):
            leftovers(site, remains=text)


def run(command: str, root: Path) -> str:
    """What a command prints on a host whose folders are below `root`."""
    for folder in (
        "/etc/cni/net.d",
        "/sys/class/net",
        "/var/lib/",
        "/etc/kubernetes",
        "/etc/hosts",
        "/etc/systemd",
        "/run/systemd",
    ):
        command = command.replace(folder, f"{root}{folder}")
    for folder in ("/usr/local/lib/systemd", "/usr/lib/systemd"):
        command = command.replace(f" {folder}", f" {root}{folder}")
    done = subprocess.run(["sh"], input=command.encode(), capture_output=True)
    return done.stdout.decode().replace(str(root), "")


def test_files_are_seen_and_empty_folders_are_not(tmp_path):
    for path in ("etc/cni/net.d/05-old.conflist", "etc/cni/net.d/.new", "etc/cni/net.d/readme", "var/lib/etcd/member/wal"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}")
    for path in ("sys/class/net/lo", "var/lib/kubelet/lost+found"):
        (tmp_path / path).mkdir(parents=True)
    assert ClusterRemains().parse(run(ClusterRemains.command, tmp_path)) == (["05-old.conflist"], ["lo"], ["/var/lib/etcd"])


def test_a_node_is_known_by_its_hosts_file_or_its_authority(tmp_path, site):
    fact = Membership(site)
    (tmp_path / "etc/kubernetes/pki").mkdir(parents=True)
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n# BEGIN airavata-runbook lab-three\n")
    assert not fact.parse(run(fact.command, tmp_path)).of(site)
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n# BEGIN airavata-runbook lab\n# END airavata-runbook lab\n")
    assert fact.parse(run(fact.command, tmp_path)).of(site)
    (tmp_path / "etc/hosts").unlink()
    (tmp_path / "etc/kubernetes/pki/ca.crt").write_text(authority("lab authority"))
    assert fact.parse(run(fact.command, tmp_path)).of(site)


def test_units_and_drop_ins_of_somebody_else_are_found_as_files(tmp_path):
    units = ("etc/systemd/system", "usr/lib/systemd/system", "run/systemd/system")
    wanted = [
        f"/{units[0]}/etcd.service",
        f"/{units[0]}/kubelet.service.d/10-kubeadm.conf",
        f"/{units[1]}/kubelet.service",
        f"/{units[2]}/flanneld.service.d/x.conf",
    ]
    others = [f"/{units[0]}/sshd.service", f"/{units[0]}/service.d/all.conf", f"/{units[0]}/kubelet.service.d/notes.txt"]
    for path in (*wanted, *others):
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text("[Service]\n")
    (tmp_path / units[0] / "containerd.service").symlink_to("/dev/null")  # masked
    seen_paths = UnitFiles().parse(run(UnitFiles.command, tmp_path))
    assert sorted(seen_paths) == sorted([*wanted, f"/{units[0]}/containerd.service"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/etc/systemd/system/etcd.service", "replaces the unit etcd"),
        ("/usr/local/lib/systemd/system/kubelet.service", "replaces the unit kubelet"),
        ("/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", "changes the unit kubelet"),
        ("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "changes the unit kubelet"),
        ("/etc/systemd/system/flanneld.service.d/other.conf", "changes the unit flanneld"),
        ("/etc/systemd/system/docker-distribution.service", "replaces the unit docker-distribution"),
    ],
)
def test_a_unit_that_is_not_the_runbook_s_is_a_finding_with_its_path(site, path, said):
    (one,) = problems(site, "units", seen(site, UnitFiles=f"{UNIT_FILES}{path}\n"))
    assert one.found == f"{path} {said}" and f"rm {path}" in one.remedy
    assert problems(site, "units", seen(site)) == []


def test_units_of_services_that_a_host_does_not_get_are_no_matter(site):
    assert problems(site, "units", seen(site, "worker", UnitFiles="/etc/systemd/system/etcd.service\n")) == []


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("etcd.service\t/usr/local/bin/etcd", "/usr/local/bin/etcd of etcd.service"),
        ("my-etcd.service\t/usr/bin/etcd", "/usr/bin/etcd of my-etcd.service"),
        ("cri-containerd-0a1b.scope\t/usr/local/bin/etcd", "/usr/local/bin/etcd of cri-containerd-0a1b.scope"),
        ("\t/opt/etcd/etcd", "/opt/etcd/etcd"),
        ("session-3.scope\t", "etcd of session-3.scope"),
    ],
)
def test_a_program_of_the_right_name_that_is_not_the_runbook_s_is_found_on_its_port(site, owner, said):
    (one,) = problems(site, "ports", seen(site, PortOwners=f"tcp\t2379\tetcd\t{owner}\n"))
    assert one.found == f"{said} listens on 2379/tcp"


@pytest.mark.parametrize(
    "owner",
    [
        "etcd.service\t/usr/bin/etcd",
        "etcd.service\t/usr/bin/etcd (deleted)",  # its package was upgraded
        "etcd.service\t/usr/bin/etcd.dpkg-tmp (deleted)",
        "\t/usr/bin/etcd",
        "etcd.service\t",
    ],
)
def test_the_runbook_s_own_programs_are_known(site, owner):
    assert problems(site, "ports", seen(site, PortOwners=f"tcp\t2379\tetcd\t{owner}\n")) == []


def test_on_a_host_that_is_no_node_yet_no_program_is_the_runbook_s(site):
    found = [one.found for one in problems(site, "ports", seen(site, Membership=""))]
    assert found[0] == "registry, which is not of this site, listens on 5000/tcp" and len(found) == 6
    assert "something, which is not of this site, listens on 8472/udp" in found
    assert problems(site, "ports", seen(site, Membership=authority("lab authority"))) == []


def test_two_programs_on_one_port_are_each_told_once(site):
    both = f'tcp LISTEN 0 1 *:2379 *:* {ETCD}\ntcp LISTEN 0 1 10.98.0.11:2379 *:* users:(("nginx",pid=7,fd=3))\n'
    assert [one.found for one in problems(site, "ports", seen(site, Listening=both, PortOwners=OWNERS))] == [
        "nginx listens on 2379/tcp"
    ]


def test_packages_of_a_repository_of_the_site_s_own_may_have_other_paths(site):
    own = site.model_copy(update={"repository": Repository(baseurl="https://packages.example.org")})
    assert problems(own, "ports", seen(own, PortOwners="tcp\t2379\tetcd\tetcd.service\t/opt/etcd/bin/etcd\n")) == []


def test_owners_are_read_on_this_machine(tmp_path, monkeypatch):
    """The unit is the innermost one, in the forms of both versions of cgroups (recorded on lab hosts, 2026-11-25)."""
    (tmp_path / "ss").write_text(
        "#!/bin/sh\n"
        "echo 'tcp LISTEN 0 4096 10.98.0.11:2379 0.0.0.0:* users:((\"etcd\",pid=11,fd=8))'\n"
        'echo \'tcp LISTEN 0 4096 [::]:6443 [::]:* users:(("kube-apiserver",pid=12,fd=8),("kube-apiserver",pid=12,fd=9))\'\n'
        "echo 'tcp LISTEN 0 4096 *:10250 *:* users:((\"kubelet\",pid=13,fd=8))'\n"
        "echo 'tcp LISTEN 0 4096 *:22 *:* users:((\"sshd\",pid=14,fd=8))'\n"
    )
    (tmp_path / "ss").chmod(0o755)
    groups = {
        11: "9:name=systemd:/airavata-lab/lab0/master/payload/system.slice/etcd.service\n4:memory:/airavata-lab/lab0/master\n"
        "0::/airavata-lab/lab0/master/payload/system.slice/etcd.service\n",
        12: "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-0a1b.scope\n",
        13: "4:memory:/\n0::/\n",
    }
    names = {11: "etcd", 12: "kube-apiserver", 13: "kubelet"}
    for pid, text in groups.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(text)
        (tmp_path / str(pid) / "comm").write_text(f"{names[pid]}\n")
        (tmp_path / str(pid) / "exe").symlink_to(f"/usr/bin/{names[pid]}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    command = PortOwners.command.replace("/proc/", f"{tmp_path}/")
    done = subprocess.run(["sh"], input=command.encode(), capture_output=True)
    assert PortOwners().parse(done.stdout.decode()) == {
        ("tcp", 2379): {Owner("etcd", "etcd.service", "/usr/bin/etcd")},
        ("tcp", 6443): {Owner("kube-apiserver", "cri-containerd-0a1b.scope", "/usr/bin/kube-apiserver")},
        ("tcp", 10250): {Owner("kubelet", "", "/usr/bin/kubelet")},
    }


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_every_command_of_the_checks_is_answered_by_this_machine(site, shell):
    for fact in preflight_facts(site, site.master):
        done = subprocess.run([shell], input=f"export LC_ALL=C\n{fact.command}\n".encode(), capture_output=True)
        if fact.name not in ("KernelFeatures", "FreeSpace"):
            assert not done.stderr, (fact.name, done.stderr)
        fact.parse(done.stdout.decode())


def test_every_program_and_unit_of_the_packages_is_looked_at():
    assert {"etcd", "kubelet", "kube-proxy", "kube-apiserver", "containerd", "flanneld", "docker-distribution"} <= set(
        owners.UNITS
    )
    assert owners.PROGRAMS["registry"] == "/usr/bin"
