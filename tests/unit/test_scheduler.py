"""Tasks side by side: their order, how many at a time, what a failure and Ctrl-C leave, and what is shown meanwhile."""

import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local import scheduler
from airavata_runbook.local.once import build_once
from airavata_runbook.local.process import run as run_program
from airavata_runbook.local.scheduler import Task, TimeLeft
from airavata_runbook.local.terminal import progress
from tests.ctrl_c import pressed_after
from tests.unit.test_progress import lines
from tests.unit.test_runner import Terminal


@pytest.fixture
def log():
    """What the tasks of `noted` did, in order."""
    return []


@pytest.fixture
def noted(log):
    """A task that notes when it begins and ends."""

    def task(name: str, pool: str = "build", needs: tuple[str, ...] = (), seconds: float = 0) -> Task:
        def work() -> None:
            log.append(f"{name} begins")
            time.sleep(seconds)
            log.append(f"{name} ends")

        return Task(name, 1, pool, work, frozenset(needs))

    return task


def test_a_task_begins_when_what_it_needs_is_done_and_the_first_of_those_that_can_begins_first(noted, log):
    tasks = [
        noted("package", needs=("program", "tool")),
        noted("program", needs=("modules",)),
        noted("tool", needs=("what is done already",)),
        noted("modules", "download", seconds=0.2),
    ]
    scheduler.run("mirror", tasks, {"build": 1, "download": 1})
    assert sorted(log) == sorted(f"{task.name} {what}" for task in tasks for what in ("begins", "ends"))
    assert [line for line in log if line != "modules begins"] == [
        *("tool begins", "tool ends", "modules ends", "program begins", "program ends", "package begins", "package ends"),
    ]


def test_pools_run_side_by_side_each_with_so_many_tasks_at_a_time():
    together = threading.Barrier(3)  # two builds and a download; it is broken when one of them waits for another
    most, running, lock = [0], [0], threading.Lock()

    def meet() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(10)
        with lock:
            running[0] -= 1

    tasks = [Task(f"build {n}", 1, "build", meet) for n in range(4)] + [Task(f"get {n}", 1, "download", meet) for n in range(2)]
    scheduler.run("mirror", tasks, {"build": 2, "download": 1})
    assert most == [3]


def test_nothing_to_do_shows_nothing(capsys):
    scheduler.run("mirror", [], {"build": 1})
    assert capsys.readouterr() == ("", "")


def test_tasks_that_wait_for_each_other_are_refused(noted, log):
    with pytest.raises(ValueError, match="wait for each other: egg, hen"):
        scheduler.run("mirror", [noted("egg", needs=("hen",)), noted("hen", needs=("egg",))], {"build": 1})
    assert log == []


def slow(folder: Path, name: str) -> Task:
    """Builds an artefact with a program that takes long, and that starts another one, which keeps its process ID in a file."""

    def build(part: Path) -> None:
        part.mkdir()
        (part / "half").touch()
        run_program("sh", "-c", f"sleep 60 & echo $! > {folder}/{name}.pid; wait", failure=f"{name} failed")

    return Task(name, 60, "build", lambda: build_once(folder / name, (folder / name).exists, build))


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(file: Path) -> None:
    for _ in range(200):
        if file.exists() and file.read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"{file} was not made")


def test_a_failure_ends_the_others_and_only_what_was_finished_stays(tmp_path, noted, log):
    finished = tmp_path / "finished"

    def fail() -> None:
        wait_for(tmp_path / "slow.pid")
        raise CannotBuild("etcd could not be built")

    tasks = [
        Task("finished", 1, "download", lambda: build_once(finished, finished.exists, lambda part: part.write_text("whole"))),
        slow(tmp_path, "slow"),
        Task("fails", 1, "download", fail),
        noted("later", "download"),
    ]
    begun = time.monotonic()
    with pytest.raises(CannotBuild, match="etcd could not be built"):
        scheduler.run("mirror", tasks, {"build": 1, "download": 1})
    assert time.monotonic() - begun < scheduler.GRACE, "it is not waited for the minute that the other one takes"
    assert not is_running(int((tmp_path / "slow.pid").read_text()))
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["finished", "slow.pid"]
    assert finished.read_text() == "whole" and log == []


