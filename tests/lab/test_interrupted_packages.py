"""dpkg interrupted on a real host by a lost connection or a kill, and conflicts with the admin's packages."""

import threading
import time

import pytest

from airavata_runbook.engine.step import step
from airavata_runbook.errors import StepFailed
from airavata_runbook.resources import Packages, Removed
from airavata_runbook.site import Site
from tests.full_picture import cut_connections, over_ssh
from tests.labs import lab_hosts

# The configuration of tool waits while /run/hold exists; tool depends on parts and conflicts with rival.
REPOSITORY = r"""set -e
mkdir -p /opt/tools && cd /opt/tools
package() {
    mkdir -p $1/DEBIAN
    printf 'Package: %s\nVersion: 1.0-1\nArchitecture: all\nMaintainer: test\nDescription: test\n%s' $1 "$2" > $1/DEBIAN/control
    test -z "$3" || { printf '#!/bin/sh\n%s\n' "$3" > $1/DEBIAN/postinst; chmod 755 $1/DEBIAN/postinst; }
    dpkg-deb -b $1 $1.deb
    { cat $1/DEBIAN/control; echo Filename: ./$1.deb; echo Size: $(stat -c %s $1.deb)
      echo SHA256: $(sha256sum $1.deb | cut -d' ' -f1); echo; } >> Packages
}
package parts '' ''
package rival '' ''
package tool 'Depends: parts
Conflicts: rival
' 'while test -e /run/hold; do echo at work; sleep 0.1; done'
echo 'deb [trusted=yes] file:/opt/tools ./' > /etc/apt/sources.list.d/tools.list"""
CONFIGURING = "pgrep -f '^/bin/sh /var/lib/dpkg/info/tool.postinst'"
STATE = (
    "dpkg-query -W -f='${db:Status-Abbrev}${Package}\\n' tool parts rival 2>/dev/null | grep -v ^un; "
    "ls /var/lib/dpkg/updates; pgrep -x apt-get"
)
INSTALLED = "ii parts\nii tool\n"


@step("The tool")
def tool(target):
    yield Packages({"tool": "1.0"}, "tools")


@step("No tool")
def no_tool(target):
    yield Removed(["tool"])


@pytest.fixture(scope="module", params=["root", "operator"])
def lab(request, tmp_path_factory):
    fields = {
        "name": f"packages-{request.param}",
        "ssh": {"user": request.param},
        "nodes": [{"name": "one", "address": "10.96.0.11", "interface": "host0", "role": "master"}],
        "lab": {"bridge": "lab7", "network": "10.96.0.0/24"},
    }
    with lab_hosts(fields, tmp_path_factory.mktemp("lab")) as made:
        over_ssh(made, "one", REPOSITORY)
        yield made


@pytest.fixture
def site(lab):
    over_ssh(lab, "one", "rm -f /run/hold; apt-get -qq -y purge tool parts rival")
    assert over_ssh(lab, "one", STATE) == ""
    return lab


def wait_until(site: Site, script: str, condition) -> None:
    deadline = time.monotonic() + 30
    while not condition(output := over_ssh(site, "one", script)):
        assert time.monotonic() < deadline, f"not within 30 s: {script}: {output}"
        time.sleep(0.1)


def interrupted_while_configuring(site: Site, interrupt) -> Exception:
    """The step's error when it is interrupted while dpkg configures tool."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            tool(site)
        except Exception as error:
            errors.append(error)

    over_ssh(site, "one", "touch /run/hold")
    thread = threading.Thread(target=run)
    thread.start()
    wait_until(site, CONFIGURING, bool)
    interrupt()
    thread.join(60)
    assert errors, "the step succeeded"
    return errors[0]


def kill_dpkg(site: Site) -> None:
    over_ssh(site, "one", f"kill -9 $(pgrep -x apt-get; pgrep -x dpkg; {CONFIGURING})")


def test_a_lost_connection_does_not_stop_dpkg_and_the_next_run_waits_for_it(site):
    error = interrupted_while_configuring(site, lambda: cut_connections(site, "one"))
    assert isinstance(error, StepFailed) and "connection" in str(error)
    assert over_ssh(site, "one", CONFIGURING)
    threading.Timer(3, lambda: over_ssh(site, "one", "rm /run/hold")).start()
    assert tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == INSTALLED
    assert tool(site).count("changed") == 0


def test_a_killed_dpkgs_work_is_finished(site):
    error = interrupted_while_configuring(site, lambda: kill_dpkg(site))
    assert "packages tool could not be changed" in str(error)
    over_ssh(site, "one", "rm /run/hold")
    assert over_ssh(site, "one", STATE) != INSTALLED
    assert [item.summary for item in tool(site, plan=True).hosts["one"]] == ["install 1 of 1"]
    assert tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == INSTALLED


def test_a_killed_dpkgs_work_is_removed(site):
    interrupted_while_configuring(site, lambda: kill_dpkg(site))
    over_ssh(site, "one", "rm /run/hold")
    planned = no_tool(site, plan=True).hosts["one"][0]
    assert planned.detail == "tool\nparts (came along)\n"
    assert no_tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == ""


def test_a_package_unpacked_without_its_dependency_is_configured(site):
    over_ssh(site, "one", "dpkg --force-depends --unpack /opt/tools/tool.deb")
    assert tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == INSTALLED


def test_a_package_unpacked_without_its_dependency_is_removed(site):
    over_ssh(site, "one", "dpkg --force-depends --unpack /opt/tools/tool.deb")
    assert no_tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == ""


def test_no_package_of_the_admin_is_removed_for_ours(site):
    over_ssh(site, "one", "apt-get -qq -y install rival -o Dir::Etc::sourceparts=/etc/apt/sources.list.d")
    with pytest.raises(StepFailed, match="rival"):
        tool(site)
    assert over_ssh(site, "one", STATE) == "ii rival\n"
