"""Access to the API server's replicas for 06-verify: the SDK's client through an SSH forward, their pods and their logs."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from airavata.api import Airavata

from airavata_runbook.chapters.probes import pods_of
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster import airavata_api
from airavata_runbook.cluster.readiness import workload_missing, workload_trouble
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed
from airavata_runbook.wellknown import SERVICES_CA


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
        for name, terminating in pods_of(session, "api-server").items()
        if not terminating
    }


def await_replacement(session: Session, pod: str) -> str:
    """Wait until a deleted pod of the API server is gone and all replicas are ready; "", or what is missing after 120 s."""
    end, missing = time.monotonic() + 120, "the deleted pod still exists"
    workload = ("Deployment", session.site.airavata.namespace, "api-server")
    while missing and time.monotonic() < end:
        time.sleep(0.5)
        if pod not in pods_of(session, "api-server"):
            missing = workload_missing(session, *workload)
    return missing and (workload_trouble(session, *workload) or missing)


def api_token(session: Session) -> str:
    """The access token that the STAND-IN accepts."""
    return session.vault.secret(stack_of(session.site).secrets["stand-in"]["api-token"])
