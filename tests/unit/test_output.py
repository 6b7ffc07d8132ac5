"""The output and the input of a script as a stream: every byte of it, and its failure, on this machine's own shell."""

import os
import subprocess

import pytest

from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.hosts.output import ERRORS, feed, output


class Channel:
    """What Host.start gives: all that a script prints. cut: the connection is lost after so many bytes."""

    def __init__(self, script: str, block: int, cut: int | None):
        self.process = subprocess.Popen(
            ["sh", "-c", f"exec 2>&1\n{script}"], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.block, self.left = block, cut

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def settimeout(self, seconds: None) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        while data:  # a pipe takes a part at a time
            data = data[self.process.stdin.write(data) :]

    def shutdown_write(self) -> None:
        self.process.stdin.close()

    def recv(self, size: int) -> bytes:
        if self.process.stdout.closed:
            return b""
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


def test_a_script_reads_every_byte_of_its_input(tmp_path):
    content = os.urandom(700_000)
    feed(Machine(), f"cat > {tmp_path}/file", (content[at : at + 70_000] for at in range(0, len(content), 70_000)))
    assert (tmp_path / "file").read_bytes() == content


def test_a_script_that_ends_before_its_input_does_says_why():
    blocks = iter([b"x" * 100_000] * 100)
    with pytest.raises(StepFailed, match="host worker") as failed:
        feed(Machine(), "head -c 10 > /dev/null; yes complaint | head -n 10000; echo ERROR 1064 at line 3 >&2; exit 1", blocks)
    assert "ERROR 1064 at line 3" in failed.value.found and len(failed.value.found) < ERRORS


def test_what_ends_the_input_is_raised_and_a_lost_connection_is_told():
    def broken():
        yield b"some"
        raise ValueError("the source ended")

    with pytest.raises(ValueError, match="the source ended"):
        feed(Machine(), "cat > /dev/null", broken())
    with pytest.raises(HostUnreachable, match="cut off"):
        feed(Machine(cut=3), "cat > /dev/null", [b"some"])
