"""Chapter 06: the running site, verified from outside and from inside its pods; no step's word is relied on (row 16)."""

from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportException

from airavata_runbook.chapters import etcd_flannel, registry
from airavata_runbook.chapters.certificates import expiry, served
from airavata_runbook.chapters.health import hosts_health, restarting_pods, undecided
from airavata_runbook.chapters.probes import (
    SYSTEM,
    answering_node,
    api_client,
    api_pods,
    api_token,
    await_replacement,
    call_api,
    calling_api,
    calls_served,
    cluster_ip,
    fetch_page,
    netcheck_pods,
    probe_from_pod,
    ready_pods,
    skipped_rows,
    stand_in_note,
)
from airavata_runbook.chapters.running_images import running_images
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.airavata_api import token
from airavata_runbook.cluster.readiness import node_missing, workload_trouble
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.step import Rows, check, everywhere
from airavata_runbook.errors import StepFailed
from airavata_runbook.wellknown import SERVICES_CA

REQUESTS = 100
SHARE = 20  # of 100: what each of two replicas must at least have served; chance alone gives less in 1 of 10^9 runs
MIN_CALLS = 50  # while a replica is replaced: fewer would prove nothing
TEST_GATEWAY = "runbook-verify"


@check("Nodes")
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


@check("Failed units and disk space")
def units(session: Session) -> Rows:
    """Rows of host, failed units of systemd and disks. Units that are not the runbook's are only listed."""
    rows, problems = hosts_health(session)
    _fail_on("hosts need attention", problems)
    return [["host", "failed units", "disks"], *rows]


@check("Workloads and their pods")
def pods(session: Session) -> Rows:
    """Rows of namespace, workload and its ready pods, and whether it is a STAND-IN."""
    stack = stack_of(session.site)
    wanted = [(SYSTEM, "Deployment", "coredns"), (SYSTEM, "DaemonSet", "netcheck")]
    wanted += [(stack.namespace, kind, name) for component in stack.components for kind, name in component.waits_for]
    missing = {name: workload_trouble(session, kind, namespace, name) for namespace, kind, name in wanted}
    _fail_on("workloads are not ready", [f"{name}: {why}" for name, why in missing.items() if why])
    _fail_on("pods restart again and again", restarting_pods(session, [SYSTEM, stack.namespace]))
    stand_ins = {component.name for component in stack.components if component.stand_in}
    return [
        ["namespace", "workload", "pods", "note"],
        *(
            [
                namespace,
                f"{kind} {name}",
                f"{ready_pods(session, kind, namespace, name)} ready",
                "STAND-IN" if name in stand_ins else "",
            ]
            for namespace, kind, name in wanted
        ),
    ]


@check("Images that run, by digest")
def images(session: Session) -> Rows:
    """Rows of image, digest and the number of containers that run it."""
    rows, problems = running_images(session, [SYSTEM, session.site.airavata.namespace])
    _fail_on("containers run other images than the site names", problems)
    return [["image", "digest", "containers"], *rows]


@check("Leases in etcd and subnets on the hosts")
def leases(session: Session) -> Rows:
    """Rows of host, lease and subnet."""
    return etcd_flannel.leases.look(session)


@check("Pod to pod between all hosts")
def pod_to_pod(session: Session) -> Rows:
    """Rows of source host, destination host and result."""
    checkers = netcheck_pods(session)
    rows, problems = [], []
    for name, (pod, _) in checkers.items():
        results = probe_from_pod(session, pod, [f"http://{address}:8080/" for _, address in checkers.values()])
        for other, result in zip(checkers, results, strict=True):
            answered_by = answering_node(result)
            if answered_by != str(session.site.node(other).address):
                problems.append(f"from {name} to {other}: {answered_by}")
            rows.append([name, other, f"answer from the pod on {other}"])
    _fail_on("pods cannot reach each other", problems)
    return [["from a pod on", "to a pod on", "result"], *rows]


@check("DNS names and service addresses, from a pod on every host")
def services(session: Session) -> Rows:
    """Rows of host and result."""
    domain, namespace = session.site.network.domain, session.site.airavata.namespace
    database = cluster_ip(session, namespace, "mariadb")
    # Name → the address that it resolves to.
    names = {
        f"kubernetes.default.svc.{domain}": str(session.site.network.api_address),
        f"mariadb.{namespace}.svc.{domain}": database,
    }
    urls = {
        f"http://netcheck.{SYSTEM}.svc.{domain}:8080/": "HTTP 200 from the service by name",
        f"http://{cluster_ip(session, SYSTEM, 'netcheck')}:8080/": "HTTP 200 from the service by address",
    }
    rows, problems = [], []
    for host, (pod, _) in netcheck_pods(session).items():
        targets = [*names, *urls]
        for target, result in zip(targets, probe_from_pod(session, pod, targets), strict=True):
            answer = result["answer"] if result["ok"] else {}
            if not (answer.get("addresses") == [names[target]] if target in names else answer.get("status") == 200):
                problems.append(f"from {host}: {target}: {answer or result.get('error')}")
            # The address that a cluster chose for a service is not shown: it is another one in every cluster.
            shown = "its service address" if names.get(target) == database else names.get(target)
            rows.append([host, f"{target} resolves to {shown}" if target in names else urls[target]])
    _fail_on("DNS names or services do not answer in pods", problems)
    return [["from a pod on", "result"], *rows]


@check("Registry certificate and authentication")
def registry_authentication(session: Session) -> Rows:
    """Rows of request and response."""
    return registry.authentication.look(session)


@check("Expiry dates of all certificates")
def certificates(session: Session) -> Rows:
    """Rows of host, certificate and the last day that it is valid."""
    rows, problems = expiry(session)
    _fail_on("certificates must be renewed", problems)
    return [["host", "certificate", "valid until"], *rows]


