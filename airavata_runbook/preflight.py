"""Everything that is wrong with a site, found before anything is changed: named checks, all run, each can be left out.

A check looks at one host, at all hosts together, or at the site file alone. What it finds it says with what is needed
and the remedy. A site leaves a check out by its name (`ignore_checks`); it is then run and reported as ignored.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from airavata_runbook import stacks
from airavata_runbook.errors import HostUnreachable, RunbookError, SiteError, printable
from airavata_runbook.host_checks import CONTROLLERS, CPUS, DISK, EACH_HOST, FEATURES, MEMORY, MTU, SKEW, Seen, look
from airavata_runbook.site import Site
from airavata_runbook.site_images import SYSTEM
from airavata_runbook.sources import sources
from airavata_runbook.ssh import connect, side_by_side

USABLE, MEND = "something that can be used", "mend the file, the variable or the site file"
UNIQUE = {"hostname": "hostnamectl set-hostname NAME", "machine-id": "rm /etc/machine-id; systemd-machine-id-setup"}
# Every check by name, with what it asks.
QUESTIONS = {
    "reachable": "an SSH session with a known host key, and sudo without a password",
    "os": "Debian or Ubuntu with systemd", "architecture": "x86_64 or aarch64",
    "cpu": f"at least {CPUS} on the master", "memory": f"at least {MEMORY >> 20} MiB",
    "disk": f"at least {DISK >> 30} GiB free on /",
    "address": "the address of the site file, on the interface of the site file", "mtu": f"packets of {MTU} bytes or more",
    "ports": "the ports of Kubernetes, etcd, flannel and the registry are free, or theirs already",
    "swap": "none where pods could not be kept out of it", "kernel": f"has {', '.join(FEATURES)}",
    "cgroup": f"limits {', '.join(CONTROLLERS)}",
    "selinux": "does not enforce", "firewalld": "not between the hosts",
    "packages": "none that cannot be beside those of the runbook",
    "clock": f"within {SKEW:.0f} s of this machine's",
    "networks": "of pods and services overlap no address of a host",
    "registry-name": "leads to the registry's host or nowhere yet",
    "hostname": "no two hosts share one", "machine-id": "no two hosts share one",
    "sources": "certificates, images and secrets that the site file points to can be used",
    "stack": "its components, images and secrets fit together",
}


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
    for name, result in sorted(side_by_side(list(connect(site).values()), lambda host: look(site, host)).items()):
        if isinstance(result, Exception):
            findings.append(_unreachable(name, result))
        else:
            seen[name] = result
    for check, look_at in EACH_HOST.items():
        findings += [Finding(check, name, *parts) for name, one in seen.items() for parts in look_at(site, one)]
    findings += _not_unique(seen)
    return _marked(site, findings) + _site_alone(site, ask=True)


def offline(site: Site) -> list[Finding]:
    """What can be found without any host: files, images and secrets that the site file points to, and its stack."""
    return _site_alone(site, ask=False)


def _site_alone(site: Site, ask: bool) -> list[Finding]:
    findings = [Finding("sources", "site", f"{one.field}: {one.names}: {one.problem}", one.needed or USABLE, one.remedy or MEND)
                for one in sources(site, ask) if one.problem]
    try:
        stacks.load(site, {name: f"{site.registry_address}/{name}:any" for name in (*SYSTEM, *stacks.image_names(site))})
    except SiteError as error:
        first, *problems = str(error).splitlines()
        told = [line.strip(" -") for line in problems if line.startswith("  - ")] or [first]
        findings += [Finding("stack", "site", line, "a stack that fits the site", "correct the site file or the stack")
                     for line in told]
    return _marked(site, findings)


def told(findings: list[Finding]) -> str:
    """The findings for a terminal: check and host in columns, below what was found what is needed and the remedy."""
    lines = []
    for one in findings:
        lines += [f"{one.check:14} {one.host:12} {one.found}{'  (ignored)' * one.ignored}",
                  f"{'':28}needed: {one.needed}", f"{'':28}remedy: {one.remedy}"]
    return printable("\n".join(lines))


def _marked(site: Site, findings: list[Finding]) -> list[Finding]:
    return [replace(one, ignored=one.check in site.ignore_checks) for one in findings]


def _not_unique(seen: dict[str, Seen]) -> Iterator[Finding]:
    for check, value in (("hostname", lambda one: one.facts.hostname), ("machine-id", lambda one: one.facts.machine_id)):
        counted = Counter(map(value, seen.values()))
        for name, one in seen.items():
            if counted[value(one)] > 1:
                others = ", ".join(other for other in seen if other != name and value(seen[other]) == value(one))
                yield Finding(check, name, f"{value(one) or 'none'}, as {others}", "one of its own", UNIQUE[check])


def _unreachable(name: str, error: Exception) -> Finding:
    if not isinstance(error, RunbookError):
        return Finding("reachable", name, f"{type(error).__name__}: {error}", "an SSH session as root", "report this")
    where = f" ({error.where.removeprefix(f'host {name}, ')})" if isinstance(error, HostUnreachable) else ""
    return Finding("reachable", name, error.message + where + (f": {error.found}" if error.found else ""),
                   error.needed or "a verified SSH session, and sudo without a password", error.remedy)
