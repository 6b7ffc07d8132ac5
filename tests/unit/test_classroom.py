"""A class on one machine: what each student's lab is called and has, room for all of them, and what is left afterwards."""

import re
import threading
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import yaml

from airavata_runbook import cli, lab
from airavata_runbook.errors import CannotBuild, SiteError
from airavata_runbook.lab import preflight
from airavata_runbook.lab.classroom import room
from airavata_runbook.lab.classroom.members import Class
from airavata_runbook.lab.host import LabHost
from airavata_runbook.lab.preflight import Resource
from airavata_runbook.run import class_servers
from airavata_runbook.site import Site

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A project, and a machine on which a lab is a name in a list; `fails` and `room` say what goes wrong there."""
    for name in ("notebooks/exercises", "parameters"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notebooks" / "01-network.ipynb").write_text("{}")
    (tmp_path / "notebooks" / "exercises" / "stop.ipynb").write_text("{}")
    for name in ("lab", "lab-three"):
        (tmp_path / "parameters" / f"{name}.yaml").write_text((PROJECT / "parameters" / f"{name}.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path / "state"))
    one = Machine(tmp_path)
    monkeypatch.setattr(lab, "up", one.up)
    monkeypatch.setattr(lab, "down", one.down)
    monkeypatch.setattr(LabHost, "state", property(lambda host: "running" if host.site.name in one.labs else "absent"))
    monkeypatch.setattr(preflight, "resources", lambda images: one.room)
    monkeypatch.setattr(preflight, "network_problems", lambda settings: [])
    return one


class Machine:
    def __init__(self, project: Path):
        self.project, self.labs, self.fails, self.room = project, [], set(), []
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def up(self, site: Site) -> None:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(0.05)
        with self._lock:
            self.at_once -= 1
            if site.name in self.fails:
                raise CannotBuild("a lab host ended while it booted", where=f"host of {site.name}")
            self.labs += [site.name] if site.name not in self.labs else []

    def down(self, site: Site) -> None:
        self.labs.remove(site.name)

    def files(self) -> set[str]:
        found = (path for path in self.project.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.project)) for path in found}


def test_each_student_has_a_lab_a_site_and_a_folder_and_nothing_is_left_of_them(machine, capsys):
    before = machine.files()
    assert cli.main(["class", "up", "4"]) == 0
    assert sorted(machine.labs) == ["class-1", "class-2", "class-3", "class-4"] and machine.most == 2
    sites = [Site.load(f"class-{number}") for number in range(1, 5)]
    assert [site.lab.bridge for site in sites] == ["class1", "class2", "class3", "class4"]
    assert [str(site.lab.network) for site in sites] == [f"10.120.{number}.0/24" for number in range(1, 5)]
    assert [str(node.address) for node in sites[2].nodes] == ["10.120.3.11", "10.120.3.12"]
    student = machine.project / "students" / "class-2"
    assert {str(path.relative_to(student)) for path in student.rglob("*") if path.is_file()} == {
        "notebooks/01-network.ipynb",
        "notebooks/exercises/stop.ipynb",
        "parameters/class-2.yaml",  # and no other student's
    }
    assert re.search(r"(?m)^class-3 +2 +2 +10\.120\.3\.0/24 +parameters/class-3.yaml +students/class-3$", capsys.readouterr().out)

    assert cli.main(["class", "up", "6"]) == 0  # two more
    assert sorted(machine.labs)[-2:] == ["class-5", "class-6"]
    assert cli.main(["class", "down", "--yes"]) == 0
    assert machine.labs == [] and machine.files() == before and not (machine.project / "students").exists()
    assert "class-6  down" in capsys.readouterr().out
    assert cli.main(["class", "status"]) == 0 and "no labs" in capsys.readouterr().out


def test_other_addresses_of_the_template_move_too(machine):
    content = Class(template="lab-three").member(7).site
    assert content.node("node-b").ssh.jump == "operator@10.120.7.21" and str(content.master.address) == "10.120.7.21"
    assert content.lab.host("node-b").packages == "rpm" and content.ssh.user == "operator"


def test_what_a_student_changed_is_kept_and_named(machine, capsys):
    assert cli.main(["class", "up", "1"]) == 0
    own = machine.project / "students" / "class-1" / "notebooks" / "01-network.ipynb"
    own.write_text('{"answer": 42}')
    (own.parent / "notes.md").write_text("mine")
    assert cli.main(["class", "up", "1"]) == 0 and "42" in own.read_text(), "a second up overwrites nothing"
    assert cli.main(["class", "down", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "kept, as it was changed: students/class-1/notebooks/01-network.ipynb" in said
    assert "kept, with what was made there since: students/class-1\n" in said
    assert own.is_file() and (own.parent / "notes.md").is_file()
    assert not (own.parent / "exercises").is_dir() or not any((own.parent / "exercises").iterdir())


def test_a_lab_that_fails_does_not_stop_the_others_and_is_taken_down_too(machine, capsys):
    machine.fails = {"class-2"}
    assert cli.main(["class", "up", "3"]) == 1
    said = capsys.readouterr()
    assert sorted(machine.labs) == ["class-1", "class-3"] and "class-2  FAILED" in said.out
    assert "1 lab of the class failed: class-2" in said.err and "ended while it booted" in said.err
    machine.fails = set()
    machine.labs.append("class-2")  # half of it is there
    assert cli.main(["class", "down", "--yes"]) == 0 and machine.labs == []


def test_a_class_that_does_not_fit_is_refused_with_the_number_that_would(machine, capsys):
    machine.room = [Resource("MiB of memory", 1500, 10_000, "free some"), Resource("inotify instances", 20, 1000, "sysctl")]
    before = machine.files()
    assert cli.main(["class", "up", "6"]) == 1
    message = capsys.readouterr().err
    assert (
        "6 labs with 12 hosts that have not run yet need 18000 MiB of memory, 10000 MiB are available: 3 labs would fit"
        in message
    )
    assert "or fewer: airavata-runbook class up 3" in message and "inotify" not in message
    assert machine.files() == before and machine.labs == []
    assert cli.main(["class", "up", "3"]) == 0


def test_a_lab_that_runs_its_cluster_is_not_counted_twice(machine):
    assert cli.main(["class", "up", "2"]) == 0
    members = Class().members()
    machine.room = [Resource("MiB of memory", 1500, 3500, "free some")]
    with pytest.raises(CannotBuild, match="would fit"):
        room.check(members)  # bare hosts, which will take more
    for host in lab.host.lab_hosts(members[0].site):
        (host.folder / "upper" / "etc" / "kubernetes").mkdir(parents=True)
    room.check(members)


@pytest.mark.parametrize("name", ["class2", "Class", "a", "much-too-long", "9a"])
def test_names_that_make_no_bridge_or_that_of_another_class_are_refused(machine, name):
    with pytest.raises(SiteError, match="invalid name"):
        Class(name)


def test_a_network_or_number_without_room_for_a_lab_each_is_refused(machine):
    with pytest.raises(SiteError, match="too small"):
        Class(network=IPv4Network("10.1.2.0/24"))
    with pytest.raises(SiteError, match="too many"):
        Class().member(100)


def test_a_site_file_of_somebody_else_is_not_taken_for_a_students(machine, capsys):
    mine = machine.project / "parameters" / "class-1.yaml"
    content = yaml.safe_load((machine.project / "parameters" / "lab.yaml").read_text())
    mine.write_text(yaml.safe_dump(content))
    assert cli.main(["class", "up", "1"]) == 1
    assert "class-1.yaml" in capsys.readouterr().err and machine.labs == []


def test_servers_need_labs_and_free_ports(machine, capsys, monkeypatch):
    assert cli.main(["class", "serve"]) == 1 and "has no labs" in capsys.readouterr().err
    assert cli.main(["class", "up", "1"]) == 0
    with class_servers.socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert cli.main(["class", "serve", "--port", str(taken.getsockname()[1])]) == 1
    assert "for class-1" in capsys.readouterr().err


def test_down_asks_and_does_nothing_without_the_name(machine, capsys, monkeypatch):
    assert cli.main(["class", "up", "1"]) == 0
    assert cli.main(["class", "down"]) == 1 and "no terminal" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: "yes")
    assert cli.main(["class", "down"]) == 1 and machine.labs == ["class-1"]
    monkeypatch.setattr("builtins.input", lambda text: "class")
    assert cli.main(["class", "down"]) == 0 and machine.labs == []
