"""A finished site: a plan changes nothing; manual changes (drift) are listed exactly, and exactly those are repaired."""

import shlex
import time

from airavata_runbook.cluster.session import session_of
from airavata_runbook.site import Site
from tests.full_picture import cluster_picture, difference, etcdctl, kubectl, moved_by_itself, over_ssh, pictures
from tests.site.conftest import actions, report, runbook


def overwrite_tag(site: Site, name: str) -> str:
    """Push other content under the tag of an image, as the site's user; returns the HTTP status."""
    password = session_of(site).vault.secret(site.registry.password)
    script = f"""cd $(mktemp -d) && tag=$(grep -o '{name}:[^"]*' /etc/airavata-runbook/images.json)
url=https://{site.registry_address}/v2/{name}/manifests/${{tag#*:}} type=application/vnd.oci.image.manifest.v1+json
printf 'user = "%s:%s"\\n' {site.registry.user} {shlex.quote(password)} > login
ask() {{ curl -s --cacert /etc/kubernetes/pki/services-ca.crt -K login "$@" "$url"; }}
ask -H "Accept: $type" > manifest && echo >> manifest
ask -T manifest -H "Content-Type: $type" -o /dev/null -w '%{{http_code}}'; rm -r $PWD"""
    return over_ssh(site, site.master.name, script).strip()


def settle(site: Site) -> None:
    """Wait until the kubelets have removed the containers of the pod that 06-verify killed."""
    deadline = time.monotonic() + 180
    while dead := "".join(
        over_ssh(site, node.name, "crictl ps -a -q --state exited; crictl pods -q --state notready").strip()
        for node in site.nodes
    ):
        assert time.monotonic() < deadline, f"dead containers remain: {dead}"
        time.sleep(1)


def test_a_plan_leaves_a_finished_site_as_it_was(first, site_file, site):
    settle(site)
    before, objects = pictures(site), cluster_picture(site)
    done = runbook("plan", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    planned = report(site, "latest-plan")
    assert (planned["changed"], planned["would_change"]) == (0, 0), actions(planned, "would change")
    after = pictures(site)
    assert [
        line
        for name in before
        for line in difference(before[name], after[name])
        if not moved_by_itself(line, site.airavata.storage_path)
    ] == []
    assert difference({"": objects}, {"": cluster_picture(site)}) == []


def test_drift_is_listed_exactly_and_repaired_exactly(first, site_file, site):
    worker = next(node.name for node in site.nodes if node is not site.master)
    namespace, key = site.airavata.namespace, f"{site.network.etcd_prefix}/config"
    over_ssh(site, worker, "echo 'vm.swappiness = 1' >> /etc/sysctl.d/90-airavata-runbook.conf; systemctl stop kube-proxy")
    assert "deleted" in kubectl(site, f"-n {namespace} delete service portal")
    # A kubelet registers only when it starts; flanneld makes a deleted interface anew with another MAC and without routes.
    address = str(site.node(worker).address)
    assert "deleted" in kubectl(site, f"delete node {address}")
    over_ssh(site, worker, "ip link delete flannel.1")
    assert etcdctl(site, f"del {key}").strip() == "1"
    assert overwrite_tag(site, "toolbox") == "201"
    drift = {
        ("02-install", "host_settings", worker, "file /etc/sysctl.d/90-airavata-runbook.conf"): "new content",
        ("03-etcd-flannel", "network_config", site.master.name, f"etcd key {key}"): "create",
        ("03-etcd-flannel", "pod_network", worker, "pod network: flannel.1 and its routes"): "restart flanneld",
        ("03-etcd-flannel", "node_services", worker, "service kube-proxy"): "start",
        ("03-etcd-flannel", "node_services", worker, f"Node {address}"): "restart the kubelet",
        ("04-registry", "images", site.master.name, "image toolbox"): "tag again",
        ("05-deploy-airavata", "servers", site.master.name, f"Service {namespace}/portal"): "create",
    }

    assert runbook("plan", site_file).returncode == 0
    assert actions(report(site, "latest-plan"), "would change") == drift
    assert over_ssh(site, worker, "systemctl is-active kube-proxy").strip() == "inactive", "a plan repairs nothing"

    done = runbook("run", site_file, "--to", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    assert actions(report(site), "changed") == drift
    assert over_ssh(site, worker, "systemctl is-active kube-proxy; grep swap /etc/sysctl.d/*airavata*").strip() == "active"
    assert '"Network"' in etcdctl(site, f"get {key}")
