"""A lock whose connection is lost, with a host whose answers are given (a stand-in); real hosts: tests/lab/test_steps.py."""

import io
import queue
import threading
from types import SimpleNamespace

import pytest

from airavata_runbook import kernel_env
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts import lock


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
