"""Components that a site takes from its hosts: which versions will do, and that the runbook neither installs nor removes them."""

import json
from types import SimpleNamespace

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import reset
from airavata_runbook.configs import control_plane, node
from airavata_runbook.distributions.deb import DEB
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.hosts.node_settings import derive_node_settings
from airavata_runbook.mirror import catalogue
from airavata_runbook.site.host_parts import HOST_PARTS, cni_folders, drop_in_of
from tests.unit.test_facts_host import snapshot
from tests.unit.test_preflight import answers, found, problems, seen

SETTINGS = derive_node_settings(snapshot("lab-debian-12"))
EVERY = {"sources": dict.fromkeys(HOST_PARTS, "host")}
CNI_VERSIONS = '{"cniVersion":"1.0.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0"]}'
# RECORDED on lab hosts on 2026-11-30, with Debian 12's packages.
DEBIAN_12 = f"""cni {CNI_VERSIONS}
containerd containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3
etcd etcd Version: 3.4.23
runc runc version 1.1.5+ds1
"""
NEWER = f"""cni {CNI_VERSIONS}
containerd containerd github.com/containerd/containerd/v2 v2.2.0 abc
etcd etcd Version: 3.5.24
runc runc version 1.2.0
namespaces k8s.io
"""
UNITS = "/lib/systemd/system/containerd.service\n/lib/systemd/system/etcd.service\n"


def site(**sources: str) -> Site:
    return Site.load("lab", {"sources": sources} if sources else EVERY)


def said(printed: str, units: str = UNITS, name: str = "master", **sources: str) -> list[str]:
    """What the check finds on a host, as found."""
    one = site(**sources)
    return [problem.found for problem in problems(one, "components", seen(one, name, HostParts=printed, UnitFiles=units))]


# --- the check -------------------------------------------------------------------------------------------------


def test_debian_12_has_plugins_that_will_do_and_the_others_are_too_old():
    assert said(DEBIAN_12) == ["containerd 1.6.20", "etcd 3.4.23", "runc 1.1.5"]
    assert said(DEBIAN_12, cni="host") == []
    one = site()
    for problem in problems(one, "components", seen(one, HostParts=DEBIAN_12, UnitFiles=UNITS)):
        name = problem.found.split()[0]
        assert HOST_PARTS[name].oldest in problem.needed and HOST_PARTS[name].why in problem.needed
        assert f"leave out sources.{name}" in problem.remedy


def test_the_oldest_versions_that_the_others_need_are_accepted():
    assert said(NEWER) == []
    assert "etcd 3.5.23" in said(NEWER.replace("3.5.24", "3.5.23"))


def test_a_worker_needs_no_etcd():
    assert catalogue.parts_on(site(), site().node("worker")) == ["cni", "containerd", "runc"]
    assert said(DEBIAN_12, name="worker") == ["containerd 1.6.20", "runc 1.1.5"]


def test_what_is_not_there_is_named_with_its_programs():
    lines = "cni missing portmap\ncni missing firewall\n"
    assert said(f"cni {CNI_VERSIONS}\n{lines}", cni="host") == ["no portmap, firewall"]
    assert said("etcd missing /usr/bin/etcd\netcd missing etcdctl\n", etcd="host") == ["no /usr/bin/etcd, etcdctl"]
    assert said("etcd etcd Version: 3.6.16\n", units="", etcd="host") == ["no unit etcd.service"]


def test_a_package_of_the_runbook_is_not_the_hosts_own():
    assert said("etcd etcd Version: 3.6.16\nrunbook etcd\n", etcd="host") == ["etcd is of the runbook's package etcd"]


def test_a_containerd_that_others_use_is_refused():
    (problem,) = said(NEWER + "namespaces moby\n")
    assert problem == "containerd has the namespaces moby of others, whose containers would end"


@pytest.mark.parametrize("printed", ["etcd etcd says nothing\n", "etcd\n", "etcd \n"])
def test_a_program_that_does_not_say_its_version_will_not_do(printed):
    assert said(printed, etcd="host") == ["etcd does not say its version"]


def test_what_is_no_answer_of_the_host_is_no_component():
    with pytest.raises(StepFailed, match="unexpected probe output"):
        said("nonsense\n", etcd="host")


def test_nothing_is_asked_of_hosts_whose_components_are_all_the_runbooks():
    one = Site.load("lab")
    assert found(one, seen(one)) == {} and "HostParts" not in answers(one)


