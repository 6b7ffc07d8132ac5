"""Chapter 06: the running site, verified from outside and from inside its pods; no step's word is relied on (row 16)."""

from airavata_runbook.chapters import etcd_flannel, registry, speaks
from airavata_runbook.chapters.availability import (
    DATABASE,
    REQUESTS,
    calls_by_replica,
    calls_while_replaced,
    data_after_a_restart,
)
from airavata_runbook.chapters.by_hand import verify as by_hand
from airavata_runbook.chapters.certificates import expiry, served
from airavata_runbook.chapters.health import hosts_health, restarting_pods, undecided
from airavata_runbook.chapters.pod_network import answers_between_pods, names_and_services
from airavata_runbook.chapters.portal_page import page_in_browser, portal_pages
from airavata_runbook.chapters.probes import SYSTEM, ready_pods, skipped_rows
from airavata_runbook.chapters.running import pods_by_host, pods_in, read_services, services_to_endpoints
from airavata_runbook.chapters.running_images import running_images
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.chapters.verifiers import server_calls
from airavata_runbook.cluster.readiness import node_missing, workload_trouble
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.report import Picture, picture_of
from airavata_runbook.engine.step import Rows, check
from airavata_runbook.engine.target import everywhere
from airavata_runbook.errors import StepFailed
from airavata_runbook.local.browser import INSTALL, find_browser


@check("Nodes", by_hand=by_hand.nodes)
def nodes(session: Session) -> Rows:
    """Rows of node, host, the kubelet's version and state."""
    names = {str(node.address): node.name for node in everywhere(session.site)}
    missing = {name: node_missing(session, address) for address, name in names.items()}
    _fail_on("nodes are not Ready", [f"{name}: {why}" for name, why in missing.items() if why])
    listed = {node.metadata.name: node for node in session.kube().core.list_node().items}
    _fail_on("nodes need a decision of yours", [line for node in listed.values() for line in undecided(node, names)])
    return [
        ["node", "host", "kubelet", "state"],
        *([address, name, listed[address].status.node_info.kubelet_version, "Ready"] for address, name in names.items()),
    ]


@check("Failed units and disk space", by_hand=by_hand.units)
def units(session: Session) -> Rows:
    """Rows of host, failed units of systemd and disks. Units that are not the runbook's are only listed."""
    rows, problems = hosts_health(session)
    _fail_on("hosts need attention", problems)
    return [["host", "failed units", "disks"], *rows]


@check("Workloads and their pods", by_hand=by_hand.pods)
def pods(session: Session) -> tuple[Rows, Picture]:
    """Rows of namespace, workload and its ready pods, and whether it is a STAND-IN; a picture of the pods by host."""
    stack = stack_of(session.site)
    wanted = [(SYSTEM, "Deployment", "coredns"), (SYSTEM, "DaemonSet", "netcheck")]
    wanted += [(stack.namespace, kind, name) for component in stack.components for kind, name in component.waits_for]
    missing = {name: workload_trouble(session, kind, namespace, name) for namespace, kind, name in wanted}
    found = pods_in(session, [SYSTEM, stack.namespace])
    stand_ins = {name for component in stack.components if component.stand_in for _, name in component.waits_for}
    placed = [pod for pod in found if not pod.metadata.deletion_timestamp]
    picture = picture_of("pods", pods_by_host(session.site, placed, dict.fromkeys(stand_ins, "STAND-IN")))
    _fail_on("workloads are not ready", [f"{name}: {why}" for name, why in missing.items() if why], picture)
    _fail_on("pods restart again and again", restarting_pods(found), picture)
    return [
        ["namespace", "workload", "pods", "note"],
        *(
            [
                namespace,
                f"{kind} {name}",
                "done" if kind == "Job" else f"{ready_pods(session, kind, namespace, name)} ready",
                "STAND-IN" if name in stand_ins else "",
            ]
            for namespace, kind, name in wanted
        ),
    ], picture


@check("Images that run, by digest", by_hand=by_hand.images)
def images(session: Session) -> Rows:
    """Rows of image, digest and the number of containers that run it."""
    rows, problems = running_images(session, [SYSTEM, session.site.airavata.namespace])
    _fail_on("containers run other images than the site names", problems)
    return [["image", "digest", "containers"], *rows]


@check("Leases in etcd and subnets on the hosts", by_hand=by_hand.leases)
def leases(session: Session) -> tuple[Rows, Picture]:
    """Rows of host, lease and subnet, and a picture of them."""
    return etcd_flannel.leases.look(session)


@check("Pod to pod between all hosts", by_hand=by_hand.pod_to_pod)
def pod_to_pod(session: Session) -> Rows:
    """Rows of source host, destination host and result."""
    rows, problems = answers_between_pods(session)
    _fail_on("pods cannot reach each other", problems)
    return [["from a pod on", "to a pod on", "result"], *rows]


