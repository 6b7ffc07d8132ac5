"""`airavata-runbook touches SITE`: all that the runbook makes or changes on a site's hosts. No host is asked.

The steps yield the same resources as in a run, for hosts on paper that have nothing yet, and each resource says what it touches
(footprint.py). What a reset removes of it is found likewise, from the steps of a reset.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from airavata_runbook.chapters import MODULES, reset, steps_of
from airavata_runbook.cluster.session import Session
from airavata_runbook.configs.unmanaged import MANAGERS
from airavata_runbook.distributions import KNOWN, PACKAGINGS, OsRelease
from airavata_runbook.engine.resource import ABSENT
from airavata_runbook.engine.step import Step
from airavata_runbook.engine.target import Target
from airavata_runbook.footprint import EVERY, Touch
from airavata_runbook.hosts import facts, journal, lock
from airavata_runbook.hosts.batch import Answer
from airavata_runbook.hosts.frame import Result
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.links import LinkManagers
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot
from airavata_runbook.hosts.vault import Vault
from airavata_runbook.pki.issue import new_ca
from airavata_runbook.pki.types import Pair
from airavata_runbook.site import Site
from airavata_runbook.site.life import LOOK
from airavata_runbook.site.node import Node
from airavata_runbook.stacks import keystores
from airavata_runbook.wellknown import EXERCISE

REMOVED, WITH_DATA = "removed", "removed with --data"
PATHS = ("file", "folder", "lines", "packaged", "mount")
# What is in another thing, and goes with it: kind → the folder that has it.
WITHIN: Mapping[str, Callable[[Site], str]] = {
    "object": lambda site: "/var/lib/etcd",
    "key": lambda site: "/var/lib/etcd",
    "image": lambda site: f"{site.registry.root}/data",
}
# Whatever the step: nothing of the runbook is here. A test looks at the list, and at running hosts.
NEVER = {
    "users and groups, and who may use sudo": ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/sudoers*"),
    "the SSH server, its keys, and keys of users": ("/etc/ssh", "/root", "/home"),
    "disks and the boot": ("/etc/fstab", "/boot", "/etc/default", "/etc/crypttab"),
    "the host's network, its name and its name servers; a network manager is told to leave the pods' interfaces alone": (
        "/etc/network",
        "/etc/netplan",
        "/etc/resolv.conf",
        "/etc/hostname",
    ),
    "the host's firewall: rules that name no chain of the list": (
        "/etc/nftables.conf",
        "/etc/iptables",
        "/etc/ufw",
        "/etc/firewalld",
    ),
    "trusted certificates, time, and scheduled jobs": (
        "/etc/ssl",
        "/etc/pki/ca-trust",
        "/etc/chrony*",
        "/etc/cron*",
        "/var/spool",
    ),
}


class PaperHost(Host):
    """A host that has nothing yet, and to which nobody connects."""

    def run(self, script: str, timeout: float = 0) -> Result:
        return Result(b"not\n") if script == LOOK else Result(status=ABSENT)  # part of no cluster

    def run_batch(self, fragments: Mapping[str, str]) -> dict[str, Answer]:
        return {name: Answer(status=ABSENT) for name in fragments}


class PaperVault(Vault):
    """Stands in for the secrets of a site that has none yet: manifests name their keys, and nothing is written anywhere."""

    @cached_property
    def _pair(self) -> Pair:
        return new_ca("on paper")

    def pair(self, stem: str, made: str = "") -> Pair:
        return self._pair

    def secret(self, reference: str) -> str:
        return base64.urlsafe_b64encode(bytes(keystores.KEY_LENGTH)).decode()  # a password, or a key of AES

    def content(self, reference: str) -> bytes:
        return b"on paper"


def on_paper(site: Site, system: OsRelease, full: bool) -> Session:
    """A session with hosts of that distribution. full: they have all that a step may ask for: SELinux, firewalld,
    systemd-resolved, and services that manage network interfaces.
    """
    session = Session(site)
    session.hosts = {node.name: PaperHost(node) for node in site.nodes}
    session.vault = PaperVault(session.master)
    session.releases = site.sources.releases  # builds and releases touch the same, and no release host is asked which there are
    values: dict[type[Fact[Any]], object] = {
        facts.Os: system,
        facts.Architecture: "x86_64",
        facts.Cpus: 4,
        facts.Memory: facts.MemorySize(8 << 30, 0),
        facts.SwapAtBoot: [],
        facts.CgroupVersion: 2,
        facts.Systemd: 252,
        facts.CanRaiseLimits: True,
        facts.OpenFiles: facts.FileLimits(1 << 20, 1 << 20),
        facts.Container: "",
        facts.ConntrackWritable: True,
        facts.Selinux: "enforcing" if full else "absent",
        facts.Firewalld: full,
        facts.Resolved: full,
        LinkManagers: frozenset(MANAGERS) if full else frozenset(),
        facts.Nameservers: {facts.RESOLVED_CONF: ("192.0.2.1",)},
    }
    for node in site.nodes:
        own: dict[type[Fact[Any]], object] = {
            facts.Hostname: node.name,
            facts.Addresses: {node.interface: (f"{node.address}/24",)},
        }
        session.facts[node.name] = HostSnapshot(node, values | own)
    return session


@dataclass(frozen=True)
class Entry:
    """A touch on a host. by: the program that makes it, or the step. packaging: the name of the only kind of packages whose hosts
    have it, "" for all. everywhere: whether a host has it also without SELinux and network managers."""

    host: str
    touch: Touch
    by: str
    packaging: str = ""
    everywhere: bool = True


def touched(steps: Iterable[tuple[str, Step]], session: Session) -> Iterator[Entry]:
    """What the resources of the steps touch. steps: each with its chapter's number."""
    for chapter, step in steps:
        for node in step.on(session.site):
            for resource in step.resources(Target(session, session.hosts[node.name])):
                for touch in resource.footprint():
                    by = touch.by or f"{chapter} {step.title}".strip()
                    hosts = list(session.hosts) if touch.host == EVERY else [touch.host or node.name]
                    yield from (Entry(host, touch, by) for host in hosts)


