"""What a site touches on its hosts: the list is the resources' own, the committed page is of this tree, and no host is asked.

That it is true, tests/site compares with running hosts.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from airavata_runbook import Site, cli, resources
from airavata_runbook.chapters import install
from airavata_runbook.engine.step import step
from airavata_runbook.hosts.host import Host
from airavata_runbook.mirror import choice
from airavata_runbook.mirror.catalogue import PACKAGES
from airavata_runbook.resources import File
from airavata_runbook.resources.programs import AT_WORK
from airavata_runbook.run.touches import NEVER, REMOVED, WITH_DATA, Touches, covers
from airavata_runbook.run.touches_text import text

PROJECT = Path(__file__).parents[2]
SITES = ("lab", "lab-three", "lab-unified")


@cache
def touches_of(name: str) -> Touches:
    return Touches(Site.load(name))


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    """An empty cache, and nobody that answers: no host, and no server of releases."""

    def refuse(*_, **__):
        raise AssertionError("somebody is asked")

    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(Host, "_open", refuse)
    monkeypatch.setattr(choice, "choose", refuse)


def test_the_committed_page_is_of_this_tree():
    page = PROJECT / "docs" / "touches.md"
    assert page.read_text() == text(Site.load("lab")), "airavata-runbook touches lab > docs/touches.md"


def test_every_kind_of_resource_says_itself_what_it_touches():
    kinds = [one for name in resources.__all__ if hasattr(one := getattr(resources, name), "probe") and name != "Resource"]
    assert len(kinds) > 25 and [one.__name__ for one in kinds if "footprint" not in vars(one)] == []


@pytest.mark.parametrize("name", SITES)
def test_of_everything_is_said_what_a_reset_does_with_it(name):
    touches = touches_of(name)
    said = {(entry.touch.kind, entry.touch.name): touches.after_reset(entry.host, entry.touch) for entry in touches.entries}
    assert len(said) > 150 and [thing for thing, after in said.items() if not after] == []
    assert said["unit", "kubelet.service"] == said["file", "/etc/kubernetes/admin.conf"] == said["interface", "cni0"] == REMOVED
    assert said["folder", f"{touches.site.registry.root}/data"] == WITH_DATA
    assert said["setting", "net.ipv4.ip_forward = 1"] == "until the host restarts"


@pytest.mark.parametrize("name", SITES)
def test_what_is_said_not_to_be_touched_is_not(name):
    names = {entry.touch.name for entry in touches_of(name).entries}
    wrong = [(path, name) for paths in NEVER.values() for path in paths for name in names if re.match(rf"{path}(/|$)", name)]
    assert wrong == []


def test_each_host_has_its_own_and_a_kind_of_packages_too():
    touches = touches_of("lab-three")
    on = {node.name: {touch.name for touch in touches.on(node.name)} for node in touches.site.nodes}
    assert "/var/lib/etcd" in on["head"] and "/var/lib/etcd" not in on["node-a"] | on["node-b"]
    assert "/srv/registry/data" in on["node-a"] and "/srv/gateway/mariadb" in on["node-b"]
    assert all("31930/tcp" in names for names in on.values())
    packaging = {entry.touch.name: entry.packaging for entry in touches.entries}
    assert packaging["/etc/apt/sources.list.d/airavata-runbook.list"] == "deb"
    assert packaging["/etc/yum.repos.d/airavata-runbook.repo"] == "rpm" and packaging["/etc/kubernetes/kubelet"] == ""


def test_what_comes_with_selinux_or_a_network_manager_is_said_to():
    seldom = {entry.touch.name for entry in touches_of("lab").entries if not entry.everywhere}
    assert "/etc/NetworkManager/conf.d/airavata-runbook.conf" in seldom
    assert "/etc/selinux/*/contexts/files/file_contexts.local" in seldom and "container-selinux" in seldom
    assert "/etc/kubernetes/kubelet" not in seldom and "/etc/yum.repos.d/airavata-runbook.repo" not in seldom


def test_one_more_file_is_in_the_list_and_without_a_counterpart_no_reset_removes_it(monkeypatch):
    @step("One more file")
    def more(target):
        yield File("/etc/issue.d/airavata-runbook.issue", "A node\n")

    monkeypatch.setattr(install, "STEPS", [*install.STEPS, more])
    touches = Touches(Site.load("lab"))
    (entry,) = [one for one in touches.entries if "issue" in one.touch.name and one.host == "worker"]
    assert entry.by == "02 One more file" and touches.after_reset("worker", entry.touch) == ""
    assert "| `/etc/issue.d/airavata-runbook.issue` | every host | 02 One more file |" in text(Site.load("lab"))


def test_programs_are_those_of_the_packages():
    assert set(AT_WORK) <= {unit for package in PACKAGES for unit in package.units}


def test_the_command_prints_it_for_any_site(capsys):
    assert cli.main(["touches", "lab", "--set", "registry.root=/srv/images"]) == 0
    printed = capsys.readouterr().out
    assert "| `/srv/images/data` | master |" in printed and "/opt/registry" not in printed


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [("folder", "/var/lib/etcd", "/var/lib/etcd/member/wal"), ("file", "/run/netns/cni-*", "/run/netns/cni-1")],
)
def test_a_folder_covers_what_is_in_it_and_a_file_only_itself(kind, name, path):
    from airavata_runbook.footprint import Touch

    assert covers(Touch(kind, name), "file", path)
    assert not covers(Touch("file", "/var/lib/etcd"), "file", "/var/lib/etcd/member")
    assert not covers(Touch("folder", "/var/lib/etcd"), "file", "/var/lib/etcdx")
