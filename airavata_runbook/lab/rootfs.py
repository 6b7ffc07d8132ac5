"""A host's root file system: an overlay over the host image, and the files that make it this host."""

import os
import subprocess
import uuid
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from airavata_runbook.errors import CannotBuild


@dataclass(frozen=True)
class Identity:
    """What tells one host from another. gateway: the machine's own address on the bridge."""

    name: str
    address: IPv4Address
    network: IPv4Network
    user: str = "root"
    port: int = 22
    closed: bool = False

    @property
    def gateway(self) -> IPv4Address:
        return self.network.network_address + 1


def host_files(host: Identity, machine_id: str, user_key: str) -> dict[str, tuple[int, str]]:
    """The files of a host, path → (mode, content). user_key: the public line that may log in."""
    home = "root" if host.user == "root" else f"home/{host.user}"
    files = {
        "etc/hostname": (0o644, f"{host.name}\n"),
        "etc/hosts": (0o644, f"127.0.0.1 localhost\n{host.address} {host.name}\n"),
        "etc/machine-id": (0o444, f"{machine_id}\n"),
        "etc/resolv.conf": (0o644, f"nameserver {host.gateway}\n"),
        "etc/systemd/network/10-host0.network": (0o644, network_file(host)),
        f"{home}/.ssh/authorized_keys": (0o600, f"{user_key}\n"),
    }
    if host.user != "root":
        files[f"etc/sudoers.d/{host.user}"] = (0o440, f"{host.user} ALL=(ALL:ALL) NOPASSWD: ALL\n")
    if host.port != 22:
        files["etc/ssh/sshd_config.d/port.conf"] = (0o644, f"Port {host.port}\n")
    if host.closed:
        files["etc/nftables.conf"] = (0o755, firewall(host))
    return files


def network_file(host: Identity) -> str:
    """The systemd-networkd file of the host's one interface."""
    return (
        f"[Match]\nName=host0\n\n[Network]\nAddress={host.address}/{host.network.prefixlen}\n"
        f"Gateway={host.gateway}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nLLDP=no\nEmitLLDP=no\n"
    )


def firewall(host: Identity) -> str:
    """The nftables rules of a closed host: from outside the private network only SSH comes in.

    The machine that carries the lab counts as outside. The chain stands after connection tracking (so that
    answers pass) and before destination NAT (so that a NodePort is judged by the port the sender named).
    """
    return f"""#!/usr/sbin/nft -f
table inet lab_firewall {{
    chain from_outside {{
        type filter hook prerouting priority -150; policy accept;
        iifname != "host0" accept
        ct state established,related accept
        tcp dport {host.port} accept
        ip saddr {host.gateway} drop
        ip saddr {host.network} accept
        meta nfproto ipv4 drop
    }}
}}
"""


def mount(image: Path, folder: Path) -> Path:
    """Mount the overlay of a host in `folder` (kept from an earlier run or new) and return its root."""
    root, upper, work = (folder / name for name in ("root", "upper", "work"))
    for path in (root, upper, work):
        path.mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(root):
        done = subprocess.run(
            ["mount", "-t", "overlay", "airavata-lab", "-o", f"lowerdir={image},upperdir={upper},workdir={work}", str(root)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotBuild(
                "a host's root file system cannot be mounted",
                where=str(root),
                found=done.stderr.strip(),
                needed="a file system that overlays can stand on, as ext4 or xfs",
                remedy="point AIRAVATA_RUNBOOK_STATE and AIRAVATA_RUNBOOK_CACHE to folders on one",
            )
    return root


def personalise(root: Path, host: Identity, user_key: str, host_key: Path) -> None:
    """Make the mounted root this host: its user, its files, its SSH host key."""
    if host.user != "root":
        # No group of the user's own: Debian already has groups such as operator or sudo.
        _chroot(root, ["useradd", "--create-home", "--no-user-group", "--shell", "/bin/bash", "--password", "*", host.user])
    for name, (mode, content) in host_files(host, uuid.uuid4().hex, user_key).items():
        write(root / name, content.encode(), mode)
    write(root / "etc/ssh/ssh_host_ed25519_key", host_key.read_bytes(), 0o600)
    write(root / "etc/ssh/ssh_host_ed25519_key.pub", host_key.with_suffix(".pub").read_bytes(), 0o644)
    if host.closed:
        wanted = root / "etc/systemd/system/sysinit.target.wants/nftables.service"
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.symlink_to("/lib/systemd/system/nftables.service")
    keys = (root / ("root" if host.user == "root" else f"home/{host.user}")) / ".ssh"
    keys.chmod(0o700)
    owner = keys.parent.stat()
    for path in (keys, keys / "authorized_keys"):
        os.chown(path, owner.st_uid, owner.st_gid)


def unmount(folder: Path) -> None:
    """Unmount everything that is mounted in `folder`, the deepest first. Raises CannotBuild when it is busy."""
    mounts = [_unescaped(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in mounts if Path(point).is_relative_to(folder)), reverse=True):
        done = subprocess.run(["umount", point], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotBuild(
                "a lab host's file system cannot be unmounted",
                where=point,
                found=done.stderr.strip(),
                remedy="end the process that uses it (fuser -vm shows it), then run lab down again",
            )


def write(file: Path, content: bytes, mode: int) -> None:
    """Replace `file` by one with that content and mode."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
    file.chmod(mode)  # whatever the umask


def _unescaped(path: str) -> str:
    return path.encode().decode("unicode_escape")


def _chroot(root: Path, command: list[str]) -> None:
    done = subprocess.run(["chroot", str(root), *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"{command[0]} failed in a host's root", where=str(root), found=done.stderr.strip())
