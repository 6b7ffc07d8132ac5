"""A ClusterRoleBinding that the admin's own rights follow from: made on the master with super-admin.conf, which stays there."""

import json
from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import NotYet
from airavata_runbook.footprint import Footprint, Touch

PATH = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
# With --raw kubectl neither asks for the API's resources nor leaves a cache of them in root's home.
KUBECTL = "kubectl --request-timeout=5s --kubeconfig /etc/kubernetes/super-admin.conf"


@dataclass(frozen=True)
class RoleBinding:
    """manifest: the ClusterRoleBinding, as parsed YAML."""

    manifest: dict

    @property
    def name(self) -> str:
        return self.manifest["metadata"]["name"]

    @property
    def label(self) -> str:
        return f"ClusterRoleBinding {self.name}"

    def footprint(self) -> Footprint:
        return (Touch("object", self.label),)

    def probe(self) -> str:
        return f"{KUBECTL} get --raw {quote(f'{PATH}?fieldSelector=metadata.name={self.name}')}"

    def change(self, found: Found, context: Context) -> Change | None:
        if found.status:
            raise NotYet("the API server runs")
        items = json.loads(found.text)["items"]
        if items and all(items[0].get(field) == self.manifest[field] for field in ("roleRef", "subjects")):
            return None
        # The role of a binding cannot be changed: it is made anew.
        delete = f"{KUBECTL} delete --raw {PATH}/{quote(self.name)} > /dev/null\n" if items else ""
        create = f"printf %s {quote(json.dumps(self.manifest))} | {KUBECTL} create --raw {PATH} -f - > /dev/null\n"
        subject = self.manifest["subjects"][0]
        detail = f"{subject['kind']} {subject['name']}: ClusterRole {self.manifest['roleRef']['name']}\n"
        script, touches = delete + create, frozenset({self.label})
        return Change("change" if items else "create", detail, script, shown=script, touches=touches, creates=not items)
