"""What is built from Go modules, as data: names, versions and build settings.

Each component has a folder go/NAME whose go.mod and go.sum pin every module that goes into it; a unit test
holds the versions here and there together. Raising a version means: change it here, in that go.mod, and run
`go build -mod=mod` once there so that go.sum follows; then `airavata-runbook lock` for the digests of its release, or, where the
release hosts cannot be reached, remove its entry from releases.lock.yaml.
"""

from dataclasses import dataclass
from pathlib import Path

GO_FOLDER = Path(__file__).parent / "go"
STATIC = "-linkmode external -extldflags -static"


@dataclass(frozen=True)
class Component:
    """One wrapper module and the programs built in it.

    module, version: the Go module that the programs come from, version without "v". programs: import path →
    file name of the binary. ldflags are added to "-s -w". cgo: needs a C compiler; such programs are linked
    statically, so that one build runs on every distribution. keep: files of the module that are kept beside
    the binaries. seconds: a cold build measured on 2 cores, for the time left; download: the same of its modules, after those
    of the components before it in the order of builds.
    """

    name: str
    module: str
    version: str
    programs: dict[str, str]
    seconds: int
    download: int
    ldflags: str = ""
    tags: tuple[str, ...] = ()
    cgo: bool = False
    keep: tuple[str, ...] = ("LICENSE",)

    @property
    def folder(self) -> Path:
        return GO_FOLDER / self.name


def _named(prefix: str, *names: str) -> dict[str, str]:
    return {f"{prefix}/{name}": name.rpartition("/")[2] for name in names}


COMPONENTS = (
    Component(
        "nfpm",
        "github.com/goreleaser/nfpm/v2",
        "2.45.2",
        _named("github.com/goreleaser/nfpm/v2/cmd", "nfpm"),
        seconds=23,
        download=5,
        ldflags="-X main.version=2.45.2",
        keep=("LICENSE.md",),
    ),
    Component(
        "etcd",
        "go.etcd.io/etcd/server/v3",
        "3.6.16",
        {"go.etcd.io/etcd/server/v3": "etcd", "go.etcd.io/etcd/etcdctl/v3": "etcdctl", "go.etcd.io/etcd/etcdutl/v3": "etcdutl"},
        seconds=25,
        download=5,
    ),
    Component(
        "cni",
        "github.com/containernetworking/plugins",
        "1.9.1",
        _named(
            "github.com/containernetworking/plugins/plugins",
            "main/bridge",
            "main/loopback",
            "ipam/host-local",
            "meta/portmap",
            "meta/firewall",
        ),
        seconds=5,
        download=2,
        ldflags="-X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=v1.9.1",
    ),
    Component(
        "runc",
        "github.com/opencontainers/runc",
        "1.5.2",
        {"github.com/opencontainers/runc": "runc"},
        seconds=12,
        download=3,
        ldflags=STATIC,
        tags=("seccomp", "netgo", "osusergo"),
        cgo=True,
    ),
    Component(
        "containerd",
        "github.com/containerd/containerd/v2",
        "2.4.2",
        _named("github.com/containerd/containerd/v2/cmd", "containerd", "containerd-shim-runc-v2", "ctr"),
        seconds=48,
        download=12,
        ldflags="-X github.com/containerd/containerd/v2/version.Version=v2.4.2",
        tags=("no_btrfs", "no_devmapper", "no_zfs"),
    ),
    Component(
        "flannel",
        "github.com/flannel-io/flannel",
        "0.28.10",
        {"github.com/flannel-io/flannel": "flanneld"},
        seconds=45,
        download=6,
        ldflags=f"-X github.com/flannel-io/flannel/pkg/version.Version=v0.28.10 {STATIC}",
        tags=("netgo", "osusergo"),
        cgo=True,
    ),
    Component(
        "registry",
        "github.com/distribution/distribution/v3",
        "3.1.2",
        {".": "registry"},
        seconds=35,
        download=15,
        ldflags="-X github.com/distribution/distribution/v3/version.version=v3.1.2",
    ),
    Component(
        "cri-tools",
        "sigs.k8s.io/cri-tools",
        "1.36.0",
        _named("sigs.k8s.io/cri-tools/cmd", "crictl"),
        seconds=31,
        download=9,
        ldflags="-X sigs.k8s.io/cri-tools/pkg/version.Version=v1.36.0",
    ),
    Component(
        "coredns",
        "github.com/coredns/coredns",
        "1.15.0",
        {".": "coredns"},
        seconds=27,
        download=8,
    ),
    Component(
        "kubernetes",
        "k8s.io/kubernetes",
        "1.36.3",
        _named(
            "k8s.io/kubernetes/cmd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        ),
        seconds=235,
        download=17,
        ldflags="-X k8s.io/component-base/version.gitVersion=v1.36.3 "
        "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 "
        "-X k8s.io/component-base/version.gitTreeState=clean",
        keep=("LICENSE", "build/pause/linux/pause.c", "build/pause/linux/orphan.c"),
    ),
)

BY_NAME = {component.name: component for component in COMPONENTS}
