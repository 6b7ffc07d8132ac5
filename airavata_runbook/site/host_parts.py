"""Components that a site takes from its hosts (`sources: {etcd: host}`): what they have to be, and how they get its settings."""

from dataclasses import dataclass

from airavata_runbook.site.site import Site

CNI_FOLDERS = ("/usr/lib/cni", "/usr/libexec/cni")  # of the packages of Debian and of Fedora
CNI = "/opt/cni/bin"  # of the runbook's package, and of Kubernetes' own


@dataclass(frozen=True)
class HostPart:
    """programs: their paths, or names that are looked up in PATH. oldest: the version that the other parts need, and why. unit:
    the systemd unit that its package brings. package: the runbook's own package that has it otherwise; "" for none of its own.
    """

    programs: tuple[str, ...]
    oldest: str
    why: str
    unit: str = ""
    package: str = ""

    @property
    def drop_in(self) -> str:
        """The file by which the distribution's unit gets the site's configuration."""
        return f"/etc/systemd/system/{self.unit}.service.d/airavata-runbook.conf"


HOST_PARTS = {
    "containerd": HostPart(
        ("/usr/bin/containerd", "/usr/bin/ctr", "containerd-shim-runc-v2"),
        "2.2.0",
        "the oldest that containerd's RELEASES.md (2.4.2) has for Kubernetes 1.36; the site's configuration needs 2.1",
        "containerd",
        "containerd",
    ),
    "runc": HostPart(
        ("runc",),
        "1.2.0",
        "the oldest that has all that containerd 2 asks of it (its docs/containerd-2.0.md), user namespaces among it",
    ),
    "etcd": HostPart(
        ("/usr/bin/etcd", "etcdctl"),
        "3.5.24",
        "the oldest that kubeadm 1.36.3 accepts (MinExternalEtcdVersion in its constants.go)",
        "etcd",
        "etcd",
    ),
    # Its version is that of the CNI specification, which all plugins tell.
    "cni": HostPart(
        ("bridge", "loopback", "host-local", "portmap", "firewall"),
        "1.0.0",
        "the version of the CNI specification that flannel's configuration is written in",
    ),
}


def cni_folders(site: Site) -> list[str]:
    """Where containerd finds the CNI plugins. Those of the host are never the runbook's own."""
    if "cni" not in site.sources.hosted:
        return [CNI]
    return [*CNI_FOLDERS, *[CNI] * ("containerd" in site.sources.hosted)]


def drop_in_of(site: Site, component: str) -> str:
    """The path of the drop-in for the component's unit, "" where the runbook brings the unit."""
    return HOST_PARTS[component].drop_in if component in site.sources.hosted else ""
