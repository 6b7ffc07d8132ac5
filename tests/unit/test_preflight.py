"""Every check finds what it is there for, on facts that are fit but for one thing, and finds nothing on fit ones."""

import http.server
import json
import socket
import subprocess
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from airavata_runbook import Site, preflight
from airavata_runbook.errors import HostUnreachable
from airavata_runbook.facts.host import parse as parse_facts
from airavata_runbook.host_checks import CONTROLLERS, EACH_HOST, FEATURES, INDEX, Seen, parse
from airavata_runbook.preflight import offline, told
from airavata_runbook.site_fields import CheckName

FIXTURES = Path(__file__).parent / "fixtures" / "facts"
FACTS = parse_facts(json.loads((FIXTURES / "lab-debian-12.json").read_text())["facts"])
# Recorded on a lab host of a finished site, 2026-11-23 (ss -Htulnp of iproute2 6.1).
LISTENING = """\
udp UNCONN 0      0         0.0.0.0:8472  0.0.0.0:*
tcp LISTEN 0      4096   10.98.0.11:2379  0.0.0.0:* users:(("etcd",pid=1130,fd=8))
tcp LISTEN 0      128       0.0.0.0:22    0.0.0.0:* users:(("sshd",pid=60,fd=3))
tcp LISTEN 0      4096    127.0.0.1:10257 0.0.0.0:* users:(("kube-controller",pid=1345,fd=5))
tcp LISTEN 0      4096            *:5000        *:* users:(("registry",pid=2049,fd=5))
tcp LISTEN 0      4096            *:6443        *:* users:(("kube-apiserver",pid=1232,fd=5))
tcp LISTEN 0      128          [::]:22       [::]:* users:(("sshd",pid=60,fd=4))
"""


@pytest.fixture
def site() -> Site:
    return Site.load("lab")


def seen(site: Site, name: str = "master", texts: dict | None = None, **facts) -> Seen:
    """A fit host of that name, but for what is given."""
    address = f"{site.node(name).address}/24"
    fit = replace(FACTS, **{"disk_free": 64 << 30, "hostname": name, "machine_id": name * 5,
                            "addresses": {"lo": "127.0.0.1/8", "host0": address, "cni0": "10.244.7.1/24"}} | facts)
    return parse(site.node(name), fit, {"ports": LISTENING, "features": "\n".join(FEATURES), "cgroup": " ".join(CONTROLLERS),
                                         "registry": "", "packages": ""} | (texts or {}))


def found(site: Site, one: Seen) -> dict[str, str]:
    return {name: parts[0] for name, look_at in EACH_HOST.items() for parts in look_at(site, one)}


def test_every_check_can_be_named_in_a_site_file_and_says_what_it_asks():
    assert set(get_args(CheckName)) == set(preflight.QUESTIONS)
    assert {*EACH_HOST, *preflight.UNIQUE, "reachable", "sources", "stack"} == set(preflight.QUESTIONS)


def test_fit_hosts_pass_bare_and_finished(site):
    assert found(site, seen(site)) == {}
    assert found(site, seen(site, texts={"ports": ""})) == {}
    assert found(site, seen(site, "worker", {"registry": "10.98.0.11      STREAM registry.lab\n10.98.0.11      DGRAM\n"})) == {}


@pytest.mark.parametrize(("check", "changes", "said"), [
    ("os", {"os": "rocky", "version": "9.5"}, "rocky 9.5"),
    ("os", {"systemd": 0}, "systemd is not its first process"),
    ("architecture", {"architecture": "riscv64"}, "riscv64"),
    ("cpu", {"cpus": 1}, "1 CPU"),
    ("memory", {"memory": 512 << 20}, "512 MiB"),
    ("disk", {"disk_free": 2 << 30}, "2 GiB free"),
    ("address", {"mtu": {"lo": 65536, "eth1": 1500}}, "no interface host0; it has eth1, lo"),
    ("address", {"addresses": {"host0": "10.98.0.99/24"}}, "host0 has address 10.98.0.99/24"),
    ("address", {"addresses": {}}, "host0 has address none"),
    ("mtu", {"mtu": {"host0": 1280}}, "host0 has MTU 1280"),
    ("swap", {"swap": 1 << 30, "cgroup": 1}, "1024 MiB of swap"),
    ("selinux", {"selinux": "enforcing"}, "SELinux enforces"),
    ("firewalld", {"firewalld": True}, "firewalld is active"),
    ("clock", {"skew": -3600.0}, "3600 s behind"),
    ("clock", {"skew": 90.0}, "90 s ahead of"),
    ("networks", {"addresses": {"host0": "10.98.0.11/24", "tun0": "10.254.3.1/30"}},
     "tun0 has 10.254.3.1/30, inside network.services"),
    ("ports", {"texts": {"ports": 'tcp LISTEN 0 128 *:6443 *:* users:(("nginx",pid=7,fd=3))\n'}}, "nginx listens on 6443/tcp"),
    ("ports", {"texts": {"ports": 'udp UNCONN 0 0 *:8472 *:* users:(("vpn",pid=7,fd=3))\n'}}, "vpn listens on 8472/udp"),
    ("ports", {"texts": {"ports": "tcp LISTEN 0 128 *:5000 *:*\n"}}, "something listens on 5000/tcp"),
    ("kernel", {"texts": {"features": "overlay\nbr_netfilter\nnf_conntrack\n"}}, "no vxlan"),
    ("cgroup", {"texts": {"cgroup": "cpuset\ncpu\ncpuacct\nblkio\npids\n"}}, "no memory in control groups"),
    ("cgroup", {"cgroup": 2, "texts": {"cgroup": "cpu io memory\n"}}, "no cpuset, pids in control groups version 2"),
    ("packages", {"texts": {"packages": "docker.io\n"}}, "docker.io is installed, which cannot be beside containerd"),
    ("packages", {"texts": {"packages": "kubelet\n"}}, "kubelet is installed, which cannot be beside kubernetes-node"),
    ("registry-name", {"texts": {"registry": "192.0.2.7 STREAM registry.lab\n"}}, "registry.lab leads to 192.0.2.7"),
])
def test_one_thing_that_is_wrong_is_found_by_its_check_alone(site, check, changes, said):
    (name, what), = found(site, seen(site, **changes)).items()
    assert name == check and said in what


