"""flanneld is stopped on a worker, and its interface is gone: the pods of two hosts do not reach each other."""

from collections.abc import Iterator

from airavata_runbook.chapters import etcd_flannel
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import NETCHECK, Command, Goal, Lab, Task


def breaks(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker("systemctl stop flanneld; ip link delete flannel.1")


def aims(lab: Lab) -> Iterator[Goal]:
    yield goals.service_runs(lab, lab.worker, "flanneld")
    yield goals.pods_reach_each_other(lab)


def look(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"""\
kubectl get nodes
kubectl get pods {NETCHECK} -o wide
pod=$(kubectl get pods {lab.netcheck(lab.master)} -o name)
for address in $(kubectl get pods {NETCHECK} -o jsonpath='{{.items[*].status.podIP}}')
do kubectl -n kube-system exec $pod -- netcheck ask http://$address:8080/; done"""
    )
    for name in (lab.master.name, lab.worker.name):
        yield Command(name, "ip -brief link show type vxlan; ip route show dev flannel.1; systemctl status --no-pager flanneld")
    yield lab.on_worker("journalctl --no-pager -u flanneld -n 20")


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker("systemctl start flanneld")


TASK = Task(
    title="Pods that do not reach each other",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "Both nodes are Ready, and pods on one host reach each other. What carries their packets from host to host?",
        "Every host has an interface flannel.1 and a route through it to the subnet of each other host. Compare the hosts: "
        "ip route show dev flannel.1",
        "The worker has no flannel.1 any more, and its flanneld is stopped (systemctl status flanneld). Its unit makes the "
        "interface when it starts.",
    ),
    cause="Somebody has stopped flanneld on the worker and deleted flannel.1. flanneld only sets up interface and routes; the "
    "kernel carries the packets. So a stopped flanneld alone would not have been noticed until the lease ends, after 24 hours.",
    solution=solution,
    steps=(etcd_flannel.pod_network,),
)
