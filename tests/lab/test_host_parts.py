"""Components that a host has already, of Debian: too old ones are refused, its CNI plugins are used and stay."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from airavata_runbook.checks.preflight import preflight
from airavata_runbook.cluster.session import session_of
from airavata_runbook.site import Site
from tests.full_picture import over_ssh
from tests.labs import COMMAND, PROJECT, lab_hosts

SITE = {
    "name": "hosts-own",
    "nodes": [{"name": "one", "address": "10.117.0.11", "interface": "host0", "role": "master"}],
    "lab": {"bridge": "lab17", "network": "10.117.0.0/24"},
}
PACKAGES = ("containerd", "runc", "etcd-server", "etcd-client", "containernetworking-plugins")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The host with Debian's packages, which this machine downloads; the folder of its state."""
    folder = tmp_path_factory.mktemp("hosts-own")
    subprocess.run(["apt-get", "-q", "download", *PACKAGES], cwd=folder, check=True, capture_output=True)
    with lab_hosts(SITE, folder) as site:
        host = session_of(site).master
        for deb in folder.glob("*.deb"):
            host.send(deb, f"/root/{deb.name.partition('_')[0]}.deb")
        over_ssh(site, "one", "dpkg -i /root/*.deb")
        yield site, folder


def called(folder: Path, site: Site, *words: str) -> str:
    (folder / "site.yaml").write_text(json.dumps({"site": site.model_dump(mode="json", exclude_unset=True)}))
    done = subprocess.run(
        [COMMAND, words[0], str(folder / "site.yaml"), *words[1:]],
        cwd=PROJECT,
        env={**os.environ, "AIRAVATA_RUNBOOK_STATE": str(folder / "state")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_too_old_for_the_others_is_refused_with_what_is_needed(lab):
    every = dict.fromkeys(("cni", "containerd", "runc", "etcd"), "host")
    site = Site.load(SITE | {"sources": every})
    found = {one.found.split()[0]: one for one in preflight(site) if one.check == "components"}
    assert set(found) == {"containerd", "etcd", "runc"} and all(one.failed for one in found.values())
    assert found["containerd"].found.startswith("containerd 1.") and "Kubernetes 1.36" in found["containerd"].needed
    assert found["etcd"].found.startswith("etcd 3.4.") and "kubeadm" in found["etcd"].needed
    session_of(site).close()


def test_the_plugins_of_debian_are_used_and_stay_when_the_site_goes(lab):
    lab_site, folder = lab
    over_ssh(lab_site, "one", "dpkg -P etcd-server etcd-client containerd runc; rm -rf /var/lib/etcd")
    site = Site.load(SITE | {"sources": {"cni": "host"}})
    session_of(lab_site).close()
    assert "0 failed" in called(folder, site, "run", "--to", "04")
    assert "/usr/lib/cni" in over_ssh(site, "one", "grep bin_dirs /etc/containerd/config.toml")
    assert over_ssh(site, "one", "ip -o link show master cni0 | wc -l").strip() != "0", "pods are on the bridge of the plugin"
    called(folder, site, "reset", "--yes")
    assert "ii" in over_ssh(site, "one", "dpkg-query -W -f='${db:Status-Abbrev}' containernetworking-plugins")
    session_of(site).close()
