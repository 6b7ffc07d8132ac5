"""Access to a running site for 06-verify: from inside pods through the network check, and from here through SSH forwards."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from http.client import HTTPConnection

from airavata.api import Airavata
from kubernetes.stream import stream
from websocket import WebSocketException

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster import airavata_api
from airavata_runbook.cluster.readiness import READ, workload_missing, workload_trouble
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.step import everywhere
from airavata_runbook.errors import StepFailed
from airavata_runbook.wellknown import SERVICES_CA

SYSTEM = "kube-system"


def api_client(session: Session) -> AbstractContextManager[Airavata.Client]:
    """The SDK's client through the master's node port."""
    address = str(session.site.master.address)
    port = session.master.forward(session.site.airavata.api_node_port, address)
    return airavata_api.connected("127.0.0.1", port, session.vault.authority(SERVICES_CA).cert, address)


def call_api(session: Session) -> None:
    """One call on a connection of its own. Raises StepFailed."""
    with api_client(session):
        pass  # the SDK calls getAPIVersion on every new connection


@contextmanager
def calling_api(session: Session) -> Iterator[list[str]]:
    """Two threads call the API without a pause until the block ends. Yields, for each call so far, its error or ""."""
    calls: list[str] = []
    done = threading.Event()

    def call_repeatedly() -> None:
        while not done.is_set():
            try:
                call_api(session)
                calls.append("")
            except StepFailed as error:
                calls.append(error.found or error.message)

    with ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(call_repeatedly) for _ in range(2)]
        try:
            yield calls
        finally:
            done.set()
        for caller in callers:
            caller.result()


def calls_served(session: Session) -> dict[str, int]:
    """API server pod → calls of getAPIVersion in its log."""
    read_log = session.kube().core.read_namespaced_pod_log
    return {
        name: read_log(name, session.site.airavata.namespace).count("call getAPIVersion")
        for name, terminating in api_pods(session).items()
        if not terminating
    }


def api_pods(session: Session) -> dict[str, bool]:
    """Name of each pod of the Airavata API server → whether it is terminating."""
    selector = "app.kubernetes.io/name=api-server"
    pods = session.kube().core.list_namespaced_pod(session.site.airavata.namespace, label_selector=selector).items
    return {pod.metadata.name: pod.metadata.deletion_timestamp is not None for pod in pods}


def await_replacement(session: Session, pod: str) -> str:
    """Wait until a deleted pod of the API server is gone and all replicas are ready; "", or what is missing after 120 s."""
    end, missing = time.monotonic() + 120, "the deleted pod still exists"
    workload = ("Deployment", session.site.airavata.namespace, "api-server")
    while missing and time.monotonic() < end:
        time.sleep(0.5)
        if pod not in api_pods(session):
            missing = workload_missing(session, *workload)
    return missing and (workload_trouble(session, *workload) or missing)


def api_token(session: Session) -> str:
    """The access token that the STAND-IN accepts."""
    return session.vault.secret(stack_of(session.site).secrets["stand-in"]["api-token"])


def ready_pods(session: Session, kind: str, namespace: str, name: str) -> int:
    """The number of ready pods of a Deployment, StatefulSet or DaemonSet."""
    status = getattr(session.kube().apps, READ[kind])(name, namespace).status
    return (status.number_ready if kind == "DaemonSet" else status.ready_replicas) or 0


def netcheck_pods(session: Session) -> dict[str, tuple[str, str]]:
    """Host name → (pod, address) of the network check. Raises StepFailed when a host has none."""
    listed = session.kube().core.list_namespaced_pod(SYSTEM, label_selector="app.kubernetes.io/name=netcheck").items
    by_node = {
        pod.spec.node_name: (pod.metadata.name, pod.status.pod_ip) for pod in listed if pod.metadata.deletion_timestamp is None
    }
    nodes = everywhere(session.site)
    if without := [node.name for node in nodes if str(node.address) not in by_node]:
        raise StepFailed(
            "hosts have no pod of the network check",
            found=", ".join(without),
            retryable=True,
            remedy=f"kubectl -n {SYSTEM} describe daemonset netcheck",
        )
    return {node.name: by_node[str(node.address)] for node in nodes}


def probe_from_pod(session: Session, pod: str, targets: list[str]) -> list[dict]:
    """The results of `netcheck ask` in a pod, one per target. Raises StepFailed when there are none within a minute."""
    try:
        answer = stream(
            session.kube().core.connect_get_namespaced_pod_exec,
            pod,
            SYSTEM,
            command=["netcheck", "ask", *targets],
            stderr=False,
            stdin=False,
            stdout=True,
            tty=False,
            _preload_content=False,
        )
        answer.run_forever(timeout=60)
    except (OSError, WebSocketException) as error:
        raise StepFailed(
            "the connection to the network check was lost",
            where=f"pod {pod}",
            found=str(error),
            retryable=True,
            remedy=f"check that {session.site.master.name} is up, then run again",
        ) from None
    return parse_results(answer.read_all(), pod, len(targets))


def parse_results(text: str, pod: str, count: int) -> list[dict]:
    """The output of `netcheck ask` for `count` targets: each has target, ok, and answer or error. Raises StepFailed."""
    try:
        found = json.loads(text)
        if len(found) == count and all(
            "target" in one and isinstance(one["answer"] if one["ok"] else one["error"], dict if one["ok"] else str)
            for one in found
        ):
            return found
    except (ValueError, LookupError, TypeError, RecursionError):
        pass  # raised below
    raise StepFailed("unexpected output of the network check", where=f"pod {pod}", found=text[:500] or "nothing", retryable=True)


def answering_node(result: dict) -> str:
    """The node whose network check answered, or what came instead of its answer."""
    answer = result["answer"].get("json") if result["ok"] else result["error"]
    return str(answer.get("node")) if isinstance(answer, dict) else str(answer)[:200]


def fetch_page(port: int, name: str, ca: bytes) -> tuple[int, str]:
    """Status and text of the page at a forward, from a server with a certificate for `name`. Raises OSError, HTTPException."""
    context = ssl.create_default_context(cadata=ca.decode())
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
        closing(HTTPConnection(name, port)) as connection,
    ):
        connection.sock = tls
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def cluster_ip(session: Session, namespace: str, service: str) -> str:
    return session.kube().core.read_namespaced_service(service, namespace).spec.cluster_ip


def skipped_rows(session: Session, name: str, stand_in_only: bool = False) -> list[list[str]]:
    """Rows with the reason why a component is not verified; [] when it is. stand_in_only: the check works with the STAND-IN only.

    The site's own API server wants a token of its identity provider, which the runbook does not have, and its log does
    not name every call.
    """
    reason = next((f"left out: {one.reason}" for one in stack_of(session.site).left_out if one.name == name), "")
    if not reason and stand_in_only and not stand_in_note(session, name):
        reason = "the site's own server: the runbook has no token for it and cannot read calls from its log"
    return [["not verified", "reason"], [name, reason]] if reason else []


def stand_in_note(session: Session, name: str) -> str:
    return "STAND-IN" if any(one.name == name and one.stand_in for one in stack_of(session.site).components) else ""
