"""The preflight checks of a host's addresses, routes and names."""

import subprocess

import pytest

from airavata_runbook import Site
from airavata_runbook.checks.facts import CloudInitHosts
from tests.unit.test_preflight import ADDRESSES, LINK, of_site, problems, seen


@pytest.fixture
def site() -> Site:
    return Site.load("lab")


@pytest.mark.parametrize(
    "routes",
    [
        "default via 10.98.0.1 dev host0\ndefault dev tun0 table 51820 scope link\n",
        "0.0.0.0/1 via 10.8.0.1 dev tun0\n128.0.0.0/1 via 10.8.0.1 dev tun0\n",  # OpenVPN's def1
        "10.244.9.0/24 via 10.244.9.0 dev flannel.1 onlink\n10.244.7.0/24 dev cni0 proto kernel scope link src 10.244.7.1\n",
        "local 10.254.0.1 dev kube-ipvs0 table local proto kernel scope host src 10.254.0.1\n",
        "multicast 224.0.0.0/4 dev host0\nunreachable default metric 4294967295\n",
        "",
    ],
)
def test_routes_of_the_pods_themselves_and_default_ones_are_no_finding(site, routes):
    assert problems(site, "networks", seen(site, Routes=routes)) == []


def test_a_wider_route_is_a_finding_before_the_first_run_and_a_note_on_a_node(site):
    routes = "10.0.0.0/8 via 10.98.0.1 dev host0 proto static\n"
    for member, note in (("", False), ("site\n", True)):
        found = problems(site, "networks", seen(site, Routes=routes, Membership=member))
        assert [one.note for one in found] == [note, note] and "a route to 10.0.0.0/8 by host0" in found[0].found


def test_a_network_of_an_interface_is_told_once(site):
    routes = "10.244.1.0/24 dev tun0 proto kernel scope link src 10.244.1.9\n"
    (one,) = problems(site, "networks", seen(site, Addresses=f"{ADDRESSES}3: tun0    inet 10.244.1.9/24\n", Routes=routes))
    assert one.found.startswith("tun0 has 10.244.1.9/24")


@pytest.mark.parametrize(
    ("rows", "remedy"),
    [
        ("/etc/cloud/cloud.cfg:manage_etc_hosts: False\n", ""),
        ("/etc/cloud/cloud.cfg:manage_etc_hosts: localhost\n", ""),  # it only keeps a line of its own there
        ("/etc/cloud/cloud.cfg:manage_etc_hosts: true\n/etc/cloud/cloud.cfg.d/99-hosts.cfg:manage_etc_hosts: false\n", ""),
        ('/etc/cloud/cloud.cfg.d/01.cfg:"manage_etc_hosts" : "template"  # so\n', "echo 'manage_etc_hosts: false' > /etc/cloud"),
        ("/etc/cloud/cloud.cfg.d/01_debian_cloud.cfg:manage_etc_hosts: True\n", "hosts.*.tmpl"),
        ("/var/lib/cloud/instance/cloud-config.txt:manage_etc_hosts: true\n", "in the user data"),
    ],
)
def test_a_cloud_init_that_writes_the_hosts_file_is_found_with_what_overrides_it(site, rows, remedy):
    found = problems(site, "cloud-init", seen(site, CloudInitHosts=rows))
    assert [remedy in one.remedy for one in found] == [True] * bool(remedy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("", "manage_etc_hosts: true in /etc/cloud/cloud.cfg.d/01_debian_cloud.cfg"),
        ("touch etc/cloud/cloud-init.disabled", ""),
        ("mkdir -p run/cloud-init; touch run/cloud-init/disabled", ""),
        ("echo '10.98.0.11 registry.lab' > etc/cloud/templates/hosts.debian.tmpl", ""),
        ("echo 'manage_etc_hosts: false' > etc/cloud/cloud.cfg.d/99-hosts.cfg", ""),
        ("echo 'manage_etc_hosts: true' > var/lib/cloud/instance/cloud-config.txt", "var/lib/cloud/instance/cloud-config.txt"),
        ("rm -r etc/cloud", ""),
    ],
)
def test_the_settings_of_cloud_init_are_read_as_it_merges_them(site, tmp_path, change, said):
    for folder in ("etc/cloud/cloud.cfg.d", "etc/cloud/templates", "var/lib/cloud/instance", "run"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/cloud/cloud.cfg").write_text("users: [default]\ncloud_init_modules: [update_etc_hosts]\n")
    (tmp_path / "etc/cloud/cloud.cfg.d/01_debian_cloud.cfg").write_text("manage_etc_hosts: true\n")
    subprocess.run(["sh", "-c", change], cwd=tmp_path, check=True)
    command = CloudInitHosts(site).command
    for folder in ("/etc/cloud", "/run/cloud-init", "/var/lib/cloud"):
        command = command.replace(folder, f"{tmp_path}{folder}")
    done = subprocess.run(["sh"], input=command.encode(), capture_output=True)
    rows = done.stdout.decode().replace(str(tmp_path), "")
    found = problems(site, "cloud-init", seen(site, CloudInitHosts=rows))
    assert [said in one.found for one in found] == [True] * bool(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file /etc/resolv.conf\nnameserver 127.0.0.1\nnameserver ::1\n", "has 127.0.0.1, ::1, and no other file"),
        ("file /etc/resolv.conf\n", "has no name server"),
        ("", "does not exist"),
        ("file /etc/resolv.conf\nnameserver 127.0.0.53\nfile /run/systemd/resolve/resolv.conf\n", "has 127.0.0.53"),
        ("file /etc/resolv.conf\nnameserver 127.0.0.53\nfile /run/systemd/resolve/resolv.conf\nnameserver 10.0.0.1\n", ""),
        ("file /etc/resolv.conf\nnameserver 127.0.0.1\nfile /run/dnsmasq/resolv.conf\nnameserver 10.0.0.1\n", ""),
        ("file /etc/resolv.conf\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n", ""),
    ],
)
def test_name_servers_that_no_pod_can_ask_are_found(site, text, said):
    found = problems(site, "nameservers", seen(site, Nameservers=text))
    assert [said in one.found for one in found] == [True] * bool(said)


UUID = "4c4c4544-0042-3510-8052-b4c04f4d3332"


def test_hosts_with_one_mac_address_or_one_product_uuid_are_found(site, monkeypatch):
    same = {"MacAddresses": LINK.format(7), "ProductUuid": f"{UUID}\n"}
    findings = of_site(monkeypatch, site, master=seen(site, **same), worker=seen(site, "worker", **same))
    assert [(one.check, one.host, one.found) for one in findings] == [
        ("mac", "master", "host0 has 0a:fb:00:00:00:07, as worker"),
        ("mac", "worker", "host0 has 0a:fb:00:00:00:07, as master"),
        ("product-uuid", "master", f"{UUID}, as worker"),
        ("product-uuid", "worker", f"{UUID}, as master"),
    ]


@pytest.mark.parametrize(
    "same",
    [
        {"ProductUuid": ""},  # a container, or a host that has none
        {"ProductUuid": "03000200-0400-0500-0006-000700080009\n"},  # what many boards have
        {"ProductUuid": "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n"},
        {"MacAddresses": "2: host0: <POINTOPOINT,NOARP> mtu 1500 \\    link/none\n"},
    ],
)
def test_what_tells_no_host_from_another_is_no_finding(site, monkeypatch, same):
    assert of_site(monkeypatch, site, master=seen(site, **same), worker=seen(site, "worker", **same)) == []
