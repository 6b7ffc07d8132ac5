"""Chapter 02: packages on every host, the site's certificates, and the files under /etc/kubernetes (POC rows 3 to 5, 7)."""

from collections.abc import Iterator
from functools import partial

from airavata_runbook.chapters.by_hand import install as by_hand
from airavata_runbook.chapters.site_sources import releases_of
from airavata_runbook.chapters.site_stack import recorded, reference, site_image
from airavata_runbook.configs import control_plane, node
from airavata_runbook.configs.unmanaged import MANAGERS
from airavata_runbook.distributions import check_repository_id
from airavata_runbook.engine.step import step
from airavata_runbook.engine.target import Target, master
from airavata_runbook.hosts.facts import Os
from airavata_runbook.hosts.links import LinkManagers
from airavata_runbook.mirror import catalogue
from airavata_runbook.mirror.repository import HostRepository
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources import (
    Authority,
    Block,
    Build,
    Certificate,
    ContainerPolicy,
    Contexts,
    File,
    Modules,
    Packages,
    RepositoryKey,
    Resource,
    SameSite,
    SigningKey,
    SiteRecord,
    Sysctls,
    Unmanaged,
    Upload,
)
from airavata_runbook.site.host_parts import drop_in_of
from airavata_runbook.wellknown import CLUSTER_CA, ETCD_CA, FRONT_PROXY_CA, PKI, PROXY, SERVICES_CA

SELINUX_FOLDERS = ["/etc/kubernetes", "/etc/containerd", "/etc/sysconfig/flanneld", "/etc/systemd/system/flanneld.service.d"]


@step("Key of the package repository", on=master, by_hand=by_hand.repository_key)
def repository_key(target: Target) -> Iterator[Resource]:
    yield SameSite(target.site)
    if target.site.repository.folder:
        yield from map(RepositoryKey, target.formats)


@step("Package repository", by_hand=by_hand.repository)
def repository(target: Target) -> Iterator[Resource]:
    site, packaging, format = target.site, target.packaging, target.packaging.format
    check_repository_id(target.facts.get(Os), site.repository)
    yield SameSite(site)
    if folder := site.repository.folder:
        catalogue.check_releases(site)
        names, key = catalogue.of_host(site, target.node), partial(target.vault.repository_key, format.key)
        ours = HostRepository(names, releases_of(target.session), format, key)
        # Packages go once to the first host of their format (the registry's, as images, if it is), and from there to the others.
        fan_out = target.fan_out
        shared = catalogue.of_host(site, fan_out.source.node) if fan_out else []
        if ours.pending():
            yield Build("packages", ours.pending, ours.make, target.session.why_built)
        for name in names:
            path, way = f"{folder}/{ours.file_name(name)}", fan_out if name in shared else None
            yield Upload(path, ours.source(name), partial(ours.sha256, name), way, partial(ours.head, name))
        for file in format.index_files:
            yield File(f"{folder}/{file}", partial(ours.index, file))
        yield File(packaging.keyring, partial(ours.public_key, f"airavata-runbook, site {site.name}"))
        yield File(f"{folder}/{format.signature_file}", ours.signature)
    yield File(packaging.entry_path(site.repository), packaging.entry(site.repository))
    if site.proxy:
        yield File(PROXY, partial(_package_proxy, target), "0600", secret=bool(site.proxy.auth))


def _package_proxy(target: Target) -> str:
    auth = target.site.proxy.auth if target.site.proxy else None
    return node.package_proxy(target.site, target.vault.secret(auth) if auth else "")


@step("Packages: Kubernetes, etcd and flannel", by_hand=by_hand.packages)
def packages(target: Target) -> Iterator[Resource]:
    packaging, environment = target.packaging, PROXY if target.site.proxy else ""
    versions = catalogue.versions_of(target.site, target.node, releases_of(target.session), packaging.format)
    if target.settings.selinux:  # before the packages, whose files get its contexts
        yield ContainerPolicy(target.platform.selinux_policy, environment)
    yield Packages(versions, target.site.repository.id, packaging, environment)
    if target.settings.selinux:
        yield Contexts(
            "packages' files",
            [path for name in versions for path in catalogue.files_of(name)],
            after=[f"package {name}" for name in versions],
        )


@step("Host names and kernel settings", by_hand=by_hand.host_settings)
def host_settings(target: Target) -> Iterator[Resource]:
    yield Block("/etc/hosts", f"airavata-runbook {target.site.name}", node.hosts(target.site))
    yield File("/etc/modules-load.d/airavata-runbook.conf", node.modules(target.platform.modules))
    if target.platform.modules:
        yield Modules(target.platform.modules)
    yield File("/etc/sysctl.d/90-airavata-runbook.conf", node.sysctls())
    yield Sysctls(node.SYSCTLS, modules=node.MODULES)
    managers: frozenset[str] = target.facts[LinkManagers]
    for name in sorted(managers):
        yield File(MANAGERS[name].path, MANAGERS[name].text)
        yield Unmanaged(name)


