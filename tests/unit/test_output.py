"""The output of a script as a stream: every byte of it, and its failure, on this machine's own shell."""

import os
import subprocess

import pytest

from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.hosts.output import ERRORS, output


class Channel:
    """What Host.start gives: all that a script prints. cut: the connection is lost after so many bytes."""

    def __init__(self, script: str, block: int, cut: int | None):
        self.process = subprocess.Popen(["sh", "-c", f"exec 2>&1\n{script}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.block, self.left = block, cut

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()

    def settimeout(self, seconds: None) -> None:
        pass

    def recv(self, size: int) -> bytes:
        data = self.process.stdout.read(min(size, self.block) if self.left is None else min(self.block, self.left))
        self.left = None if self.left is None else self.left - len(data)
        return data


class Machine:
    name = "worker"

    def __init__(self, block: int = 1 << 16, cut: int | None = None):
        self.block, self.cut = block, cut

    def start(self, script: str) -> Channel:
        return Channel(script, self.block, self.cut)


@pytest.mark.parametrize("block", [7, 4096, 1 << 18])
@pytest.mark.parametrize("size", [0, 1, ERRORS, 300_000])
def test_every_byte_comes_and_what_a_script_complains_of_does_not(tmp_path, size, block):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    script = f"echo complaint >&2; cat {tmp_path}/file; echo another >&2"
    assert b"".join(output(Machine(block), script)) == content


def test_a_script_that_fails_gives_its_last_errors_after_its_output():
    received = []
    with pytest.raises(StepFailed, match="(?s)host worker.*no such thing") as failed:
        for block in output(Machine(), "echo some; yes complaint | head -n 10000 >&2; echo no such thing >&2; exit 3"):
            received.append(block)
    assert received == [b"some\n"] and len(failed.value.found) < ERRORS
    with pytest.raises(StepFailed, match="status"):
        list(output(Machine(), "exit 3"))


def test_a_stream_that_is_cut_is_not_a_whole_one():
    with pytest.raises(HostUnreachable, match="cut off"):
        list(output(Machine(cut=200_000), "head -c 300000 /dev/zero"))
