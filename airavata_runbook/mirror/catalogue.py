"""The packages of the mirror: what is in each, which of them a host gets, and in which version.

They are thin: binaries under /usr/bin, units, licences. Files under /etc belong to the runbook. The names are those that
CentOS had in the POC (row 4); nothing is started when a package is installed.
"""

import hashlib
import platform
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from airavata_runbook.distributions.deb_format import DEB_FORMAT
from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.errors import CannotBuild, SiteError
from airavata_runbook.mirror import released
from airavata_runbook.mirror.build import folder
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.mirror.releases import locked
from airavata_runbook.site import Site
from airavata_runbook.site.host_parts import CNI, HOST_PARTS
from airavata_runbook.site.node import Node
from airavata_runbook.site.parts import Versions

UNITS = Path(__file__).parent / "units"
EPOCH = "1767225600"  # 2026-01-01: every file's time, so that the same input gives the same package
RELEASE = "1"  # of the packages; each package's own has its recipe behind it
HOSTS_FOLDERS = ("/opt", "/usr/bin", "/usr/lib/systemd/system", "/usr/share/doc")  # which every host has
MAINTAINER = "airavata-runbook <runbook@localhost>"


@dataclass(frozen=True)
class Package:
    """component: whose version it has. programs: (component, binary) → folder on the host. needs: other packages,
    by Debian's name; those of the same component at exactly the same version. released: those of its components whose official
    release it has, instead of a build; a package of builds is the same as when there was nothing else. format: deb's or rpm's."""

    name: str
    component: str
    summary: str
    programs: tuple[tuple[str, str, str], ...] = ()
    units: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    released: tuple[str, ...] = field(default=(), repr=False)
    format: PackageFormat = field(default=DEB_FORMAT, repr=False)

    @property
    def label(self) -> str:
        return f"{self.format.label} {self.name}"

    @property
    def version(self) -> str:
        return BY_NAME[self.component].version

    @property
    def release(self) -> str:
        """Includes the recipe, so that another build of the same upstream version is another version for apt and dnf."""
        return f"{RELEASE}+{recipe(self)[:8]}"

    @property
    def whole_version(self) -> str:
        """As dpkg and rpm know it: "1.36.3-1+721a3a5e"."""
        return f"{self.version}-{self.release}"

    @property
    def components(self) -> list[str]:
        return sorted({component for component, _, _ in self.programs})


def _programs(component: str, *names: str, into: str = "/usr/bin") -> tuple[tuple[str, str, str], ...]:
    return tuple((component, name, into) for name in names)