@step("Certificate authorities, and the record of the site", on=master, by_hand=by_hand.authorities)
def authorities(target: Target) -> Iterator[Resource]:
    name = target.site.name
    yield SiteRecord(target.site, releases_of(target.session))
    yield Authority(CLUSTER_CA, f"{name} authority")
    yield Authority(ETCD_CA, f"{name} etcd authority")
    yield Authority(FRONT_PROXY_CA, f"{name} front proxy authority")
    yield Authority(SERVICES_CA, f"{name} services authority")
    yield SigningKey("service-accounts")


@step("Control plane certificates", on=master, by_hand=by_hand.control_plane_certificates)
def control_plane_certificates(target: Target) -> Iterator[Resource]:
    for name, subject in control_plane.certificates(target.site).items():
        yield Certificate(f"{PKI}/{name}", subject)
    for name, subject in control_plane.etcd_certificates(target.site).items():
        yield Certificate(f"{PKI}/{name}", subject, ETCD_CA)
    yield Certificate(f"{PKI}/front-proxy-client", Subject("front-proxy-client", usages=("client",)), FRONT_PROXY_CA)


@step("Host certificates", by_hand=by_hand.host_certificates)
def host_certificates(target: Target) -> Iterator[Resource]:
    yield File(f"{PKI}/{CLUSTER_CA}.crt", lambda: target.vault.authority(CLUSTER_CA).cert)
    for name, subject in node.certificates(target.site, target.node).items():
        yield Certificate(f"{PKI}/{name}", subject)
    yield File(f"{PKI}/{ETCD_CA}.crt", lambda: target.vault.authority(ETCD_CA).cert)
    for name, subject in node.etcd_certificates().items():
        yield Certificate(f"{PKI}/{name}", subject, ETCD_CA)


@step("Control plane configuration under /etc", on=master, by_hand=by_hand.control_plane_files)
def control_plane_files(target: Target) -> Iterator[Resource]:
    site = target.site
    yield File("/etc/etcd/etcd.conf", control_plane.etcd(site))
    if drop_in := drop_in_of(site, "etcd"):
        yield File(drop_in, control_plane.etcd_drop_in(site))
    yield File("/etc/kubernetes/apiserver", control_plane.apiserver(site))
    yield File("/etc/kubernetes/controller-manager", control_plane.controller_manager(site))
    yield File("/etc/kubernetes/scheduler", control_plane.scheduler(site))
    for name in ("controller-manager", "scheduler", "admin", "super-admin"):
        yield File(f"/etc/kubernetes/{name}.conf", control_plane.kubeconfig(site, target.node, name, f"{PKI}/{name}"), "0600")


@step("Host configuration under /etc", by_hand=by_hand.host_files)
def host_files(target: Target) -> Iterator[Resource]:
    site, here, settings = target.site, target.node, target.settings
    yield File("/etc/kubernetes/config", control_plane.common(site))
    yield File("/etc/kubernetes/kubelet", node.kubelet_arguments(site, here))
    yield File("/etc/kubernetes/kubelet.yaml", node.kubelet(site, here, settings))
    yield File("/etc/kubernetes/kubelet.conf", control_plane.kubeconfig(site, here, "kubelet", f"{PKI}/kubelet"), "0600")
    yield File("/etc/kubernetes/proxy", node.kube_proxy_arguments())
    yield File("/etc/kubernetes/proxy.yaml", node.kube_proxy(site, here, settings))
    yield File("/etc/kubernetes/proxy.conf", control_plane.kubeconfig(site, here, "kube-proxy", f"{PKI}/kube-proxy"), "0600")
    yield File("/etc/sysconfig/flanneld", node.flannel(site, here))
    yield File("/etc/systemd/system/flanneld.service.d/pod-network.conf", node.pod_network_unit())
    yield File("/etc/airavata-runbook/pod-network.sh", node.pod_network_script(here), "0755")
    pause = site_image(site, "pause")
    if pause.name not in recorded(target.session) and not pause.here():  # containerd names it before there is a registry
        yield Build("images", lambda planning: {} if pause.here() else pause.pending(), pause.layout)
    yield File(node.containerd_file(site), lambda: node.containerd(site, settings, reference(target.session, pause)))
    if drop_in := drop_in_of(site, "containerd"):
        yield File(drop_in, node.containerd_drop_in(site))
    if settings.selinux:
        yield Contexts("configuration files", SELINUX_FOLDERS)


STEPS = [
    repository_key,
    repository,
    packages,
    host_settings,
    authorities,
    control_plane_certificates,
    host_certificates,
    control_plane_files,
    host_files,
]
