"""Facts of a host, all looked up in one round trip. Nothing here changes anything on the host.

Sources: os-release(5), proc(5), capabilities(7), cgroups(7), systemd-detect-virt(1), ip-address(8).
"""

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

from airavata_runbook.batch import batch, split
from airavata_runbook.errors import StepFailed

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
    "addresses": "ip -o -4 addr show",
    "links": "ip -o link show",
    "resolved": "systemctl is-active systemd-resolved 2>/dev/null || true",
    "disk": "df -P -B1 / | tail -n 1",
    "clock": "date +%s.%N",
}


@dataclass(frozen=True)
class HostFacts:
    """os: id, version: as in os-release. memory, swap, disk_free (of /): bytes. cgroup: 1 or 2.

    systemd: its version where it is PID 1, else 0. max_files: the hard limit; nr_open: how far a process with
    CAP_SYS_RESOURCE can raise it. container: what kind of container the host is ("systemd-nspawn"), "" for none.
    sysctls: name → (writable, value), without those that the kernel does not have (yet).
    selinux: absent, permissive or enforcing. addresses: interface → its first address, "a.b.c.d/n".
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
    disk_free: int
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
    addresses: dict[str, str]
    mtu: dict[str, int]
    clock: float
    skew: float = 0.0


def look(run: Callable[[str], bytes]) -> HostFacts:
    """The facts of a host. run: executes a shell script there as root and gives its standard output."""
    nonce, asked = secrets.token_hex(8), time.time()
    answers = split(run(batch(FRAGMENTS, nonce)), nonce, FRAGMENTS)
    facts = parse({name: answer.text for name, answer in answers.items()})
    return replace(facts, skew=facts.clock - min(max(facts.clock, asked), time.time()))


def parse(texts: dict[str, str]) -> HostFacts:
    """The facts from what the fragments printed. Raises StepFailed that names the fact which cannot be read."""
    name = ""
    try:
        read = {}
        for name, parser in PARSERS.items():
            read |= parser(texts.get(name, ""))
        return HostFacts(**read)
    except (ValueError, IndexError, KeyError) as error:
        raise StepFailed("a fact of the host cannot be read", where=f"fact {name}", found=texts.get(name, "")[:200],
                         needed=f"the output of: {FRAGMENTS[name]}") from error


def _os(text: str) -> dict:
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {"os": fields["ID"].strip('"'), "version": fields.get("VERSION_ID", "").strip('"')}


def _kernel(text: str) -> dict:
    kernel, architecture = text.splitlines()
    return {"kernel": kernel, "architecture": architecture}


def _hostname(text: str) -> dict:
    hostname, *rest = text.split()
    if len(rest) > 1:
        raise ValueError("more than a name and an id")
    return {"hostname": hostname, "machine_id": rest[0] if rest else ""}


def _memory(text: str) -> dict:
    fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if len(line.split()) > 1}
    return {"memory": fields["MemTotal"], "swap": fields.get("SwapTotal", 0)}


def _pid1(text: str) -> dict:
    comm, *rest = text.splitlines()
    if not comm:
        raise ValueError("PID 1 has no name")
    version = int(rest[0].split()[1].partition(".")[0].partition("~")[0]) if rest else 0
    return {"systemd": version if comm == "systemd" else 0}


def _files(text: str) -> dict:
    limit, nr_open = text.split()
    return {"max_files": int(nr_open) if limit == "unlimited" else int(limit), "nr_open": int(nr_open)}


def _container(text: str) -> dict:
    (kind,) = text.split() or ["none"]
    return {"container": "" if kind == "none" else kind}


def _sysctls(text: str) -> dict:
    rows = [line.split(maxsplit=2) for line in text.splitlines()]
    return {"sysctls": {row[0]: (row[1] == "writable", row[2] if len(row) > 2 else "") for row in rows}}


def _addresses(text: str) -> dict:
    rows = [line.split() for line in text.splitlines()]
    # A point-to-point address is printed without its prefix; it stands for itself alone: /32.
    found = {row[1]: row[3] if "/" in row[3] else row[3] + "/32" for row in reversed(rows)}
    for address in found.values():
        IPv4Interface(address)
    return {"addresses": found}


def _links(text: str) -> dict:
    rows = [line.split() for line in text.splitlines()]
    if not rows:
        raise ValueError("no interfaces: even a bare host has lo, so `ip` is missing or failed")
    return {"mtu": {row[1].rstrip(":").partition("@")[0]: int(row[row.index("mtu") + 1]) for row in rows}}


def _active(text: str) -> bool:
    """Whether systemd calls a unit active: it says one word, and nothing where there is no systemctl."""
    word = text.strip()
    if word and not word.isalpha():
        raise ValueError("not the state of a unit")
    return word == "active"


def _clock(text: str) -> dict:
    clock = float(text)
    if not math.isfinite(clock):
        raise ValueError("not a time")
    return {"clock": clock}


PARSERS: dict[str, Callable[[str], dict]] = {
    "os": _os,
    "kernel": _kernel,
    "hostname": _hostname,
    "cpus": lambda text: {"cpus": int(text)},
    "memory": _memory,
    "cgroup": lambda text: {"cgroup": CGROUPS[text.strip()]},
    "pid1": _pid1,
    "capabilities": lambda text: {"cap_sys_resource": bool(int(text.split()[1], 16) >> CAP_SYS_RESOURCE & 1)},
    "files": _files,
    "container": _container,
    "sysctls": _sysctls,
    "selinux": lambda text: {"selinux": SELINUX[text.strip()]},
    "firewalld": lambda text: {"firewalld": _active(text)},
    "resolved": lambda text: {"resolved": _active(text)},
    "addresses": _addresses,
    "links": _links,
    "disk": lambda text: {"disk_free": int(text.split()[3])},
    "clock": _clock,
}
