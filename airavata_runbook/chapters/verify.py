"""Chapter 06: the site proved from outside and from inside its pods; nothing is believed because a step said so (row 16)."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportException

from airavata_runbook.chapters import etcd_flannel, registry
from airavata_runbook.chapters.probes import (
    SYSTEM,
    api_client,
    api_pods,
    api_token,
    ask,
    call_api,
    cluster_ip,
    netcheck_pods,
    page_of,
    served,
)
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster import airavata_api as airavata_client
from airavata_runbook.cluster.readiness import node_missing, workload_missing
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.step import Rows, check, everywhere
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.pki import issue as pki
from airavata_runbook.wellknown import PKI

REQUESTS = 100
SHARE = 20  # of 100: what each of two replicas must at least have served; chance alone gives less in 1 of 10^9 runs
TEST_GATEWAY = "runbook-verify"


@check("The nodes")
def nodes(session: Session) -> Rows:
    """Rows of node, its host and whether it is Ready."""
    missing = {node.name: node_missing(session, str(node.address)) for node in everywhere(session.site)}
    _refuse("nodes are not Ready", [f"{name}: {why}" for name, why in missing.items() if why])
    return [
        ["node", "host", "kubelet", "state"],
        *(
            [
                str(node.address),
                node.name,
                session.kube().core.read_node(str(node.address)).status.node_info.kubelet_version,
                "Ready",
            ]
            for node in everywhere(session.site)
        ),
    ]


@check("The pods")
def pods(session: Session) -> Rows:
    """Rows of workload and its pods."""
    apps, stack = session.kube().apps, stack_of(session.site)
    wanted = [(SYSTEM, "Deployment", "coredns"), (SYSTEM, "DaemonSet", "netcheck")]
    wanted += [(stack.namespace, kind, name) for component in stack.components for kind, name in component.waits_for]
    missing = {name: workload_missing(session, kind, namespace, name) for namespace, kind, name in wanted}
    _refuse("workloads are not ready", [f"{name}: {why}" for name, why in missing.items() if why])
    stand_ins = {component.name for component in stack.components if component.stand_in}
    rows = []
    for namespace, kind, name in wanted:
        ready = (
            apps.read_namespaced_daemon_set(name, namespace).status.number_ready
            if kind == "DaemonSet"
            else getattr(apps, f"read_namespaced_{'stateful_set' if kind == 'StatefulSet' else 'deployment'}")(
                name, namespace
            ).status.ready_replicas
        )
        rows.append([namespace, f"{kind} {name}", f"{ready} ready", "STAND-IN" if name in stand_ins else ""])
    return [["namespace", "workload", "pods", ""], *rows]


@check("Leases in etcd and the subnets on the hosts")
def leases(session: Session) -> Rows:
    """Rows of host, lease and subnet."""
    return etcd_flannel.leases.look(session)


@check("From every host's pod to every other's")
def pod_to_pod(session: Session) -> Rows:
    """Rows of where from, where to, and who answered."""
    checkers = netcheck_pods(session)
    rows, problems = [], []
    for name, (pod, _) in checkers.items():
        answers = ask(session, pod, [f"http://{address}:8080/" for _, address in checkers.values()])
        for (other, _), answer in zip(checkers.items(), answers, strict=True):
            by = _node_of(answer)
            if by != str(session.site.node(other).address):
                problems.append(f"from {name} to {other}: {by}")
            rows.append([name, other, "answered by the pod on " + other])
    _refuse("pods do not reach each other", problems)
    return [["from a pod on", "to a pod on", ""], *rows]


def _node_of(answer: dict) -> str:
    """The node whose pod answered, or what came instead of it."""
    said = answer["answer"].get("json") if answer["ok"] else answer["error"]
    return str(said.get("node")) if isinstance(said, dict) else str(said)[:200]


@check("Names and service addresses, asked from a pod on every host")
def services(session: Session) -> Rows:
    """Rows of host, what was asked, and the answer."""
    domain, namespace = session.site.network.domain, session.site.airavata.namespace
    names = {
        f"kubernetes.default.svc.{domain}": [str(session.site.network.api_address)],
        f"mariadb.{namespace}.svc.{domain}": [cluster_ip(session, namespace, "mariadb")],
    }
    urls = {
        f"http://netcheck.{SYSTEM}.svc.{domain}:8080/": "service by name",
        f"http://{cluster_ip(session, SYSTEM, 'netcheck')}:8080/": "service by address",
    }
    rows, problems = [], []
    for name, (pod, _) in netcheck_pods(session).items():
        answers = ask(session, pod, [*names, *urls])
        for answer, wanted in zip(answers, [*names.values(), *urls.values()], strict=True):
            good = answer["ok"] and (answer["answer"].get("addresses") == wanted or answer["answer"].get("status") == 200)
            if not good:
                problems.append(f"from {name}: {answer['target']}: {answer.get('answer') or answer['error']}")
            what = f"{answer['target']} is {', '.join(wanted)}" if isinstance(wanted, list) else f"{wanted} answers"
            rows.append([name, what])
    _refuse("names or services do not answer in pods", problems)
    return [["from a pod on", "asked"], *([host, _stable(session, what)] for host, what in rows)]


@check("The registry: 401 without, 200 with its password")
def registry_answers(session: Session) -> Rows:
    """Rows of what was asked and answered."""
    return registry.answers.look(session)


@check("Certificates and their dates")
def certificates(session: Session) -> Rows:
    """Rows of host, certificate and until when it is valid."""
    script = (
        f"for file in {PKI}/*.crt {PKI}/services/*.crt {session.site.registry.root}/cert/*.crt; do "
        "test -e $file && echo FILE $file && cat $file; done; true"
    )
    seen = run_parallel(session.hosts.values(), lambda host: host.run(script).text)
    rows, problems = [], []
    for name, printed in sorted(seen.items()):
        if isinstance(printed, Exception):
            raise printed
        _, *files = printed.split("FILE ")
        problems += [] if files else [f"{name}: no certificate is there"]
        for part in files:
            path, _, pem = part.partition("\n")
            found = pki.describe(pem.encode())
            problems += [f"{name}: {path}: {why}" for why in pki.problems(pem.encode())]
            rows.append([name, path, f"{found.not_after:%Y-%m-%d}"])
    _refuse("certificates need to be renewed", problems)
    return [["host", "certificate", "valid until"], *rows]


@check("The portal through every host's node port")
def portal(session: Session) -> Rows:
    """Rows of host and answer."""
    if why := _cannot_ask(session, "portal"):
        return why
    rows, problems, note = [], [], _stand_in_note(session, "portal")
    for node in everywhere(session.site):
        port = session.hosts[node.name].forward(session.site.airavata.portal_node_port, str(node.address))
        try:
            page = page_of(f"https://127.0.0.1:{port}/", session.vault.authority().cert)
            problems += [] if session.site.airavata.gateway in page and note in page else [f"{node.name}: {page[:200]}"]
        except OSError as error:
            problems.append(f"{node.name}: no page over the connection to it: {error}")
        rows.append(
            [node.name, str(session.site.airavata.portal_node_port), f"200, names gateway {session.site.airavata.gateway}", note]
        )
    _refuse("the portal does not answer as it must", problems)
    return [["host", "node port", "page", ""], *rows]


@check("A gateway made, read and deleted by the official SDK")
def gateway(session: Session) -> Rows:
    """Rows of call and answer."""
    if why := _cannot_ask(session, "api-server", ours=True):
        return why
    token = airavata_client.token(api_token(session), TEST_GATEWAY)
    wanted = Gateway(
        gatewayId=TEST_GATEWAY, gatewayName="Made by 06-verify", gatewayApprovalStatus=GatewayApprovalStatus.APPROVED
    )
    with api_client(session) as api:
        try:
            if api.isGatewayExist(token, TEST_GATEWAY):  # of a run that was interrupted here
                api.deleteGateway(token, TEST_GATEWAY)
            rows = [
                ["getAPIVersion", api.getAPIVersion()],
                ["addGateway", api.addGateway(token, wanted)],
                ["getGateway", api.getGateway(token, TEST_GATEWAY).gatewayName],
                ["deleteGateway", str(api.deleteGateway(token, TEST_GATEWAY))],
                ["isGatewayExist", str(api.isGatewayExist(token, TEST_GATEWAY))],
            ]
        except TTransportException:
            raise  # no refusal: the connection was lost, which the client explains
        except TException as error:
            raise StepFailed("the Airavata API refused a call", found=str(error)) from None
        try:
            api.getAllGateways(airavata_client.token("not-the-token"))
            raise StepFailed("the Airavata API let a wrong token in")
        except TTransportException:
            raise
        except TException as error:
            rows.append(["getAllGateways with a wrong token", type(error).__name__])
    _refuse(
        "the API's answers are not what was asked for",
        [
            f"{call}: {answer}"
            for (call, answer), right in zip(
                rows[1:], (TEST_GATEWAY, wanted.gatewayName, "True", "False", "AuthorizationException"), strict=True
            )
            if answer != right
        ],
    )
    return [["call", "answer " + _stand_in_note(session, "api-server")], *rows]


@check("Requests are spread over the replicas")
def spread(session: Session) -> Rows:
    """Rows of replica and its verdict; the calls are counted in the replicas' own logs."""
    if why := _cannot_ask(session, "api-server", ours=True):
        return why
    before = served(session)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: call_api(session), range(REQUESTS)))
    after = served(session)
    counts = sorted(after[pod] - before.get(pod, 0) for pod in after)
    least = SHARE * 2 // max(len(counts), 2)
    _refuse(
        "requests are not spread over the replicas",
        [f"{', '.join(map(str, counts))} of {REQUESTS} calls"] if sum(counts) < REQUESTS or min(counts) < least else [],
    )
    return [
        ["replica", f"of {REQUESTS} calls"],
        *([f"replica {number}", f"served at least {least}"] for number in range(1, len(counts) + 1)),
    ]


