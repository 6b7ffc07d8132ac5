"""Packages brought about and taken back by the real apt-get and dpkg, on a host that is a folder (tests/unit/apt_host.py)."""

import fcntl
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from airavata_runbook.distributions import deb
from airavata_runbook.distributions.deb_format import DEB_FORMAT
from airavata_runbook.engine.host_run import converge
from airavata_runbook.errors import StepFailed
from airavata_runbook.mirror import catalogue
from airavata_runbook.mirror import packages as mirror
from airavata_runbook.mirror.repository import HostRepository
from airavata_runbook.resources import Packages, Removed
from tests.unit.apt_host import AptHost
from tests.unit.test_engine import ThisMachine

TOOL, NO_TOOL = Packages({"tool": "1.0"}, "ours"), Removed(["tool"])
# A purge that comes to an end when the tool is gone and the rest is not.
PURGE = """case " $* " in *" --remove "*) /usr/bin/dpkg --force-depends --purge tool; {how} ;; esac
exec /usr/bin/dpkg "$@\""""


@pytest.fixture
def host(tmp_path, monkeypatch) -> AptHost:
    """Its repository has a tool that depends on parts of the other one."""
    host = AptHost(tmp_path / "host", monkeypatch)
    host.publish("ours", "tool", depends="parts")
    host.publish("debian", "parts")
    return host


@pytest.fixture
def installed(host) -> AptHost:
    host.sh("apt-get -qq update; apt-get -qq -y install tool")
    assert host.state() == {"tool": "ii 1.0-1", "parts": "ii 1.0-1"}
    return host


def done(resource, planning: bool = False):
    """The resource's only item; raises what went wrong."""
    outcome = converge(SimpleNamespace(planned={}), ThisMachine(), lambda: [resource], planning, lambda *_: None)
    if outcome.error:
        raise outcome.error
    return outcome.items[0]


def lock(path):
    file = path.open("w")
    fcntl.lockf(file, fcntl.LOCK_EX)  # as apt takes it: a lock of fcntl(2), not of flock(2)
    return file


# --- the mirror's repository ---------------------------------------------------------------------------------


def test_apt_has_nothing_to_warn_of_and_nothing_to_upgrade_in_the_mirrors_repository(host, monkeypatch, tmp_path):
    crictl = catalogue.PACKAGE["cri-tools"]

    def pack(package, target):
        control = tmp_path / "deb" / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        control.write_text(
            f"Package: {package.name}\nVersion: {package.whole_version}\nArchitecture: all\nMaintainer: test\n"
            "Installed-Size: 27777\nDepends: base (>= 2)\nDescription: one line\n and another\n"
        )
        subprocess.run(["dpkg-deb", "-b", control.parent.parent, target], check=True, capture_output=True)

    monkeypatch.setattr(mirror, "_pack", pack)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    repository = HostRepository([crictl.name], (), DEB_FORMAT, key=lambda: b"")
    (built,) = repository.make()
    shutil.copy(built.path, host.root / "ours" / repository.file_name(crictl.name))
    for name in DEB_FORMAT.index_files:
        (host.root / "ours" / name).write_text(repository.index(name))
    assert "W:" not in host.sh("apt-get update 2>&1")
    host.sh("apt-get -qq -y install cri-tools")
    assert host.state() == {"cri-tools": f"ii {crictl.whole_version}"}
    assert "cri-tools" not in host.sh("apt list --upgradable 2>&1")


# --- installing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lists", "archives"])
def test_a_lock_of_another_apt_is_waited_for(host, name):
    host.sh("apt-get -qq update")
    held = lock(host.root / {"lists": "var/lib/apt/lists/lock", "archives": "var/cache/apt/archives/lock"}[name])
    threading.Timer(1.5, held.close).start()
    assert done(TOOL).status == "changed" and held.closed
    assert host.state()["tool"] == "ii 1.0-1"


def test_a_lock_that_stays_is_waited_for_so_long_and_then_named(host, monkeypatch):
    monkeypatch.setattr(deb, "WAIT", 2)
    with lock(host.root / "var/lib/apt/lists/lock"), pytest.raises(StepFailed) as raised:
        done(TOOL)
    assert "Could not get lock" in raised.value.found and "held by process" in raised.value.found
    assert host.state() == {}


