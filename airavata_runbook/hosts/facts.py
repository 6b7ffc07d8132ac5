"""Facts of a host, all looked up in one round trip. Nothing here changes anything on the host.

Sources: os-release(5), proc(5), capabilities(7), cgroups(7), systemd-detect-virt(1), ip-address(8).
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.batch import Answer

WRITABLE = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/netfilter/nf_conntrack_max")
CAP_SYS_RESOURCE = 24  # bit, from linux/capability.h
SELINUX = {"1": "enforcing", "0": "permissive", "absent": "absent"}
CGROUPS = {"cgroup2fs": 2, "tmpfs": 1}  # the file system at /sys/fs/cgroup → version

FRAGMENTS = {
    "os": "cat /etc/os-release || cat /usr/lib/os-release",
    "kernel": "uname -r; uname -m",
    "hostname": "uname -n; cat /etc/machine-id",
    "cpus": "nproc",
    "memory": "cat /proc/meminfo",
    # cgroup2fs: version 2 alone; tmpfs: version 1, perhaps with an empty version 2 beside it (kubelet's own test).
    "cgroup": "stat -f -c %T /sys/fs/cgroup",
    "pid1": "cat /proc/1/comm; systemctl --version | head -n 1",
    # PID 1's, because it starts the kubelet: an SSH session may be more restricted.
    "capabilities": "grep CapBnd /proc/1/status",
    "files": "ulimit -Hn; cat /proc/sys/fs/nr_open",
    "container": "systemd-detect-virt --container || true",  # prints "none" and fails outside of containers
    "sysctls": "for name in " + " ".join(WRITABLE) + "; do path=/proc/sys/$name; test -e $path || continue; "
    # Opening for append asks the kernel for the right to write, and writes nothing.
    "if ( : >> $path ) 2>/dev/null; then echo $name writable $(cat $path); "
    "else echo $name fixed $(cat $path); fi; done",
    "selinux": "cat /sys/fs/selinux/enforce 2>/dev/null || echo absent",
    "firewalld": "systemctl is-active firewalld 2>/dev/null || true",
    "addresses": "ip -o -4 addr show || echo ip fails",
    "links": "ip -o link show",
    "resolved": "systemctl is-active systemd-resolved 2>/dev/null || true",
    "clock": "date +%s.%N",
}


@dataclass(frozen=True)
class HostFacts:
    """os: id, version: as in os-release. memory, swap: bytes. cgroup: 1 or 2.

    systemd: its version where it is PID 1, else 0. max_files: the hard limit; nr_open: how far a process with
    CAP_SYS_RESOURCE can raise it. container: what kind of container the host is ("systemd-nspawn"), "" for none.
    sysctls: name → (writable, value), without those that the kernel does not have (yet).
    selinux: absent, permissive or enforcing. addresses: interface → all its IPv4 addresses, "a.b.c.d/n".
    mtu: interface → bytes. clock: seconds since the epoch as the host sees it. skew: by how many seconds its clock is
    certainly ahead of this machine's (negative: behind); what the round trip itself took is not counted.
    """

    os: str
    version: str
    architecture: str
    kernel: str
    hostname: str
    machine_id: str
    cpus: int
    memory: int
    swap: int
    cgroup: int
    systemd: int
    cap_sys_resource: bool
    max_files: int
    nr_open: int
    container: str
    sysctls: dict[str, tuple[bool, str]]
    selinux: str
    firewalld: bool
    resolved: bool
    addresses: dict[str, tuple[str, ...]]
    mtu: dict[str, int]
    clock: float
    skew: float = 0.0


# How a fragment's text is read: the names of the values, and what gives them, in that order.
Parsers = Mapping[str, tuple[tuple[str, ...], Callable[[str], Iterable[object]]]]


def look(ask: Callable[[Mapping[str, str]], Mapping[str, Answer]]) -> HostFacts:
    """The facts of a host. ask: runs shell fragments (name → script) there as root and gives their answers by name.

    Raises StepFailed that names the fact which cannot be read.
    """
    asked = time.time()
    answers = ask(FRAGMENTS)
    return whole(fields({name: answer.text for name, answer in answers.items()}, asked, time.time()))


def parse(texts: Mapping[str, str]) -> HostFacts:
    """The facts from what the fragments printed. Raises StepFailed that names the fact which cannot be read."""
    return whole(fields(texts))


def fields(texts: Mapping[str, str], asked: float = -math.inf, answered: float = math.inf) -> dict[str, object]:
    """Each field of HostFacts by name: its value, or the StepFailed that says why it cannot be read.

    asked, answered: when by this machine's clock the host was asked and had answered, seconds since the epoch.
    """
    found = read(texts, FRAGMENTS, PARSERS)
    clock = found["clock"]
    return found | {"skew": clock if isinstance(clock, StepFailed) else clock - min(max(clock, asked), answered)}


def whole(found: Mapping[str, object]) -> HostFacts:
    """The facts when all of them could be read. Raises the StepFailed of the first that could not."""
    for value in found.values():
        if isinstance(value, StepFailed):
            raise value
    return HostFacts(**found)


def read(texts: Mapping[str, str], fragments: Mapping[str, str], parsers: Parsers) -> dict[str, object]:
    """By name every value that the parsers find in what the fragments printed, or the StepFailed that says why not."""
    found = {}
    for name, (names, parser) in parsers.items():
        text = texts.get(name, "")
        try:
            found |= zip(names, parser(text), strict=True)
        except (ValueError, LookupError):
            found |= dict.fromkeys(names, _unread(name, text, fragments[name]))
    return found


def _unread(name: str, text: str, script: str) -> StepFailed:
    tool = script.split()[0]
    remedy = "apt-get install iproute2" if tool in ("ip", "ss") else "run that on the host as root, and mend what it says"
    return StepFailed(
        "a fact of the host cannot be read",
        where=f"fact {name}",
        found=text[:200],
        needed=f"the output of: {script}",
        remedy=remedy,
    )


def _os(text: str) -> tuple[str, str]:
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return fields["ID"].strip('"'), fields.get("VERSION_ID", "").strip('"')


def _hostname(text: str) -> tuple[str, str]:
    hostname, *rest = text.split()
    if len(rest) > 1:
        raise ValueError("more than a name and an id")
    return hostname, rest[0] if rest else ""


def _memory(text: str) -> tuple[int, int]:
    fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if len(line.split()) > 1}
    return fields["MemTotal"], fields.get("SwapTotal", 0)


def _systemd(text: str) -> int:
    comm, *rest = text.splitlines()
    if not comm:
        raise ValueError("PID 1 has no name")
    version = int(rest[0].split()[1].partition(".")[0].partition("~")[0]) if rest else 0
    return version if comm == "systemd" else 0


def _files(text: str) -> tuple[int, int]:
    limit, nr_open = text.split()
    return int(nr_open) if limit == "unlimited" else int(limit), int(nr_open)


def _container(text: str) -> str:
    (kind,) = text.split() or ["none"]
    return "" if kind == "none" else kind


def _sysctls(text: str) -> dict[str, tuple[bool, str]]:
    rows = [line.split(maxsplit=2) for line in text.splitlines()]
    return {row[0]: (row[1] == "writable", row[2] if len(row) > 2 else "") for row in rows}


def _addresses(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in map(str.split, text.splitlines()):
        # A point-to-point address is printed without its prefix; it stands for itself alone: /32.
        address = row[3] if "/" in row[3] else row[3] + "/32"
        IPv4Interface(address)
        found[row[1]] = (*found.get(row[1], ()), address)
    return found


def _links(text: str) -> dict[str, int]:
    rows = [line.split() for line in text.splitlines()]
    if not rows:
        raise ValueError("no interfaces: even a bare host has lo, so `ip` is missing or failed")
    return {row[1].rstrip(":").partition("@")[0]: int(row[row.index("mtu") + 1]) for row in rows}


def _active(text: str) -> bool:
    """Whether systemd calls a unit active: it says one word, and nothing where there is no systemctl."""
    word = text.strip()
    if word and not word.isalpha():
        raise ValueError("not the state of a unit")
    return word == "active"


def _clock(text: str) -> float:
    clock = float(text)
    if not math.isfinite(clock):
        raise ValueError("not a time")
    return clock


def one(field: str, parser: Callable[[str], object]) -> tuple[tuple[str], Callable[[str], tuple[object]]]:
    """The entry of Parsers for a text that holds one value."""
    return (field,), lambda text: (parser(text),)


PARSERS: Parsers = {
    "os": (("os", "version"), _os),
    "kernel": (("kernel", "architecture"), str.splitlines),
    "hostname": (("hostname", "machine_id"), _hostname),
    "cpus": one("cpus", int),
    "memory": (("memory", "swap"), _memory),
    "cgroup": one("cgroup", lambda text: CGROUPS[text.strip()]),
    "pid1": one("systemd", _systemd),
    "capabilities": one("cap_sys_resource", lambda text: bool(int(text.split()[1], 16) >> CAP_SYS_RESOURCE & 1)),
    "files": (("max_files", "nr_open"), _files),
    "container": one("container", _container),
    "sysctls": one("sysctls", _sysctls),
    "selinux": one("selinux", lambda text: SELINUX[text.strip()]),
    "firewalld": one("firewalld", _active),
    "resolved": one("resolved", _active),
    "addresses": one("addresses", _addresses),
    "links": one("mtu", _links),
    "clock": one("clock", _clock),
}
