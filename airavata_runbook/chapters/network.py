"""Chapter 01: the hosts and their networks, checked before anything is changed (POC rows 1 and 2)."""

from airavata_runbook.chapters.by_hand import network as by_hand
from airavata_runbook.checks import preflight as checks
from airavata_runbook.checks.references import check_references
from airavata_runbook.checks.table import CHECKS
from airavata_runbook.checks.types import Finding
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.report import Picture, picture_of
from airavata_runbook.engine.step import Rows, check
from airavata_runbook.engine.target import Target, everywhere
from airavata_runbook.errors import StepFailed, counted
from airavata_runbook.hosts.facts import Architecture, CgroupVersion, Mtus, Os
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.hosts.snapshot import HostSnapshot
from airavata_runbook.pictures import hosts as drawn
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node

VXLAN = 50  # bytes of each packet that vxlan takes (RFC 7348 over IPv4)


@check("Preflight checks", before=True, by_hand=by_hand.preflight)
def preflight(session: Session) -> Rows:
    """Rows of check, requirement and result. Raises StepFailed with a row for each finding, SiteError for an unknown check."""
    findings = checks.preflight(session.site)
    refuse(findings)
    return [
        ["check", "requirement", "result"],
        *([one.name, one.requirement, result] for one in CHECKS for result in _results(one.name, findings)),
    ]


def refuse(findings: list[Finding]) -> None:
    """Raise StepFailed with all findings as a table when one of them is a failure; else return."""
    count = sum(one.failed for one in findings)
    if count:
        raise StepFailed(
            f"the preflight checks found {counted(count, 'problem')}",
            found=checks.format_findings(findings),
            rows=[
                ["check", "host", "found", "needed", "remedy"],
                *([one.check, one.host, one.marked, one.needed, one.remedy] for one in findings),
            ],
            remedy="fix the hosts or the site file, or name the check in ignore_checks; nothing was changed yet",
        )


def _results(check: str, findings: list[Finding]) -> list[str]:
    """The results of a check whose findings are all notes or ignored."""
    shown = [f"{'ignored' if one.ignored else 'note'}: {one.host}: {one.found}" for one in findings if one.check == check]
    skipped = checks.skipped(findings).get(check)
    return [*shown, *([f"not checked on {', '.join(skipped)}"] if skipped else [])] or ["ok"]


@check("Hosts", before=True, by_hand=by_hand.hosts)
def hosts(session: Session) -> Rows:
    """Rows of host and facts."""
    facts, site = facts_of(session), session.site
    rows = [["host", "role", "address", "interface", "system", "cgroups"]]
    for node in everywhere(site):
        one = facts[node.name]
        rows.append(
            [
                node.name,
                node.role,
                str(node.address),
                f"{node.interface}, MTU {one[Mtus].get(node.interface, 'none')}",
                f"{one[Os]}, {one[Architecture]}",
                f"version {one[CgroupVersion]}",
            ]
        )
    return rows


@check("Networks", before=True, by_hand=by_hand.networks)
def networks(session: Session) -> Rows:
    """Rows of network, addresses and capacity."""
    facts, site, network = facts_of(session), session.site, session.site.network
    mtu = min(facts[node.name][Mtus].get(node.interface, 0) for node in site.nodes) - VXLAN
    leases = 2 ** (network.subnet_length - network.pods.prefixlen) - 1
    return [
        ["network", "addresses", "capacity"],
        ["hosts", ", ".join(str(node.address) for node in everywhere(site)), f"{len(site.nodes)} hosts"],
        ["pods", str(network.pods), f"{leases} hosts of /{network.subnet_length}, packets of {mtu} bytes"],
        ["services", str(network.services), f"{network.services.num_addresses - 2} services"],
    ]


@check("Certificates, images and secrets", before=True, by_hand=by_hand.sources)
def sources(session: Session) -> Rows:
    """Rows of field, reference and status."""
    return [
        ["field", "reference", "status"],
        *([one.field, one.target, one.problem or one.state] for one in check_references(session.site)),
        ["all other images", "the runbook's own", "built from Debian packages and pinned Go modules"],
    ]


@check("Plan of the networks", before=True, by_hand=by_hand.picture)
def picture(session: Session) -> tuple[Rows, Picture]:
    """No rows; a picture of the hosts and their networks, as the site file has them."""
    site, network = session.site, session.site.network
    nodes = sorted(site.nodes, key=lambda node: (node.role != "master", node.name))
    plan = drawn.Networks(
        services=str(network.services),
        api=str(network.api_address),
        dns=str(network.dns_address),
        pods=str(network.pods),
        subnet_length=network.subnet_length,
        backend=network.backend,
    )
    hosts = [drawn.Host(f"{node.name} ({node.role})", tuple(_runs(site, node))) for node in nodes]
    return [], picture_of("networks", drawn.networks(site.name, hosts, plan))


def _runs(site: Site, node: Node) -> list[str]:
    """A host's address, and what will run on it."""
    lines = [f"{node.address} on {node.interface}"]
    lines += ["etcd, API server", "controllers, scheduler"] if node == site.master else []
    lines += ["registry"] if node == site.registry_node else []
    lines += ["disk of the databases"] if node == site.storage_node else []
    return [*lines, "kubelet, kube-proxy", "flannel, containerd"]


def facts_of(session: Session) -> dict[str, HostSnapshot]:
    """Facts of all hosts by name, gathered in parallel. Raises StepFailed with every host that cannot be reached."""
    results = run_parallel(session.hosts.values(), lambda host: Target(session, host).facts)
    problems = [f"{name}: {error}" for name, error in sorted(results.items()) if isinstance(error, Exception)]
    if problems:
        raise StepFailed("the facts of the hosts could not be gathered", found="\n".join(problems), retryable=True)
    return {name: facts for name, facts in results.items() if not isinstance(facts, Exception)}


STEPS = [
    preflight,
    hosts,
    networks,
    sources,
    picture,
]