class Touches:
    """All that a site touches. entries: each once, in the order of the steps."""

    def __init__(self, site: Site):
        self.site = site

    @cached_property
    def entries(self) -> list[Entry]:
        steps = [(name[:2], step) for name in MODULES for step in steps_of(name) if isinstance(step, Step)]
        found: dict[tuple[str, str, str], list[tuple[str, bool, Entry]]] = {}
        for (packaging, full), session in self._sessions.items():
            locked = [Entry(self.site.master.name, one, "every run") for one in (*lock.FOOTPRINT, *journal.FOOTPRINT)]
            exercise = Entry(self.site.master.name, Touch("file", EXERCISE), "an exercise, while it is open")
            for entry in (*locked, exercise, *touched(steps, session)):
                one = entry.touch
                found.setdefault((entry.host, _group(one.kind), one.name), []).append((packaging, full, entry))
        return [self._merged(alike) for alike in found.values()]

    def _merged(self, alike: list[tuple[str, bool, Entry]]) -> Entry:
        packagings, first = {packaging for packaging, _, _ in alike}, alike[0][2]
        only = packagings.pop() if len(packagings) < len(PACKAGINGS) else ""
        everywhere = not all(full for _, full, _ in alike)
        return Entry(first.host, first.touch, ", ".join(dict.fromkeys(one.by for _, _, one in alike)), only, everywhere)

    @cached_property
    def _sessions(self) -> dict[tuple[str, bool], Session]:
        examples = {one.packaging.name: OsRelease(one.id, one.oldest) for one in KNOWN.values()}
        return {(name, full): on_paper(self.site, one, full) for name, one in examples.items() for full in (False, True)}

    @cached_property
    def _removed(self) -> list[tuple[str, list[Entry]]]:
        """What a reset removes, and what only with --data."""
        sessions = self._sessions.values()
        return [
            (how, [entry for session in sessions for entry in touched((("", one) for one in steps), session)])
            for how, steps in ((REMOVED, reset.STEPS), (WITH_DATA, reset.DATA_STEPS))
        ]

    def after_reset(self, host: str, touch: Touch) -> str:
        """REMOVED, WITH_DATA, or how long it stays; "" where neither a step of a reset nor the touch says it."""
        if touch.stays:
            return touch.stays
        if touch.kind in WITHIN:
            return self.after_reset(self._host_of(touch.kind).name, Touch("folder", WITHIN[touch.kind](self.site)))
        if touch.kind == "port":  # closed with its service
            touch = Touch("unit", f"{touch.by}.service")
        if touch.kind in ("package", "packaged") and touch.by:
            touch = Touch("package", touch.by)
        for how, entries in self._removed:
            if any(entry.host == host and covers(entry.touch, touch.kind, touch.name) for entry in entries):
                return how
        return ""

    def _host_of(self, kind: str) -> Node:
        return self.site.registry_node if kind == "image" else self.site.master

    def on(self, host: str) -> list[Touch]:
        """What is touched on one host."""
        return [entry.touch for entry in self.entries if entry.host == host]


def covers(touch: Touch, kind: str, name: str) -> bool:
    """Whether a thing is what a touch names; of a folder also all that is in it."""
    if _group(kind) != _group(touch.kind):
        return False
    return fnmatchcase(name, touch.name) or touch.kind == "folder" and fnmatchcase(name, f"{touch.name}/*")


def _group(kind: str) -> str:
    return "path" if kind in PATHS and kind != "mount" else kind