@check("DNS names and service addresses, from a pod on every host", by_hand=by_hand.services)
def services(session: Session) -> tuple[Rows, Picture]:
    """Rows of host and result, and a picture of all services and the pods behind them."""
    found = read_services(session)
    rows, problems = names_and_services(session, found)
    shown = services_to_endpoints(session, found, ["default", SYSTEM, session.site.airavata.namespace])
    picture = picture_of("services", shown)
    _fail_on("DNS names or services do not answer in pods", problems, picture)
    return [["from a pod on", "result"], *rows], picture


@check("Registry certificate and authentication", by_hand=by_hand.registry_authentication)
def registry_authentication(session: Session) -> Rows:
    """Rows of request and response."""
    return registry.authentication.look(session)


@check("Expiry dates of all certificates", by_hand=by_hand.certificates)
def certificates(session: Session) -> Rows:
    """Rows of host, certificate and the last day that it is valid."""
    rows, problems = expiry(session)
    _fail_on("certificates must be renewed", problems)
    return [["host", "certificate", "valid until"], *rows]


@check("Certificates that the servers present", by_hand=by_hand.served_certificates)
def served_certificates(session: Session) -> tuple[Rows, Picture]:
    """Rows of server, host and the file whose certificate it presents, verified as its clients do; a picture of these clients."""
    rows, problems = served(session)
    _fail_on("servers present another certificate than they should", problems)
    return [["server", "certificate on", "file"], *rows], picture_of("certificates", speaks.picture(session))


@check("Portal through the node port of every host", by_hand=by_hand.portal)
def portal(session: Session) -> Rows:
    """Rows of host, node port and page."""
    if skipped := skipped_rows(session, "portal"):
        return skipped
    rows, problems = portal_pages(session)
    _fail_on("unexpected response of the portal", problems)
    return [["host", "node port", "response", "note"], *rows]


@check("Portal in a browser", by_hand=by_hand.browser)
def browser(session: Session) -> Rows | tuple[Rows, Picture]:
    """Rows of address and page, and a screenshot: by the Chromium of this machine, where it has one."""
    if skipped := skipped_rows(session, "portal"):
        return skipped
    if not (program := find_browser()):
        return [["not verified", "reason"], ["portal in a browser", f"this machine has no Chromium: {INSTALL}, then run again"]]
    return page_in_browser(session, program)


@check("Calls to Airavata's servers", by_hand=by_hand.servers)
def servers(session: Session) -> Rows:
    """Rows of component, call, response and note; what is created is deleted again."""
    rows, problems = server_calls(session)
    _fail_on("unexpected responses of Airavata's servers", problems)
    return [["component", "call", "response", "note"], *rows]


@check("Load balancing over the API server's replicas", by_hand=by_hand.spread)
def spread(session: Session) -> Rows | tuple[Rows, Picture]:
    """Rows of replica and its share, and a chart; the calls are counted in the replicas' own logs."""
    if skipped := skipped_rows(session, "api-server", stand_in_only=True):
        return skipped
    rows, problems, chart = calls_by_replica(session)
    picture = picture_of("replicas", chart)
    _fail_on("calls are not spread over the replicas", problems, picture)
    return [["replica", f"of {REQUESTS} calls"], *rows], picture


@check("Availability while a replica is deleted", by_hand=by_hand.replica_killed)
def replica_killed(session: Session) -> Rows:
    """Rows of event and result. One pod of the API server is deleted while two threads call the API."""
    if skipped := skipped_rows(session, "api-server") or _not_asked_for(session, "api-server"):
        return skipped
    rows, problems = calls_while_replaced(session)
    _fail_on("the API server is not available while a replica is deleted", problems)
    return [["event", "result"], *rows]


@check("Data after a restart of the database", by_hand=by_hand.database_restarted)
def database_restarted(session: Session) -> Rows:
    """Rows of event and result. The database's pod is deleted; calls may fail until it is back."""
    if skipped := skipped_rows(session, DATABASE) or _not_asked_for(session, DATABASE):
        return skipped
    rows, problems = data_after_a_restart(session)
    _fail_on("Airavata's servers do not answer after a restart of their database", problems)
    return [["event", "result"], *rows]


def _not_asked_for(session: Session, component: str) -> Rows:
    """Rows that say why a check that disturbs the site is not made; [] where the site asks for it."""
    if session.site.verify.disruptive:
        return []
    return [["not verified", "reason"], [component, "it deletes a pod: set verify.disruptive, or run with --disruptive"]]


def _fail_on(message: str, problems: list[str], picture: Picture | None = None) -> None:
    """Raise StepFailed with the problems, if there are any, and a picture that shows them."""
    if problems:
        raise StepFailed(message, found="\n".join(problems), picture=picture, retryable=True)


STEPS = [
    nodes,
    pods,
    images,
    units,
    leases,
    pod_to_pod,
    services,
    registry_authentication,
    certificates,
    served_certificates,
    portal,
    browser,
    servers,
    spread,
    replica_killed,
    database_restarted,
]
