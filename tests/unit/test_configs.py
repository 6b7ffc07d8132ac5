"""Every configuration file can be read by what will read it, and nothing in it contradicts the site."""

import json
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml

from airavata_runbook import Site
from airavata_runbook.configs import control_plane, node, registry
from airavata_runbook.distributions.deb import DEB
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.site.parts import Repository
from airavata_runbook.wellknown import CLUSTER_CA, ETCD_CA, FRONT_PROXY_CA, PKI
from tests.unit.test_facts_host import FIXTURES, snapshot

DIGEST = "sha256:" + "d" * 64
FACTS = sorted(path.stem for path in FIXTURES.glob("*.json"))


@pytest.fixture
def site() -> Site:
    return Site.load(Path(__file__).parents[2] / "parameters" / "lab.yaml")


@pytest.fixture(params=FACTS)
def settings(request):
    return derive_node_settings(snapshot(request.param))


def words(text: str) -> list[str]:
    """The arguments that a shell reads from an argument file, as systemd does."""
    variable = re.search(r'^(\w+)="', text, re.MULTILINE)[1]
    return subprocess.run(
        ["sh", "-c", f'{text}\nprintf "%s\\n" ${variable}'], capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.parametrize("name", ["apiserver", "controller_manager", "scheduler"])
def test_argument_files_hold_their_flags_and_explain_each(site, name):
    text = getattr(control_plane, name)(site)
    flags = words(text)
    assert len(flags) > 5 and all(flag.startswith("--") for flag in flags)
    for flag in flags:
        assert f"# {flag.partition('=')[0]}: " in text


def test_the_api_server_lets_nobody_in_unnamed_and_shares_etcds_address(site):
    flags = words(control_plane.apiserver(site))
    assert "--anonymous-auth=false" in flags and "--authorization-mode=Node,RBAC" in flags
    url = next(flag for flag in flags if flag.startswith("--etcd-servers=")).partition("=")[2]
    assert url in control_plane.etcd(site) and "ETCD_CLIENT_CERT_AUTH=true" in control_plane.etcd(site)


def test_flannel_reads_the_prefix_that_the_key_is_written_under(site):
    assert f'FLANNEL_ETCD_PREFIX="{site.network.etcd_prefix}"' in node.flannel(site, site.node("worker"))
    assert node.flannel_network(site) == {"Network": "10.244.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}


def test_node_files_parse_and_carry_the_hosts_own_settings(site, settings):
    kubelet = yaml.safe_load(node.kubelet(site, site.master, settings))
    assert kubelet["cgroupDriver"] == settings.cgroup_driver and kubelet["authentication"]["anonymous"] == {"enabled": False}
    proxy = yaml.safe_load(node.kube_proxy(site, site.master, settings))
    assert proxy["clusterCIDR"] == "10.244.0.0/16" and proxy["hostnameOverride"] == "10.98.0.11"
    containerd = tomllib.loads(node.containerd(site, settings, f"registry.lab:5000/pause:recipe-1@{DIGEST}"))
    runtime = containerd["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] == settings.restrict_oom_score_adj
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] == settings.systemd_cgroup
    images = containerd["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"]["sandbox"] == f"registry.lab:5000/pause@{DIGEST}"


@pytest.mark.parametrize("length", [16, 24, 25, 26, 27, 28])
def test_a_kubelet_takes_no_more_pods_than_its_lease_has_addresses(settings, length):
    site = Site.load("lab", {"network.pods": "10.16.0.0/12", "network.subnet_length": length})
    kubelet = yaml.safe_load(node.kubelet(site, site.master, settings))
    lease = ip_network(f"10.16.0.0/{length}")
    usable = lease.num_addresses - 3  # host-local gives neither the first, the last nor the gateway's
    assert kubelet.get("maxPods", 110) == min(110, usable)


def test_the_registrys_hosts_file_is_toml_and_names_its_authority(site):
    hosts = tomllib.loads(node.registry_hosts(site, "Basic x"))
    assert hosts["host"]["https://registry.lab:5001"]["ca"].endswith("registry-ca.crt")
    assert hosts["server"] == "https://registry.lab:5001", "a failed pull must not be tried where images are pushed"


def test_images_are_served_read_only_to_the_hosts_and_deleted_by_nobody_but_in_maintenance(site):
    main, pull = yaml.safe_load(registry.config(site)), yaml.safe_load(registry.pull_config(site))
    assert main["storage"]["delete"] == pull["storage"]["delete"] == {"enabled": False}
    assert pull["storage"]["maintenance"]["readonly"] == {"enabled": True} and "cache" not in pull["storage"]
    assert pull["storage"]["filesystem"] == main["storage"]["filesystem"] and pull["http"]["tls"] == main["http"]["tls"]
    assert pull["auth"]["htpasswd"]["path"] != main["auth"]["htpasswd"]["path"]
    assert pull["http"]["addr"] == "0.0.0.0:5001"
    busy = Site.load("lab", {"registry.maintenance": True})
    assert yaml.safe_load(registry.config(busy))["storage"]["delete"] == {"enabled": True}
    assert yaml.safe_load(registry.pull_config(busy)) == pull


@pytest.mark.parametrize("name", ["lab", "lab-three"])
def test_the_compose_file_starts_the_registry_that_the_service_starts(name):
    site = Site.load(Path(__file__).parents[2] / "parameters" / f"{name}.yaml")
    services = yaml.safe_load(registry.compose(site))["services"]
    starts_what_is_configured(services["registry"], yaml.safe_load(registry.config(site)), data=[])
    starts_what_is_configured(services["registry-pull"], yaml.safe_load(registry.pull_config(site)), data=["ro"])


def starts_what_is_configured(service: dict, config: dict, data: list[str]) -> None:
    mounts = {volume.split(":")[1]: volume.split(":")[2:] for volume in service["volumes"]}
    port = config["http"]["addr"].rpartition(":")[2]
    assert service["ports"] == [f"{port}:{port}"]
    assert service["command"][0] == "serve" and service["command"][1] in mounts
    assert mounts[config["storage"]["filesystem"]["rootdirectory"]] == data
    for path in (config["auth"]["htpasswd"]["path"], config["http"]["tls"]["certificate"], config["http"]["tls"]["key"]):
        assert mounts[str(Path(path).parent)] == ["ro"]


def test_every_certificate_and_key_that_a_file_names_is_one_that_is_made(site, settings):
    here = site.master
    stems = {*control_plane.certificates(site), *control_plane.etcd_certificates(site), "front-proxy-client", "service-accounts"}
    stems |= {*node.certificates(site, here), *node.etcd_certificates(), CLUSTER_CA, ETCD_CA, FRONT_PROXY_CA}
    texts = [make(site) for make in (control_plane.etcd, control_plane.apiserver, control_plane.controller_manager)]
    texts += [make(site, here, settings) for make in (node.kubelet, node.kube_proxy)]
    texts += [node.flannel(site, here), control_plane.kubeconfig(site, here, "admin", f"{PKI}/admin")]
    named = set(re.findall(rf"{PKI}/(\S+?)\.(?:crt|key|pub)", "\n".join(texts)))
    assert len(named) > 10 and named <= stems


def test_the_pod_network_script_is_a_shell_script_with_one_mac_a_host(site):
    scripts = [node.pod_network_script(one) for one in site.nodes]
    for script in scripts:
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert len({re.search(r"address (\S+) type", script)[1] for script in scripts}) == len(site.nodes)


@pytest.mark.parametrize(
    ("lease", "subnet"),
    [("10.244.7.1/24", "10.244.7.0/24"), ("10.52.25.129/25", "10.52.25.128/25"), ("10.52.16.1/20", "10.52.16.0/20")],
)
def test_pods_get_addresses_of_the_hosts_lease(site, tmp_path, lease, subnet):
    (tmp_path / "subnet.env").write_text(f"FLANNEL_SUBNET={lease}\nFLANNEL_MTU=1450\n")
    (tmp_path / "ip").write_text(
        "#!/bin/sh\n"  # stands in for iproute2: cni0 still has an older lease's address
        f"case $* in *-o*) echo '9: cni0    inet 10.9.9.1/24 scope global cni0';; esac\n"
        f'echo "$*" >> {tmp_path}/calls\n'
    )
    (tmp_path / "ip").chmod(0o755)
    script = node.pod_network_script(site.master).replace("/run/flannel", str(tmp_path)).replace("/etc/cni", str(tmp_path))
    subprocess.run(["sh", "-c", script, "pod-network", "after"], check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    plugin = json.loads((tmp_path / "net.d/10-airavata.conflist").read_text())["plugins"][0]
    assert plugin["ipam"]["ranges"] == [[{"subnet": subnet}]]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls.index("addr del 10.9.9.1/24 dev cni0") < calls.index(f"addr replace {lease} dev cni0")


def test_a_kubelets_certificate_names_its_host_by_address(site):
    subject = node.certificates(site, site.node("worker"))["kubelet"]
    assert subject.common_name == "system:node:10.98.0.12" and subject.organization == "system:nodes"
    assert "--hostname-override=10.98.0.12" in words(node.kubelet_arguments(site, site.node("worker")))
    assert str(site.network.api_address) in control_plane.certificates(site)["apiserver"].ips


@pytest.mark.parametrize(
    "baseurl",
    ["file:///opt/airavata-runbook/repository", "file:///srv/my_repo/a-b.c", "https://packages.example.org:8443/deb_x/~u/y.z/"],
)
def test_apts_copies_of_the_repositorys_index_are_named_as_apt_names_them(tmp_path, baseurl):
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "one.list").write_text(DEB.entry(Repository(baseurl=baseurl, gpgkey="/etc/apt/keyrings/site.gpg")))
    settings = {
        "Dir::Etc::sourcelist": tmp_path / "one.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": tmp_path / "lists",
    }
    done = subprocess.run(
        ["apt-get", "--print-uris", "update", *(f"-o{name}={value}" for name, value in settings.items())],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.split()[1] for line in done.stdout.splitlines()]
    ours = DEB.index_copies(Repository(baseurl=baseurl)).removeprefix("/var/lib/apt/lists/")
    assert len(names) > 1 and all(fnmatch(name, ours) for name in names), (ours, names)


def test_the_admin_and_the_api_server_get_their_roles_by_bindings_only(site):
    assert {one["metadata"]["name"]: one["roleRef"]["name"] for one in control_plane.bindings()} == {
        "airavata-runbook:cluster-admins": "cluster-admin",
        "airavata-runbook:kubelet-client": "system:kubelet-api-admin",
    }
    subjects = control_plane.certificates(site)
    assert [name for name, one in subjects.items() if one.organization == "system:masters"] == ["super-admin"]
