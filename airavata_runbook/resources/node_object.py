"""The Node object of a host in the cluster: a running kubelet registers only when it starts."""

from dataclasses import dataclass

from airavata_runbook.cluster.host_causes import node_causes
from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.readiness import node_exists
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.resources.service import restart

DEADLINE = 60.0  # seconds for a kubelet to register after its start; 4 were measured


@dataclass(frozen=True)
class NodeObject(ApiResource):
    """name: of the node. One that was deleted, or lost with etcd's data, is registered again by a restart of the kubelet."""

    name: str

    @property
    def label(self) -> str:
        return f"Node {self.name}"

    def footprint(self) -> Footprint:
        return (Touch("object", self.label, by="kubelet"),)

    def ask(self, context: Context) -> bool:
        """Whether the API server has the object."""
        try:
            return node_exists(context.session, self.name)
        except ApiError:
            if context.planning:
                raise NotYet("the API server answers") from None
            raise

    def change(self, found: Found, context: Context) -> Change | None:
        if "service kubelet" in context.touched or found.answered():
            return None  # its start registers the node
        return Change(
            "restart the kubelet",
            "the API server has no such node, and a kubelet registers only when it starts\n",
            call=lambda: self._restart(context),
            shown="systemctl restart kubelet",
            touches=frozenset({"service kubelet"}),
        )

    def _restart(self, context: Context) -> None:
        def missing() -> str:
            return "" if self.ask(context) else f"no node {self.name}"

        restart(context, "kubelet", missing, DEADLINE, lambda: node_causes(context.session, context.host))
