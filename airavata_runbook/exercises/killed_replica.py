"""A server with one replica: when its pod is killed under load, calls fail."""

from collections.abc import Iterator

from airavata_runbook.chapters import airavata
from airavata_runbook.exercises.task import Command, Goal, Lab, Task

SERVER = "api-server"


def _wanted(lab: Lab) -> int:
    return max(lab.site.airavata.api_replicas, 2)


def breaks(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(f"kubectl -n {lab.namespace} scale deployment {SERVER} --replicas=1")


def aims(lab: Lab) -> Iterator[Goal]:
    def too_few() -> str:
        scale = lab.session.kube().apps.read_namespaced_deployment_scale(SERVER, lab.namespace)
        return "" if scale.spec.replicas >= _wanted(lab) else f"it shall have {scale.spec.replicas}"

    def not_served() -> str:
        listed = lab.session.kube().core.read_namespaced_endpoints(SERVER, lab.namespace).subsets
        here = sum(len(one.addresses or ()) for one in listed or ())
        return "" if here >= _wanted(lab) else f"it leads to {here}"

    yield Goal(f"the Deployment {SERVER} has {_wanted(lab)} replicas", too_few)
    yield Goal(f"the Service {SERVER} leads to {_wanted(lab)} ready pods", not_served)


def look(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"""\
kubectl -n {lab.namespace} get deployment {SERVER}
kubectl -n {lab.namespace} get pods -l app.kubernetes.io/name={SERVER} -o wide
kubectl -n {lab.namespace} get endpointslices -l kubernetes.io/service-name={SERVER}
kubectl -n {lab.namespace} get poddisruptionbudgets
kubectl -n {lab.namespace} get events --sort-by=.lastTimestamp | tail -n 15"""
    )


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"kubectl -n {lab.namespace} scale deployment {SERVER} --replicas={_wanted(lab)}\n"
        f"kubectl -n {lab.namespace} rollout status deployment {SERVER} --timeout=120s"
    )


TASK = Task(
    title="Calls that fail when a pod is replaced",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "The Deployment makes a new pod within seconds. Who answers calls in the meantime?",
        "Count the replicas: kubectl get deployment, and the endpoints of the Service.",
        "The Deployment api-server was scaled to one replica. With two, the Service sends calls to the other one while a pod "
        "is replaced.",
    ),
    cause="Somebody has scaled the API server to one replica to save memory. Kubernetes replaces a killed pod, but between its "
    "end and the start of the next one nobody answers. With two replicas one of them always does.",
    solution=solution,
    steps=(airavata.servers,),
    component=SERVER,
)