@check("No request is lost while a replica is killed")
def replica_killed(session: Session) -> Rows:
    """Rows of what was done and seen. One pod of the API server is deleted while calls go on."""
    if why := _cannot_ask(session, "api-server"):
        return why
    namespace, core = session.site.airavata.namespace, session.kube().core
    victim = min(pod.metadata.name for pod in api_pods(session))
    lost: list[str] = []
    calls, done = [0], threading.Event()

    def call_on() -> None:
        while not done.is_set():
            try:
                call_api(session)
            except StepFailed as error:
                lost.append(error.found or error.message)
            calls[0] += 1

    with ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(call_on) for _ in range(2)]
        try:
            core.delete_namespaced_pod(victim, namespace)
            missing = _await_replacement(session, namespace, victim)
        finally:
            done.set()
        for caller in callers:
            caller.result()
    _refuse("the API server did not come back to all its replicas", [missing] if missing else [])
    _refuse(
        "requests were lost while a replica was killed",
        [f"{len(lost)} of {calls[0]}: {'; '.join(sorted(set(lost)))}"] if lost else [],
    )
    _refuse("too few calls to tell", [f"{calls[0]} calls"] if calls[0] < 50 else [])
    return [
        ["one replica of the API server", "killed, replaced, Ready again"],
        ["calls meanwhile", "at least 50"],
        ["lost", "none"],
    ]


