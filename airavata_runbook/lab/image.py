"""The host image: a small Debian with systemd and sshd and nothing of Kubernetes, built once and cached.

What only a host that shares this machine's kernel needs, and a real one does not have, is all in `BOOT_SCRIPT`.
Source of facts: measurements on lab hosts, systemd-nspawn(1) of systemd 252.
"""

import hashlib
import json
import shutil
from pathlib import Path

from airavata_runbook.local import debian
from airavata_runbook.local.files import write_file
from airavata_runbook.local.once import build_once
from airavata_runbook.local.paths import cache_dir
from airavata_runbook.local.process import run
from airavata_runbook.local.terminal import progress

SUITE = "bookworm"
SECONDS = 60  # to build it on 2 cores
PACKAGES = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "iproute2",
    "iptables",
    "nftables",
    "conntrack",
    "python3",
    "socat",
    "ethtool",
    "curl",
    "procps",
    "kmod",
    "ca-certificates",
]
MASKED = [
    "systemd-networkd-wait-online.service",
    "systemd-modules-load.service",
    "systemd-sysctl.service",
    "getty.target",
    "console-getty.service",
]
ENABLED = ["systemd-networkd.service", "ssh.service", "airavata-lab-host.service"]

# Runs at each boot of a host, before all other services. Kernel-wide settings belong to this machine: where a host may
# not write them, files with the values that kubelet requires are bind-mounted over them.
BOOT_SCRIPT = """#!/bin/sh
set -eu
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
    if mountpoint -q "/sys/fs/cgroup/$controller"; then
        # Without the word bind it fails: busy.
        mount -o remount,bind,rw,nosuid,nodev,noexec "/sys/fs/cgroup/$controller"
    fi
done
[ -e /dev/kmsg ] || ln -s /dev/null /dev/kmsg
mkdir -p /run/airavata-lab
show() {
    [ "$(cat "$1")" = "$2" ] && return
    if ! echo "$2" 2>/dev/null >"$1"; then
        echo "$2" >"/run/airavata-lab/$3"
        mount --bind "/run/airavata-lab/$3" "$1"
    fi
}
show /proc/sys/vm/overcommit_memory 1 overcommit_memory
show /proc/sys/kernel/panic 10 panic
show /proc/sys/kernel/panic_on_oops 1 panic_on_oops
sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
# What the host's own /etc/sysctl.d says, as far as a host on a shared kernel may set it.
sysctl --system >/run/airavata-lab/sysctl.log 2>&1 || true
"""

FILES = {
    "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStopSec=5s\n",
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nReadKMsg=no\nStorage=volatile\n",
    "etc/systemd/system/airavata-lab-host.service": "[Unit]\n"
    "Description=What a host on a shared kernel needs before anything else\nDefaultDependencies=no\n"
    "Before=sysinit.target systemd-networkd.service\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
    "ExecStart=/usr/local/lib/airavata-lab-host\n\n[Install]\nWantedBy=sysinit.target\n",
    "etc/ssh/sshd_config.d/lab.conf": "PasswordAuthentication no\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
    "root/.bashrc": "# Kept empty: whatever stands here is paid for by every command over SSH.\n",
    "etc/machine-id": "",
}
SCRIPTS = {"usr/local/lib/airavata-lab-host": BOOT_SCRIPT}
ABSENT = ["etc/ssh/ssh_host_*", "etc/hostname", "etc/resolv.conf", "etc/motd", "var/log/*.log", "var/log/apt/*"]


def digest() -> str:
    """The image's version: twelve hexadecimal digits of the SHA-256 of its recipe."""
    recipe = [SUITE, PACKAGES, MASKED, ENABLED, FILES, SCRIPTS, ABSENT]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]


def path() -> Path:
    """Where the image is, or will be, in the cache."""
    return cache_dir() / "lab" / f"host-{digest()}"


def ensure() -> Path:
    """The folder of the host image, which is built when the cache has none (about a minute). Raises CannotBuild."""
    target = path()
    build_once(target, target.is_dir, _build)
    return target


def _build(root: Path) -> None:
    with progress("lab: host image", total=3) as update:
        update("Debian base", done=0)
        debian.bootstrap(root, [], SUITE)
        update("packages", done=1)
        debian.install(root, PACKAGES)
        update("settings", done=2)
        _configure(root)
    remove_old("host-*")


def remove_old(pattern: str) -> None:
    """Remove the images of earlier versions, but for those that hosts still use."""
    for old in (cache_dir() / "lab").glob(pattern):
        if not _in_use(old):
            shutil.rmtree(old)


def _configure(root: Path) -> None:
    root.chmod(0o755)
    for files, mode in ((FILES, 0o644), (SCRIPTS, 0o755)):
        for name, content in files.items():
            write_file(root / name, content.encode(), mode)
    for pattern in ABSENT:
        for unwanted in root.glob(pattern):
            unwanted.unlink()
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    run(
        *("systemctl", f"--root={root}", "--quiet", "enable", *ENABLED),
        failure="the services of the host image cannot be enabled",
        where=str(root),
    )


def _in_use(image: Path) -> bool:
    """Whether a running lab has an overlay over this image."""
    return f"lowerdir={image}," in Path("/proc/self/mountinfo").read_text()
