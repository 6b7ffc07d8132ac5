"""A lock whose connection is lost, with a host whose answers are given (a stand-in); real hosts: tests/lab/test_steps.py."""

import fcntl
import io
import queue
import shutil
import threading
from types import SimpleNamespace

import pytest

from airavata_runbook import kernel_env
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts import lock
from tests.unit.test_engine import ThisMachine


class Channel:
    """One connection's end: what the master answers, and when it is cut."""

    def __init__(self, answer: bytes):
        self.answer, self.closed = answer, threading.Event()

    def settimeout(self, seconds):
        pass

    def sendall(self, data):
        pass

    def makefile(self, mode):
        return io.BytesIO(self.answer)

    def recv(self, size) -> bytes:
        self.closed.wait()
        return b""

    def close(self):
        self.closed.set()


@pytest.fixture
def master(monkeypatch):
    """Gives its lock, the channels that it will open one after the other, and those that it has opened."""
    channels, opened = queue.Queue(), queue.Queue()

    def start(script, data):
        channel = channels.get_nowait()
        opened.put(channel)
        return channel

    monkeypatch.setattr(lock, "RETRY_INTERVAL", 0.01)
    monkeypatch.delenv(kernel_env.LOCK_HELD, raising=False)
    return lock.SiteLock(SimpleNamespace(name="one", start=start)), channels, opened


def test_a_lock_is_tried_again_when_the_connection_is_cut_once_more_before_the_answer(master):
    site_lock, channels, opened = master
    first, cut, again = Channel(b"held\n"), Channel(b""), Channel(b"held\n")
    for channel in (first, cut, again):
        channels.put(channel)
    with site_lock.held("a test") as held:
        assert held and opened.get(timeout=10) is first
        first.close()
        assert opened.get(timeout=10) is cut
        assert opened.get(timeout=10) is again
    assert cut.closed.wait(10) and again.closed.wait(10)


@pytest.mark.parametrize(
    "channel, found",
    [
        (Channel(b""), "the connection ended before an answer"),
        (Channel(b"sh: flock: not found\n"), "sh: flock: not found"),
        (Channel(b"cannot create\nRead-only file system\n"), "cannot create\nRead-only file system"),
        (Channel(b"hel"), "hel"),
    ],
)
def test_a_site_that_cannot_be_locked_is_not_worked_on(master, channel, found):
    site_lock, channels, _ = master
    channels.put(channel)
    with pytest.raises(StepFailed, match="could not be locked") as caught, site_lock.held("a test"):
        raise AssertionError("the work went on")
    assert caught.value.found == found and caught.value.remedy and channel.closed.wait(10)


def test_another_thread_of_this_process_is_refused_as_another_process_is(master):
    site_lock, channels, _ = master
    channels.put(Channel(b"held\n"))
    refused = []

    def second():
        try:
            with site_lock.held("a step of a cell"):
                refused.append("it went on")
        except StepFailed as error:
            refused.append(error.found)

    with site_lock.held("a step of the board"), site_lock.held("the same thread again"):
        channels.put(Channel(b"taken\nann@desk, process 7, a step of the board, since noon\n"))
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
    assert refused == ["ann@desk, process 7, a step of the board, since noon"]


def test_a_lock_that_a_thread_loses_stops_its_hosts_and_not_the_main_thread(master):
    site_lock, channels, _ = master
    stopped, first = threading.Event(), Channel(b"held\n")
    done: list = []
    host = SimpleNamespace(stop=stopped.set, resume=lambda: done.append("resumed"))
    site_lock.hosts = [host]
    channels.put(first)
    channels.put(Channel(b"taken\nann@desk, process 7, another, since noon\n"))

    def work():
        try:
            with site_lock.held("a step of the board"):
                first.close()
                assert stopped.wait(10)
                raise StepFailed("stopped")
        except StepFailed as error:
            done.append(error.message)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert done[0] == "resumed" and "lock was lost" in done[1]


@pytest.mark.skipif(not shutil.which("flock"), reason="no flock here")
def test_who_holds_the_lock_is_read_without_taking_it(monkeypatch, tmp_path):
    path = tmp_path / "lock"
    monkeypatch.setattr(lock, "PATH", str(path))
    here = lock.SiteLock(ThisMachine())
    assert here.holder() == "", "no run yet"
    path.write_text("ann@desk, process 7, a run that was killed, since noon\n")
    assert here.holder() == ""
    path.write_text("ann@desk, process 8, airavata-runbook run, since one\n")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert here.holder() == "ann@desk, process 8, airavata-runbook run, since one"
    assert here.holder() == ""
