"""Every answer of a host is the script's own, whatever the user's login shell prints, sets or does. Real shells; real sshd and
sudo, tcsh, zsh and fish: tests/lab/test_login_shells.py."""

import re
import shutil
import time
from pathlib import Path

import pytest

from airavata_runbook import kernel_env
from airavata_runbook.errors import HostUnreachable, NotRoot, StepFailed
from airavata_runbook.hosts import host as host_module
from airavata_runbook.hosts import lock
from airavata_runbook.hosts.batch import Answer
from airavata_runbook.hosts.frame import Result
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.vault import Vault
from tests.unit.ssh_server import host_with

GREETINGS = {
    "nothing": "",
    "a line on both streams": "echo 'Welcome!'; echo 'mesg: ttyname failed' >&2",
    "no end of line": "printf 'Welcome! '; printf 'warning ' >&2",
    "zeros, and no UTF-8": r"printf '\000\377\r'; printf '\000\377\r' >&2",
    "lines like an answer": "echo held; echo 0123456789abcdef 0; echo 0 0123456789abcdef; echo port 1",
    "something at its end": "trap 'echo goodbye; echo goodbye >&2' EXIT",
    "a failure": "false; cd /nowhere",
    "another place and umask": "cd /usr; umask 077; export CDPATH=/usr POSIXLY_CORRECT=1 LC_ALL=de_DE.UTF-8 PATH=/usr/bin",
    "a process that keeps the outputs open": "sleep 3 &",
    "a lot": "head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2",
    "a slow start": "sleep 1",
}


@pytest.fixture(params=GREETINGS)
def noisy(request, tmp_path):
    """A host whose user's bash reads a ~/.bashrc with that in it, as Debian's does for a command over SSH."""
    (tmp_path / ".bashrc").write_text(GREETINGS[request.param] + "\n")
    environment = {"HOME": str(tmp_path), "SSH_CLIENT": "127.0.0.1 1 22", "PATH": "/usr/bin:/bin"}
    with host_with(["/bin/bash", "-c"], environment=environment) as (host, _):
        yield host


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("true", Result()),
        ("echo out; echo err >&2; exit 3", Result(b"out\n", 3, b"err\n")),
        ("printf out; printf err >&2", Result(b"out", 0, b"err")),
        ("echo; echo; echo >&2", Result(b"\n\n", 0, b"\n")),
        (r"printf 'a\000b\r\nc\377'", Result(b"a\0b\r\nc\xff")),
        ("cat; read -r line; echo $?", Result(b"1\n")),  # it finds no input, and does not take what follows it
        ("set -e; false; echo no", Result(b"", 1)),
        ("trap 'echo end' EXIT; exit 4", Result(b"end\n", 4)),
        ("cat <<'END'\n$HOME `a` \"b\" 'c'\nEND", Result(b"$HOME `a` \"b\" 'c'\n")),
        ("umask; echo $LC_ALL; cd /; cd usr; command -v ldconfig", Result(b"0022\nC\n/usr/sbin/ldconfig\n")),
    ],
)
def test_an_answer_is_the_script_s_own(script, answer):
    with host_with() as (host, _):
        assert host.run(script) == answer


def test_a_noisy_shell_changes_no_answer(noisy, tmp_path):
    assert noisy.run("echo out; printf err >&2; exit 3") == Result(b"out\n", 3, b"err")
    assert noisy.run_batch({"one": "printf 1", "two": "exit 2"}) == {"one": Answer(b"1"), "two": Answer(b"", 2)}
    assert noisy.run("umask; echo $LC_ALL; cd /; cd usr; command -v ldconfig").text == "0022\nC\n/usr/sbin/ldconfig\n"


def test_a_noisy_shell_changes_no_secret_and_no_certificate(noisy, tmp_path):
    for name in ("ca.crt", "ca.key"):
        (tmp_path / name).write_bytes(f"the {name}".encode())  # no newline at its end: it stays so
    pair = Vault(noisy).pair(f"{tmp_path}/ca")
    assert (pair.cert, pair.key) == (b"the ca.crt", b"the ca.key")
    vault = Vault(noisy)
    vault.fetch([f"{tmp_path}/ca"], [])
    assert vault.pair(f"{tmp_path}/ca") == pair


