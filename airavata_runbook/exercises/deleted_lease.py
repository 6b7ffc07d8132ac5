"""A host's lease is gone from etcd, and does not come back: flannel may not write there any more."""

from collections.abc import Iterator

from airavata_runbook.chapters import etcd_flannel
from airavata_runbook.cluster.etcd import ETCDCTL, leases
from airavata_runbook.configs.control_plane import FLANNEL_IN_ETCD, etcd_users
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import Command, Goal, Lab, Task


def _prefix(lab: Lab) -> str:
    return etcd_users(lab.site)[FLANNEL_IN_ETCD]


def breaks(lab: Lab) -> Iterator[Command]:
    lease = leases(lab.session)[str(lab.worker.address)].subnet.replace("/", "-")
    yield lab.on_master(
        f"{ETCDCTL} role revoke-permission {FLANNEL_IN_ETCD} {_prefix(lab)} --prefix\n"
        f"{ETCDCTL} role grant-permission {FLANNEL_IN_ETCD} read {_prefix(lab)} --prefix\n"
        f"{ETCDCTL} del {_prefix(lab)}subnets/{lease}"
    )


def aims(lab: Lab) -> Iterator[Goal]:
    yield goals.leases_match(lab)
    yield goals.service_runs(lab, lab.worker, "flanneld")
    yield goals.pods_reach_each_other(lab)


def look(lab: Lab) -> Iterator[Command]:
    yield lab.on_master(
        f"ip route show dev flannel.1\netcd='{ETCDCTL}'\n"
        f"$etcd get {_prefix(lab)}subnets/ --prefix\n$etcd role get {FLANNEL_IN_ETCD}\n"
        "journalctl --no-pager -u flanneld -n 3"
    )
    yield lab.on_worker(
        "cat /run/flannel/subnet.env; systemctl status --no-pager -n 0 flanneld; journalctl --no-pager -u flanneld -n 12"
    )


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.on_master(f"{ETCDCTL} role grant-permission {FLANNEL_IN_ETCD} readwrite {_prefix(lab)} --prefix")
    yield lab.on_worker("systemctl reset-failed flanneld\nsystemctl restart flanneld")


TASK = Task(
    title="A lease that does not come back",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "The master has no route to the pods of the worker. Where does its flanneld know from which host has which subnet?",
        "In etcd the worker's lease is missing. A flanneld without a lease asks for a new one: see in its journal what "
        "became of that.",
        "etcd answers 'permission denied': the role flannel may only read (etcdctl role get flannel). Grant it readwrite below "
        "the site's key, and start flanneld on the worker again.",
    ),
    cause="Two faults, one behind the other. Somebody has made flannel's role in etcd read-only, which nobody notices: a lease "
    "is renewed once a day. Then a lease was deleted. flanneld of that host ends, is started again by systemd, and is refused "
    "when it wants its lease back; the others have taken away their routes to it.",
    solution=solution,
    steps=(etcd_flannel.etcd_users, etcd_flannel.pod_network),
)
