"""Facts of a host. Each is one class: the command that prints it and the parser of that output. Nothing is changed on the host.

Sources: os-release(5), proc(5), capabilities(7), cgroups(7), machine-id(5), systemd-detect-virt(1), ip-address(8).
"""

import math
import re
import shlex
from ipaddress import IPv4Interface
from typing import Any, NamedTuple

from airavata_runbook.distributions import OsRelease
from airavata_runbook.hosts.links import LinkManagers
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot

CAP_SYS_RESOURCE = 24  # bit, from linux/capability.h
RESOLV_CONF, RESOLVED_CONF = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
# The others name the servers behind a resolver on the host's own loopback: systemd-resolved(8), NetworkManager(8), resolvconf(8).
RESOLV_CONFS = (RESOLV_CONF, RESOLVED_CONF, "/run/NetworkManager/no-stub-resolv.conf", "/run/dnsmasq/resolv.conf")


class Os(Fact[OsRelease]):
    """The distribution."""

    command = "cat /etc/os-release || cat /usr/lib/os-release"

    def parse(self, text: str) -> OsRelease:
        # The values are a shell's: quoted and escaped; the last assignment counts.
        found = re.findall(r"^(ID|VERSION_ID|ID_LIKE)=(.*)$", text, re.MULTILINE)
        fields = {name: " ".join(shlex.split(value, comments=True)) for name, value in found}
        if not re.fullmatch(r"[\w.+-]+", fields["ID"], re.ASCII):
            raise ValueError("not a distribution's name")
        return OsRelease(fields["ID"], fields.get("VERSION_ID", ""), tuple(fields.get("ID_LIKE", "").split()))


class Architecture(Fact[str]):
    """As the kernel names it, such as x86_64."""

    command = "uname -m"

    def parse(self, text: str) -> str:
        if not re.fullmatch(r"[a-z]\w*", text.strip(), re.ASCII):
            raise ValueError("not an architecture")
        return text.strip()


class Hostname(Fact[str]):
    """The name that the host gives itself."""

    command = "uname -n"

    def parse(self, text: str) -> str:
        (hostname,) = text.split()
        return hostname


class MachineId(Fact[str]):
    """The id of the installation, "" for none."""

    command = "cat /etc/machine-id"

    def parse(self, text: str) -> str:
        (machine_id,) = text.split() or [""]
        return machine_id


class Cpus(Fact[int]):
    """The number of processors that are available."""

    command = "nproc"

    def parse(self, text: str) -> int:
        return int(text)


class MemorySize(NamedTuple):
    """In bytes."""

    total: int
    swap: int


class Memory(Fact[MemorySize]):
    """Memory and swap space."""

    command = "cat /proc/meminfo"

    def parse(self, text: str) -> MemorySize:
        fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if len(line.split()) > 1}
        return MemorySize(fields["MemTotal"], fields.get("SwapTotal", 0))


class SwapAtBoot(Fact[list[str]]):
    """What switches swap on at the next boot: entries of fstab(5), units of systemd.swap(5) and services of Debian's packages.

    With the pattern systemd reads the state of these units only; that of all units takes it 0.4 s.
    """

    command = """awk '$1 !~ /^#/ && $3 == "swap" && $4 !~ /(^|,)noauto(,|$)/ {print "fstab " $1}' /etc/fstab 2>/dev/null
systemctl list-unit-files --no-legend --type=swap '*.swap' 2>/dev/null |
    awk '$2 ~ /^(enabled|enabled-runtime|generated|static|linked)$/ {print "unit " $1}'
for name in zramswap dphys-swapfile; do test "$(systemctl is-enabled $name 2>/dev/null)" != enabled || echo "unit $name"; done"""

    def parse(self, text: str) -> list[str]:
        rows = [line.split() for line in text.splitlines() if line.strip()]
        if any(len(row) != 2 or row[0] not in ("fstab", "unit") for row in rows):
            raise ValueError("not a swap area")
        return ["/etc/fstab: " * (kind == "fstab") + name for kind, name in rows]


class CgroupVersion(Fact[int]):
    """1 or 2, by the file system at /sys/fs/cgroup (kubelet's own test)."""

    command = "stat -f -c %T /sys/fs/cgroup"

    def parse(self, text: str) -> int:
        return {"cgroup2fs": 2, "tmpfs": 1}[text.strip()]  # with version 1 an empty version 2 may be mounted beside it


class Systemd(Fact[int]):
    """The version of systemd where it is PID 1, else 0."""

    command = "cat /proc/1/comm; systemctl --version | head -n 1"

    def parse(self, text: str) -> int:
        comm, *rest = text.splitlines()
        if not comm:
            raise ValueError("PID 1 has no name")
        version = int(rest[0].split()[1].partition(".")[0].partition("~")[0]) if rest else 0
        return version if comm == "systemd" else 0


class CanRaiseLimits(Fact[bool]):
    """Whether PID 1 has CAP_SYS_RESOURCE. It starts the kubelet; an SSH session may be more restricted."""

    command = "grep CapBnd /proc/1/status"

    def parse(self, text: str) -> bool:
        return bool(int(text.split()[1], 16) >> CAP_SYS_RESOURCE & 1)


