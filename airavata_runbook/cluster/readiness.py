"""Why the API server, a node or a workload is not ready, in words; "" when it is ready."""

from collections.abc import Callable
from functools import partial
from typing import Any

from airavata_runbook.cluster import pod_causes
from airavata_runbook.cluster.causes import Cause, report
from airavata_runbook.cluster.host_causes import control_plane_causes
from airavata_runbook.cluster.kube import ApiError, Kube
from airavata_runbook.cluster.session import Session

READ = {
    "Deployment": "read_namespaced_deployment",
    "StatefulSet": "read_namespaced_stateful_set",
    "DaemonSet": "read_namespaced_daemon_set",
}


def api_server_missing(session: Session) -> str:
    """Why the API server is not ready, or does not have the object that the controllers read when they start.

    They exit when they cannot read it; the API server creates it a moment after it reports ready.
    """
    return _read("ConfigMap extension-apiserver-authentication", session, _api_server)


def node_exists(session: Session, name: str) -> bool:
    """Whether the API server has the Node object. Raises ApiError for any other reply than yes or no."""
    try:
        session.kube().core.read_node(name)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def node_missing(session: Session, name: str) -> str:
    """Why a node is not Ready."""
    return _read(f"node {name}", session, lambda client: _node(client, name))


def workload_missing(session: Session, kind: str, namespace: str, name: str) -> str:
    """Why a Deployment, StatefulSet or DaemonSet lacks ready pods of its current revision, or a Job is not complete."""
    look = _job if kind == "Job" else partial(_workload, kind=kind)
    return _read(f"{kind} {name}", session, lambda client: look(client, namespace=namespace, name=name))


def workload_causes(session: Session, kind: str, namespace: str, name: str) -> list[Cause]:
    """The causes for which it does not, or those for which the API server does not answer."""
    try:
        return _workload_causes(session, kind, namespace, name)
    except ApiError as error:
        return [] if error.status else control_plane_causes(session)


def workload_trouble(session: Session, kind: str, namespace: str, name: str) -> str:
    """`workload_missing` and the causes, whole."""
    if missing := workload_missing(session, kind, namespace, name):
        causes = _read(f"{kind} {name}", session, lambda client: report(_workload_causes(session, kind, namespace, name)))
        return f"{missing}\n{causes}".strip()
    return ""


def _workload_causes(session: Session, kind: str, namespace: str, name: str) -> list[Cause]:
    return pod_causes.workload_causes(session, kind, _live(session.kube(), kind, namespace, name))


def _live(client: Kube, kind: str, namespace: str, name: str) -> Any:
    return (
        client.batch.read_namespaced_job(name, namespace) if kind == "Job" else getattr(client.apps, READ[kind])(name, namespace)
    )


def _read(what: str, session: Session, missing: Callable[[Kube], str]) -> str:
    """What `missing` returns, or the error of the API server."""
    try:
        return missing(session.kube())
    except ApiError as error:
        if error.status == 404:
            return f"no {what} yet"
        return f"{error.message}: {error.found} ({error.remedy})"


def _api_server(client: Kube) -> str:
    status, text = client.get("/readyz")
    if status != 200:  # "[+]ping ok\n[-]etcd failed: reason withheld\n…": only the failed checks
        return "; ".join(line for line in text.splitlines() if line.startswith("[-]")) or f"HTTP {status}: {text[:200]}"
    client.core.read_namespaced_config_map("extension-apiserver-authentication", "kube-system")
    return ""


def _node(client: Kube, name: str) -> str:
    for condition in client.core.read_node(name).status.conditions or ():
        if condition.type == "Ready":
            return "" if condition.status == "True" else condition.message
    return "no condition Ready yet"


def _job(client: Kube, namespace: str, name: str) -> str:
    """A Job is ready when it has done its work once; its controller says when it will not do it any more."""
    live = _live(client, "Job", namespace, name)
    for condition in live.status.conditions or ():
        if condition.status == "True" and condition.type in ("Complete", "Failed"):
            return "" if condition.type == "Complete" else f"failed: {condition.message or condition.reason}"
    return f"not done yet: {live.status.ready or 0} pods at work, {live.status.failed or 0} failed"


def _workload(client: Kube, kind: str, namespace: str, name: str) -> str:
    live = _live(client, kind, namespace, name)
    status = live.status
    if (status.observed_generation or 0) < live.metadata.generation:
        return "not yet observed by its controller"
    if kind == "DaemonSet":
        wanted, ready, current = status.desired_number_scheduled, status.number_ready, status.updated_number_scheduled
    else:
        wanted, ready, current = live.spec.replicas, status.ready_replicas, status.updated_replicas
    if wanted == (ready or 0) == (current or 0) and (status.to_dict().get("replicas") or wanted) == wanted:
        return "" if wanted or kind != "DaemonSet" else "no node accepts its pods"
    if wanted == (ready or 0):
        return "its ready pods are not yet those of its newest revision alone"
    return f"{ready or 0} of {wanted} pods ready"
