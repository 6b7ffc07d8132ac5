"""What 06-verify reports of the API server: who serves how many calls, and whether a replica or the database can be lost."""

import time
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor

from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus

from airavata_runbook.chapters.api_server import (
    api_client,
    api_token,
    await_replacement,
    call_api,
    calling_api,
    calls_served,
)
from airavata_runbook.chapters.probes import pods_of
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.chapters.verifiers import server_calls
from airavata_runbook.cluster.airavata_api import token
from airavata_runbook.cluster.readiness import workload_missing
from airavata_runbook.cluster.session import Session
from airavata_runbook.pictures import charts
from airavata_runbook.pictures.charts import Bar
from airavata_runbook.pictures.svg import Drawn

REQUESTS = 100
SHARE = 20  # of 100: what each of two replicas must at least have served; chance alone gives less in 1 of 10^9 runs
MIN_CALLS = 50  # while a replica is replaced: fewer would prove nothing
APPROVED = GatewayApprovalStatus.APPROVED
COUNTED = f"Calls by replica, of {REQUESTS}, as counted in their logs:"  # they differ: tests/nbval/sanitize.cfg has it too
DATABASE = "mariadb"
BACK = 90  # seconds until all servers answer again; the database may take 60 to end (terminationGracePeriodSeconds)
TEST = "runbook-verify-restart"  # the gateway that must still be there


def calls_by_replica(session: Session) -> tuple[list[list[str]], list[str], Drawn]:
    """(rows of replica and its share of REQUESTS calls, counted in the replicas' own logs; a line if they are not spread; a chart
    of the counts)."""
    before = calls_served(session)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: call_api(session), range(REQUESTS)))
    after = calls_served(session)
    counts = sorted(after[pod] - before.get(pod, 0) for pod in after)
    least = SHARE * 2 // max(len(counts), 2)
    spread = sum(counts) >= REQUESTS and min(counts) >= least
    bars = [Bar(f"replica {number}", count, f"{count} calls") for number, count in enumerate(counts, 1)]
    return (
        [[f"replica {number}", f"served at least {least}"] for number in range(1, len(counts) + 1)],
        [] if spread else [f"{', '.join(map(str, counts))} of {REQUESTS} calls"],
        charts.bars(COUNTED, bars, least, f"needed: at least {least} each"),
    )


def calls_while_replaced(session: Session) -> tuple[list[list[str]], list[str]]:
    """(rows of event and result; the problems). One pod of the API server is deleted while two threads call the API."""
    pod = min(name for name, ending in pods_of(session, "api-server").items() if not ending)
    with calling_api(session) as calls:
        session.kube().core.delete_namespaced_pod(pod, session.site.airavata.namespace)
        missing = await_replacement(session, pod)
    errors = [error for error in calls if error]
    problems = [f"not ready with all its replicas again: {missing}"] if missing else []
    problems += [f"{len(errors)} of {len(calls)} calls failed: {'; '.join(sorted(set(errors)))}"] if errors else []
    problems += [f"{len(calls)} calls are too few for a result"] if len(calls) < MIN_CALLS else []
    return [
        ["one pod of the API server deleted", "replaced, all replicas ready"],
        ["calls meanwhile", f"at least {MIN_CALLS}"],
        ["failed calls", "none"],
    ], problems


def data_after_a_restart(session: Session) -> tuple[list[list[str]], list[str]]:
    """(rows of event and result; the problems). The database's pod is deleted; then all servers must answer their calls again.

    Where the STAND-IN serves the API, a gateway that was made before must still be there.
    """
    kept = any(one.name == "api-server" and one.stand_in for one in stack_of(session.site).components)
    access = token(api_token(session), TEST) if kept else None
    if kept:
        with api_client(session) as api:
            if not api.isGatewayExist(access, TEST):  # else it was left by a run that was interrupted here
                api.addGateway(access, Gateway(gatewayId=TEST, gatewayName=TEST, gatewayApprovalStatus=APPROVED))
    before = _database_pods(session)
    for name in before.values():
        session.kube().core.delete_namespaced_pod(name, session.site.airavata.namespace)
    problems = _await_answers(session, before.keys())
    if kept and not problems:
        with api_client(session) as api:
            problems += [] if api.isGatewayExist(access, TEST) else ["the gateway that was made before is gone"]
            api.deleteGateway(access, TEST)
    return [
        ["the database's pod deleted", "replaced"],
        ["calls to Airavata's servers", f"all answered within {BACK} s"],
        *([["a gateway made before", "still there"]] if kept else []),
    ], problems


def _database_pods(session: Session) -> dict[str, str]:
    """UID → name of the database's pods. A pod of a StatefulSet has the name of the one before it."""
    selector = f"app.kubernetes.io/name={DATABASE}"
    pods = session.kube().core.list_namespaced_pod(session.site.airavata.namespace, label_selector=selector).items
    return {pod.metadata.uid: pod.metadata.name for pod in pods}


def _await_answers(session: Session, old: Set[str]) -> list[str]:
    """Wait until the database has pods other than these, ready, and all servers answer; what is missing after BACK seconds.

    old: their UIDs.
    """
    namespace, end = session.site.airavata.namespace, time.monotonic() + BACK
    (component,) = (one for one in stack_of(session.site).components if one.name == DATABASE)
    missing = ["the deleted pod still exists"]
    while missing and time.monotonic() < end:
        time.sleep(0.5)
        if not old & _database_pods(session).keys():
            missing = [why for kind, name in component.waits_for if (why := workload_missing(session, kind, namespace, name))]
            missing = missing or server_calls(session)[1]
    return missing
