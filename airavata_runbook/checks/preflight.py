"""Everything that is wrong with a site, found before anything is changed: named checks, all run, each can be left out.

A check looks at one host, at all hosts together, or at the site file alone. What it finds it says with what is needed
and the remedy. A site leaves a check out by its name (`ignore_checks`); it is then run and reported as ignored.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from airavata_runbook import stacks
from airavata_runbook.checks.host_checks import CONTROLLERS, CPUS, DISK, EACH_HOST, FEATURES, MEMORY, MTU, OLDEST, ROOM, SKEW
from airavata_runbook.checks.look import Seen, look
from airavata_runbook.checks.references import check_references
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import HostKeyRefused, HostUnreachable, NotRoot, RunbookError, SiteError, StepFailed, printable
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.mirror.catalogue import check_versions
from airavata_runbook.site import Site
from airavata_runbook.site.stack_file import SYSTEM, StackError

T = TypeVar("T")
USABLE, MEND = "something that can be used", "mend the file, the variable or the site file"
UNIQUE = {"hostname": "hostnamectl set-hostname NAME", "machine-id": "rm /etc/machine-id; systemd-machine-id-setup"}
# Every check by name, with what it asks.
QUESTIONS = {
    "reachable": "an SSH session",
    "host-key": "the one of the site file or of known_hosts",
    "sudo": "the user is root, or becomes it by sudo without a password",
    "os": f"{OLDEST}, with systemd",
    "architecture": "x86_64",
    "cpu": f"at least {CPUS} on the master",
    "memory": f"at least {MEMORY >> 20} MiB",
    "disk": f"at least {DISK >> 30} GiB free for containers, {ROOM >> 30} GiB elsewhere and on a host that is a node already",
    "address": "the address of the site file, on the interface of the site file",
    "mtu": f"packets of {MTU} bytes or more, on all hosts alike",
    "ports": "the ports of Kubernetes, etcd, flannel and the registry are free, or theirs already",
    "swap": "none where pods could not be kept out of it",
    "kernel": f"has {', '.join(FEATURES)}",
    "cgroup": f"limits {', '.join(CONTROLLERS)}",
    "selinux": "does not enforce",
    "firewalld": "not between the hosts",
    "packages": "of others none that cannot be beside those of the runbook, or is called like one",
    "clock": f"within {SKEW:.0f} s of this machine's",
    "networks": "of pods and services overlap no address of a host",
    "registry-name": "leads to the registry's host or nowhere yet",
    "settings": "of the kubelet and kube-proxy follow from what the host says of itself",
    "repository": "has an index of packages that the hosts get, if it is no folder of theirs",
    "hostname": "no two hosts share one",
    "machine-id": "no two hosts share one",
    "versions": "the mirror builds those that the site file asks for",
    "sources": "certificates, images, keys and secrets that the site file points to can be used",
    "stack": "its components, images and secrets fit together",
}
IGNORED = "  (ignored)"
SESSION = ("reachable", "host-key", "sudo")  # one after the other: what comes later was not tried


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be. host: a host's name, or "site"."""

    check: str
    host: str
    found: str
    needed: str
    remedy: str
    ignored: bool = False


def preflight(site: Site) -> list[Finding]:
    """All findings, those that the site ignores too. Changes nothing, and raises nothing about hosts.

    Registries that images are pulled from, and a package repository that is no folder, are asked as well.
    """
    seen, findings = {}, []
    for name, result in sorted(run_parallel(session_of(site).hosts.values(), lambda host: look(site, host)).items()):
        if isinstance(result, Exception):
            findings.append(_unreachable(name, result))
        else:
            seen[name] = result
    for check in EACH_HOST:
        for one in seen.values():
            findings += _asked(site, check, one)
    return _marked(site, [*findings, *_compared(seen)]) + _site_alone(site, ask=True)


def offline(site: Site) -> list[Finding]:
    """What can be found without any host: files, images and secrets that the site file points to, versions, its stack."""
    return _site_alone(site, ask=False)