def _await_replacement(session: Session, namespace: str, victim: str) -> str:
    """Wait until the victim is gone and all replicas are ready; what is missing after the deadline."""
    end, missing = time.monotonic() + 120, "the killed pod is still there"
    while missing and time.monotonic() < end:
        time.sleep(0.5)
        listed = api_pods(session)
        missing = (
            "the killed pod is still there"
            if victim in {pod.metadata.name for pod in listed}
            else workload_missing(session, "Deployment", namespace, "api-server")
        )
    return missing


def _stable(session: Session, text: str) -> str:
    """Without the address that the cluster chose for a service: it is another one in every cluster."""
    return text.replace(cluster_ip(session, session.site.airavata.namespace, "mariadb"), "its service address")


def _cannot_ask(session: Session, name: str, ours: bool = False) -> Rows:
    """Rows that say why a component is not asked; [] when it is. ours: only the STAND-IN can be asked so.

    The site's own API server wants a token of its identity provider, which the runbook does not have, and its log does
    not name every call.
    """
    stack = stack_of(session.site)
    why = next((f"left out: {one.reason}" for one in stack.left_out if one.name == name), "")
    if not why and ours and not _stand_in_note(session, name):
        why = "the site's own server: the runbook has no token for it and cannot read calls from its log"
    return [["not asked", "why"], [name, why]] if why else []


def _stand_in_note(session: Session, name: str) -> str:
    return "STAND-IN" if any(one.name == name and one.stand_in for one in stack_of(session.site).components) else ""


def _refuse(message: str, problems: list[str]) -> None:
    if problems:
        raise StepFailed(message, found="\n".join(problems), retryable=True)


STEPS = [
    nodes,
    pods,
    leases,
    pod_to_pod,
    services,
    registry_answers,
    certificates,
    portal,
    gateway,
    spread,
    replica_killed,
]
