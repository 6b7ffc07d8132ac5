"""What the cluster needs and no longer has: found by the first look, and mended where the runbook can."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from airavata_runbook.chapters import health
from airavata_runbook.cluster.etcd import Lease
from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.resources import EtcdStore, NodeObject, PodNetwork
from airavata_runbook.resources.service import restart

OWN, OTHER = "10.98.0.11", "10.98.0.12"
LEASES = {OWN: Lease("10.244.28.0/24", "aa:bb:cc:00:00:01"), OTHER: Lease("10.244.71.0/24", "aa:bb:cc:00:00:02")}
# As `ip` of iproute2 6.1 prints them on a lab host.
COMPLETE = """mac aa:bb:cc:00:00:01
route 10.244.71.0/24 via 10.244.71.0 onlink
neighbour 10.244.71.0 lladdr aa:bb:cc:00:00:02 PERMANENT
bridge 10.244.28.1/24
"""


def context(planning: bool = False, touched: set[str] | None = None, **session: object) -> Context:
    site = SimpleNamespace(name="lab")
    return Context(SimpleNamespace(name="master"), SimpleNamespace(site=site, **session), planning, touched or set())


def pod_network(printed: str, leases: dict, **options) -> list[str]:
    change = PodNetwork(OWN).change(Found(printed.encode(), answer=leases), context(**options))
    return change.detail.splitlines() if change else []


def test_a_complete_pod_network_needs_nothing():
    assert pod_network(COMPLETE, LEASES) == []


@pytest.mark.parametrize(
    ("printed", "leases", "found"),
    [
        ("", LEASES, ["there is no interface flannel.1"]),
        (COMPLETE, {OTHER: LEASES[OTHER]}, ["the host has no lease in etcd"]),
        (
            "mac aa:bb:cc:00:00:09\nbridge 10.244.28.1/24\n",
            LEASES,
            [
                "flannel.1 has MAC aa:bb:cc:00:00:09, its lease aa:bb:cc:00:00:01",
                f"no route to 10.244.71.0/24 of {OTHER}",
                f"no neighbour entry 10.244.71.0 of {OTHER}",
            ],
        ),
        (COMPLETE.replace("route 10.244.71", "route 10.244.70"), LEASES, [f"no route to 10.244.71.0/24 of {OTHER}"]),
        (COMPLETE.replace("28.1/", "9.1/"), LEASES, ["cni0 has 10.244.9.0/24, the lease is 10.244.28.0/24"]),
        (COMPLETE.replace("bridge", "other"), LEASES, ["cni0 has no address, the lease is 10.244.28.0/24"]),
        (COMPLETE + "missing /run/flannel/subnet.env\n", LEASES, ["there is no /run/flannel/subnet.env"]),
    ],
)
def test_a_broken_pod_network_is_planned_to_be_mended(printed, leases, found):
    assert pod_network(printed, leases, planning=True) == found


def test_the_start_of_flanneld_sets_up_the_pod_network_by_itself():
    assert pod_network("", {}, touched={"service flanneld"}) == []


def node(status: int | None, **options) -> NodeObject:
    def read_node(name: str) -> None:
        if status is not None:
            raise ApiError(status, "no", "look")

    return context(kube=lambda: SimpleNamespace(core=SimpleNamespace(read_node=read_node)), **options)


@pytest.mark.parametrize(("status", "summary"), [(None, None), (404, "restart the kubelet")])
def test_a_node_that_was_deleted_is_planned_to_be_registered_again(status, summary):
    resource, around = NodeObject(OWN), node(status, planning=True)
    change = resource.change(Found(answer=resource.ask(around)), around)
    assert (change and change.summary) == summary


def test_a_kubelet_that_starts_registers_its_node_by_itself():
    assert NodeObject(OWN).change(Found(answer=False), node(404, touched={"service kubelet"})) is None


def test_a_plan_knows_that_an_api_server_that_is_down_cannot_be_asked():
    with pytest.raises(NotYet, match="the API server answers"):
        NodeObject(OWN).ask(node(0, planning=True))
    with pytest.raises(ApiError):
        NodeObject(OWN).ask(node(0))


def test_a_restart_that_does_not_help_says_what_is_still_missing():
    host = SimpleNamespace(run=lambda script: SimpleNamespace(status=0), pause=lambda seconds: None)
    left = iter(["no node", "no node", ""])
    restart(Context(host, None), "kubelet", lambda: next(left), 60)  # it was awaited
    with pytest.raises(StepFailed) as caught:
        restart(Context(host, None), "kubelet", lambda: "no node", 0)
    assert caught.value.found == "no node" and caught.value.remedy == "journalctl -u kubelet"


def test_a_restart_that_fails_shows_what_systemctl_printed():
    host = SimpleNamespace(run=lambda script: SimpleNamespace(status=1, last_lines="Unit kubelet.service is masked."))
    with pytest.raises(StepFailed) as caught:
        restart(Context(host, None), "kubelet", lambda: "", 60)
    assert caught.value.found == "Unit kubelet.service is masked."


@pytest.mark.parametrize("planning", [True, False])
def test_an_etcd_that_lost_its_data_is_not_started_empty(planning):
    with pytest.raises(StepFailed) as caught:
        EtcdStore().change(Found(b"initialized\n"), context(planning))
    assert "airavata-runbook reset lab" in caught.value.remedy and "snapshot restore" in caught.value.remedy


@pytest.mark.parametrize("printed", ["", "data\n", "initialized\ndata\n"])
def test_an_etcd_that_is_new_or_has_its_data_is_left_alone(printed):
    assert EtcdStore().change(Found(printed.encode()), context()) is None


def test_nodes_that_the_admin_must_decide_about_are_named_with_the_command():
    def listed(name: str, unschedulable: bool | None = None):
        return SimpleNamespace(metadata=SimpleNamespace(name=name), spec=SimpleNamespace(unschedulable=unschedulable))

    names = {OWN: "master", OTHER: "worker"}
    found = [line for one in (listed(OWN), listed(OTHER, True), listed("10.98.0.99")) for line in health.undecided(one, names)]
    assert [line.partition(":")[0] for line in found] == ["worker", "node 10.98.0.99 is not in the site file"]
    assert "kubectl uncordon 10.98.0.12" in found[0] and "kubectl delete node 10.98.0.99" in found[1]


def container(restarts: int, minutes: float, waiting: str = ""):
    ended = SimpleNamespace(finished_at=datetime.now(UTC) - timedelta(minutes=minutes), exit_code=1, reason="Error")
    state = SimpleNamespace(waiting=SimpleNamespace(reason=waiting) if waiting else None)
    return SimpleNamespace(name="box", restart_count=restarts, state=state, last_state=SimpleNamespace(terminated=ended))


@pytest.mark.parametrize(
    ("one", "reported"),
    [
        (container(0, 60), False),
        (container(1, 1), False),  # a component that waited for another one
        (container(4, 60), False),  # long ago
        (container(3, 1), True),
        (container(1, 60, "CrashLoopBackOff"), True),
    ],
)
def test_containers_that_restart_again_and_again_are_reported(one, reported):
    metadata = SimpleNamespace(name="pod", namespace="airavata")
    found = health.restarting_pods([SimpleNamespace(metadata=metadata, status=SimpleNamespace(container_statuses=[one]))])
    assert bool(found) == reported
    assert not reported or "kubectl -n airavata logs --previous pod -c box" in found[0]


def test_failed_services_of_the_cluster_and_full_disks_are_problems_and_others_are_listed():
    printed = "unit flanneld.service\nunit cloud-init.service\ndisk 91% /\ndisk 91% /\ndisk 12% /var/lib\n"
    host = SimpleNamespace(name="one", run=lambda script: SimpleNamespace(text=printed))
    rows, problems = health.hosts_health(SimpleNamespace(hosts={"one": host}))
    assert rows == [["one", "flanneld.service, cloud-init.service", "below 90 % full"]]
    assert problems == [
        "one: flanneld.service: systemctl status flanneld.service",
        "one: / is 91% full; above 90 % the kubelet evicts pods",
    ]
