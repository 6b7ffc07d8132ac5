"""A site with a stack of its own, on one lab host: a component that leaves stack.yaml leaves the cluster, and no data with it."""

import json
import shutil

import pytest
import yaml

from airavata_runbook.site import Site
from tests.full_picture import kubectl, over_ssh
from tests.labs import PROJECT, lab_hosts
from tests.site.conftest import actions, report, runbook

BESIDE = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: zookeeper}
data: {some: text}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: zookeeper}
spec: {maxUnavailable: 1, selector: {matchLabels: {app.kubernetes.io/name: zookeeper}}}
"""
OURS = ["ConfigMap", "PodDisruptionBudget", "Secret", "Service", "StatefulSet"]  # of zookeeper, but for its data
KINDS = "configmaps,poddisruptionbudgets,secrets,services,statefulsets,deployments,persistentvolumeclaims,pods"
MYID = "cat /var/lib/airavata/zookeeper/version-2/log.1 | sha256sum; stat -c %i /var/lib/airavata/zookeeper"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The folder of a stack with MariaDB and ZooKeeper, as classic has them, ZooKeeper with a few objects more."""
    folder, classic = tmp_path_factory.mktemp("own") / "stack", PROJECT / "airavata_runbook/stacks/classic"
    for name in ("mariadb", "zookeeper"):
        shutil.copytree(classic / name, folder / name)
    with (folder / "zookeeper/deploy.yaml").open("a") as file:
        file.write(BESIDE)
    contents = yaml.safe_load((classic / "stack.yaml").read_text())
    parts = [part for part in contents["components"] if part["name"] in ("mariadb", "zookeeper")]
    parts[1]["certificate"] = ["zookeeper"]
    (folder / "stack.yaml").write_text(yaml.safe_dump({"secrets": contents["secrets"], "components": parts}))
    return folder


@pytest.fixture(scope="module")
def site_file(tmp_path_factory, stack):
    """The path of the site's file, after a run."""
    folder = tmp_path_factory.mktemp("site")
    content = {
        "name": "own-stack-run",
        "nodes": [{"name": "one", "address": "10.86.0.11", "interface": "host0", "role": "master"}],
        "registry": {"name": "registry.lab"},
        "airavata": {"stack": str(stack), "stand_in": True},
        "lab": {"bridge": "lab16", "network": "10.86.0.0/24"},
    }
    file = folder / "own-stack.yaml"
    file.write_text(yaml.safe_dump({"site": content}))
    with lab_hosts(file, folder):
        done = runbook("run", str(file), "--to", "05")
        assert done.returncode == 0, done.stdout + done.stderr
        yield str(file)
        runbook("kubeconfig", str(file), "--stop")


@pytest.fixture(scope="module")
def site(site_file):
    return Site.load(site_file)


def of_zookeeper(site: Site) -> dict[str, str]:
    """Kind → UID of the objects in the namespace that are named like ZooKeeper, but for its pod."""
    items = json.loads(kubectl(site, f"-n airavata get {KINDS} -o json"))["items"]
    named = {one["kind"]: one["metadata"] for one in items if one["metadata"]["name"] in ("zookeeper", "zookeeper-tls")}
    return {kind: metadata["uid"] for kind, metadata in named.items()}


def test_a_component_that_leaves_stack_yaml_leaves_the_cluster_without_its_data_and_nobody_elses(site, site_file, stack):
    kubectl(site, "-n airavata create deployment other --image=registry.lab:5000/none --replicas=0")
    kubectl(site, "-n airavata label deployment other app.kubernetes.io/part-of=airavata")
    before, data = of_zookeeper(site), over_ssh(site, "one", MYID)
    assert sorted(before) == sorted([*OURS, "PersistentVolumeClaim"]) and len(data.split()) == 3, data
    whole = (stack / "stack.yaml").read_text()
    contents = yaml.safe_load(whole)
    contents["components"] = [part for part in contents["components"] if part["name"] != "zookeeper"]
    (stack / "stack.yaml").write_text(yaml.safe_dump(contents))

    done = runbook("plan", site_file, "--only", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    planned = actions(report(site, "latest-plan"), "would change")
    assert of_zookeeper(site) == before, "a plan deletes nothing"
    shown = (PROJECT / "outputs" / site.name / "latest-plan/report.html").read_text()
    assert [kind for kind in OURS if f"{kind} airavata/zookeeper" not in shown] == []
    assert "stays, with its data: PersistentVolumeClaim airavata/zookeeper, volume airavata-zookeeper" in shown

    done = runbook("run", site_file, "--only", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    deleted = actions(report(site), "changed")
    assert {key[3] for key in planned} <= {key[3] for key in deleted}, "as it was planned"
    assert of_zookeeper(site) == {"PersistentVolumeClaim": before["PersistentVolumeClaim"]}
    assert "deployment.apps/other" in kubectl(site, "-n airavata get deployment other -o name")
    assert "statefulset.apps/mariadb" in kubectl(site, "-n airavata get statefulset -o name")
    assert over_ssh(site, "one", MYID) == data

    done = runbook("run", site_file, "--only", "05")
    assert done.returncode == 0 and actions(report(site), "changed") == {}, done.stderr

    (stack / "stack.yaml").write_text(whole)
    done = runbook("run", site_file, "--only", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    assert of_zookeeper(site)["PersistentVolumeClaim"] == before["PersistentVolumeClaim"]
    assert over_ssh(site, "one", MYID).split()[-1] == data.split()[-1], "it runs with its data again"
