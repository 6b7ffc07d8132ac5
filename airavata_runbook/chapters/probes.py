"""How a running site is asked, for 06-verify: from pods through the network check, and from here through SSH forwards."""

import json
import ssl
import urllib.request
from contextlib import AbstractContextManager

from airavata.api import Airavata
from kubernetes.stream import stream
from websocket import WebSocketException

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster import airavata_api as airavata_client
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.step import everywhere
from airavata_runbook.errors import StepFailed

SYSTEM = "kube-system"


def api_client(session: Session) -> AbstractContextManager[Airavata.Client]:
    """The SDK's client through the first host's node port."""
    port = session.master.forward(session.site.airavata.api_node_port, str(session.site.master.address))
    return airavata_client.connected("127.0.0.1", port, session.vault.authority().cert)


def call_api(session: Session) -> None:
    """One call on a connection of its own. Raises StepFailed."""
    with api_client(session):
        pass  # the SDK asks for the API's version on every new connection


def served(session: Session) -> dict[str, int]:
    """Replica → calls of getAPIVersion in its log."""
    read = session.kube().core.read_namespaced_pod_log
    return {
        pod.metadata.name: read(pod.metadata.name, session.site.airavata.namespace).count("call getAPIVersion")
        for pod in api_pods(session)
        if pod.metadata.deletion_timestamp is None
    }


def api_pods(session: Session) -> list:
    """The API server's pods, those that are ending too."""
    return (
        session.kube()
        .core.list_namespaced_pod(session.site.airavata.namespace, label_selector="app.kubernetes.io/name=api-server")
        .items
    )


def api_token(session: Session) -> str:
    """What the STAND-IN lets in."""
    return session.vault.secret(stack_of(session.site).secrets["stand-in"]["api-token"])


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


def ask(session: Session, pod: str, targets: list[str]) -> list[dict]:
    """What `netcheck ask` in a pod found for each target. Raises StepFailed when it does not answer within a minute."""
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
            remedy=f"see that {session.site.master.name} is up, then run again",
        ) from None
    return answers(answer.read_all(), pod, len(targets))


def answers(text: str, pod: str, count: int) -> list[dict]:
    """What `netcheck ask` printed for `count` targets: target, ok, and answer or error. Raises StepFailed."""
    try:
        found = json.loads(text)
        if len(found) == count and all(
            "target" in one and isinstance(one["answer"] if one["ok"] else one["error"], dict if one["ok"] else str)
            for one in found
        ):
            return found
    except (ValueError, LookupError, TypeError, RecursionError):
        pass  # said below
    raise StepFailed("the network check does not answer", where=f"pod {pod}", found=text[:500] or "nothing", retryable=True)


def page_of(url: str, ca: bytes) -> str:
    """A page over verified TLS. Raises OSError."""
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=ca.decode()))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)  # a forward: no proxy
    with opener.open(url, timeout=20) as answer:
        return answer.read().decode()


def cluster_ip(session: Session, namespace: str, service: str) -> str:
    return session.kube().core.read_namespaced_service(service, namespace).spec.cluster_ip
