"""A host that was drained and never given back: pods whose data is on its disk can run nowhere else."""

from collections.abc import Iterator

from airavata_runbook.chapters import airavata, registry
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import Command, Goal, Lab, Task


def breaks(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(f"kubectl drain {lab.worker.address} --ignore-daemonsets --delete-emptydir-data --timeout=150s > /dev/null")


def aims(lab: Lab) -> Iterator[Goal]:
    yield goals.node_ready(lab, lab.worker)
    yield goals.pods_ready(lab)


def look(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"""\
kubectl get nodes
kubectl -n {lab.namespace} get pods -o wide
kubectl -n {lab.namespace} describe pod mariadb-0 | sed -n '/^Events/,$p'
kubectl describe persistentvolumes | grep -E '^Name:|^Claim:|hostname'
kubectl describe node {lab.worker.address} | sed -n '/^Taints/p; /^Unschedulable/p'"""
    )


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(f"kubectl uncordon {lab.worker.address}")


TASK = Task(
    title="Databases that do not start",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "Read the events of a pod that is Pending: the scheduler says of each host why it cannot have it.",
        "One host has not the volume, the other takes no pods. The volume cannot be moved; why does the host take none?",
        "The worker is cordoned (SchedulingDisabled): somebody drained it and did not give it back. kubectl uncordon",
    ),
    cause="The worker was drained for maintenance and stayed cordoned. Pods without data moved to the other host; those of the "
    "databases wait for the host that has their volumes. Whether a host may have pods again is the admin's decision, which no "
    "run takes; 06-verify says that it is due.",
    solution=solution,
    steps=(registry.system_pods, airavata.backing, airavata.servers),
    foreign=lambda lab: [lab.kubectl(f"kubectl uncordon {lab.worker.address} > /dev/null")],
)
