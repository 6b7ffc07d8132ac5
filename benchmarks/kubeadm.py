"""A cluster by kubeadm on lab hosts, as one would set it up by hand over SSH: the preparation, and the measured part."""

import dataclasses
import json
import shlex
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.configs import node
from airavata_runbook.engine.target import Target
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.node_settings import NodeSettings
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.local import paths
from airavata_runbook.mirror import catalogue, images, oci_writer
from airavata_runbook.mirror import packages as mirror
from airavata_runbook.mirror.build import binary, build
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.site import Site

REGISTRY = "bench.local"  # a name only: every image is on the hosts already
KUBERNETES, ETCD, PAUSE = BY_NAME["kubernetes"].version, BY_NAME["etcd"].version, "3.10"
SERVERS = {
    "kube-apiserver": ("kubernetes", f"v{KUBERNETES}"),
    "kube-controller-manager": ("kubernetes", f"v{KUBERNETES}"),
    "kube-scheduler": ("kubernetes", f"v{KUBERNETES}"),
    "etcd": ("etcd", ETCD),
}
FOLDER = "/opt/bench-kubeadm"
DROP_IN = """[Service]
EnvironmentFile=
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=
ExecStart=/usr/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\
    --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
"""
NODES = "kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes --no-headers"


def prepare(site: Site) -> None:
    """Copy kubeadm's images to the hosts' disks; nothing is installed or imported. Not measured."""

    def put(host: Host) -> None:
        for name, archive in archives().items():
            if name == "pause" or host.node == site.master:
                host.send(archive, f"{FOLDER}/images/{name}.tar")

    _all(site, put)


def bring_up(site: Site) -> None:
    """From bare hosts to Ready nodes. Raises RuntimeError when a command fails, TimeoutError after 180 s."""
    session = session_of(site)
    _all(site, lambda host: _install(session, host))
    master = session.master
    _run(master, f"kubeadm init --config {FOLDER}/init.yaml --skip-phases=addon --ignore-preflight-errors=all")
    join = _run(master, "kubeadm token create --print-join-command").strip()
    workers = [host for host in session.hosts.values() if host is not master]
    _raise(run_parallel(workers, lambda host: _run(host, f"{join} --ignore-preflight-errors=all --node-name {host.name}")))
    deadline = time.monotonic() + 180
    while _run(master, NODES).split().count("Ready") < len(site.nodes):
        if time.monotonic() > deadline:
            raise TimeoutError("nodes are not Ready within 180 s")
        time.sleep(0.2)


def _install(session: Session, host: Host) -> None:
    """Install packages, containerd's configuration and a bridge network for the host's pods; import the images."""
    names = catalogue.with_needs(["containerd", "cri-tools", "kubernetes-node", "kubernetes-client"])
    for one in mirror.make(names):
        host.send(one.path, f"{FOLDER}/{one.name}.deb")
    host.send(kubeadm(), "/usr/bin/kubeadm")
    site, settings = session.site, Target(session, host).settings
    number = [one.name for one in site.nodes].index(host.name)
    network = {
        "cniVersion": "1.0.0",
        "name": "bench",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": f"10.244.{number}.0/24"}]]},
            }
        ],
    }
    files = {
        "/etc/containerd/config.toml": node.containerd(site, settings),
        "/etc/cni/net.d/10-bench.conflist": json.dumps(network),
        "/etc/kubernetes/kubelet": "",
        "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": DROP_IN,
        f"{FOLDER}/init.yaml": _configuration(site, host, settings),
    }
    put = "".join(f"mkdir -p $(dirname {path}); printf %s {shlex.quote(text)} > {path}\n" for path, text in files.items())
    pause = f"{site.registry_address}/pause:{PAUSE}"
    _run(
        host,
        f"""set -e
{put}chmod 755 /usr/bin/kubeadm
dpkg -i {FOLDER}/*.deb >/dev/null
systemctl daemon-reload
systemctl enable --quiet --now containerd
for archive in {FOLDER}/images/*.tar; do
    name=$(basename $archive .tar)
    case $name in
    pause) ctr -n k8s.io images import --index-name {pause} $archive;;
    etcd) ctr -n k8s.io images import --index-name {REGISTRY}/etcd:{ETCD} $archive;;
    *) ctr -n k8s.io images import --index-name {REGISTRY}/$name:v{KUBERNETES} $archive;;
    esac
done >/dev/null
systemctl enable --quiet kubelet""",
    )


def _configuration(site: Site, host: Host, settings: NodeSettings) -> str:
    """kubeadm's configuration, with the kubelet settings that the runbook derives for the host."""
    documents = [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": str(site.master.address)},
            "nodeRegistration": {"name": host.name, "imagePullPolicy": "Never"},
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": f"v{KUBERNETES}",
            "imageRepository": REGISTRY,
            "etcd": {"local": {"imageTag": ETCD}},
        },
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": settings.cgroup_driver,
            "failCgroupV1": settings.fail_cgroup_v1,
            "failSwapOn": settings.fail_swap_on,
            "oomScoreAdj": settings.oom_score_adj,
            "maxOpenFiles": settings.max_open_files,
            "imageGCHighThresholdPercent": settings.image_gc[0],
            "imageGCLowThresholdPercent": settings.image_gc[1],
        },
    ]
    return "---\n".join(json.dumps(document) + "\n" for document in documents)


@cache
def kubeadm() -> Path:
    """kubeadm, built from the module that the mirror's Kubernetes is built from."""
    return (
        build(
            dataclasses.replace(
                BY_NAME["kubernetes"], programs={"k8s.io/kubernetes/cmd/kubeadm": "kubeadm"}, keep=("LICENSE",), seconds=60
            )
        )
        / "kubeadm"
    )


@cache
def archives() -> dict[str, Path]:
    """Image name → a tar of its OCI layout: one image for each static binary of the mirror, and pause."""
    target = paths.cache_dir() / "peers" / f"images-{KUBERNETES}-{ETCD}"
    target.mkdir(parents=True, exist_ok=True)
    made = {name: target / f"{name}.tar" for name in (*SERVERS, "pause")}
    for name, (component, _) in SERVERS.items():
        if not made[name].exists():
            with tempfile.TemporaryDirectory(dir=target) as work:
                root = Path(work, "root", "usr", "local", "bin")
                root.mkdir(parents=True)
                (root / name).write_bytes(binary(component, name).read_bytes())
                (root / name).chmod(0o755)
                layer = oci_writer.write_layer(Path(work, "root"), Path(work, "layer"))
                oci_writer.write_layout(
                    Path(work, "image"),
                    [(layer, Path(work, "layer"))],
                    {"Env": ["PATH=/usr/local/bin"], "Entrypoint": [f"/usr/local/bin/{name}"]},
                    {},
                )
                _tar(Path(work, "image"), made[name])
    if not made["pause"].exists():
        _tar(images.build(["pause"])["pause"], made["pause"])
    return made


def _tar(layout: Path, archive: Path) -> None:
    subprocess.run(["tar", "-C", layout, "-cf", f"{archive}.part", "."], check=True)
    Path(f"{archive}.part").rename(archive)


def _run(host: Host, script: str) -> str:
    done = host.run(script)
    if done.status:
        raise RuntimeError(f"{host.name}: {script[-300:]}\n{done.text[-1500:]}\n{done.stderr.decode()[-1500:]}")
    return done.text


def _all(site: Site, work) -> None:
    _raise(run_parallel(session_of(site).hosts.values(), work))


def _raise(results: dict) -> None:
    for result in results.values():
        if isinstance(result, Exception):
            raise result
