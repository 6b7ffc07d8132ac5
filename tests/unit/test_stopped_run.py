"""Who ends a run by Ctrl-C, `kill` or a closed terminal is told how far each host got, and no kernel stays behind."""

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from airavata_runbook.local import interrupts
from tests import ctrl_c
from tests.unit.small_project import report_of, wait_for, write

TWO_HOSTS = """
site:
  name: small
  nodes:
    - {name: one, address: 192.0.2.11, role: master, ssh: {host: 127.0.0.1, port: 1}}  # nobody answers there
    - {name: two, address: 192.0.2.12, ssh: {host: 127.0.0.1, port: 2}}
"""
WAITS = """import os, pathlib
from airavata_runbook.engine.step import step as real_step
from airavata_runbook.resources import Condition
looks = []
def never():
    looks.append(1)
    if len(looks) == 3:  # host one has come to its end long ago
        pathlib.Path('pid').write_text(str(os.getpid()))
    return "nothing"
@real_step("Waits")
def waits(target):
    yield Condition("what is there", check=lambda: "")
    if target.node.name == "two":
        yield Condition("what never comes", check=never, deadline=60)"""
PID = "import os, pathlib; pathlib.Path('pid').write_text(str(os.getpid()))"


@contextmanager
def begun(project: Path, *words: str, **streams):
    """A run that has begun to execute the cell which writes the kernel's process id; `kernel_of` gives it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "airavata_runbook.cli", "run", "small", *words],
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
        start_new_session=True,
    )
    try:
        wait_for(lambda: kernel_of(project) or process.poll() is not None)
        yield process
    finally:
        process.kill()
        process.communicate()


def kernel_of(project: Path) -> str:
    return (project / "pid").read_text() if (project / "pid").is_file() else ""


def gone(project: Path) -> bool:
    return not Path("/proc", kernel_of(project)).exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_kernel_and_keeps_what_was_done(project, end):
    write(project, "01-first", 'step("one", "changed")', f"{PID}; import time; time.sleep(60)")
    with begun(project) as process:
        process.send_signal(end)
        told, error = process.communicate(timeout=20)
        assert process.returncode == 130 and "Traceback" not in error, error
        wait_for(lambda: gone(project))
    report = report_of(project)
    assert (report["outcome"], report["changed"], report["failed"]) == ("stopped", 1, 0)
    assert report["chapters"][0]["error"] == {
        "kind": "stopped",
        "cell": 6,
        "source": f"{PID}; import time; time.sleep(60)",
        "message": "stopped by the user",
    }
    assert "stopped  1 step, 1 changed, 0 failed" in told and "FAILED" not in told + error


def test_ctrl_c_tells_how_far_each_host_got(project):
    (project / "parameters" / "small.yaml").write_text(TWO_HOSTS)
    write(project, "01-first", WAITS, "waits(site)")
    write(project, "02-second", 'step("later", "ok")')
    with begun(project) as process:
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=20)
        wait_for(lambda: gone(project))
    lines = told.splitlines()
    waits = lines.index("  Waits")
    assert lines[waits + 1] == "    one: 1 ok" and lines[waits + 2].startswith("    two: stopped: ")
    assert lines[waits + 3].startswith("site small: stopped, 1 chapter in")
    assert (project / lines[waits + 4]).is_file()

    report = report_of(project)
    (step,) = report["chapters"][0]["steps"]
    assert (report["outcome"], report["failed"], step["stopped"]) == ("stopped", 0, 1)
    assert {host: [item["label"] for item in items] for host, items in step["hosts"].items()} == {
        "one": ["wait for what is there"],
        "two": ["wait for what is there", "wait for what never comes"],
    }
    assert [one["host"] for one in step["failures"]] == ["two"] and "stopped by the user" in step["failures"][0]["message"]
    page = (project / lines[waits + 4]).read_text()
    assert "01-first stopped in cell 6" in page and "two: stopped by the user" in page
    assert "Later chapters were not run: 02-second." in page and "To continue, run again" in page


def test_a_second_ctrl_c_kills_a_kernel_that_does_not_end(project):
    write(
        project,
        "01-first",
        'step("one", "changed")',
        f"import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); {PID}; time.sleep(60)",
    )
    with begun(project) as process:
        process.send_signal(signal.SIGINT)
        assert "stopping" in process.stderr.readline() + process.stderr.readline()
        assert process.poll() is None and not gone(project)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
        assert process.returncode == 130 and "Traceback" not in error, error
        wait_for(lambda: gone(project))
    assert (report_of(project)["outcome"], report_of(project)["changed"]) == ("stopped", 1)


def test_work_that_does_not_end_by_itself_is_ended():
    begun, asked = time.monotonic(), []
    with ctrl_c.pressed_after(0.2), pytest.raises(KeyboardInterrupt), interrupts.graceful_stop(lambda: asked.append(1), 1):
        time.sleep(30)
    assert asked == [1] and 1 < time.monotonic() - begun < 10
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL and signal.alarm(0) == 0


def test_no_more_work_is_begun_after_ctrl_c():
    with ctrl_c.pressed_after(0.2), pytest.raises(KeyboardInterrupt), interrupts.graceful_stop(lambda: None, 9) as stopped:
        time.sleep(0.5)
        stopped()
        pytest.fail("it went on")


def test_who_reads_no_more_ends_the_run_and_not_its_record(project):
    write(project, "01-first", PID, "import time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)")
    write(project, "02-second", 'step("later", "ok")')
    with begun(project) as process:
        process.stdout.close()  # as `| head` does
        (project / "go").touch()
        error = process.stderr.read()
        assert process.wait(timeout=20) == 141 and error == "airavata-runbook: stopped: standard output was closed\n"
    report = report_of(project)
    assert report["outcome"] == "stopped" and [chapter["chapter"] for chapter in report["chapters"]] == ["01-first"]


def test_a_terminal_that_is_closed_stops_the_run_and_its_record_says_so(project):
    write(project, "01-first", 'step("one", "changed")', f"{PID}; import time; time.sleep(60)")
    ours, terminal = pty.openpty()
    with begun(project, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        process.wait(timeout=20)
        wait_for(lambda: gone(project))
    report = report_of(project)
    assert (report["outcome"], report["chapters"][0]["error"]["message"]) == ("stopped", "stopped by the user")


def test_what_is_ignored_stays_ignored():
    done = subprocess.run(
        [
            "nohup",
            sys.executable,
            "-c",
            "import os, signal; from airavata_runbook import cli; from airavata_runbook.local import interrupts; "
            "interrupts.raise_keyboard_interrupt(); os.kill(os.getpid(), signal.SIGHUP); print('goes on')",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "goes on\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_every_command_ends_by_kill_as_by_ctrl_c(number):
    script = (
        "import os, signal, sys, time; from airavata_runbook import cli, lab\n"
        f"lab.status = lambda site: (os.kill(os.getpid(), {int(number)}), time.sleep(9))\n"
        "sys.exit(cli.main(['lab', 'status']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 130 and done.stderr.startswith("airavata-runbook: stopped")
