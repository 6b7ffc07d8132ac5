"""A Service whose selector matches no pod: its name resolves, its port is open on every host, and nobody answers."""

from collections.abc import Iterator

from airavata_runbook.chapters import airavata
from airavata_runbook.chapters.portal_page import portal_pages
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import Command, Goal, Lab, Task


def breaks(lab: Lab) -> Iterator[Command]:
    patch = '{"spec": {"selector": {"app.kubernetes.io/version": "2"}}}'
    yield lab.kubectl(f"kubectl -n {lab.namespace} patch service portal -p '{patch}'")


def aims(lab: Lab) -> Iterator[Goal]:
    def without_pods() -> str:
        listed = lab.session.kube().core.read_namespaced_endpoints("portal", lab.namespace).subsets
        return "" if any(one.addresses for one in listed or ()) else "it has no endpoints"

    yield Goal("the Service portal leads to a ready pod", without_pods)
    yield Goal("the portal answers on every host", lambda: "; ".join(portal_pages(lab.session)[1]))
    yield goals.workload_ready(lab, "Deployment", lab.namespace, "portal")


def look(lab: Lab) -> Iterator[Command]:
    address, port = lab.master.address, lab.site.airavata.portal_node_port
    yield lab.on_master(f"curl --insecure --max-time 5 https://{address}:{port}/")
    yield lab.kubectl(
        f"""\
kubectl -n {lab.namespace} get pods --show-labels
kubectl -n {lab.namespace} get service portal -o wide
kubectl -n {lab.namespace} get endpointslices -l kubernetes.io/service-name=portal"""
    )


def solution(lab: Lab) -> Iterator[Command]:
    patch = '[{"op": "remove", "path": "/spec/selector/app.kubernetes.io~1version"}]'
    yield lab.kubectl(f"kubectl -n {lab.namespace} patch service portal --type json -p '{patch}'")


TASK = Task(
    title="A portal that nobody reaches",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "The pod runs and is Ready. Between you and a pod stands a Service: ask which pods it leads to.",
        "A Service leads to the pods that have all labels of its selector. The list of its endpoints is empty: compare the "
        "selector (get service -o wide) with the labels of the portal's pod (get pods --show-labels).",
        "The selector asks for app.kubernetes.io/version=2, and no pod has that label. Take it out of spec.selector.",
    ),
    cause="The selector of the Service portal asks for a label that no pod has, so it has no endpoints, and kube-proxy on every "
    "host refuses connections to it. The pods were never touched.",
    solution=solution,
    steps=(airavata.servers,),
    component="portal",
)
