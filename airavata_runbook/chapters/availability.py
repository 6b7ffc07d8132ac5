"""What 06-verify reports of the API server: who serves how many calls, and whether a replica or the database can be lost."""

import time
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor

from airavata.api import Airavata
from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus
from thrift.Thrift import TException

from airavata_runbook.chapters.api_server import (
    api_client,
    api_token,
    await_replacement,
    call_api,
    calling_api,
    calls_served,
)
from airavata_runbook.chapters.probes import pods_of
from airavata_runbook.cluster.airavata_api import token
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed

REQUESTS = 100
SHARE = 20  # of 100: what each of two replicas must at least have served; chance alone gives less in 1 of 10^9 runs
MIN_CALLS = 50  # while a replica is replaced: fewer would prove nothing
DATABASE = "mariadb"
BACK = 90  # seconds for the API to answer from the database again; it may take 60 to end (terminationGracePeriodSeconds)
TEST = "runbook-verify-restart"  # the gateway that must still be there


def calls_by_replica(session: Session) -> tuple[list[list[str]], list[str]]:
    """(rows of replica and its share of REQUESTS calls, counted in the replicas' own logs; a line if they are not spread)."""
    before = calls_served(session)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: call_api(session), range(REQUESTS)))
    after = calls_served(session)
    counts = sorted(after[pod] - before.get(pod, 0) for pod in after)
    least = SHARE * 2 // max(len(counts), 2)
    spread = sum(counts) >= REQUESTS and min(counts) >= least
    return (
        [[f"replica {number}", f"served at least {least}"] for number in range(1, len(counts) + 1)],
        [] if spread else [f"{', '.join(map(str, counts))} of {REQUESTS} calls"],
    )


def calls_while_replaced(session: Session) -> tuple[list[list[str]], list[str]]:
    """(rows of event and result; the problems). One pod of the API server is deleted while two threads call the API."""
    pod = min(pods_of(session, "api-server"))
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
    """(rows of event and result; the problems). The database's pod is deleted; a gateway that was made before must come back."""
    access = token(api_token(session), TEST)
    wanted = Gateway(gatewayId=TEST, gatewayName=TEST, gatewayApprovalStatus=GatewayApprovalStatus.APPROVED)
    with api_client(session) as api:
        if not api.isGatewayExist(access, TEST):  # else it was left by a run that was interrupted here
            api.addGateway(access, wanted)
    before = pods_of(session, DATABASE).keys()
    for pod in before:
        session.kube().core.delete_namespaced_pod(pod, session.site.airavata.namespace)
    missing = _await_answer(session, lambda api: api.getGateway(access, TEST), before)
    if not missing:
        with api_client(session) as api:
            api.deleteGateway(access, TEST)
    return [
        ["the database's pod deleted", "replaced"],
        ["the API answers from the database", f"within {BACK} s"],
        ["a gateway made before", "still there"],
    ], [missing] if missing else []


def _await_answer(session: Session, call: Callable[[Airavata.Client], object], old: Set[str]) -> str:
    """Wait until these pods of the database are gone and the API answers a call; "", or what is missing after BACK seconds."""
    end, missing = time.monotonic() + BACK, ""
    while time.monotonic() < end:
        try:
            missing = "the deleted pod still exists" if old & pods_of(session, DATABASE).keys() else ""
            if not missing:
                with api_client(session) as api:
                    call(api)
                return ""
        except (TException, StepFailed) as error:  # as it may while there is no database
            missing = str(error)
        time.sleep(0.5)
    return f"not within {BACK} s: {missing}"