def test_lists_that_a_host_has_not_fetched_yet_are_fetched(host):
    planned, ran = done(TOOL, planning=True), done(TOOL)
    assert (planned.status, ran.status) == ("would change", "changed") and planned.command == ran.command
    assert "apt-get update" in planned.command, "what is shown names what runs besides"
    assert host.state() == {"tool": "ii 1.0-1", "parts": "ii 1.0-1"} and done(TOOL).status == "ok"


def test_lists_that_are_older_than_their_repository_are_fetched(host):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """What is served is nobody's news."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=host.root / "debian"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host.source("debian", f"http://127.0.0.1:{server.server_port}")
    host.sh("apt-get -qq update")
    (host.root / "debian" / "parts.deb").unlink()
    host.publish("debian", "parts", "1.0-2", file="parts-new.deb")
    assert done(TOOL).status == "changed"
    assert host.state()["parts"] == "ii 1.0-2"
    server.shutdown()
    server.server_close()


def test_what_is_neither_installed_nor_known_from_a_source_is_listed(host):
    host.publish("debian", "conntrack")
    ask = deb.DEB.list_missing(["base", "conntrack", "socat"])
    assert host.sh(ask).split() == ["conntrack", "socat"]  # no list was fetched yet
    host.sh("apt-get -q update")
    assert host.sh(ask).split() == ["socat"]


def test_what_no_source_has_is_named_with_what_to_look_at(host):
    host.publish("ours", "tool", depends="parts, rare")
    updates = host.root / "updates"
    host.program("apt-get", f'case "$*" in "-qq update") echo x >> {updates} ;; esac; exec /usr/bin/apt-get "$@"')
    with pytest.raises(StepFailed) as raised:
        done(TOOL)
    assert "rare but it is not installable" in raised.value.found
    assert raised.value.found.endswith("(after apt-get update: see that the sources of apt have what is missing)")
    assert updates.read_text() == "x\n", "the lists are fetched once"


@pytest.mark.parametrize("wish", ["hold", "purge", "deinstall"])
def test_a_package_is_there_whatever_is_wished_of_it(installed, wish):
    """On hold by the admin, or about to be purged by a reset that was killed."""
    installed.sh(f"echo tool {wish} | dpkg --set-selections")
    assert installed.state()["tool"] == {"hold": "hi", "purge": "pi", "deinstall": "ri"}[wish] + " 1.0-1"
    assert done(TOOL).status == "ok"


def test_another_build_of_the_same_version_is_installed_even_when_it_looks_older(host):
    host.publish("ours", "tool", "1.0-1+bbbbbbbb")
    assert done(Packages({"tool": "1.0-1+bbbbbbbb"}, "ours")).status == "changed"
    host.publish("ours", "tool", "1.0-1+aaaaaaaa")
    assert done(TOOL).status == "ok", "a site's own repository decides itself which build it has"
    rebuilt = Packages({"tool": "1.0-1+aaaaaaaa"}, "ours")
    planned = done(rebuilt, planning=True)
    assert planned.detail == "tool 1.0-1+bbbbbbbb → 1.0-1+aaaaaaaa\n" and "--allow-downgrades" in planned.command
    assert done(rebuilt).status == "changed" and host.state()["tool"] == "ii 1.0-1+aaaaaaaa"
    assert done(rebuilt).status == "ok"


def test_a_package_does_not_go_back_to_an_older_version(installed):
    installed.publish("ours", "tool", "0.9-1+ffffffff")
    with pytest.raises(StepFailed, match="DOWNGRADED|downgraded"):
        done(Packages({"tool": "0.9-1+ffffffff"}, "ours"))
    assert installed.state()["tool"] == "ii 1.0-1"


# --- taking back ---------------------------------------------------------------------------------------------


def test_packages_go_with_what_came_along_and_what_was_unused_before_stays(installed):
    installed.publish("debian", "forgotten")
    installed.sh("apt-get -qq update; apt-get -qq -y install forgotten; apt-mark auto forgotten")
    assert done(NO_TOOL, planning=True).detail == "tool\nparts (came along)\n"
    assert done(NO_TOOL).status == "changed"
    assert installed.state() == {"forgotten": "ii 1.0-1"} and done(NO_TOOL).status == "ok"


def test_a_package_on_hold_is_taken_back(installed):
    installed.sh("apt-mark hold tool")
    assert done(NO_TOOL).status == "changed" and installed.state() == {}


def test_a_package_of_the_admins_is_never_removed_with_ours(installed):
    installed.publish("debian", "own", depends="helper")
    installed.publish("debian", "helper", depends="tool")
    installed.sh("apt-get -qq update; apt-get -qq -y install own")
    before = installed.state()
    for planning in (True, False):
        with pytest.raises(StepFailed, match="depend on the packages that a reset removes") as raised:
            done(NO_TOOL, planning)
        assert raised.value.found == "own" and "apt-get remove own" in raised.value.remedy
        assert installed.state() == before, "nothing is purged"
    installed.sh("apt-mark auto own")  # the second remedy
    assert done(NO_TOOL).summary == "remove 4" and installed.state() == {}


@pytest.fixture(params=["kill -9 $PPID; exit 1", "echo cannot remove parts >&2; exit 1"], ids=["killed", "failed"])
def half(request, installed) -> AptHost:
    """A host whose purge ended too early. A package of another is unused, and has always been."""
    installed.publish("debian", "forgotten")
    installed.sh("apt-get -qq update; apt-get -qq -y install forgotten; apt-mark auto forgotten")
    installed.program("dpkg", PURGE.format(how=request.param))
    with pytest.raises(StepFailed):
        done(NO_TOOL)
    installed.program("dpkg", 'exec /usr/bin/dpkg "$@"')
    assert installed.state() == {"parts": "pi 1.0-1", "forgotten": "ii 1.0-1"}
    return installed


def test_what_half_a_purge_has_left_is_taken_back_though_ours_are_gone(half):
    assert done(NO_TOOL, planning=True).detail == "parts (came along)\n" and not list((half.root / "tmp").iterdir())
    assert done(NO_TOOL).status == "changed"
    assert half.state() == {"forgotten": "ii 1.0-1"} and done(NO_TOOL).status == "ok"


def test_what_half_a_purge_has_left_stays_where_it_is_of_use_again(half):
    half.publish("debian", "own", depends="parts")
    half.sh("apt-get -qq update; apt-get -qq -y install own")
    assert done(NO_TOOL).status == "ok" and set(half.state()) == {"parts", "forgotten", "own"}


def test_a_run_after_half_a_purge_leaves_a_host_that_can_be_reset(half):
    assert done(TOOL).status == "changed"
    assert done(NO_TOOL).status == "changed" and half.state() == {"forgotten": "ii 1.0-1"}


def test_a_purge_that_does_not_begin_leaves_no_note(installed, monkeypatch):
    monkeypatch.setattr(deb, "WAIT", 1)
    with lock(installed.root / "var/cache/apt/archives/lock"), pytest.raises(StepFailed, match="Could not get lock"):
        done(NO_TOOL)
    assert installed.state() == {"tool": "ii 1.0-1", "parts": "ii 1.0-1"}


def test_unpacked_without_what_it_needs_goes_with_what_came_along(host):
    host.publish("ours", "tool", depends="parts, more-parts")
    host.publish("debian", "more-parts")
    host.sh(
        "apt-get -qq update; apt-get -qq -y install parts; apt-mark auto parts; "
        f"dpkg --force-depends --unpack {host.root}/ours/tool.deb"
    )
    assert done(NO_TOOL).status == "changed" and host.state() == {}


@pytest.mark.parametrize("content", [None, "", "Package tool, but no field\n"])
def test_a_package_database_that_cannot_be_read_is_not_one_without_our_packages(installed, content):
    status = installed.dpkg / "status"
    status.unlink()
    status.mkdir() if content is None else status.write_text(content)
    with pytest.raises(StepFailed, match="unexpected probe output"):
        done(NO_TOOL)


def test_an_apt_that_cannot_say_what_goes_along_is_not_passed_over(installed):
    installed.program("apt-mark", "exit 100")
    with pytest.raises(StepFailed, match="unexpected probe output"):
        done(NO_TOOL)
    assert installed.state()["tool"] == "ii 1.0-1"