class FileLimits(NamedTuple):
    """hard: the hard limit of open files; nr_open: how far a process with CAP_SYS_RESOURCE can raise it."""

    hard: int
    nr_open: int


class OpenFiles(Fact[FileLimits]):
    """Open files that a process may have."""

    command = "ulimit -Hn; cat /proc/sys/fs/nr_open"

    def parse(self, text: str) -> FileLimits:
        hard, nr_open = text.split()
        return FileLimits(int(nr_open) if hard == "unlimited" else int(hard), int(nr_open))


class Container(Fact[str]):
    """What kind of container the host is ("systemd-nspawn"), "" for none or where there is no systemd-detect-virt."""

    command = "systemd-detect-virt --container || true"  # prints "none" and fails outside of containers

    def parse(self, text: str) -> str:
        (kind,) = text.split() or ["none"]
        return "" if kind == "none" else kind


class ConntrackWritable(Fact[bool]):
    """Whether the size of the kernel's connection table can be set. Its module may not be loaded yet: then it can be."""

    # Opening for append asks the kernel for the right to write, and writes nothing.
    command = (
        "path=/proc/sys/net/netfilter/nf_conntrack_max; "
        "if test ! -e $path || ( : >> $path ) 2>/dev/null; then echo writable; else echo fixed; fi"
    )

    def parse(self, text: str) -> bool:
        return {"writable": True, "fixed": False}[text.strip()]


class Selinux(Fact[str]):
    """absent, permissive or enforcing."""

    command = "cat /sys/fs/selinux/enforce 2>/dev/null || echo absent"

    def parse(self, text: str) -> str:
        return {"1": "enforcing", "0": "permissive", "absent": "absent"}[text.strip()]


class UnitActive(Fact[bool]):
    """Whether a unit of systemd is active."""

    def parse(self, text: str) -> bool:
        state = text.strip()  # empty where there is no systemctl
        if state and not state.isalpha():
            raise ValueError("not the state of a unit")
        return state == "active"


class Firewalld(UnitActive):
    command = "systemctl is-active firewalld 2>/dev/null || true"


class Resolved(UnitActive):
    command = "systemctl is-active systemd-resolved 2>/dev/null || true"


class Nameservers(Fact[dict[str, tuple[str, ...]]]):
    """File in the format of resolv.conf(5) → its name servers, for those of RESOLV_CONFS that exist."""

    command = (
        f"for path in {' '.join(RESOLV_CONFS)}; do test ! -f $path || "
        '{ echo file $path; awk \'$1 == "nameserver" && $2 != "" {print $1, $2}\' $path; }; done'
    )

    def parse(self, text: str) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        path = ""
        for line in filter(None, text.splitlines()):
            word, value = line.split()
            if word == "file" and value in RESOLV_CONFS:
                path, found[value] = value, ()
            elif word == "nameserver" and path:
                found[path] += (value,)
            else:
                raise ValueError("not a file of name servers")
        return found


class Addresses(Fact[dict[str, tuple[str, ...]]]):
    """Interface → all its IPv4 addresses, "a.b.c.d/n"."""

    command = "ip -o -4 addr show || echo ip fails"

    def parse(self, text: str) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for row in map(str.split, text.splitlines()):
            address = row[3] if "/" in row[3] else row[3] + "/32"  # a point-to-point address is printed without its prefix
            IPv4Interface(address)
            found[row[1]] = (*found.get(row[1], ()), address)
        return found


class Mtus(Fact[dict[str, int]]):
    """Interface → its MTU in bytes."""

    command = "ip -o link show"

    def parse(self, text: str) -> dict[str, int]:
        rows = [line.split() for line in text.splitlines()]
        if not rows:
            raise ValueError("no interfaces: even a bare host has lo, so `ip` is missing or failed")
        return {row[1].rstrip(":").partition("@")[0]: int(row[row.index("mtu") + 1]) for row in rows}


class Clock(Fact[float]):
    """Seconds since the epoch by the host's clock."""

    command = "date +%s.%N"

    def parse(self, text: str) -> float:
        clock = float(text)
        if not math.isfinite(clock):
            raise ValueError("not a time")
        return clock


def clock_skew(host: HostSnapshot) -> float:
    """By how many seconds the host's clock is certainly ahead of this machine's (negative: behind).

    What the round trip itself took is not counted.
    """
    clock = host[Clock]
    return clock - min(max(clock, host.started), host.finished)


# What every step may use, gathered once per host.
HOST_FACTS: tuple[Fact[Any], ...] = (
    Os(),
    Architecture(),
    Hostname(),
    MachineId(),
    Cpus(),
    Memory(),
    SwapAtBoot(),
    CgroupVersion(),
    Systemd(),
    CanRaiseLimits(),
    OpenFiles(),
    Container(),
    ConntrackWritable(),
    Selinux(),
    Firewalld(),
    LinkManagers(),
    Resolved(),
    Nameservers(),
    Addresses(),
    Mtus(),
    Clock(),
)