@check("Certificates that the servers present")
def served_certificates(session: Session) -> Rows:
    """Rows of server, host and the file whose certificate it presents, verified as its clients do."""
    rows, problems = served(session)
    _fail_on("servers present another certificate than they should", problems)
    return [["server", "certificate on", "file"], *rows]


@check("Portal through the node port of every host")
def portal(session: Session) -> Rows:
    """Rows of host, node port and page."""
    if skipped := skipped_rows(session, "portal"):
        return skipped
    rows, problems, note = [], [], stand_in_note(session, "portal")
    site, authority = session.site, session.vault.authority(SERVICES_CA).cert
    for node in everywhere(site):
        port = session.hosts[node.name].forward(site.airavata.portal_node_port, str(node.address))
        try:
            status, page = fetch_page(port, str(node.address), authority)
            right = status == 200 and site.airavata.gateway in page and note in page
            problems += [] if right else [f"{node.name}: HTTP {status}: {page[:200]}"]
        except (OSError, HTTPException) as error:
            problems.append(f"{node.name}: no page received: {error}")
        rows.append([node.name, str(site.airavata.portal_node_port), f"HTTP 200, names gateway {site.airavata.gateway}", note])
    _fail_on("unexpected response of the portal", problems)
    return [["host", "node port", "response", "note"], *rows]


@check("Create, read and delete a gateway with the Airavata SDK")
def gateway(session: Session) -> Rows:
    """Rows of call and response."""
    if skipped := skipped_rows(session, "api-server", stand_in_only=True):
        return skipped
    access = token(api_token(session), TEST_GATEWAY)
    wanted = Gateway(
        gatewayId=TEST_GATEWAY, gatewayName="Made by 06-verify", gatewayApprovalStatus=GatewayApprovalStatus.APPROVED
    )
    with api_client(session) as api:
        try:
            if api.isGatewayExist(access, TEST_GATEWAY):  # left by a run that was interrupted here
                api.deleteGateway(access, TEST_GATEWAY)
            rows = [
                ["getAPIVersion", api.getAPIVersion()],
                ["addGateway", api.addGateway(access, wanted)],
                ["getGateway", api.getGateway(access, TEST_GATEWAY).gatewayName],
                ["deleteGateway", str(api.deleteGateway(access, TEST_GATEWAY))],
                ["isGatewayExist", str(api.isGatewayExist(access, TEST_GATEWAY))],
            ]
        except TTransportException:
            raise  # not a refusal: the connection was lost, which api_client explains
        except TException as error:
            raise StepFailed("the Airavata API refused a call", found=str(error)) from None
        try:
            api.getAllGateways(token("not-the-token"))
            raise StepFailed("the Airavata API accepted a wrong token")
        except TTransportException:
            raise
        except TException as error:
            rows.append(["getAllGateways with a wrong token", type(error).__name__])
    expected = (TEST_GATEWAY, wanted.gatewayName, "True", "False", "AuthorizationException")
    _fail_on(
        "unexpected responses of the Airavata API",
        [f"{call}: {answer}" for (call, answer), right in zip(rows[1:], expected, strict=True) if answer != right],
    )
    return [["call", f"response of the {stand_in_note(session, 'api-server')}"], *rows]


@check("Load balancing over the API server's replicas")
def spread(session: Session) -> Rows:
    """Rows of replica and its share; the calls are counted in the replicas' own logs."""
    if skipped := skipped_rows(session, "api-server", stand_in_only=True):
        return skipped
    before = calls_served(session)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: call_api(session), range(REQUESTS)))
    after = calls_served(session)
    counts = sorted(after[pod] - before.get(pod, 0) for pod in after)
    least = SHARE * 2 // max(len(counts), 2)
    _fail_on(
        "calls are not spread over the replicas",
        [f"{', '.join(map(str, counts))} of {REQUESTS} calls"] if sum(counts) < REQUESTS or min(counts) < least else [],
    )
    return [
        ["replica", f"of {REQUESTS} calls"],
        *([f"replica {number}", f"served at least {least}"] for number in range(1, len(counts) + 1)),
    ]


@check("Availability while a replica is deleted")
def replica_killed(session: Session) -> Rows:
    """Rows of event and result. One pod of the API server is deleted while two threads call the API."""
    if skipped := skipped_rows(session, "api-server"):
        return skipped
    if not session.site.verify.disruptive:
        return [["not verified", "reason"], ["api-server", "it deletes a pod: set verify.disruptive, or run with --disruptive"]]
    pod = min(api_pods(session))
    with calling_api(session) as calls:
        session.kube().core.delete_namespaced_pod(pod, session.site.airavata.namespace)
        missing = await_replacement(session, pod)
    _fail_on("the API server is not ready with all its replicas again", [missing] if missing else [])
    errors = [error for error in calls if error]
    _fail_on(
        "calls failed while a replica was deleted",
        [f"{len(errors)} of {len(calls)}: {'; '.join(sorted(set(errors)))}"] if errors else [],
    )
    _fail_on("too few calls for a result", [f"{len(calls)} calls"] if len(calls) < MIN_CALLS else [])
    return [
        ["event", "result"],
        ["one pod of the API server deleted", "replaced, all replicas ready"],
        ["calls meanwhile", f"at least {MIN_CALLS}"],
        ["failed calls", "none"],
    ]


def _fail_on(message: str, problems: list[str]) -> None:
    """Raise StepFailed with the problems, if there are any."""
    if problems:
        raise StepFailed(message, found="\n".join(problems), retryable=True)


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
    gateway,
    spread,
    replica_killed,
]
