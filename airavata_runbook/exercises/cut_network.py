"""A packet filter cuts a host off from the others; SSH from outside still works.

It ends by itself after half an hour, whatever becomes of the exercise.
"""

from collections.abc import Iterator

from airavata_runbook.chapters import airavata, etcd_flannel, registry
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import Command, Goal, Lab, Task
from airavata_runbook.wellknown import API_PORT, KUBELET_PORT

TABLE, TIMER = "inet hardening", "airavata-runbook-exercise"
MINUTES = 30


def _rules(lab: Lab) -> str:
    """SSH is let through, as another host may be reached through this one."""
    others = ", ".join(str(node.address) for node in lab.site.nodes if node != lab.worker)
    return f"""\
table {TABLE} {{
    chain input {{
        type filter hook input priority -10; policy accept;
        tcp dport 22 accept
        tcp sport 22 accept
        ip saddr {{ {others} }} drop
    }}
    chain output {{
        type filter hook output priority -10; policy accept;
        tcp dport 22 accept
        tcp sport 22 accept
        ip daddr {{ {others} }} drop
    }}
}}"""


def breaks(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker(
        f"systemd-run --quiet --collect --unit={TIMER} --on-active={MINUTES}min nft delete table {TABLE}\n"
        f"nft -f - <<'END'\n{_rules(lab)}\nEND"
    )


def aims(lab: Lab) -> Iterator[Goal]:
    def answers(address: object, port: int, name: str) -> str:
        connect = f"timeout 3 bash --norc -c 'exec 3<>/dev/tcp/{address}/{port}'"
        return f"{connect} || {{ echo no answer from {name}, port {port}; false; }}"

    master, worker = lab.master, lab.worker
    api, kubelet = answers(master.address, API_PORT, master.name), answers(worker.address, KUBELET_PORT, worker.name)
    yield goals.true_on(lab, worker, f"{worker.name} reaches the API server", api)
    yield goals.true_on(lab, master, f"{master.name} reaches the kubelet of {worker.name}", kubelet)
    yield goals.node_ready(lab, worker)
    yield goals.pods_ready(lab)


def look(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"kubectl get nodes\nkubectl describe node {lab.worker.address} | sed -n '/^Taints/p; /^Conditions/,/^Addresses/p'\n"
        "kubectl get pods -A -o wide | grep -v Running"
    )
    yield lab.on_worker(
        f"""\
journalctl --no-pager -u kubelet -n 10
ip -brief address show {lab.worker.interface}
timeout 3 bash --norc -c 'exec 3<>/dev/tcp/{lab.master.address}/{API_PORT}' && echo reached || echo not reached
ss -Hltn sport = {KUBELET_PORT}
nft list tables"""
    )
    yield lab.on_master(f"ip neigh show {lab.worker.address}")


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker(f"nft list table {TABLE}\nnft delete table {TABLE}")


TASK = Task(
    title="A host that is there and not there",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "You reach the worker over SSH, so it lives; the cluster says NotReady. Who cannot reach whom? Try it from both sides.",
        "No connection between the two hosts comes about, neither refused nor answered: packets are dropped. What drops "
        "packets on a host?",
        f"nft list tables shows a table that neither kube-proxy nor flannel has made, {TABLE}. Read its rules, then delete it.",
    ),
    cause=f"A table of the packet filter on the worker, {TABLE}, drops all packets to and from the other hosts but those of SSH. "
    "The kubelet cannot renew its lease, so that the API server says NotReady after 20 seconds, and pods that "
    "may go elsewhere do.",
    solution=solution,
    steps=(etcd_flannel.pod_network, etcd_flannel.node_services, registry.system_pods, airavata.backing, airavata.servers),
    foreign=lambda lab: [
        lab.on_worker(
            f"systemctl stop {TIMER}.timer 2> /dev/null\n! nft list table {TABLE} > /dev/null 2>&1 || nft delete table {TABLE}"
        )
    ],
)
