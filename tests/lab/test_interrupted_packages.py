"""dpkg in the midst of its work on a real host: a connection that is cut, a kill, and another's packages in the way."""

import threading
import time

import pytest

from airavata_runbook.engine.step import step
from airavata_runbook.errors import StepFailed
from airavata_runbook.resources import Packages, Removed
from airavata_runbook.site import Site
from tests.full_picture import cut_connections, over_ssh
from tests.labs import lab_hosts

# tool's configuration waits as long as /run/hold is there; it needs parts, and cannot be beside rival.
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
AT_WORK = "pgrep -f '^/bin/sh /var/lib/dpkg/info/tool.postinst'"
STATE = (
    "dpkg-query -W -f='${db:Status-Abbrev}${Package}\\n' tool parts rival 2>/dev/null | grep -v ^un; "
    "ls /var/lib/dpkg/updates; pgrep -x apt-get"
)
ALL_THERE = "ii parts\nii tool\n"


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


def until(site: Site, look: str, wanted) -> None:
    deadline = time.monotonic() + 30
    while not wanted(seen := over_ssh(site, "one", look)):
        assert time.monotonic() < deadline, f"not within 30 s: {look}: {seen}"
        time.sleep(0.1)


def interrupted_in_the_midst(site: Site, how) -> Exception:
    """What the step says when something happens to it while dpkg configures the tool."""
    told = []

    def run() -> None:
        try:
            tool(site)
        except Exception as error:
            told.append(error)

    over_ssh(site, "one", "touch /run/hold")
    thread = threading.Thread(target=run)
    thread.start()
    until(site, AT_WORK, bool)
    how()
    thread.join(60)
    assert told, "the step has succeeded"
    return told[0]


def kill_dpkg(site: Site) -> None:
    over_ssh(site, "one", f"kill -9 $(pgrep -x apt-get; pgrep -x dpkg; {AT_WORK})")


def test_a_cut_connection_does_not_stop_dpkg_and_the_next_run_waits_for_it(site):
    said = interrupted_in_the_midst(site, lambda: cut_connections(site, "one"))
    assert isinstance(said, StepFailed) and "connection" in str(said)
    assert over_ssh(site, "one", AT_WORK)
    threading.Timer(3, lambda: over_ssh(site, "one", "rm /run/hold")).start()
    assert tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == ALL_THERE
    assert tool(site).count("changed") == 0


def test_what_a_killed_dpkg_has_left_is_finished(site):
    said = interrupted_in_the_midst(site, lambda: kill_dpkg(site))
    assert "packages tool could not be changed" in str(said)
    over_ssh(site, "one", "rm /run/hold")
    assert over_ssh(site, "one", STATE) != ALL_THERE
    assert [item.summary for item in tool(site, plan=True).hosts["one"]] == ["install 1 of 1"]
    assert tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == ALL_THERE


def test_what_a_killed_dpkg_has_left_is_taken_back(site):
    interrupted_in_the_midst(site, lambda: kill_dpkg(site))
    over_ssh(site, "one", "rm /run/hold")
    planned = no_tool(site, plan=True).hosts["one"][0]
    assert planned.detail == "tool\nparts (came along)\n"
    assert no_tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == ""


def test_unpacked_without_what_it_needs_is_finished(site):
    over_ssh(site, "one", "dpkg --force-depends --unpack /opt/tools/tool.deb")
    assert tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == ALL_THERE


def test_unpacked_without_what_it_needs_is_taken_back(site):
    over_ssh(site, "one", "dpkg --force-depends --unpack /opt/tools/tool.deb")
    assert no_tool(site).count("changed") == 1
    assert over_ssh(site, "one", STATE) == ""


def test_no_package_of_the_admins_goes_for_ours(site):
    over_ssh(site, "one", "apt-get -qq -y install rival -o Dir::Etc::sourceparts=/etc/apt/sources.list.d")
    with pytest.raises(StepFailed, match="rival"):
        tool(site)
    assert over_ssh(site, "one", STATE) == "ii rival\n"
