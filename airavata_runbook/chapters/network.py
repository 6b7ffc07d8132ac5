"""Chapter 01: the hosts and their networks, checked before anything is touched (POC rows 1 and 2)."""

from airavata_runbook.chapters.picture import Picture, network_picture
from airavata_runbook.checks import preflight as checks
from airavata_runbook.checks.references import check_references
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.step import Rows, Target, check, everywhere
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.facts import HostFacts
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.site import Site

VXLAN = 50  # bytes of each packet that vxlan takes (RFC 7348 over IPv4)


@check("Everything that could be in the way", before=True)
def preflight(session: Session) -> Rows:
    """Rows of check, what it asks, and the verdict. Raises StepFailed with a row for each thing that is wrong."""
    findings = checks.preflight(session.site)
    refuse(findings)
    return [
        ["check", "asked", ""],
        *([name, asked, verdict] for name, asked in checks.QUESTIONS.items() for verdict in _verdicts(name, findings)),
    ]


def refuse(findings: list[checks.Finding]) -> None:
    """Raise StepFailed with all findings as a table, those too that are ignored, when there are others; else return."""
    wrong = [one for one in findings if not one.ignored]
    if wrong:
        raise StepFailed(
            f"{len(wrong)} thing{'s are' * (len(wrong) > 1) or ' is'} in the way",
            found=checks.told(findings),
            rows=[
                ["check", "host", "found", "needed", "remedy"],
                *([one.check, one.host, one.found + checks.IGNORED * one.ignored, one.needed, one.remedy] for one in findings),
            ],
            remedy="mend the hosts or the site file, or name the check in ignore_checks; nothing was changed yet",
        )


def _verdicts(check: str, findings: list[checks.Finding]) -> list[str]:
    """Of a check whose findings are all ignored."""
    ignored = [f"ignored: {one.host}: {one.found}" for one in findings if one.check == check]
    missed = checks.not_looked_at(findings).get(check)
    return [*ignored, *([f"not looked at on {', '.join(missed)}"] if missed else [])] or ["ok"]


@check("The hosts", before=True)
def hosts(session: Session) -> Rows:
    """Rows of host and facts."""
    facts, site = facts_of(session), session.site
    rows = [["host", "role", "address", "interface", "system", "control groups"]]
    for node in everywhere(site):
        one = facts[node.name]
        rows.append(
            [
                node.name,
                node.role,
                str(node.address),
                f"{node.interface}, MTU {one.mtu.get(node.interface, 'none')}",
                f"{one.os} {one.version}, {one.architecture}",
                f"version {one.cgroup}",
            ]
        )
    return rows


@check("The networks", before=True)
def networks(session: Session) -> Rows:
    """Rows of network, addresses and room."""
    facts, site, network = facts_of(session), session.site, session.site.network
    mtu = min(facts[node.name].mtu.get(node.interface, 0) for node in site.nodes) - VXLAN
    leases = 2 ** (network.subnet_length - network.pods.prefixlen) - 1
    return [
        ["network", "addresses", "room"],
        ["hosts", ", ".join(str(node.address) for node in everywhere(site)), f"{len(site.nodes)} hosts"],
        ["pods", str(network.pods), f"{leases} hosts of /{network.subnet_length}, packets of {mtu} bytes"],
        ["services", str(network.services), f"{network.services.num_addresses - 2} services"],
    ]


@check("What the site file points to", before=True)
def sources(session: Session) -> Rows:
    """Rows of field, what it names and how that was found."""
    return [
        ["field", "names", ""],
        *([one.field, one.target, one.problem or one.state] for one in check_references(session.site)),
        ["all other images", "the runbook's own", "built from Debian packages and pinned Go modules"],
    ]


def picture(site: Site, plan: bool = False) -> Picture:
    """The hosts and their networks as a drawing."""
    return network_picture(site)


def facts_of(session: Session) -> dict[str, HostFacts]:
    """Facts of all hosts by name, looked up side by side. Raises StepFailed with every host that cannot be reached."""
    found = run_parallel(session.hosts.values(), lambda host: Target(session, host).facts)
    problems = [f"{name}: {error}" for name, error in sorted(found.items()) if isinstance(error, Exception)]
    if problems:
        raise StepFailed("hosts cannot be looked at", found="\n".join(problems), retryable=True)
    return found


STEPS = [
    preflight,
    hosts,
    networks,
    sources,
    picture,
]