PACKAGES = (
    Package(
        "kubernetes-master",
        "kubernetes",
        "Kubernetes API server, controllers and scheduler",
        _programs("kubernetes", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
        needs=("kubernetes-client",),
    ),
    Package(
        "kubernetes-node",
        "kubernetes",
        "Kubernetes kubelet and proxy, for every host that runs pods",
        _programs("kubernetes", "kubelet", "kube-proxy"),
        ("kubelet", "kube-proxy"),
        needs=("containerd", "iptables", "conntrack", "socat", "ethtool"),
        conflicts=("kubelet", "kubeadm"),
    ),
    Package(
        "kubernetes-client",
        "kubernetes",
        "kubectl, the command line of Kubernetes",
        _programs("kubernetes", "kubectl"),
        conflicts=("kubectl",),
    ),
    Package(
        "kubernetes",
        "kubernetes",
        "Kubernetes: master, node and client",
        needs=("kubernetes-master", "kubernetes-node", "kubernetes-client"),
    ),
    Package(
        "etcd",
        "etcd",
        "etcd, the key-value store of Kubernetes and flannel, with its command line",
        _programs("etcd", "etcd", "etcdctl", "etcdutl"),
        ("etcd",),
        conflicts=("etcd-server", "etcd-client"),
    ),
    Package(
        "flannel",
        "flannel",
        "flannel, the network between the pods of different hosts",
        _programs("flannel", "flanneld"),
        ("flanneld",),
        needs=("iptables",),
    ),
    Package(
        "containerd",
        "containerd",
        "containerd with runc and the CNI plugins",
        _programs("containerd", "containerd", "containerd-shim-runc-v2", "ctr")
        + _programs("runc", "runc")
        + _programs("cni", "bridge", "loopback", "host-local", "portmap", "firewall", into=CNI),
        ("containerd",),
        conflicts=("docker.io", "containerd.io", "runc", "kubernetes-cni"),
    ),
    Package(
        "cni-plugins",
        "cni",
        "The CNI plugins, where containerd is the host's own",
        _programs("cni", "bridge", "loopback", "host-local", "portmap", "firewall", into=CNI),
        conflicts=("kubernetes-cni",),
    ),
    Package("cri-tools", "cri-tools", "crictl, to look at a host's containers", _programs("cri-tools", "crictl")),
    Package(
        "docker-distribution",
        "registry",
        "A private registry of container images",
        _programs("registry", "registry"),
        ("docker-distribution",),
        conflicts=("docker-registry",),
    ),
)
PACKAGE = {package.name: package for package in PACKAGES}
ON_EVERY_HOST = ["containerd", "cri-tools", "flannel", "kubernetes-node"]
ON_THE_MASTER = ["etcd", "kubernetes"]
ON_THE_REGISTRYS_HOST = ["docker-distribution"]


def of_distribution(format: PackageFormat = DEB_FORMAT) -> list[str]:
    """The packages of its distribution that a host needs, by their names there."""
    return sorted({format.dependency(name) for package in PACKAGES for name in package.needs if name not in PACKAGE})


def package_of(name: str, released: Collection[str] = (), format: PackageFormat = DEB_FORMAT) -> Package:
    """The package of that name, with the official releases of these components where it has them."""
    package = PACKAGE[name]
    own = {package.component, *package.components}.intersection(released)
    return replace(package, released=tuple(sorted(own)), format=format)


def of_host(site: Site, node: Node) -> list[str]:
    """The names of the packages that a host gets, sorted: a worker gets no control plane, and no host what it has already."""
    names = with_needs(
        ON_EVERY_HOST + ON_THE_MASTER * (node == site.master) + ON_THE_REGISTRYS_HOST * (node == site.registry_node)
    )
    hosted = site.sources.hosted
    without = {HOST_PARTS[name].package for name in hosted}
    plugins = ["cni-plugins"] if "containerd" in hosted and "cni" not in hosted else []
    return sorted({*names, *plugins} - without)


def parts_on(site: Site, node: Node) -> list[str]:
    """The components that a host of the site has to have already, sorted."""
    return [name for name in site.sources.hosted if name != "etcd" or node == site.master]


def with_needs(names: list[str]) -> list[str]:
    """The packages named and those of this mirror that they need, sorted."""
    wanted = set(names)
    for name in names:
        wanted |= set(with_needs([need for need in PACKAGE[name].needs if need in PACKAGE]))
    return sorted(wanted)


def files_of(name: str) -> list[str]:
    """The paths of a package's files on a host, sorted."""
    return sorted(one["dst"] for one in description(PACKAGE[name], Path("/"))["contents"])


def versions_of(site: Site, node: Node, releases: Collection[str], format: PackageFormat = DEB_FORMAT) -> dict[str, str]:
    """Package name → the version that a host gets. releases: the components whose official release it is. Raises SiteError.

    From the folder that this mirror fills it is the full version, from a repository of the site's own the upstream one.
    """
    names = of_host(site, node)
    if site.repository.folder:
        check_versions(site.versions)
        check_releases(site)
        return {name: package_of(name, releases, format).whole_version for name in names}
    return {name: getattr(site.versions, PACKAGE[name].component.replace("-", "_")) for name in names}


def check_versions(versions: Versions) -> None:
    """Raises SiteError when the site asks for versions that this mirror does not build."""
    wrong = [
        f"{key}: {version} (the mirror has {ours})"
        for key, version in versions
        if version != (ours := BY_NAME[key.replace("_", "-")].version)
    ]
    if wrong:
        raise SiteError(
            "the mirror does not build these versions",
            where="site.versions",
            found="; ".join(wrong),
            remedy="use the mirror's versions, or set repository.baseurl to a repository that has yours",
        )


def check_releases(site: Site) -> None:
    """Raises SiteError when the site asks for official releases whose digests are not known."""
    missing = []
    for name in site.sources.releases:
        try:
            locked(BY_NAME[name])
        except CannotBuild as error:
            missing.append((name.replace("-", "_"), error))
    if missing:
        raise SiteError(
            "no sha256 of these releases is known, so that they are not downloaded",
            where=", ".join(f"site.sources.{field}" for field, _ in missing),
            found="; ".join(f"{BY_NAME[field.replace('_', '-')].version} of {field}: {error.found}" for field, error in missing),
            needed="\n".join(error.needed for _, error in missing),
            remedy=f"airavata-runbook lock, where the release hosts are reached; or {{{missing[0][0]}: build}}",
        )


def recipe(package: Package) -> str:
    """What identifies a package's content on any machine: its description, its units and what its binaries are built from."""
    described = description(package, Path("/"), Path("/"), release="")
    recipe = hashlib.sha256(repr((package, described, EPOCH)).encode())
    for unit in package.units:
        recipe.update((UNITS / f"{unit}.service").read_bytes())
    for component in package.components:
        kept = released.folder if component in package.released else folder
        recipe.update(kept(BY_NAME[component]).name.encode())
    return recipe.hexdigest()[:12]


def description(package: Package, binaries: Path, units: Path = UNITS, release: str | None = None) -> dict:
    """nfpm's description of the package.

    binaries: folder with one folder a component. units: folder of the unit files. release: the package's own by default.
    """
    exact = {name for name in package.needs if name in PACKAGE and PACKAGE[name].component == package.component}
    contents = [
        *(_content(binaries / component / name, f"{into}/{name}", 0o755) for component, name, into in package.programs),
        *(_content(units / f"{unit}.service", f"/usr/lib/systemd/system/{unit}.service") for unit in package.units),
        *(
            _content(binaries / component / name, f"/usr/share/doc/{package.name}/{component}-{name}")
            for component in package.components
            for name in BY_NAME[component].keep
            if name.startswith("LICENSE")
        ),
    ]
    if package.format.owns_folders:
        contents += [{"dst": folder, "type": "dir", "file_info": {"mode": 0o755}} for folder in _own_folders(contents)]
    return {
        "name": package.name,
        "version": package.version,
        "release": package.release if release is None else release,
        "arch": architecture(),
        "platform": "linux",
        "section": "admin",
        "priority": "optional",
        "license": "Apache-2.0",
        "maintainer": MAINTAINER,
        "description": package.summary,
        "depends": [
            package.format.dependency(
                name, package_of(name, package.released, package.format).whole_version if name in exact else ""
            )
            for name in package.needs
        ],
        "conflicts": list(package.conflicts),
        "contents": contents,
        "mtime": "2026-01-01T00:00:00Z",
        **package.format.nfpm,
    }


def _own_folders(contents: list[dict]) -> list[str]:
    """The folders of these files that a host has by such packages only."""
    found = {folder for content in contents for folder in Path(content["dst"]).parents}
    return sorted(str(folder) for folder in found if not any(one.is_relative_to(folder) for one in map(Path, HOSTS_FOLDERS)))


def _content(source: Path, target: str, mode: int = 0o644) -> dict:
    return {"src": str(source), "dst": target, "file_info": {"mode": mode}}


def architecture() -> str:
    """nfpm's name of the one architecture that is built, for hosts of that architecture. Raises CannotBuild elsewhere."""
    if platform.machine() != "x86_64":
        raise CannotBuild("packages are not built for this architecture", found=platform.machine(), needed="x86_64")
    return "amd64"
