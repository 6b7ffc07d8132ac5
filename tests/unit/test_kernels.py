"""Kernels forked from one process are as kernels that load everything themselves, and none stays behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from airavata_runbook import cli
from airavata_runbook.run.kernels import KernelServer
from tests.unit.small_project import outputs_of, wait_for, write

ABOUT = """import json, os, signal, sys, threading
# Of the run, of the kernel, and of the debugger.
own = {"AIRAVATA_RUNBOOK_REPORT", "AIRAVATA_RUNBOOK_PROGRESS", "JPY_PARENT_PID", "PYDEVD_USE_FRAME_EVAL"}
json.dump(
    {
        "path": sys.path,
        "environment": {name: value for name, value in os.environ.items() if name not in own},
        "folder": os.getcwd(),
        "threads": sorted(thread.name for thread in threading.enumerate() if "Thread-" not in thread.name),
        "name": __name__,
        "main": sorted(vars(sys.modules["__main__"]).keys() & {"KernelServer", "LOADED", "NUMBER"}),
        "leader": [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid()],
        "signals": [str(signal.getsignal(number)).partition(" at ")[0] for number in range(1, 32)],
        "input": os.read(0, 1).decode(),
        "umask": os.umask(0o22),
        "files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)),
    },
    open("about.json", "w"),
)
import subprocess; print("child said", subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout)"""


class Dead(KernelServer):
    """Has died, by what the kernel of a machine without memory does, before it was asked for anything."""

    def __init__(self) -> None:
        super().__init__()
        self._process.kill()
        self._process.wait()


def test_a_forked_kernel_is_as_one_that_was_started(project, monkeypatch):
    write(project, "01-first", ABOUT)
    found = []
    for server in (KernelServer, Dead):
        monkeypatch.setattr("airavata_runbook.run.runner.KernelServer", server)
        assert cli.main(["run", "small"]) == 0
        assert "child said hello" in outputs_of(project, "01-first")
        about = json.loads((project / "about.json").read_text())
        about["files"] = [Path(file).name for file in about["files"]]
        found.append(about)
    forked, started = (about.pop("environment") for about in found)
    assert set(forked.items()) ^ set(started.items()) == set()
    assert found[0] == found[1]
    assert found[0]["files"] == ["01-first.log"] * 2


def test_what_the_server_loads_starts_no_thread_and_opens_nothing():
    script = (
        "import os; from importlib import import_module; from airavata_runbook.run.kernel_server import LOADED\n"
        "for name in LOADED: import_module(name)\n"
        "print(len(os.listdir('/proc/self/task')), [n for n in os.listdir('/proc/self/fd') if int(n) > 2 and open_file(n)])"
    )
    define = "import os\ndef open_file(n): return os.path.exists(f'/proc/self/fd/{n}') and os.readlink(f'/proc/self/fd/{n}')\n"
    done = subprocess.run([sys.executable, "-c", define + script], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "[]"], done.stdout + done.stderr


def test_each_chapter_has_a_kernel_of_its_own(project):
    for number, name in enumerate(("01-first", "02-second"), 1):
        write(project, name, f"import os, sys; print('known', 'left' in dir(os), os.getpid()); os.left = {number}")
    assert cli.main(["run", "small"]) == 0
    said = [outputs_of(project, name).partition("known ")[2].split()[:2] for name in ("01-first", "02-second")]
    assert said[0][0] == said[1][0] == "False" and said[0][1] != said[1][1]


def kernels(server: int) -> list[int]:
    """The kernels of a server that run, the oldest first."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return sorted((int(pid) for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes()), key=started_at)


def started_at(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


WAITS = """import os, pathlib, time
pathlib.Path('server').write_text(str(os.getppid()))
while not pathlib.Path('go').exists(): time.sleep(0.01)"""


def test_the_next_kernel_starts_ahead_and_is_replaced_when_it_died(project):
    write(project, "01-first", WAITS)
    write(project, "02-second", "import os; print('kernel', os.getpid())")
    run = subprocess.Popen([sys.executable, "-m", "airavata_runbook.cli", "run", "small"], stderr=subprocess.PIPE, text=True)
    server = project / "server"
    wait_for(lambda: server.is_file() and server.read_text() and len(kernels(int(server.read_text()))) == 2)
    ahead = kernels(int(server.read_text()))[1]
    os.kill(ahead, signal.SIGKILL)
    wait_for(lambda: ahead not in kernels(int(server.read_text())))
    (project / "go").touch()
    assert (run.communicate(timeout=30)[1], run.returncode) == ("", 0)
    assert "kernel" in outputs_of(project, "02-second") and f"kernel {ahead}" not in outputs_of(project, "02-second")


class KilledAtOnce(KernelServer):
    """Its kernels are killed, as on a machine without memory, as soon as they are forked."""

    SERVER = """import os, signal
from airavata_runbook.run import kernel_server
kernel_server._become_kernel = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
kernel_server.main()"""

    def __init__(self) -> None:
        self._asked, theirs = socket.socketpair()
        self._asked.settimeout(30)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self.SERVER, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )


def test_a_kernel_that_is_killed_as_soon_as_it_is_forked_is_not_waited_for(project):
    with KilledAtOnce() as server, (project / "log").open("wb") as log:
        kernel = server.fork([], {}, str(project), log)
        assert kernel and kernel.wait(30) is not None


def test_the_kernel_of_a_chapter_that_is_not_run_leaves_nothing(project):
    write(project, "01-first", WAITS, "raise ValueError")
    write(project, "02-second", "1")
    run = subprocess.Popen([sys.executable, "-m", "airavata_runbook.cli", "run", "small"], stderr=subprocess.PIPE, text=True)
    server = project / "server"
    wait_for(lambda: server.is_file() and server.read_text() and len(kernels(int(server.read_text()))) == 2)
    ahead = kernels(int(server.read_text()))[1]
    (project / "go").touch()
    assert run.communicate(timeout=30) and run.returncode == 1
    wait_for(lambda: not Path(f"/proc/{ahead}").exists())
    assert not [path.name for path in (project / "outputs/small/latest").iterdir() if path.name.startswith("02")]


@pytest.mark.parametrize("killed", ["the run", "the server"])
def test_no_process_is_left_by_a_run_that_is_killed(project, killed):
    write(
        project,
        "01-first",
        "import os, pathlib; pathlib.Path('pid').write_text(f'{os.getpid()} {os.getppid()}')",
        "while 1: pass",
    )
    run = subprocess.Popen([sys.executable, "-m", "airavata_runbook.cli", "run", "small"], stderr=subprocess.PIPE, text=True)
    pids = project / "pid"
    wait_for(lambda: pids.is_file() and pids.read_text())
    kernel, server = map(int, pids.read_text().split())
    os.kill(run.pid if killed == "the run" else server, signal.SIGKILL)
    _, error = run.communicate(timeout=20)
    for pid in (kernel, server):
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists())
    assert killed == "the run" or "the notebook's kernel died" in error


def test_a_kernel_that_dies_is_followed_by_another(project):
    write(project, "01-first", "import os; os._exit(3)")
    assert cli.main(["run", "small"]) == 1
    write(project, "01-first", 'step("one", "ok")')
    assert cli.main(["run", "small"]) == 0
