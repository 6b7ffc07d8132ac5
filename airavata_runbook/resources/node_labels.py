"""The runbook's labels of a node: the kubelet gives them to a node that it registers, and does not change them later."""

from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet
from airavata_runbook.footprint import Footprint, Touch


@dataclass(frozen=True)
class NodeLabels(ApiResource):
    """name: of the node. labels: those that it needs to have; others are kept."""

    name: str
    labels: Mapping[str, str]

    @property
    def label(self) -> str:
        return f"labels of Node {self.name}"

    def footprint(self) -> Footprint:
        return [Touch("object", f"label {key} of Node {self.name}") for key in self.labels]

    def ask(self, context: Context) -> dict[str, str] | None:
        """The node's labels; None where it is not registered, as a kubelet that registers it brings them along."""
        try:
            return context.session.kube().core.read_node(self.name).metadata.labels or {}
        except ApiError as error:
            if error.status == 404:
                return None
            if context.planning:
                raise NotYet("the API server answers") from None
            raise

    def change(self, found: Found, context: Context) -> Change | None:
        here = found.answered()
        wrong = {key: value for key, value in self.labels.items() if here is not None and here.get(key) != value}
        if not wrong:
            return None
        words = " ".join(f"{key}={value}" for key, value in wrong.items())
        return Change(
            words,
            call=lambda: context.session.kube().core.patch_node(self.name, {"metadata": {"labels": wrong}}),
            shown=f"kubectl label --overwrite node {self.name} {words}",
        )
