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
from airavata_runbook.cluster.kube import kube
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.pool import connect
from airavata_runbook.hosts.vault import vault_of
from airavata_runbook.site import Site

SYSTEM = "kube-system"


def api_client(site: Site) -> AbstractContextManager[Airavata.Client]:
    """The SDK's client through the first host's node port."""
    port = connect(site)[site.master.name].forward(site.airavata.api_node_port, str(site.master.address))
    return airavata_client.connected("127.0.0.1", port, vault_of(site).authority().cert)


def call_api(site: Site) -> None:
    """One call on a connection of its own. Raises StepFailed."""
    with api_client(site):
        pass  # the SDK asks for the API's version on every new connection


def served(site: Site) -> dict[str, int]:
    """Replica → calls of getAPIVersion in its log."""
    read = kube(site).core.read_namespaced_pod_log
    return {
        pod.metadata.name: read(pod.metadata.name, site.airavata.namespace).count("call getAPIVersion")
        for pod in api_pods(site)
        if pod.metadata.deletion_timestamp is None
    }


def api_pods(site: Site) -> list:
    """The API server's pods, those that are ending too."""
    return kube(site).core.list_namespaced_pod(site.airavata.namespace, label_selector="app.kubernetes.io/name=api-server").items


def api_token(site: Site) -> str:
    """What the STAND-IN lets in."""
    return vault_of(site).secret(stack_of(site).secrets["stand-in"]["api-token"])


def netcheck_pods(site: Site) -> dict[str, tuple[str, str]]:
    """Host name → (pod, address) of the network check. Raises StepFailed when a host has none."""
    listed = kube(site).core.list_namespaced_pod(SYSTEM, label_selector="app.kubernetes.io/name=netcheck").items
    by_node = {
        pod.spec.node_name: (pod.metadata.name, pod.status.pod_ip) for pod in listed if pod.metadata.deletion_timestamp is None
    }
    nodes = sorted(site.nodes, key=lambda node: node.name)
    if without := [node.name for node in nodes if str(node.address) not in by_node]:
        raise StepFailed(
            "hosts have no pod of the network check",
            found=", ".join(without),
            retryable=True,
            remedy=f"kubectl -n {SYSTEM} describe daemonset netcheck",
        )
    return {node.name: by_node[str(node.address)] for node in nodes}


def ask(site: Site, pod: str, targets: list[str]) -> list[dict]:
    """What `netcheck ask` in a pod found for each target. Raises StepFailed when it does not answer within a minute."""
    try:
        answer = stream(
            kube(site).core.connect_get_namespaced_pod_exec,
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
            remedy=f"see that {site.master.name} is up, then run again",
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


def cluster_ip(site: Site, namespace: str, service: str) -> str:
    return kube(site).core.read_namespaced_service(service, namespace).spec.cluster_ip
