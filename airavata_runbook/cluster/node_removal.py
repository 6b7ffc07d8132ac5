"""Taking a node out of the cluster: its pods move to other nodes first, its object and its lease go last."""

from airavata_runbook.cluster import etcd
from airavata_runbook.cluster.readiness import node_exists
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed

DEADLINE = 300  # seconds for all pods to move; a PodDisruptionBudget lets them go one after the other


def drain(session: Session, address: str) -> None:
    """Move the pods of the node `address` to others; nothing where it is no node any more. Raises StepFailed."""
    if not node_exists(session, address):
        return
    # The cache of the API's resources that kubectl writes goes with its folder.
    script = (
        "cache=$(mktemp -d); trap 'rm -rf $cache' EXIT; kubectl --cache-dir $cache --kubeconfig /etc/kubernetes/admin.conf "
        f"drain {address} --ignore-daemonsets --delete-emptydir-data --timeout={DEADLINE}s"
    )
    result = session.master.run(script, timeout=DEADLINE + 60)
    if result.status:
        raise StepFailed(
            "not all pods left the node",
            where=f"node {address}",
            found=result.last_lines,
            remedy=f"see which pods cannot move: kubectl get pods -A -o wide --field-selector spec.nodeName={address}; "
            f"to keep the node after all: kubectl uncordon {address}",
        )


def forget(session: Session, address: str) -> None:
    """Delete the node's object and its lease of a pod subnet."""
    if node_exists(session, address):
        session.kube().core.delete_node(address)
    if lease := etcd.leases(session).get(address):
        with etcd.client(session) as client:
            client.delete(f"{session.site.network.etcd_prefix}/subnets/{lease.subnet.replace('/', '-')}")
