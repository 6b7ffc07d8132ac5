"""A server with one replica that ends at once when it is told to: when its pod is deleted under load, calls fail.

One replica alone would not do: kube-proxy sends calls to a pod that ends but still serves, where there is no other
(Kubernetes' documentation, "Virtual IPs and Service Proxies", terminating endpoints), and its successor is up by then.
"""

import json
from collections.abc import Iterator

from airavata_runbook.chapters import airavata
from airavata_runbook.chapters.api_server import call_api
from airavata_runbook.exercises.task import Command, Goal, Lab, Task

SERVER = "api-server"
CALLS = 20  # in a row: kube-proxy of the master may for a moment still choose a pod that has ended


def _wanted(lab: Lab) -> int:
    return max(lab.site.airavata.api_replicas, 2)


def breaks(lab: Lab) -> Iterator[Command]:
    pod = {"terminationGracePeriodSeconds": 1, "containers": [{"name": SERVER, "lifecycle": None}]}
    patch = json.dumps({"spec": {"replicas": 1, "template": {"spec": pod}}})
    yield lab.kubectl(
        f"kubectl -n {lab.namespace} patch deployment {SERVER} -p '{patch}'\n"
        f"kubectl -n {lab.namespace} rollout status deployment {SERVER} --timeout=120s > /dev/null\n"
        # Pods that end serve on for a moment.
        f"until test $(kubectl -n {lab.namespace} get pods -l app.kubernetes.io/name={SERVER} -o name | wc -l) -eq 1\n"
        "do sleep 0.5; done"
    )


def aims(lab: Lab) -> Iterator[Goal]:
    def too_few() -> str:
        scale = lab.session.kube().apps.read_namespaced_deployment_scale(SERVER, lab.namespace)
        return "" if scale.spec.replicas >= _wanted(lab) else f"it shall have {scale.spec.replicas}"

    def not_served() -> str:
        listed = lab.session.kube().core.read_namespaced_endpoints(SERVER, lab.namespace).subsets
        here = sum(len(one.addresses or ()) for one in listed or ())
        return "" if here >= _wanted(lab) else f"it leads to {here}"

    def ends_at_once() -> str:
        pod = lab.session.kube().apps.read_namespaced_deployment(SERVER, lab.namespace).spec.template.spec
        ways = [box.lifecycle and box.lifecycle.pre_stop for box in pod.containers]
        return "" if all(ways) else f"it has no preStop, and {pod.termination_grace_period_seconds} s to end"

    def not_answered() -> str:
        for _ in range(CALLS):
            call_api(lab.session)
        return ""

    yield Goal(f"a pod of {SERVER} serves on for a moment when it is told to end", ends_at_once)
    yield Goal(f"the Deployment {SERVER} has {_wanted(lab)} replicas", too_few)
    yield Goal(f"the Service {SERVER} leads to {_wanted(lab)} ready pods", not_served)
    yield Goal("calls of the API are answered", not_answered)


def look(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"""\
kubectl -n {lab.namespace} get deployment {SERVER}
kubectl -n {lab.namespace} get pods -l app.kubernetes.io/name={SERVER} -o wide
kubectl -n {lab.namespace} get endpointslices -l kubernetes.io/service-name={SERVER}
kubectl -n {lab.namespace} rollout history deployment {SERVER}
kubectl -n {lab.namespace} get replicasets -l app.kubernetes.io/name={SERVER} -o custom-columns='NAME:.metadata.name,\
PODS:.spec.replicas,GRACE:.spec.template.spec.terminationGracePeriodSeconds,END:.spec.template.spec.containers[0].lifecycle'
kubectl -n {lab.namespace} get events --sort-by=.lastTimestamp | tail -n 15"""
    )


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"kubectl -n {lab.namespace} rollout undo deployment {SERVER}\n"
        f"kubectl -n {lab.namespace} scale deployment {SERVER} --replicas={_wanted(lab)}\n"
        f"kubectl -n {lab.namespace} rollout status deployment {SERVER} --timeout=120s"
    )


TASK = Task(
    title="Calls that fail when a pod is replaced",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "The Deployment makes a new pod within seconds. Who answers calls in the meantime, and how does the old pod end?",
        "Count the replicas, and compare the Deployment's two newest ReplicaSets: what do pods of the newest one not do any "
        "more when they are told to end?",
        "The Deployment was changed: one replica, no preStop, one second to end. kubectl rollout undo brings back the template "
        "before, kubectl scale the second replica.",
    ),
    cause="Somebody wanted to save memory and to have quick restarts: the API server has one replica, and its pods lost preStop "
    "and the time to end. A pod that ends is gone before its successor is ready, and nobody else answers. With preStop it serves "
    "on until every host knows of its end, and with two replicas another one answers even where a pod dies without a word.",
    solution=solution,
    steps=(airavata.servers,),
    component=SERVER,
)