def test_other_packages_of_these_names_are_no_conflict_then():
    foreign = {"ForeignPackages": "containerd.io\nrunc\netcd-server\netcd\n", "HostParts": NEWER, "UnitFiles": UNITS}
    assert "packages" not in found(site(), seen(site(), **foreign))


# --- packages and files ----------------------------------------------------------------------------------------


def test_a_host_gets_no_package_of_what_it_has():
    one = site()
    assert not {"containerd", "etcd", "cni-plugins"} & set(catalogue.of_host(one, one.master))
    plugins = site(containerd="host", runc="host")
    assert "cni-plugins" in catalogue.of_host(plugins, plugins.node("worker"))
    assert "cni-plugins" not in catalogue.of_host(Site.load("lab"), Site.load("lab").master)


def test_containerd_finds_the_plugins_and_runc_of_the_host():
    assert cni_folders(Site.load("lab")) == ["/opt/cni/bin"]
    assert cni_folders(site(cni="host")) == ["/usr/lib/cni", "/usr/libexec/cni"]
    text = node.containerd(site(), SETTINGS, "registry.lab:5000/pause:1@sha256:00")
    assert 'bin_dirs = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"]' in text and 'BinaryName = "runc"' in text
    usual = node.containerd(Site.load("lab"), SETTINGS, "registry.lab:5000/pause:1@sha256:00")
    assert 'bin_dirs = ["/opt/cni/bin"]' in usual and 'BinaryName = "/usr/bin/runc"' in usual


def test_the_unit_of_the_distribution_gets_the_sites_configuration_and_keeps_its_own_file():
    assert node.containerd_file(site()) == "/etc/airavata-runbook/containerd.toml"
    assert node.containerd_file(Site.load("lab")) == "/etc/containerd/config.toml"
    assert "\nExecStart=\nExecStart=/usr/bin/containerd --config /etc/airavata-runbook/containerd.toml\n" in (
        node.containerd_drop_in(site())
    )
    assert "\nEnvironmentFile=\nEnvironmentFile=/etc/etcd/etcd.conf\n" in control_plane.etcd_drop_in(site())


def test_the_drop_in_is_the_runbooks_where_it_is_needed_and_a_finding_where_it_is_not():
    path = drop_in_of(site(), "containerd")
    one = site()
    assert problems(one, "units", seen(one, UnitFiles=f"{UNITS}{path}\n", HostParts=NEWER)) == []
    usual = Site.load("lab")
    (problem,) = problems(usual, "units", seen(usual, UnitFiles=f"{path}\n"))
    assert "changes the unit containerd" in problem.found


# --- reset -----------------------------------------------------------------------------------------------------


def test_a_reset_leaves_the_hosts_own_where_they_were():
    one = site()
    target = SimpleNamespace(site=one, node=one.master, packaging=DEB)
    labels = [
        resource.label
        for step in (reset.services, reset.files, reset.state, reset.packages)
        for resource in step.resources(target)
    ]
    assert "service containerd" not in labels and "no /etc/containerd/config.toml" not in labels and "service etcd" in labels
    assert "no configuration of the site for the host's containerd" in labels and "no /var/lib/containerd" not in labels
    assert not any(label.startswith("packages") and ("containerd" in label or "etcd" in label) for label in labels)
    usual = Site.load("lab")
    target = SimpleNamespace(site=usual, node=usual.master, packaging=DEB)
    labels = [resource.label for step in (reset.services, reset.files, reset.state) for resource in step.resources(target)]
    assert {"service containerd", "no /etc/containerd/config.toml", "no /var/lib/containerd"} <= set(labels)


# --- the site file ---------------------------------------------------------------------------------------------


def test_containerd_and_runc_are_of_the_same_origin():
    for sources in ({"containerd": "host"}, {"runc": "host"}, {"containerd": "host", "runc": "release"}):
        with pytest.raises(SiteError, match="sources.runc: needs host with containerd: host, and only then"):
            site(**sources)


def test_plugins_for_the_hosts_own_containerd_are_not_in_a_repository_of_the_sites_own():
    own = {"repository": {"baseurl": "https://example.org/packages", "gpgkey": "/etc/key"}}
    with pytest.raises(SiteError, match="sources.cni: needs host"):
        Site.load("lab", own | {"sources": {"containerd": "host", "runc": "host"}})
    assert Site.load("lab", own | EVERY).sources.hosted == ("cni", "containerd", "etcd", "runc")
    with pytest.raises(SiteError):
        site(kubernetes="host")


def test_the_schema_says_which_components_may_be_the_hosts_own():
    schema = json.dumps(Site.model_json_schema()["$defs"]["Sources"]["properties"]["etcd"])
    assert '"host"' in schema