def test_swap_is_no_matter_where_pods_are_kept_out_of_it(site):
    assert found(site, seen(site, swap=1 << 30, cgroup=2)) == {}


def test_a_worker_may_have_one_cpu(site):
    assert found(site, seen(site, "worker", cpus=1)) == {}


def test_a_worker_may_have_the_masters_ports_taken(site):
    taken = 'tcp LISTEN 0 128 *:6443 *:* users:(("nginx",pid=7,fd=3))\n'
    assert found(site, seen(site, "worker", {"ports": taken})) == {}


def test_a_worker_may_have_what_is_in_the_masters_way(site):
    assert found(site, seen(site, "worker", {"packages": "etcd-server docker-registry\n"})) == {}
    assert len(list(EACH_HOST["packages"](site, seen(site, texts={"packages": "etcd-server docker-registry\n"})))) == 2


def of_site(monkeypatch, site: Site, **hosts) -> list[preflight.Finding]:
    """The findings of a whole site; hosts: name → Seen or an exception."""
    monkeypatch.setattr(preflight, "side_by_side", lambda *_: hosts)
    return preflight.preflight(site)


def test_hosts_that_were_cloned_are_told_apart_by_nothing_and_said_so(site, monkeypatch):
    findings = of_site(monkeypatch, site, master=seen(site, hostname="same", machine_id="1"),
                       worker=seen(site, "worker", hostname="same", machine_id="1"))
    assert [(one.check, one.host) for one in findings] == [
        ("hostname", "master"), ("hostname", "worker"), ("machine-id", "master"), ("machine-id", "worker")]
    assert findings[0].found == "same, as worker"


def test_a_host_that_cannot_be_reached_does_not_hide_the_others_trouble(site, monkeypatch):
    down = HostUnreachable("the host does not answer", where="host worker, root@10.98.0.12:22", found="no answer",
                           remedy="see that it is up")
    findings = of_site(monkeypatch, site, master=seen(site, memory=1), worker=down)
    assert [(one.check, one.host) for one in findings] == [("reachable", "worker"), ("memory", "master")]
    assert findings[0].found == "the host does not answer (root@10.98.0.12:22): no answer"


def test_a_check_is_left_out_by_its_name_and_still_reported(site, monkeypatch):
    ignoring = Site.load("lab", {"ignore_checks": ["memory"]})
    (finding,) = of_site(monkeypatch, ignoring, master=seen(site, memory=1), worker=seen(site, "worker"))
    assert finding.ignored and "(ignored)" in told([finding])


def test_a_site_is_checked_without_a_host(monkeypatch):
    monkeypatch.setattr(preflight, "connect", lambda site: pytest.fail("a host was asked"))
    assert offline(Site.load("lab")) == offline(Site.load("lab-three")) == []
    missing, finding = offline(Site.load("lab", {"airavata.images": {"portl": {"archive": "/nowhere"}}}))
    assert missing.check == "sources" and "/nowhere" in missing.found
    assert finding.check == "stack" and "airavata.images.portl: unknown here; needed: portal" in finding.found


@contextmanager
def serving(folder: Path):
    """The URL of a server of the folder's files on this machine."""
    def handler(*arguments):
        return http.server.SimpleHTTPRequestHandler(*arguments, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def index_at(url: str) -> str:
    """What the look for a package index says, run by this machine's shell and apt."""
    return subprocess.run(["sh"], input=INDEX.format(url=url).encode(), capture_output=True).stdout.decode()


@pytest.mark.parametrize("file", ["InRelease", "Packages", "Packages.gz"])
def test_a_package_index_is_found_by_any_of_its_names(tmp_path, file):
    (tmp_path / file).write_text("Package: etcd\n")
    with serving(tmp_path) as url:
        assert index_at(url) == f"index {file}\n"


def test_why_there_is_no_package_index_is_said_without_the_url_s_password(site, tmp_path):
    with serving(tmp_path) as url:
        assert "404" in index_at(url)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        url = f"http://admin:canary@127.0.0.1:{taken.getsockname()[1]}"
    said = index_at(url)
    assert "Connection refused" in said
    one = Site.load("lab", {"repository.baseurl": url})
    problem, *_ = next(iter(EACH_HOST["sources"](one, seen(one, texts={"repository": said}))))
    assert "Connection refused" in problem and "canary" not in problem
