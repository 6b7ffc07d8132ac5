"""What follows from facts: ordinary hosts get Kubernetes' defaults, and each departure is a fact's doing."""

from dataclasses import fields, replace

import pytest

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.node_settings import derive_node_settings
from tests.unit.test_facts_host import snapshot

ROCKY, UBUNTU, LAB = (snapshot(name) for name in ("rocky-9", "ubuntu-24.04", "lab-debian-12"))


@pytest.mark.parametrize("host", [ROCKY, UBUNTU], ids=["rocky-9", "ubuntu-24.04"])
def test_an_ordinary_host_gets_the_defaults(host):
    settings = derive_node_settings(host)
    assert (settings.cgroup_driver, settings.systemd_cgroup) == ("systemd", True)
    assert settings.fail_cgroup_v1 and settings.fail_swap_on
    assert (settings.oom_score_adj, settings.restrict_oom_score_adj) == (-999, False)
    assert settings.max_open_files == 1_000_000
    assert settings.conntrack == {}
    assert settings.image_gc == (85, 80)


def test_an_ordinary_host_departs_only_in_what_is_kept_for_the_system():
    assert derive_node_settings(ROCKY).reasons.keys() == {"systemReserved", "enable_selinux"}  # of containerd
    assert derive_node_settings(ROCKY).system_reserved == {"cpu": "500m", "memory": "1024Mi"}
    assert derive_node_settings(UBUNTU).system_reserved == {"cpu": "400m", "memory": "1024Mi"}


def test_where_systemd_resolves_names_pods_get_the_servers_behind_it():
    assert derive_node_settings(UBUNTU).resolv_conf == "/run/systemd/resolve/resolv.conf"
    assert "loopback" in derive_node_settings(UBUNTU).reasons["resolvConf"]
    assert derive_node_settings(ROCKY).resolv_conf == ""


@pytest.mark.parametrize(
    ("resolved", "servers", "path"),
    [
        ("active", {facts.RESOLV_CONF: ("10.0.0.1",), facts.RESOLVED_CONF: ("10.0.0.1",)}, facts.RESOLVED_CONF),
        ("active", {facts.RESOLV_CONF: ("10.0.0.1",), facts.RESOLVED_CONF: ()}, ""),
        ("active", {facts.RESOLV_CONF: ("127.0.0.53",), facts.RESOLVED_CONF: ()}, ""),
        ("inactive", {facts.RESOLV_CONF: ("127.0.0.1",), "/run/dnsmasq/resolv.conf": ("10.0.0.1",)}, "/run/dnsmasq/resolv.conf"),
        ("inactive", {facts.RESOLV_CONF: ("10.0.0.1",), facts.RESOLVED_CONF: ("10.0.0.9",)}, ""),
        ("inactive", {facts.RESOLV_CONF: ("10.0.0.1", "127.0.0.1"), facts.RESOLVED_CONF: ("10.0.0.9",)}, facts.RESOLVED_CONF),
    ],
)
def test_pods_get_the_file_whose_name_servers_they_can_reach(resolved, servers, path):
    values = {**ROCKY.values, facts.Resolved: resolved == "active", facts.Nameservers: servers}
    assert derive_node_settings(replace(ROCKY, values=values)).resolv_conf == path


def test_swap_that_comes_with_the_next_boot_is_lived_with():
    settings = derive_node_settings(snapshot("rocky-9", SwapAtBoot="fstab /dev/sda2\n"))
    assert not settings.fail_swap_on
    assert settings.reasons["failSwapOn"] == "this host switches swap on at boot (/etc/fstab: /dev/sda2); pods do not use it"


def test_a_lab_host_gets_its_concessions_each_with_a_reason():
    settings = derive_node_settings(LAB)
    assert (settings.cgroup_driver, settings.systemd_cgroup, settings.fail_cgroup_v1) == ("cgroupfs", False, False)
    assert (settings.oom_score_adj, settings.restrict_oom_score_adj) == (0, True)
    assert settings.max_open_files == 20000
    assert set(settings.conntrack.values()) == {0, "0s"}
    assert settings.image_gc == (100, 99)
    assert settings.fail_swap_on  # the recorded machine has no swap
    assert settings.reasons.keys() == {
        "systemReserved",
        "cgroupDriver",
        "systemd_cgroup",
        "failCgroupV1",
        "oomScoreAdj",
        "restrict_oom_score_adj",
        "maxOpenFiles",
        "conntrack",
        "imageGCHighThresholdPercent",
    }
    assert "20000" in settings.reasons["maxOpenFiles"]
    assert "systemd-nspawn" in settings.reasons["imageGCHighThresholdPercent"]


@pytest.mark.parametrize(
    "changes, departs",
    [
        ({facts.CgroupVersion: 1}, {"cgroup_driver", "systemd_cgroup", "fail_cgroup_v1"}),
        ({facts.Systemd: 0}, {"cgroup_driver", "systemd_cgroup"}),
        ({facts.Memory: facts.MemorySize(32 << 30, 4 << 30)}, {"fail_swap_on"}),
        ({facts.SwapAtBoot: ["/etc/fstab: /dev/sda2"]}, {"fail_swap_on"}),
        ({facts.Nameservers: {facts.RESOLV_CONF: ("127.0.0.1",), facts.RESOLVED_CONF: ("10.0.0.1",)}}, {"resolv_conf"}),
        (
            {facts.CanRaiseLimits: False, facts.OpenFiles: facts.FileLimits(2_000_000, 1073741816)},
            {"oom_score_adj", "restrict_oom_score_adj"},
        ),
        ({facts.OpenFiles: facts.FileLimits(524288, 65536)}, {"max_open_files"}),
        ({facts.ConntrackWritable: False}, {"conntrack"}),
        ({facts.Container: "lxc"}, {"image_gc"}),
        ({facts.OpenFiles: facts.FileLimits(1024, 1073741816)}, set()),  # root with CAP_SYS_RESOURCE raises its own limit
    ],
)
def test_one_fact_moves_only_what_depends_on_it(changes, departs):
    usual, settings = derive_node_settings(ROCKY), derive_node_settings(replace(ROCKY, values={**ROCKY.values, **changes}))
    moved = {field.name for field in fields(settings) if getattr(settings, field.name) != getattr(usual, field.name)}
    assert moved - {"reasons"} == departs
    new = settings.reasons.keys() - usual.reasons.keys()
    assert len(new) == len(departs) and all(settings.reasons[key] for key in new)


def test_settings_of_two_hosts_share_nothing():
    derive_node_settings(LAB).conntrack["min"] = 7
    assert derive_node_settings(LAB).conntrack["min"] == 0


def test_settings_need_only_the_facts_that_they_follow_from():
    derive_node_settings(snapshot("rocky-9", Hostname="", Os="", Clock=""))
    with pytest.raises(StepFailed, match="unexpected probe output"):
        derive_node_settings(snapshot("rocky-9", CanRaiseLimits="nonsense"))