def test_a_noisy_shell_changes_no_upload(noisy, tmp_path):
    source, target = tmp_path / "source", tmp_path / "made" / "it's the target"
    source.write_bytes(bytes(range(256)) * 4000)
    noisy.send(source, str(target))
    assert target.read_bytes() == source.read_bytes() and target.stat().st_mode & 0o777 == 0o644
    assert target.parent.stat().st_mode & 0o777 == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(HostUnreachable, match="not copied completely") as refused:
        noisy.send(source, f"{tmp_path}/file/target")
    assert "mkdir" in refused.value.found and "elcome" not in refused.value.found and "mesg" not in refused.value.found


def test_a_noisy_shell_changes_no_dialogue(noisy):
    channel = noisy.start("echo ready; read -r name; echo $name; echo trouble >&2; cat; umask", b"somebody\nthe ")
    channel.settimeout(10)
    lines = channel.makefile("rb")
    assert lines.readline() == b"ready\n"
    channel.sendall(b"rest")
    channel.shutdown_write()
    assert [lines.readline() for _ in range(3)] == [b"somebody\n", b"trouble\n", b"the rest0022\n"]
    channel.close()


def test_a_noisy_shell_does_not_keep_a_site_from_being_locked(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATH", str(tmp_path / "lock"))
    monkeypatch.delenv(kernel_env.LOCK_HELD, raising=False)
    with lock.SiteLock(noisy).held("a test") as held:
        assert held and ", a test, since " in (tmp_path / "lock").read_text()
        other = Host(noisy.node)
        other._open = noisy._open
        with pytest.raises(StepFailed, match="another run is in progress") as taken, lock.SiteLock(other).held("another"):
            raise AssertionError("two runs at a time")
    assert ", a test, since " in taken.value.found and "elcome" not in taken.value.found


def test_nothing_of_a_script_is_in_a_process_list(tmp_path):
    with host_with() as (host, server):
        host.run("echo canary-1")
        host.start("echo canary-2").close()
        (tmp_path / "file").touch()
        host.send(tmp_path / "file", f"{tmp_path}/canary-3")
    assert len(server.commands) == 3 and "canary" not in "".join(server.commands)
    # What csh, fish or zsh would replace, were it not in single quotes; "!" they replace even there.
    for command in server.commands:
        assert not set(re.sub("'[^']*'", "", command)) & set('$`"\\(){}[]*?~<>|;&#%^!\n') and "!" not in command


@pytest.mark.parametrize("name", ["bash", "dash", "busybox", "zsh", "tcsh", "fish", "ksh", "mksh"])
def test_every_login_shell_here_understands_the_commands(name, tmp_path):
    """Those that are not installed here are on the hosts of tests/lab/test_login_shells.py."""
    program = shutil.which(name)
    if not program:
        pytest.skip(f"no {name} on this machine")
    shell = [program, "sh", "-c"] if name == "busybox" else [program, "-c"]
    with host_with(shell) as (host, _):
        assert host.run("echo $LC_ALL; exit 5") == Result(b"C\n", 5)
        channel = host.start("read -r word; echo $word")
        channel.sendall(b"heard\n")
        assert channel.makefile("rb").read() == b"heard\n"
        (tmp_path / "source").write_bytes(b"\0data")
        host.send(tmp_path / "source", f"{tmp_path}/target")
        assert (tmp_path / "target").read_bytes() == b"\0data"


def test_a_script_whose_shell_is_killed_has_no_answer():
    with host_with() as (host, _), pytest.raises(StepFailed, match="output is truncated") as cut:
        host.run("echo half; kill -9 $$; sleep 1")
    assert cut.value.found in ("half", "Killed") and cut.value.retryable


def test_half_a_script_is_never_run(tmp_path):
    with host_with() as (host, _):
        whole = f"touch {tmp_path}/ran\n" + "echo more\n" * 100
        nonce = "5f0c2d9a71e3b846"
        framed = host_module.frame.framed(whole, nonce)
        for cut in (len(framed) // 3, len(framed) - 3):
            with pytest.raises(NotRoot):
                host._exchange(host._command(), nonce, [host_module.BytesIO(framed[:cut])])
        assert not (tmp_path / "ran").exists()


def test_a_script_that_the_shell_cannot_parse_is_a_failure_of_the_script():
    with host_with() as (host, _):
        result = host.run("echo 'never closed")
    assert result.status and result.stdout == b"" and "yntax error" in result.last_lines


REFUSALS = [
    ("operator", "sudo: a password is required", 1, "operator ALL=(ALL) NOPASSWD: ALL"),
    ("operator", "sudo: sorry, you must have a tty to run sudo", 1, "`Defaults:operator !requiretty` to /etc/sudoers.d/operator"),
    ("operator", "env: 'sudo': No such file or directory", 127, "install sudo"),
    ("operator", "operator is not in the sudoers file.", 1, "operator ALL=(ALL) NOPASSWD: ALL"),
    ("operator", "sudo: Account or password is expired, reset your password and try again", 1, "passwd operator"),
    (
        "operator",
        "WARNING: Your password has expired.\nPassword change required but no TTY available.",
        1,
        "passwd operator",
    ),
    ("operator", "This account is currently not available.", 1, "usermod --shell /bin/bash operator"),
    ("operator", "rbash: /bin/sh: restricted: cannot specify `/' in command names", 127, "usermod --shell /bin/bash operator"),
    ("operator", "", 1, "usermod --shell /bin/bash operator"),
    ("operator", "This service allows sftp connections only.", 1, "ForceCommand"),
    ("root", "This account is currently not available.", 1, "usermod --shell /bin/bash root"),
    ("root", 'Please login as the user "debian" rather than the user "root".', 142, "set ssh.user to debian"),
    ("root", "Please login as the user ubuntu", 142, "set ssh.user to ubuntu"),
    ("root", "unlike anything known", 9, "usermod --shell /bin/bash root"),
]


@pytest.mark.parametrize("way", ["run", "start"])
@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize(("user", "said", "status", "remedy"), REFUSALS)
def test_what_the_host_says_is_told_with_the_remedy_for_it(tmp_path, way, stream, user, said, status, remedy):
    (tmp_path / "shell").write_text(f"#!/bin/sh\necho noise\ncat <<'END' >&{stream}\n{said}\nEND\nexit {status}\n")
    if not said:
        (tmp_path / "shell").write_text(f"#!/bin/sh\nexit {status}\n")
    (tmp_path / "shell").chmod(0o755)
    with host_with([str(tmp_path / "shell"), "-c"], user) as (host, _), pytest.raises(NotRoot) as refused:
        getattr(host, way)("echo never")
    error = refused.value
    assert error.where == f"host one, user {user}" and error.needed == "root, or sudo without a password"
    assert (said or f"no output (exit status {status})") in error.found and remedy in error.remedy


def test_a_shell_that_does_not_start_is_told_as_slow(monkeypatch):
    monkeypatch.setattr(host_module, "START_TIMEOUT", 0.5)
    with host_with(["/bin/sh", "-c", "sleep 5; :"]) as (host, _):
        started = time.monotonic()
        with pytest.raises(HostUnreachable, match="no output for"):
            host.start("echo never")
        assert time.monotonic() - started < 4 and host._open().active, "the connection is still good"
        with pytest.raises(HostUnreachable, match="no output for"):
            host.run("echo never", timeout=0.5)


def test_a_command_waits_for_no_process_that_a_shell_left_behind(tmp_path):
    (tmp_path / ".bashrc").write_text("sleep 20 &\n")
    environment = {"HOME": str(tmp_path), "SSH_CLIENT": "127.0.0.1 1 22", "PATH": "/usr/bin:/bin"}
    with host_with(["/bin/bash", "-c"], environment=environment) as (host, _):
        started = time.monotonic()
        assert host.run("echo out").text == "out\n" and time.monotonic() - started < 10


def test_the_frame_s_folder_for_programs_has_all_of_a_system():
    with host_with(environment={"PATH": "/nowhere:/usr/bin:/bin"}) as (host, _):
        folders = host.run("echo $PATH").text.strip().split(":")
    assert {"/usr/sbin", "/sbin", "/usr/local/sbin"} <= set(folders) and "/nowhere" not in folders
    assert Path("/usr/sbin/ldconfig").exists()
