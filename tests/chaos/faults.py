"""Faults that are injected into lab hosts while a run is under way, each with the message that the user must get."""

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
HOLD_DPKG_LOCK = (
    "perl -MFcntl -e 'open(F, q(>>), q(/var/lib/dpkg/lock-frontend)); "
    "fcntl(F, F_SETLK, pack(q(s s x4 q q i x4), F_WRLCK, 0, 0, 0, 0)) or die; sleep 20'"
)


@dataclass
class Target:
    """Where a fault is injected. pid: the process of the `airavata-runbook run` under way."""

    site: Site
    chapter: str
    pid: int = 0

    @property
    def worker(self) -> str:
        return next(node.name for node in self.site.nodes if node is not self.site.master)

    def on(self, host: str, script: str) -> str:
        return over_ssh(self.site, host, script)

    def background(self, host: str, script: str) -> None:
        """Start a script on a host without waiting for its end."""
        self.on(host, f"systemd-run --quiet --collect --unit=fault sh -c {shlex.quote(script)}")


def descendants(pid: int) -> list[int]:
    """All descendants of a process of this machine."""
    try:
        direct = [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*direct, *(below for child in direct for below in descendants(child))]


def _kill_runner(target: Target) -> None:
    started = descendants(target.pid)
    os.kill(target.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while left := [pid for pid in started if _is_running(pid)]:
        assert time.monotonic() < deadline, f"still running after the runner was killed: {left}"
        time.sleep(0.1)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _kill_kernel(target: Target) -> None:
    deadline = time.monotonic() + 20
    while not (kernels := _kernels(target.pid)):
        assert time.monotonic() < deadline, "the run has no kernel"
        time.sleep(0.05)
    os.kill(kernels[0], signal.SIGKILL)


def _kernels(pid: int) -> list[int]:
    """The kernels that the run's kernel server has forked."""
    servers = [child for child in descendants(pid) if b"kernel_server" in _command_line(child)]
    return [kernel for server in servers[:1] for kernel in descendants(server) if _is_running(kernel)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _cut_ssh(target: Target) -> None:
    deadline = time.monotonic() + 5  # repeatedly, because a run that has no command under way simply reconnects
    while time.monotonic() < deadline and _is_running(target.pid):
        for node in target.site.nodes:
            cut_connections(target.site, node.name)


def _power_off(target: Target) -> None:
    lab_host(target.site, target.worker).crash()


def _power_on(target: Target) -> None:
    host = lab_host(target.site, target.worker)
    host.start(Path(f"{target.site.master.ssh.key}.pub").read_text().strip())


def _full_disk(target: Target) -> tuple[str, str]:
    """A host and a folder on it that the chapter writes to."""
    return {
        "02-install": (target.worker, "/opt/airavata-runbook"),
        "03-etcd-flannel": (target.site.master.name, "/var/lib/etcd"),
        "04-registry": (target.site.registry_node.name, f"{target.site.registry.root}/data"),
    }[target.chapter]


def _fill_disk(target: Target) -> None:
    host, folder = _full_disk(target)
    target.on(host, f"mkdir -p {folder}; mount -t tmpfs -o size=256k,mode=700 tmpfs {folder}")


def _free_disk(target: Target) -> None:
    host, folder = _full_disk(target)
    target.on(host, f"systemctl stop etcd docker-distribution docker-distribution-pull 2>/dev/null; umount {folder}")


def _corrupt_package(target: Target) -> None:
    target.background(
        target.worker,
        f"until test -s {REPOSITORY}/containerd_*.deb; do :; done; "
        f"for file in {REPOSITORY}/containerd_*.deb; do echo x >> $file; done",
    )


def _kill_dpkg(target: Target) -> None:
    target.background(target.worker, 'until test -n "$(ls /var/lib/dpkg/updates)"; do :; done; kill -9 $(pgrep -x dpkg)')


def _stop_after_start(service: str) -> Callable[[Target], None]:
    """Stop a service of the master 0.3 s after it was started, by this chapter or an earlier one."""
    return lambda target: target.background(
        target.site.master.name,
        f"until systemctl -q is-active {service}; do sleep 0.05; done; sleep 0.3; systemctl stop {service}",
    )


@dataclass(frozen=True)
class Fault:
    """message: a pattern that the run's error message must match; "" where there is none, because the run was killed.

    before: injected before the run starts. survives: the run may succeed, because it waits for the fault's end or is not
    affected. slow: chapters in which only the deadline of a waiting step ends the run. check: the check of chapter 01 that
    finds the fault.
    """

    name: str
    chapters: tuple[str, ...]
    inject: Callable[[Target], None]
    message: str
    recover: Callable[[Target], None] = lambda target: None
    before: bool = False
    survives: bool = False
    slow: tuple[str, ...] = ()
    check: str = ""

    def slow_in(self, chapter: str) -> bool:
        return chapter in self.slow

    def check_outcome(self, chapter: str, status: int, message: str) -> None:
        """Assert that the run ended as expected, with a helpful message."""
        if status == 0:
            assert self.survives, f"{self.name} in {chapter}: the run did not notice"
            return
        assert status == (-signal.SIGKILL if not self.message else 1), f"{self.name} in {chapter}: status {status}: {message}"
        assert re.search(self.message, message) and not re.search("Traceback|This error is unexpected", message), (
            f"{self.name} in {chapter}: {message}"
        )
        assert not self.message or re.search(r"chapter 0\d-.* failed(?s:.*)run again", message), message


FAULTS = (
    Fault("kill-runner", CHAPTERS, _kill_runner, ""),
    Fault("kill-kernel", CHAPTERS, _kill_kernel, "the notebook's kernel died"),
    Fault("cut-ssh", CHAPTERS, _cut_ssh, "connection", survives=True),
    Fault(
        "power-off",
        CHAPTERS,
        _power_off,
        "worker|2 hosts|pods ready|no .* yet|not within",
        recover=_power_on,
        survives=True,
        slow=("05-deploy-airavata", "04-registry", "03-etcd-flannel", "06-verify"),
    ),
    Fault(
        "disk-full",
        ("02-install", "03-etcd-flannel", "04-registry"),
        _fill_disk,
        "[Nn]o space left|free space on",
        recover=_free_disk,
        before=True,
        check="disk",
    ),
    Fault(
        "apt-lock",
        ("02-install",),
        lambda target: target.background(target.worker, HOLD_DPKG_LOCK),
        "",
        before=True,
        survives=True,
    ),
    Fault(
        "corrupt-package",
        ("02-install",),
        _corrupt_package,
        "still differs|[Hh]ash|[Ss]ize|was not copied completely",
        before=True,
    ),
    Fault("dpkg-killed", ("02-install",), _kill_dpkg, "could not be changed", before=True),
    Fault(
        "registry-down",
        ("04-registry", "05-deploy-airavata"),
        _stop_after_start("docker-distribution"),
        "registry|pods ready|not within",
        survives=True,
        slow=("05-deploy-airavata",),
    ),
    Fault(
        "etcd-down",
        ("03-etcd-flannel", "04-registry", "05-deploy-airavata"),
        _stop_after_start("etcd"),
        "etcd|API server|pods ready|not within|yet",
        survives=True,
        slow=("03-etcd-flannel", "04-registry", "05-deploy-airavata"),
    ),
)
