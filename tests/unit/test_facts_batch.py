"""Many fragments in one script, run by real shells: whatever one prints or does, the others' answers stand."""

import shutil
import subprocess

import pytest

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.batch import Answer, batch, split

NONCE = "5f0c2d9a71e3b846"
SHELLS = [
    pytest.param(command, marks=pytest.mark.skipif(not shutil.which(command[0]), reason=f"no {command[0]}"))
    for command in (["dash"], ["bash"], ["busybox", "sh"])
]


def run(shell: list[str], fragments: dict[str, str], stop: bool = False) -> dict[str, Answer]:
    """Run as over SSH: the script comes on the shell's standard input."""
    done = subprocess.run(shell, input=batch(fragments, NONCE, stop).encode(), capture_output=True, check=True)
    return split(done.stdout, NONCE, None if stop else fragments)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "script, stdout",
    [
        ("true", b""),
        ("printf bare", b"bare"),
        ("echo; echo", b"\n\n"),
        (r"printf 'a\000b\r\nc\377'", b"a\0b\r\nc\xff"),
        # Another call's nonce: this call's is not known to anything that a fragment could print.
        (f"echo {NONCE[::-1]} last 0 .; echo; echo last 0 .", f"{NONCE[::-1]} last 0 .\n\nlast 0 .\n".encode()),
        ("cat <<END\nhere\nEND", b"here\n"),
        ("echo said # and a remark", b"said\n"),
        ("cat", b""),  # finds no input, and does not eat the rest of the script
        ("cd /; x=1; exec 2>&1; pwd", b"/\n"),
        ("head -c 3000000 /dev/zero", bytes(3_000_000)),
    ],
)
def test_output_comes_back_whole_and_spoils_no_other(shell, script, stdout):
    answers = run(shell, {"first": "echo 1", "odd": script, "last": "echo ${x:-unset}"})
    assert answers == {"first": Answer(b"1\n", 0), "odd": Answer(stdout, 0), "last": Answer(b"unset\n", 0)}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "script, status",
    [
        ("exit 3", 3),
        ("false", 1),
        ("set -e; false; echo no", 1),
        ("no-such-command 2>/dev/null", 127),
        ("kill -9 $(exec sh -c 'echo $PPID')", 137),
    ],
)
def test_a_failure_is_a_status_and_the_rest_runs(shell, script, status):
    answers = run(shell, {"bad": script, "good": "echo on"})
    assert (answers["bad"], answers["good"]) == (Answer(b"", status), Answer(b"on\n", 0))


@pytest.mark.parametrize("shell", SHELLS)
def test_with_stop_nothing_runs_after_a_failure(shell, tmp_path):
    answers = run(shell, {"a": "echo 0", "b": "echo half; exit 4", "c": f"touch {tmp_path}/ran"}, stop=True)
    assert answers == {"a": Answer(b"0\n", 0), "b": Answer(b"half\n", 4)}
    assert not (tmp_path / "ran").exists()


def test_missing_answers_are_named():
    with pytest.raises(StepFailed) as caught:
        split(f"{NONCE} a\n\n{NONCE} a 0 .\n".encode(), NONCE, {"a": "", "b": "", "c": ""})
    assert "b, c" in caught.value.found and caught.value.retryable


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"\xff\xfe\x00",
        b"Last login: today\r\n",
        b"0123456789abcdef a\n\n0123456789abcdef a 0 .\n",
        f"{NONCE} a\nhalf".encode(),
        f"{NONCE} a 0 .\n".encode(),
        f"{NONCE} a\n\n{NONCE} b 0 .\n".encode(),
        f"{NONCE} a\n\n{NONCE} a x .\n".encode(),
    ],
)
def test_other_text_is_no_answer(noise):
    with pytest.raises(StepFailed):
        split(noise, NONCE, {"a": ""})


@pytest.mark.parametrize("stop", [False, True])
def test_an_answer_cut_anywhere_is_missing_and_never_another(stop):
    script = batch({"a": "printf '12\\n34567'"}, NONCE, stop)
    whole = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True).stdout
    assert split(whole, NONCE) == {"a": Answer(b"12\n34567", 0)}
    assert all(split(whole[:cut], NONCE) == {} for cut in range(len(whole) - 1))
