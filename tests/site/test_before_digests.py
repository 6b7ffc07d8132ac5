"""A site as the runbook made it until 2026-11, with tags in manifests and one login for all: a run takes it over."""

import base64
import json

from airavata_runbook.cluster.session import session_of
from airavata_runbook.wellknown import IMAGES, SECRETS
from tests.full_picture import kubectl, over_ssh
from tests.site.conftest import actions, report, runbook

NAMES = "s#(image: [^@ ]+)@sha256:[0-9a-f]+#\\1#"
WORKLOADS = "deployments,daemonsets,statefulsets"


def make_earlier_layout(site) -> None:
    """Hosts and pods pull as the site's user, on the registry's own port, images by tags; there is no record of digests."""
    root, namespaces = site.registry.root, ("kube-system", site.airavata.namespace)
    password = session_of(site).vault.secret(site.registry.password)
    login = base64.b64encode(f"{site.registry.user}:{password}".encode()).decode()
    over_ssh(
        site,
        site.registry_node.name,
        f"""set -e; cd $(mktemp -d); url=https://{site.registry_address}/v2/pause/manifests
printf 'header = "Authorization: Basic %s"\\n' {login} > login
digest=$(sed -nE 's#.*/pause@(sha256:[0-9a-f]+).*#\\1#p' /etc/containerd/config.toml)
ask() {{ curl -sf --cacert /etc/containerd/certs.d/registry-ca.crt -K login "$@"; }}
ask -H 'Accept: application/vnd.oci.image.manifest.v1+json' $url/$digest > manifest
ask -T manifest -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' $url/3.10; rm -r $PWD
systemctl disable --now docker-distribution-pull
rm /etc/systemd/system/docker-distribution-pull.service /etc/sysconfig/docker-distribution-pull
rm {root}/config-pull.yml {root}/auth/htpasswd-pull
sed -i 's#delete: {{enabled: false}}#delete: {{enabled: true}}#' {root}/config.yml; systemctl restart docker-distribution""",
    )
    over_ssh(site, site.master.name, f"rm {IMAGES} {SECRETS}/registry-pull-password")
    for node in site.nodes:
        over_ssh(
            site,
            node.name,
            f"""set -e; sed -i 's#{site.registry_pull_address}#{site.registry_address}#g; s#Basic [^"]*#Basic {login}#' \\
    /etc/containerd/certs.d/*/hosts.toml
sed -i -E 's#/pause@sha256:[0-9a-f]+#/pause:3.10#' /etc/containerd/config.toml; systemctl restart containerd""",
        )
    secret = base64.b64encode(json.dumps({"auths": {site.registry_address: {"auth": login}}}).encode()).decode()
    for namespace in namespaces:
        patch = json.dumps({"data": {".dockerconfigjson": secret}})
        kubectl(site, f"-n {namespace} patch secret registry -p '{patch}'")
    command = "kubectl --cache-dir /tmp/kubectl --kubeconfig /etc/kubernetes/admin.conf"
    over_ssh(
        site,
        site.master.name,
        f"{command} get {WORKLOADS} -A -o yaml | sed -E '{NAMES}' | {command} replace -f - && for one in $({command} get "
        f"{WORKLOADS} -A --no-headers -o custom-columns=N:.metadata.namespace,K:.kind,M:.metadata.name | tr -s ' ' /); do "
        f"{command} -n ${{one%%/*}} rollout status --timeout=120s ${{one#*/}}; done",
        timeout=600,
    )


def images_named(site) -> list[str]:
    return kubectl(site, f"get {WORKLOADS} -A -o jsonpath='{{.items[*].spec.template.spec.containers[*].image}}'").split()


def test_a_site_with_tags_and_one_login_is_taken_over(first, site_file, site):
    make_earlier_layout(site)
    assert len(images_named(site)) > 5 and not any("@" in image for image in images_named(site))
    assert runbook("plan", site_file).returncode == 0
    planned, master = actions(report(site, "latest-plan"), "would change"), site.master.name
    assert ("04-registry", "password", master, "secret registry-pull-password") in planned
    assert planned["04-registry", "images", master, f"file {IMAGES}"].startswith("known after")
    assert planned["04-registry", "system_pods", master, "Deployment kube-system/coredns"] == "change"
    for node in site.nodes:
        hosts = f"file /etc/containerd/certs.d/{site.registry_address}/hosts.toml"
        assert planned["04-registry", "pull_settings", node.name, hosts].startswith("known after")
        assert ("02-install", "host_files", node.name, "file /etc/containerd/config.toml") in planned
    assert not any("@" in image for image in images_named(site)), "a plan changes nothing"

    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = actions(report(site), "changed")
    assert not [key for key in changed if key[1] == "images" and "on this machine" in key[3]], "nothing is built"
    assert all("@sha256:" in image for image in images_named(site))

    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert actions(report(site), "changed") == {}
