"""The preflight checks of a site, all run before anything is changed, all findings at once.

A site leaves a check out by its name (`ignore_checks`); it is then run and its findings are reported as ignored.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from airavata_runbook.checks.facts import forwards, preflight_facts
from airavata_runbook.checks.table import CHECKS
from airavata_runbook.checks.types import ConnectionCheck, Finding, HostCheck, PeerCheck, Problem, SessionCheck, SiteCheck
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.engine.report import Paint, plain
from airavata_runbook.errors import ForwardForbidden, RunbookError, StepFailed, printable
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.hosts.snapshot import HostSnapshot, gather
from airavata_runbook.site import Site
from airavata_runbook.site.messages import invalid_site, nearest


def preflight(site: Site) -> list[Finding]:
    """All findings, those that the site ignores too. Changes nothing, and raises nothing about hosts.

    Registries that images are pulled from, and a package repository that is no folder, are queried as well. Raises SiteError
    for an unknown name in ignore_checks.
    """
    refuse_unknown_checks(site)
    session = session_of(site)
    with ThreadPoolExecutor(1) as beside:  # while the hosts answer
        of_site = beside.submit(_site_findings, site, query=True)
        results = sorted(run_parallel(session.hosts.values(), lambda host: _snapshot(session, host)).items())
    unreachable = [_unreachable(name, error) for name, error in results if isinstance(error, Exception)]
    snapshots = [result for _, result in results if not isinstance(result, Exception)]
    connected = [session.hosts[one.node.name] for one in snapshots]
    findings = [*unreachable, *_connections(connected), *_host_findings(site, snapshots), *of_site.result()]
    return _mark_ignored(site, findings)


def offline(site: Site) -> list[Finding]:
    """The findings of the checks that need no host. Raises SiteError for an unknown name in ignore_checks."""
    refuse_unknown_checks(site)
    return _mark_ignored(site, _site_findings(site, query=False))


def refuse_unknown_checks(site: Site) -> None:
    """Raises SiteError for names in ignore_checks that no check has."""
    known = [check.name for check in CHECKS]
    unknown = [
        f"ignore_checks.{index}: unknown check {name!r}; {nearest(name, known)}"
        for index, name in enumerate(site.ignore_checks)
        if name not in known
    ]
    if unknown:
        raise invalid_site(unknown, f"site {site.name}")


def skipped(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """Check → the hosts where it could not run, because a check of the SSH session before it failed."""
    names = [check.name for check in CHECKS if not isinstance(check, SiteCheck)]
    sessions = [check.name for check in CHECKS if isinstance(check, SessionCheck)]
    hosts = defaultdict(list)
    for finding in findings:
        if finding.check in sessions:
            for name in names[names.index(finding.check) + 1 :]:
                hosts[name].append(finding.host)
    return hosts


def format_findings(findings: Iterable[Finding], paint: Paint = plain) -> str:
    """The findings for a terminal: check, host and what was found in columns; below that what is needed, and the remedy.

    paint: gives a text the colour of a status (local.colours.painted).
    """
    lines = []
    for one in findings:
        status = "ignored" if one.ignored else "note" if one.note else "failed"
        lines += [
            paint(f"{one.check:14}", status) + printable(f" {one.host:12} {one.marked}"),
            printable(f"{'':28}needed: {one.needed}"),
            printable(f"{'':28}remedy: {one.remedy}"),
        ]
    return "\n".join(lines)


def _snapshot(session: Session, host: Host) -> HostSnapshot:
    """The facts of a host as they are now; the steps that follow use them too."""
    session.facts.pop(host.name, None)
    with ThreadPoolExecutor(1) as beside:  # in the time of one round trip
        forbidden = beside.submit(_forbidden, session.site, host)
        snapshot = gather(host, preflight_facts(session.site, host.node))
    session.facts[host.name] = replace(snapshot, forbidden=forbidden.result())
    return session.facts[host.name]


def _connections(hosts: Iterable[Host]) -> Iterator[Finding]:
    for host in (one for one in hosts if one.node.ssh.legacy):  # nothing is asked of the connections of others
        for check in CHECKS:
            if isinstance(check, ConnectionCheck):
                yield from _findings(check.name, host.name, partial(check.find, host.node, host.transport))


def _forbidden(site: Site, host: Host) -> ForwardForbidden | None:
    """The error when the host's SSH server forbids the forwards that the chapters use."""
    try:
        for address, port in forwards(site, host.node):
            host.check_forward(port, address)
    except ForwardForbidden as error:
        return error
    return None


def _host_findings(site: Site, snapshots: list[HostSnapshot]) -> Iterator[Finding]:
    for check in CHECKS:
        for host in snapshots:
            if isinstance(check, HostCheck):
                yield from _findings(check.name, host.node.name, partial(check.find, site, host))
            elif isinstance(check, PeerCheck):
                others = [other for other in snapshots if other is not host]
                yield from _findings(check.name, host.node.name, partial(check.find, host, others))


def _site_findings(site: Site, query: bool) -> list[Finding]:
    return [
        _finding(check.name, "site", problem)
        for check in CHECKS
        if isinstance(check, SiteCheck)
        for problem in check.find(site, query)
    ]


def _mark_ignored(site: Site, findings: list[Finding]) -> list[Finding]:
    return [replace(one, ignored=one.check in site.ignore_checks) for one in findings]


def _findings(check: str, host: str, find: Callable[[], Iterable[Problem]]) -> list[Finding]:
    """What a check finds on a host; where it needs a fact that could not be parsed, that."""
    try:
        return [_finding(check, host, problem) for problem in find()]
    except StepFailed as error:
        found = f"{error.message}: {' '.join(error.found.split()) or 'nothing'}"
        return [Finding(check, host, found, error.needed, error.remedy)]


def _finding(check: str, host: str, problem: Problem) -> Finding:
    return Finding(check, host, problem.found, problem.needed, problem.remedy, note=problem.note)


def _unreachable(name: str, error: Exception) -> Finding:
    """The finding of the most specific check whose error it is."""
    check = [one for one in CHECKS if isinstance(one, SessionCheck) and isinstance(error, one.error)][-1]
    if not isinstance(error, RunbookError):
        return Finding(check.name, name, f"{type(error).__name__}: {error}", check.requirement, "report this as a bug")
    found = f"{error.summary} ({error.where})" if error.where else error.summary
    return Finding(check.name, name, found, error.needed or check.requirement, error.remedy)
