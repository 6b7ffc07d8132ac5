"""Packages brought about and taken back by the real dnf and rpm, on a host that is a folder (tests/unit/rpm_host.py)."""

import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import closing

import pytest

from airavata_runbook import Site
from airavata_runbook.checks.facts import ForeignPackages, PackageIndexError
from airavata_runbook.distributions import installed_at, rpm
from airavata_runbook.distributions.rpm import RPM
from airavata_runbook.errors import StepFailed
from airavata_runbook.mirror.catalogue import MAINTAINER
from airavata_runbook.pki import openpgp
from airavata_runbook.resources import Cleared, Packages, Removed
from tests.unit.rpm_host import RpmHost
from tests.unit.test_apt import done

TOOLS = ("dnf", "rpmbuild", "createrepo_c")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="apt-get install dnf rpm createrepo-c")
# Kills the dnf that runs it, once.
KILL = """%post -p <lua>
if os.remove("/tmp/kill") then posix.kill(posix.getprocessid("pid"), 9) end
"""


def tool(version: str = "1.0") -> Packages:
    return Packages({"tool": version}, "ours", RPM)


@pytest.fixture
def host(tmp_path, monkeypatch) -> RpmHost:
    """Its repository has a tool that depends on parts of the other one."""
    host = RpmHost(tmp_path / "host", monkeypatch)
    host.publish("ours", "tool", requires="parts")
    host.publish("base", "parts")
    return host


def test_a_package_is_installed_from_a_repository_that_is_not_enabled_with_what_it_needs(host):
    planned, ran = done(tool(), planning=True), done(tool())
    assert (planned.status, ran.status) == ("would change", "changed") and planned.command == ran.command
    assert "install --enablerepo=ours tool-1.0" in planned.command
    assert host.state() == ["parts 1.0-1", "tool 1.0-1"] and done(tool()).status == "ok"


def test_only_what_is_missing_is_installed_at_its_version(host):
    host.sh("dnf -y -q install --enablerepo=ours tool")
    host.publish("ours", "other")
    both = Packages({"tool": "1.0", "other": "1.0"}, "ours", RPM)
    host.publish("ours", "tool", "2.0-1", requires="parts")
    planned = done(both, planning=True)
    assert planned.summary == "install 1 of 2" and planned.detail == "other not installed → 1.0\n"
    assert done(both).status == "changed" and host.state() == ["other 1.0-1", "parts 1.0-1", "tool 1.0-1"]


def test_a_version_that_was_published_a_moment_ago_is_found(host):
    assert done(tool()).status == "changed"
    host.publish("ours", "tool", "2.0-1", requires="parts")
    assert done(tool("2.0")).status == "changed" and host.state() == ["parts 1.0-1", "tool 2.0-1"]


def test_lists_that_are_older_than_their_repository_are_fetched(host):
    host.sh("dnf -q makecache")
    (host.root / "base" / "parts-1.0-1.noarch.rpm").unlink()
    host.publish("base", "parts", "1.0-2")
    assert done(tool()).status == "changed" and host.state() == ["parts 1.0-2", "tool 1.0-1"]


def test_another_build_of_the_same_version_is_installed_even_when_it_looks_older(host):
    for build in ("1.0-1+bbbb", "1.0-1+aaaa"):
        host.publish("ours", "tool", build, requires="parts")
        assert done(tool(build)).status == "changed" and host.state() == ["parts 1.0-1", f"tool {build}"]
        assert done(tool(build)).status == done(tool()).status == "ok"


def test_a_package_does_not_go_back_to_an_older_version(host):
    host.publish("ours", "tool", "2.0-1", requires="parts")
    assert done(tool("2.0")).status == "changed"
    with pytest.raises(StepFailed, match="would be downgraded") as raised:
        done(tool("1.0"))
    assert raised.value.found == "tool 2.0-1 → 1.0" and "dnf downgrade" in raised.value.remedy
    assert host.state() == ["parts 1.0-1", "tool 2.0-1"]


def test_what_no_repository_has_is_named(host):
    with pytest.raises(StepFailed) as raised:
        done(tool("9.9"))
    assert "tool-9.9" in raised.value.found and host.state() == []


@pytest.fixture
def lock(host):
    """dnf's lock of the package database, held by this process, as by a dnf that works."""
    path = host.root / "var/lib/dnf/rpmdb_lock.pid"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))
    return path


def test_a_dnf_that_works_is_waited_for(host, lock):
    threading.Timer(2, lock.unlink).start()
    assert done(tool()).status == "changed" and host.state() == ["parts 1.0-1", "tool 1.0-1"]


def test_a_lock_that_stays_is_waited_for_so_long_and_then_named(host, lock, monkeypatch):
    monkeypatch.setattr(rpm, "WAIT", 1)
    with pytest.raises(StepFailed) as raised:
        done(tool())
    assert f"locked by {os.getpid()}" in raised.value.found and host.state() == []


def test_an_update_that_was_killed_is_finished_first(host):
    done(tool())
    host.publish("ours", "tool", "2.0-1", requires="parts", scripts=KILL)
    (host.root / "tmp" / "kill").touch()
    with pytest.raises(subprocess.CalledProcessError):
        host.sh("dnf -y -q --refresh install --enablerepo=ours tool-2.0")
    assert host.state() == ["parts 1.0-1", "tool 1.0-1", "tool 2.0-1"], "both versions are there"
    assert done(tool("2.0"), planning=True).detail == "tool 1.0-1 and 2.0-1 → 2.0\n"
    assert done(tool("2.0")).status == "changed" and host.state() == ["parts 1.0-1", "tool 2.0-1"]
    assert (host.root / "usr/bin/tool").read_text() == "2.0-1\n" and done(tool("2.0")).status == "ok"


