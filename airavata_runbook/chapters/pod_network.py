"""What 06-verify reports of the pod network and of services, as seen from the network check's pod on each host."""

from collections.abc import Mapping

from airavata_runbook.chapters.probes import SYSTEM, answering_node, netcheck_pods, probe_from_pod
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed


def answers_between_pods(session: Session) -> tuple[list[list[str]], list[str]]:
    """(rows of source host, destination host and result; a line for each pod that does not reach another)."""
    checkers = netcheck_pods(session)
    rows, problems = [], []
    for name, (pod, _) in checkers.items():
        results = probe_from_pod(session, pod, [f"http://{address}:8080/" for _, address in checkers.values()])
        for other, result in zip(checkers, results, strict=True):
            answered_by = answering_node(result)
            if answered_by != str(session.site.node(other).address):
                problems.append(f"from {name} to {other}: {answered_by}")
            rows.append([name, other, f"answer from the pod on {other}"])
    return rows, problems


def names_and_services(session: Session, services: Mapping[tuple[str, str], dict]) -> tuple[list[list[str]], list[str]]:
    """(rows of host and result; a line for each DNS name or service address that does not answer in a pod there).

    services: (namespace, name) → Service. Raises StepFailed when one is missing.
    """
    domain, namespace = session.site.network.domain, session.site.airavata.namespace
    database, netcheck = _address(services, namespace, "mariadb"), _address(services, SYSTEM, "netcheck")
    # Name → the address that it resolves to.
    names = {
        f"kubernetes.default.svc.{domain}": str(session.site.network.api_address),
        f"mariadb.{namespace}.svc.{domain}": database,
    }
    urls = {
        f"http://netcheck.{SYSTEM}.svc.{domain}:8080/": "HTTP 200 from the service by name",
        f"http://{netcheck}:8080/": "HTTP 200 from the service by address",
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
    return rows, problems


def _address(services: Mapping[tuple[str, str], dict], namespace: str, name: str) -> str:
    if (namespace, name) not in services:
        raise StepFailed(
            f"no service {name} in namespace {namespace}", retryable=True, remedy="run 04-registry and 05-deploy-airavata"
        )
    return services[namespace, name]["spec"]["clusterIP"]
