"""A host's root file system: an overlay over the host image, and the host's own files in it."""

import os
import uuid
from pathlib import Path

from airavata_runbook.local.files import write_file
from airavata_runbook.local.process import run
from airavata_runbook.site.node import Node
from airavata_runbook.site.parts import Lab

NSPAWNS = "host0"  # the name that systemd-nspawn gives a host's interface


def host_files(node: Node, lab: Lab, machine_id: str, authorized_key: str) -> dict[str, tuple[int, str]]:
    """The host's own files, path → (mode, content). authorized_key: the public key that may log in."""
    user, port = node.ssh.user, node.ssh.port
    home = "root" if user == "root" else f"home/{user}"
    files = {
        "etc/hostname": (0o644, f"{node.name}\n"),
        "etc/hosts": (0o644, f"127.0.0.1 localhost\n{node.address} {node.name}\n"),
        "etc/machine-id": (0o444, f"{machine_id}\n"),
        "etc/resolv.conf": (0o644, f"nameserver {lab.gateway}\n"),
        f"etc/systemd/network/10-{node.interface}.network": (0o644, network_file(node, lab)),
        f"{home}/.ssh/authorized_keys": (0o600, f"{authorized_key}\n"),
    }
    if user != "root":
        files[f"etc/sudoers.d/{user}"] = (0o440, f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n")
    if port != 22:
        files["etc/ssh/sshd_config.d/port.conf"] = (0o644, f"Port {port}\n")
    if node.interface != NSPAWNS:
        files["etc/systemd/system/airavata-lab-host.service.d/interface.conf"] = (
            0o644,
            f"[Service]\nExecStartPost=ip link set {NSPAWNS} name {node.interface}\n",
        )
    if lab.firewall == "closed":
        files["etc/nftables.conf"] = (0o755, nftables_rules(node, lab))
    return files


def network_file(node: Node, lab: Lab) -> str:
    """The systemd-networkd file of the host's one interface."""
    return (
        f"[Match]\nName={node.interface}\n\n[Network]\nAddress={node.address}/{lab.network.prefixlen}\n"
        f"Gateway={lab.gateway}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nLLDP=no\nEmitLLDP=no\n"
    )


def nftables_rules(node: Node, lab: Lab) -> str:
    """The nftables rules of a closed host: from outside the private network only SSH is let in.

    This machine counts as outside. The chain comes after connection tracking (so that replies pass) and before destination
    NAT (so that a NodePort is matched by the port the sender used).
    """
    return f"""#!/usr/sbin/nft -f
table inet lab_firewall {{
    chain from_outside {{
        type filter hook prerouting priority -150; policy accept;
        iifname != "{node.interface}" accept
        ct state established,related accept
        tcp dport {node.ssh.port} accept
        ip saddr {lab.gateway} drop
        ip saddr {lab.network} accept
        meta nfproto ipv4 drop
    }}
}}
"""


def mount(image: Path, folder: Path) -> Path:
    """Mount a host's overlay over the image in `folder`, on the layer kept from earlier or a new one; returns the root."""
    root, upper, work = (folder / name for name in ("root", "upper", "work"))
    for path in (root, upper, work):
        path.mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(root):
        options = f"lowerdir={image},upperdir={upper},workdir={work}"
        run(
            *("mount", "-t", "overlay", "airavata-lab", "-o", options, str(root)),
            failure="a host's root file system cannot be mounted",
            where=str(root),
            needed="a file system that overlays can be stacked on, such as ext4 or xfs",
            remedy="set AIRAVATA_RUNBOOK_STATE and AIRAVATA_RUNBOOK_CACHE to folders on one",
        )
    return root


def configure(root: Path, node: Node, lab: Lab, authorized_key: str, host_key: Path) -> None:
    """Add what is the host's own to the mounted root: its user, its files, its SSH host key (host_key: the private one)."""
    user = node.ssh.user
    if user != "root":
        # No group of the user's own: Debian already has groups such as operator or sudo.
        useradd = ["useradd", "--create-home", "--no-user-group", "--shell", "/bin/bash", "--password", "*", user]
        run("chroot", str(root), *useradd, failure=f"user {user} cannot be created on a host", where=str(root))
    for name, (mode, content) in host_files(node, lab, uuid.uuid4().hex, authorized_key).items():
        write_file(root / name, content.encode(), mode)
    write_file(root / "etc/ssh/ssh_host_ed25519_key", host_key.read_bytes(), 0o600)
    write_file(root / "etc/ssh/ssh_host_ed25519_key.pub", host_key.with_suffix(".pub").read_bytes(), 0o644)
    if lab.firewall == "closed":
        wanted = root / "etc/systemd/system/sysinit.target.wants/nftables.service"
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.symlink_to("/lib/systemd/system/nftables.service")
    keys = (root / ("root" if user == "root" else f"home/{user}")) / ".ssh"
    keys.chmod(0o700)
    owner = keys.parent.stat()
    for path in (keys, keys / "authorized_keys"):
        os.chown(path, owner.st_uid, owner.st_gid)


def unmount(folder: Path) -> None:
    """Unmount everything that is mounted in `folder`, the deepest first. Raises CannotBuild when it is busy."""
    mounts = [line.split()[4].encode().decode("unicode_escape") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in mounts if Path(point).is_relative_to(folder)), reverse=True):
        run(
            *("umount", point),
            failure="a lab host's file system cannot be unmounted",
            where=point,
            remedy="end the process that uses it (fuser -vm shows it), then airavata-runbook lab down",
        )