@pytest.mark.parametrize("moment", ["%pre", "%post"])
def test_a_dnf_that_is_killed_while_it_works_is_run_again(host, moment):
    host.publish("ours", "tool", requires="parts", scripts=KILL.replace("%post", moment))
    (host.root / "tmp" / "kill").touch()
    assert done(tool()).status == "changed" and host.state() == ["parts 1.0-1", "tool 1.0-1"]
    assert not (host.root / "tmp" / "kill").exists() and done(tool()).status == "ok"


def test_a_package_database_that_cannot_be_read_is_not_one_without_packages(host):
    done(tool())
    (database,) = host.root.glob("**/rpmdb.sqlite")
    database.write_bytes(b"no database" + database.read_bytes()[11:])
    for resource in (tool("2.0"), Removed(["tool"], RPM)):
        with pytest.raises(StepFailed, match="(?s)cannot open Packages database|could not be listed|unexpected probe output"):
            done(resource)
    assert (host.root / "usr/bin/tool").exists()


def test_packages_are_taken_back_and_what_came_along_stays(host):
    host.publish("ours", "other", requires="tool")
    done(Packages({"other": "1.0", "tool": "1.0"}, "ours", RPM))
    removed = Removed(["tool", "other", "third"], RPM)
    assert done(removed, planning=True).detail == "other\ntool\n"
    assert done(removed).status == "changed" and host.state() == ["parts 1.0-1"] and done(removed).status == "ok"


def test_a_package_of_the_admins_is_never_removed_with_ours(host):
    host.publish("base", "own", requires="tool")
    host.sh("dnf -y -q install --enablerepo=ours own")
    before = host.state()
    for planning in (True, False):
        with pytest.raises(StepFailed, match="depend on the packages that a reset removes") as raised:
            done(Removed(["tool"], RPM), planning)
        assert raised.value.found == "own" and "dnf remove own" in raised.value.remedy and host.state() == before


def test_a_package_that_the_admin_lets_go_is_removed_with_ours(host):
    host.publish("base", "own", requires="tool")
    host.sh("dnf -y -q install --enablerepo=ours own")
    host.sh(RPM.mark_as_dependency(["own"]))  # the remedy that the refusal names
    removed = Removed(["tool"], RPM)
    assert done(removed, planning=True).detail == "tool\nown (came along)\n"
    assert done(removed).status == "changed" and host.state() == ["parts 1.0-1"]


def test_what_is_neither_installed_nor_known_from_a_repository_is_listed(host):
    host.publish("base", "socat")
    host.publish("base", "conntrack-tools")
    ask = RPM.list_missing(["conntrack-tools", "socat", "ethtool"])
    assert host.sh(ask).split() == ["conntrack-tools", "socat", "ethtool"]  # no index was fetched yet
    host.sh("dnf -y -q install conntrack-tools")
    assert host.sh(ask).split() == ["ethtool"]


def test_packages_of_another_maker_are_found_before_the_distribution_is_known(host):
    for name, packager in (("containerd", "Somebody <x@example.org>"), ("etcd", MAINTAINER)):
        host.publish("ours", name, packager=packager)
    before = host.sh(ForeignPackages.command)
    assert list(host.root.glob("**/rpmdb.sqlite")) == [], "to ask makes no database"
    host.sh("dnf -y -q --refresh install --enablerepo=ours containerd etcd")
    assert host.sh(ForeignPackages.command) == f"{before}containerd\n"


def test_why_there_is_no_index_is_said_without_the_address(host):
    fact = PackageIndexError(Site.load("lab"))
    assert fact.parse(host.sh(RPM.find_index(f"file://{host.root}/ours"))) == ""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/rpms?token=canary"
    said = fact.parse(host.sh(RPM.find_index(url)))
    assert "Cannot download repomd.xml" in said and "canary" not in said
    assert not list((host.root / "tmp").glob("tmp.*")) and not list(host.root.glob("var/cache/dnf/*look*"))


def test_a_service_sees_when_its_package_was_installed(host):
    assert host.sh(f"{installed_at('tool')} || true") == ""
    before = int(time.time())
    done(tool())
    seconds, word = host.sh(installed_at("tool")).split()
    assert before <= int(seconds) <= time.time() and word == "package"


def test_of_the_keys_that_dnf_imported_the_site_s_own_is_removed_and_no_other(host, tmp_path):
    owner = "airavata-runbook, site lab"
    for number, name in enumerate((owner, f"{owner}-three", "somebody")):
        (tmp_path / "key").write_bytes(openpgp.public_key(openpgp.new_key(), name))
        host.sh(f"rpm --import {tmp_path}/key")
        assert len(host.state()) == number + 1
    resource = Cleared("key", RPM.list_keys(owner), RPM.remove_keys(owner))
    assert done(resource, planning=True).detail.endswith(f" {owner}\n")
    assert done(resource).status == "changed" and done(resource).status == "ok"
    assert sorted(host.sh("rpm -qa --qf '%{PACKAGER}\\n'").splitlines()) == [f"{owner}-three", "somebody"]
