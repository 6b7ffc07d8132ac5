"""A site as the runbook made it until 2026-11, databases as Deployments on hostPath: a run takes it over, data and all."""

import json

from tests.full_picture import kubectl, over_ssh
from tests.site.conftest import actions, in_database, report, runbook

NAMES = ("mariadb", "rabbitmq", "zookeeper")
MADE_BY_SERVER = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
KUBECTL = "kubectl --cache-dir /tmp/kubectl --kubeconfig /etc/kubernetes/admin.conf"
APPLY = f"{KUBECTL} apply --server-side --field-manager=airavata-runbook"


def make_earlier_layout(site) -> None:
    """The StatefulSets, their claims and volumes become Deployments that mount the folders themselves."""
    here = f"-n {site.airavata.namespace}"
    deployments = []
    for name in NAMES:
        one = json.loads(kubectl(site, f"{here} get statefulset {name} -o json"))
        pod = one["spec"]["template"]["spec"]
        pod.pop("tolerations")
        pod["nodeSelector"] = {"kubernetes.io/hostname": str(site.storage_node.address)}
        folder = {"path": f"{site.airavata.storage_path}/{name}", "type": "DirectoryOrCreate"}
        pod["volumes"] = [volume for volume in pod["volumes"] if "persistentVolumeClaim" not in volume]
        pod["volumes"].append({"name": "data", "hostPath": folder})
        spec = {key: one["spec"][key] for key in ("replicas", "selector", "template")} | {"strategy": {"type": "Recreate"}}
        metadata = {key: value for key, value in one["metadata"].items() if key not in MADE_BY_SERVER}
        deployments.append({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    for kind in ("statefulset", "pvc"):
        kubectl(site, f"{here} delete {kind} {' '.join(NAMES)} --cascade=foreground")
    kubectl(site, "delete pv " + " ".join(f"{site.airavata.namespace}-{name}" for name in NAMES))
    over_ssh(site, site.storage_node.name, "chmod 00700 " + " ".join(f"{site.airavata.storage_path}/{name}" for name in NAMES))
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": deployments})
    over_ssh(site, site.master.name, f"{APPLY} -f - <<'END'\n{listed}\nEND")
    for name in NAMES:
        kubectl(site, f"{here} rollout status deployment {name} --timeout=120s")


def test_deployments_on_folders_are_taken_over_with_their_data(first, site_file, site):
    here, master, namespace = f"-n {site.airavata.namespace}", site.master.name, site.airavata.namespace
    in_database(site, "DROP TABLE IF EXISTS app_catalog.kept; CREATE TABLE app_catalog.kept (a INT);")
    make_earlier_layout(site)
    in_database(site, "INSERT INTO app_catalog.kept VALUES (4711)", "deployment")
    assert runbook("plan", site_file, "--only", "05").returncode == 0
    planned = {action[1:]: what for action, what in actions(report(site, "latest-plan"), "would change").items()}
    expected = {("backing", master, "earlier volumes and workloads of the databases"): "delete 3"}
    for name in NAMES:
        folder = f"folder {site.airavata.storage_path}/{name}"
        expected["storage", site.storage_node.name, folder] = "700 10001:10001 directory → 2770 10001:10001 directory"
        for label in (f"Volume {namespace}-{name}", f"VolumeClaim {namespace}/{name}"):
            expected["backing", master, f"Persistent{label}"] = "create"
        expected["backing", master, f"StatefulSet {namespace}/{name}"] = "create"
    assert planned == expected
    there = set(kubectl(site, f"{here} get statefulsets -o name").split())
    assert not there & {f"statefulset.apps/{name}" for name in NAMES}, "a plan changes nothing"

    done = runbook("run", site_file, "--only", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {action[1:]: what for action, what in actions(report(site), "changed").items()} == expected
    assert not set(kubectl(site, f"{here} get deployments -o name").split()) & {f"deployment.apps/{name}" for name in NAMES}
    assert in_database(site, "SELECT a FROM app_catalog.kept") == "4711"

    done = runbook("run", site_file, "--only", "05")
    assert done.returncode == 0 and actions(report(site), "changed") == {}, done.stdout + done.stderr