def not_looked_at(findings: list[Finding]) -> dict[str, list[str]]:
    """Check → the hosts that it did not get to see, because no session with them came about."""
    of_hosts = [check for check in QUESTIONS if check in (*SESSION, *EACH_HOST, *UNIQUE)]
    missed = defaultdict(list)
    for one in findings:
        if one.check in SESSION:
            for check in of_hosts[of_hosts.index(one.check) + 1 :]:
                missed[check].append(one.host)
    return missed


def _site_alone(site: Site, ask: bool) -> list[Finding]:
    findings = [
        Finding("sources", "site", f"{one.field}: {one.target}: {one.problem}", one.needed or USABLE, one.remedy or MEND)
        for one in check_references(site, ask)
        if one.problem
    ]
    if site.repository.folder:  # filled from the mirror
        try:
            check_versions(site.versions)
        except SiteError as error:
            findings.append(Finding("versions", "site", error.found, "versions that the mirror builds", error.remedy))
    try:
        stacks.load(site, {name: f"{site.registry_address}/{name}:any" for name in (*SYSTEM, *stacks.image_names(site))})
    except StackError as error:
        findings += [
            Finding("stack", "site", line, "a stack that fits the site", "correct the site file or the stack")
            for line in error.problems
        ]
    return _marked(site, findings)


def told(findings: list[Finding]) -> str:
    """The findings for a terminal: check and host in columns, below what was found what is needed and the remedy."""
    lines = []
    for one in findings:
        lines += [
            f"{one.check:14} {one.host:12} {one.found}{IGNORED * one.ignored}",
            f"{'':28}needed: {one.needed}",
            f"{'':28}remedy: {one.remedy}",
        ]
    return printable("\n".join(lines))


def _marked(site: Site, findings: list[Finding]) -> list[Finding]:
    return [replace(one, ignored=one.check in site.ignore_checks) for one in findings]


def _asked(site: Site, check: str, one: Seen) -> list[Finding]:
    """What a check finds on a host; where it asks for something that could not be read there, that."""
    try:
        return [Finding(check, one.node.name, *parts) for parts in EACH_HOST[check](site, one)]
    except StepFailed as error:
        found = f"{error.message}: {' '.join(error.found.split()) or 'nothing'}"
        return [Finding(check, one.node.name, found, error.needed, error.remedy)]


def _compared(seen: dict[str, Seen]) -> Iterator[Finding]:
    """What is wrong with hosts only beside each other."""
    mtus = {name: mtu for name, mtu in _of_each(seen, lambda one: one.mtu.get(one.node.interface)).items() if mtu}
    for name, own in mtus.items():
        if others := [f"{other} has {mtu}" for other, mtu in mtus.items() if mtu != own]:
            yield Finding(
                "mtu",
                name,
                f"{seen[name].node.interface} has MTU {own}, {', '.join(others)}",
                "one for all hosts",
                "set the same MTU on all interfaces of the private network",
            )
    for check, value in (("hostname", lambda one: one.hostname), ("machine-id", lambda one: one.machine_id)):
        values = _of_each(seen, value)
        for name, own in values.items():
            if others := [other for other in values if other != name and values[other] == own]:
                yield Finding(check, name, f"{own or 'none'}, as {', '.join(others)}", "one of its own", UNIQUE[check])


def _of_each(seen: dict[str, Seen], value: Callable[[Seen], T]) -> dict[str, T]:
    """Host → value, without the hosts where it cannot be read: a check of those alone tells that."""
    found = {}
    for name, one in seen.items():
        with suppress(StepFailed):
            found[name] = value(one)
    return found


def _unreachable(name: str, error: Exception) -> Finding:
    if not isinstance(error, RunbookError):
        return Finding("reachable", name, f"{type(error).__name__}: {error}", "an SSH session as root", "report this")
    check = {HostKeyRefused: "host-key", NotRoot: "sudo"}.get(type(error), "reachable")
    where = f" ({error.where.removeprefix(f'host {name}, ')})" if isinstance(error, HostUnreachable) else ""
    return Finding(
        check,
        name,
        error.message + where + (f": {error.found}" if error.found else ""),
        error.needed or QUESTIONS[check],
        error.remedy,
    )