def test_ctrl_c_ends_all_programs_and_what_was_half_done_goes(tmp_path):
    tasks = [slow(tmp_path, "one"), slow(tmp_path, "two")]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), pressed_after(1):
        scheduler.run("mirror", tasks, {"build": 2})
    assert time.monotonic() - begun < scheduler.GRACE
    for name in ("one", "two"):
        assert not is_running(int((tmp_path / f"{name}.pid").read_text()))
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_program_of_another_thread_goes_on(tmp_path):
    other = subprocess.Popen(["sleep", "60"])
    try:
        with pytest.raises(KeyboardInterrupt), pressed_after(0.5):
            scheduler.run("mirror", [slow(tmp_path, "one")], {"build": 1})
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_download_ends_where_it_reports_its_progress():
    ended = threading.Event()

    def download() -> None:
        try:
            with progress("download kubelet", 100) as update:
                while True:
                    update("1 of 100 MB", 1)
                    time.sleep(0.02)
        finally:
            ended.set()

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), pressed_after(0.3):
        scheduler.run("mirror", [Task("release kubernetes", 5, "download", download)], {"download": 1})
    assert ended.is_set() and time.monotonic() - begun < scheduler.GRACE / 2


def test_one_that_cannot_be_stopped_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(scheduler, "GRACE", 0.3)
    forever = threading.Event()
    with pytest.raises(KeyboardInterrupt), pressed_after(0.3):
        scheduler.run("mirror", [Task("waits for a lock", 5, "build", forever.wait)], {"build": 1})
    forever.set()


def test_one_line_names_what_is_done_and_the_time_left_for_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    monkeypatch.setattr(scheduler, "TICK", 0.05)
    monkeypatch.setenv("COLUMNS", "120")

    def build() -> None:
        with progress("build etcd 3.6.16", 28) as update:
            update("compiles", 7)
            while "25 %" not in stream.text:
                time.sleep(0.02)

    tasks = [
        Task("build etcd 3.6.16", 28, "build", build),
        Task("modules of runc 1.5.2", 3, "download", lambda: time.sleep(0.5)),
        Task("build kubernetes 1.36.3", 212, "build", lambda: None),
    ]
    scheduler.run("mirror", tasks, {"build": 1, "download": 1})
    assert "\rmirror: about 4 min left, 0 of 3 done: build etcd 3.6.16, 25 %; modules of runc 1.5.2" in stream.text
    (last, empty) = lines(stream.text)
    assert last.startswith("mirror: 3 done in ") and not empty


def test_a_log_gets_a_line_every_quarter_of_a_minute(monkeypatch):
    log, now = io.StringIO(), [100.0]
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("airavata_runbook.local.terminal.time.monotonic", lambda: now[0])
    end, count = threading.Event(), [0]

    class Queue(scheduler.queue.SimpleQueue):
        """A task that takes a minute, in no time."""

        def get(self, timeout):
            now[0], count[0] = now[0] + timeout, count[0] + 1
            if count[0] * timeout < 60:
                raise scheduler.queue.Empty
            end.set()
            return super().get(timeout=10)

    monkeypatch.setattr(scheduler.queue, "SimpleQueue", Queue)
    scheduler.run("mirror", [Task("build kubernetes", 120, "build", end.wait)], {"build": 1})
    *shown, last = log.getvalue().splitlines()
    assert [line.partition(": ")[2].partition(" left")[0] for line in shown] == [
        *("about 2 min", "about 2 min", "about 2 min", "about 75 s"),
    ]
    assert last == "mirror: 1 done in 1 min 0 s"


@pytest.mark.parametrize("together, left", [(("build", "image"), "about 2 min"), ((), "about 60 s")])
def test_the_time_left_of_pools_that_share_the_processors_is_one_sum(monkeypatch, together, left):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    pools = {"build": 1, "image": 1, "download": 1}
    tasks = [Task(f"a {pool}", 60, pool, lambda: None) for pool in pools]
    scheduler.run("mirror", tasks, pools, together)
    assert log.getvalue().startswith(f"mirror: {left} left, 0 of 3 done: a build; a image; a download\n")


def test_the_time_left_follows_what_the_first_tasks_took():
    tasks = [Task(name, seconds, "build", lambda: None) for name, seconds in (("one", 60), ("two", 100), ("three", 40))]
    left = TimeLeft(tasks)
    assert left.seconds() == 200
    left.spend(["one"], 30)
    assert left.seconds() == 170
    left.spend(["one"], 60)
    assert left.seconds() == pytest.approx(140 * 120 / 90 + 4), "it takes longer than expected, and the others will, too"
    left.spend(["one"], 30)
    left.done("one")  # twice as long; the estimates were trusted for half a minute
    assert left.seconds() == pytest.approx(140 * 150 / 90)
    left.spend(["two", "three"], 60)
    assert left.seconds() == pytest.approx(140 * 150 / 90 - 60), "side by side each has a half"
    left.done("two")
    left.done("three")
    assert left.seconds() == 0
