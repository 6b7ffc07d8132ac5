"""What can go wrong while a run is under way, done to real lab hosts. Each fault says what the user must then be told."""

import os
import re
import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.lab.host import lab_host
from airavata_runbook.site import Site
from tests.full_picture import cut_connections, over_ssh

CHAPTERS = ("01-network", "02-install", "03-etcd-flannel", "04-registry", "05-deploy-airavata", "06-verify")
REPOSITORY = "/opt/airavata-runbook/repository"
# A POSIX lock as dpkg's own: l_type, l_whence, l_start, l_len, l_pid of struct flock on 64-bit Linux.
HOLD_DPKG = (
    "perl -MFcntl -e 'open(F, q(>>), q(/var/lib/dpkg/lock-frontend)); "
    "fcntl(F, F_SETLK, pack(q(s s x4 q q i x4), F_WRLCK, 0, 0, 0, 0)) or die; sleep 20'"
)


@dataclass
class Scene:
    """Where a fault happens. pid: of the `airavata-runbook run` under way."""

    site: Site
    chapter: str
    pid: int = 0

    @property
    def worker(self) -> str:
        return next(node.name for node in self.site.nodes if node is not self.site.master)

    def on(self, host: str, script: str) -> str:
        return over_ssh(self.site, host, script)

    def background(self, host: str, script: str) -> None:
        """Start something on a host that goes on by itself."""
        self.on(host, f"systemd-run --quiet --collect --unit=fault sh -c {shlex.quote(script)}")


def children(pid: int) -> list[int]:
    """The processes that a process of this machine has started, and theirs."""
    try:
        direct = [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*direct, *(below for child in direct for below in children(child))]


def _kill_runner(scene: Scene) -> None:
    started = children(scene.pid)
    os.kill(scene.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while left := [pid for pid in started if _runs(pid)]:
        assert time.monotonic() < deadline, f"outlived the runner: {left}"
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _kill_kernel(scene: Scene) -> None:
    deadline = time.monotonic() + 20
    while not (kernels := [pid for pid in children(scene.pid) if b"ipykernel_launcher" in _words(pid)]):
        assert time.monotonic() < deadline, "the run has no kernel"
        time.sleep(0.05)
    os.kill(kernels[0], signal.SIGKILL)


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _cut_ssh(scene: Scene) -> None:
    deadline = time.monotonic() + 5  # again and again, because a run that has nothing under way just connects again
    while time.monotonic() < deadline and _runs(scene.pid):
        for node in scene.site.nodes:
            cut_connections(scene.site, node.name)


def _power_off(scene: Scene) -> None:
    lab_host(scene.site, scene.worker).crash()


def _power_on(scene: Scene) -> None:
    host = lab_host(scene.site, scene.worker)
    host.start(Path(f"{scene.site.master.ssh.key}.pub").read_text().strip())


def _full_disk(scene: Scene) -> tuple[str, str]:
    """Host and folder that a chapter writes to."""
    return {
        "02-install": (scene.worker, "/opt/airavata-runbook"),
        "03-etcd-flannel": (scene.site.master.name, "/var/lib/etcd"),
        "04-registry": (scene.site.registry_node.name, f"{scene.site.registry.root}/data"),
    }[scene.chapter]


def _fill_disk(scene: Scene) -> None:
    host, folder = _full_disk(scene)
    scene.on(host, f"mkdir -p {folder}; mount -t tmpfs -o size=256k,mode=700 tmpfs {folder}")


def _free_disk(scene: Scene) -> None:
    host, folder = _full_disk(scene)
    scene.on(host, f"systemctl stop etcd docker-distribution 2>/dev/null; umount {folder}")


def _corrupt_package(scene: Scene) -> None:
    scene.background(
        scene.worker,
        f"until test -s {REPOSITORY}/containerd_*.deb; do :; done; "
        f"for file in {REPOSITORY}/containerd_*.deb; do echo x >> $file; done",
    )


def _kill_dpkg(scene: Scene) -> None:
    scene.background(scene.worker, 'until test -n "$(ls /var/lib/dpkg/updates)"; do :; done; kill -9 $(pgrep -x dpkg)')


def _stop_soon(service: str) -> Callable[[Scene], None]:
    """Stop a service of the master a moment after the chapter has started it, or now where an earlier one has."""
    return lambda scene: scene.background(
        scene.site.master.name,
        f"until systemctl -q is-active {service}; do sleep 0.05; done; sleep 0.3; systemctl stop {service}",
    )


@dataclass(frozen=True)
class Fault:
    """told: what the message must have, in each chapter; "" where the user is told nothing, because the run is dead.

    before: it is there before the run begins. survives: the run may get through, the fault being one that it waits out or
    never meets. slow: chapters in which only the deadline of a waiting step ends the run. check: which check of chapter 01
    finds it.
    """

    name: str
    chapters: tuple[str, ...]
    inflict: Callable[[Scene], None]
    told: str
    mend: Callable[[Scene], None] = lambda scene: None
    before: bool = False
    survives: bool = False
    slow: tuple[str, ...] = ()
    check: str = ""

    def slow_in(self, chapter: str) -> bool:
        return chapter in self.slow

    def judge(self, chapter: str, status: int, message: str) -> None:
        """Whether the run ended as it must, with a message that helps."""
        if status == 0:
            assert self.survives, f"{self.name} in {chapter}: the run did not notice"
            return
        assert status == (-signal.SIGKILL if not self.told else 1), f"{self.name} in {chapter}: status {status}: {message}"
        assert re.search(self.told, message) and not re.search("Traceback|This error is unexpected", message), (
            f"{self.name} in {chapter}: {message}"
        )
        assert not self.told or re.search(r"chapter 0\d-.* failed(?s:.*)run again", message), message


FAULTS = (
    Fault("kill-runner", CHAPTERS, _kill_runner, ""),
    Fault("kill-kernel", CHAPTERS, _kill_kernel, "the notebook's kernel ended"),
    Fault("cut-ssh", CHAPTERS, _cut_ssh, "connection", survives=True),
    Fault(
        "power-off",
        CHAPTERS,
        _power_off,
        "worker|2 hosts|pods ready|no .* yet|not within",
        mend=_power_on,
        survives=True,
        slow=("05-deploy-airavata", "04-registry", "03-etcd-flannel", "06-verify"),
    ),
    Fault(
        "disk-full",
        ("02-install", "03-etcd-flannel", "04-registry"),
        _fill_disk,
        "[Nn]o space left|disk has room",
        mend=_free_disk,
        before=True,
        check="disk",
    ),
    Fault("apt-lock", ("02-install",), lambda scene: scene.background(scene.worker, HOLD_DPKG), "", before=True, survives=True),
    Fault(
        "corrupt-package", ("02-install",), _corrupt_package, "still differs|[Hh]ash|[Ss]ize|did not arrive whole", before=True
    ),
    Fault("dpkg-killed", ("02-install",), _kill_dpkg, "could not be changed", before=True),
    Fault(
        "registry-down",
        ("04-registry", "05-deploy-airavata"),
        _stop_soon("docker-distribution"),
        "registry|pods ready|not within",
        survives=True,
        slow=("05-deploy-airavata",),
    ),
    Fault(
        "etcd-down",
        ("03-etcd-flannel", "04-registry", "05-deploy-airavata"),
        _stop_soon("etcd"),
        "etcd|API server|pods ready|not within|yet",
        survives=True,
        slow=("03-etcd-flannel", "04-registry", "05-deploy-airavata"),
    ),
)
