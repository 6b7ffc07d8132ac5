"""What 06-verify reports of the API server's replicas: who serves how many calls, and whether one can be lost."""

from concurrent.futures import ThreadPoolExecutor

from airavata_runbook.chapters.api_server import api_pods, await_replacement, call_api, calling_api, calls_served
from airavata_runbook.cluster.session import Session

REQUESTS = 100
SHARE = 20  # of 100: what each of two replicas must at least have served; chance alone gives less in 1 of 10^9 runs
MIN_CALLS = 50  # while a replica is replaced: fewer would prove nothing


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
    pod = min(api_pods(session))
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
