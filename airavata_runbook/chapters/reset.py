"""Remove what the runbook made on the hosts, in reverse order. Not a notebook: `airavata-runbook reset SITE`.

What stays on a host: logs (the journal and those of apt, dpkg and dnf), the caches and backups of the package manager, kernel
modules and kernel settings that are in force until the next boot, SELinux's policy for containers, and the lock's file under
/run. Without `data` also
the registry's images, the databases' folders, and the secrets that the databases were created with.
"""

from collections.abc import Iterator
from contextlib import suppress

from airavata_runbook.chapters.registry import CERTS
from airavata_runbook.cluster import releases
from airavata_runbook.configs.node import containerd_file
from airavata_runbook.configs.unmanaged import MANAGERS
from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.engine.step import step
from airavata_runbook.engine.target import Target, registry_node
from airavata_runbook.errors import HostUnreachable
from airavata_runbook.footprint import Touch
from airavata_runbook.hosts import journal
from airavata_runbook.mirror import catalogue
from airavata_runbook.resources import Absent, Cleared, Removed, Resource, Stopped
from airavata_runbook.resources.selinux import LOCAL_RULES, without_rule
from airavata_runbook.site.host_parts import drop_in_of
from airavata_runbook.site.life import LOOK, RECORD, RESTORING, kept_folders, parse_look
from airavata_runbook.site.storage import STORED, STORED_FOLDERS, folders
from airavata_runbook.wellknown import EXERCISE, IMAGES, PROXY, PULL_SERVICE, SECRETS

SERVICES = (
    "kubelet",
    "kube-proxy",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "flanneld",
    "docker-distribution",
    PULL_SERVICE,
    "etcd",
    "containerd",
)
# Chains of kube-proxy and the kubelet, of flannel, and of the CNI plugins; only rules of the cluster name them.
CHAINS = ("KUBE-", "FLANNEL-", "CNI-")
MOUNTED = ("/var/lib/kubelet/", "/var/lib/containerd/", "/run/containerd/", "/run/netns/cni-")
MOUNTS = f"awk '$2 ~ \"^({'|'.join(MOUNTED)})\" {{print $2}}' /proc/mounts | sort -ru"
CONTAINERD = ("/var/lib/containerd", "/run/containerd", "/run/nri", "/opt/containerd")
OWN_FOLDER = "/opt/airavata-runbook"  # above the repository, where a site names no other folder for it
VETHS = "for one in /sys/class/net/cni0/brif/*; do test ! -e $one || basename $one; done"
GROUPS = "find /sys/fs/cgroup -ignore_readdir_race -depth -type d -path '*kubepods*'"


@step("Services")
def services(target: Target) -> Iterator[Resource]:
    hosts_own = drop_in_of(target.site, "containerd")
    for name in SERVICES:
        if name == "containerd" and hosts_own:  # until its own configuration is back
            running = f"test ! -e {hosts_own} || ! systemctl -q is-active containerd || echo containerd"
            yield Cleared("containerd of the host with the site's configuration", running, "systemctl stop containerd")
        else:
            yield Stopped(name)


@step("Processes, mounts and cgroups of pods")
def pods(target: Target) -> Iterator[Resource]:
    processes = _processes(drop_in_of(target.site, "containerd"))
    yield Cleared(
        "container process",
        f"for pid in $({processes}); do echo $pid $(cat /proc/$pid/comm); done",
        # Databases whose folders are kept get 5 s to shut down cleanly.
        f'ended() {{ timeout $1 sh -c "while {processes} | grep -q .; do sleep 0.1; done"; }}\n'
        f"{processes} | xargs -r kill -TERM 2>/dev/null || true\n"
        f"ended 5 || {{ {processes} | xargs -r kill -KILL 2>/dev/null || true; ended 20; }}",
    )
    mounts = tuple(Touch("mount", f"{path}*") for path in MOUNTED)
    unmount = f'{MOUNTS} | while read -r path; do umount "$path" || umount --lazy "$path"; done'
    yield Cleared("pod mount", MOUNTS, unmount, mounts)
    yield Absent("/run/netns/cni-*", parents=("/run/netns",))
    yield Cleared("pod cgroup", GROUPS, f"{GROUPS} | xargs -r rmdir", (Touch("cgroup", "kubepods"),))


def _processes(drop_in: str) -> str:
    """Shell that prints the process ids of pods, and of what containerd left. drop_in: of the host's own containerd, whose
    processes are the site's while that is there."""
    each = "/proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3"
    if not drop_in:
        return f"grep -lE 'kubepods|containerd\\.service' {each}"
    return f"{{ grep -l kubepods {each}; test ! -e {drop_in} || grep -l 'containerd[.]service' {each}; }}"


@step("Pod network")
def network(target: Target) -> Iterator[Resource]:
    # They go with the pods' network namespaces, which the kernel removes some time after their last process has ended.
    delete = f"for name in $({VETHS}); do ip link delete $name || test ! -e /sys/class/net/$name; done"
    yield Cleared("interface of a pod", VETHS, delete, (Touch("interface", "veth*"),))
    for name in ("cni0", "flannel.1"):
        look = f"test ! -e /sys/class/net/{name} || echo {name}"
        yield Cleared(f"interface {name}", look, f"ip link delete {name}", (Touch("interface", name),))
    chains, ours = tuple(Touch("chain", f"{name}*") for name in CHAINS), "|".join(CHAINS)
    for tool in ("iptables", "ip6tables"):
        # Where the tool is not installed there are no rules: an earlier reset removed them before the packages.
        look = f"! command -v {tool}-save > /dev/null || {tool}-save"
        remove = f"rules=$({tool}-save -c)\nprintf '%s\\n' \"$rules\" | grep -vE '{ours}' | {tool}-restore -c"
        yield Cleared(f"cluster rule in {tool}", look, remove, chains, only=ours)


@step("Configuration files")
def files(target: Target) -> Iterator[Resource]:
    site, hosts_own = target.site, drop_in_of(target.site, "containerd")
    if drop_in := drop_in_of(site, "etcd"):
        yield Absent(drop_in, parents=(drop_in.rpartition("/")[0],))
    for path in (
        "/etc/kubernetes",
        "/etc/etcd",
        *(() if hosts_own else ("/etc/containerd/config.toml",)),
        f"{CERTS}/registry-ca.crt",
        f"{CERTS}/_default",
        "/etc/sysconfig/docker-distribution",
        f"/etc/sysconfig/{PULL_SERVICE}",
        f"/etc/systemd/system/{PULL_SERVICE}.service",
        "/etc/systemd/system/flanneld.service.d",
        "/etc/modules-load.d/airavata-runbook.conf",
        "/etc/sysctl.d/90-airavata-runbook.conf",
    ):
        yield Absent(path)
    yield Absent(f"{CERTS}/{site.registry_address}", parents=(CERTS, "/etc/containerd"))
    yield Absent("/etc/cni/net.d/10-airavata.conflist", parents=("/etc/cni/net.d", "/etc/cni"))
    yield Absent("/etc/sysconfig/flanneld", parents=("/etc/sysconfig",))
    yield Absent(PROXY)
    if target.node == site.master:
        yield Absent(journal.PATH)
    yield Absent(EXERCISE)
    yield Absent("/etc/airavata-runbook/pod-network.sh", parents=("/etc/airavata-runbook",))
    for name, manager in MANAGERS.items():
        yield Cleared(
            f"file of {name} for pods' interfaces",
            f"test ! -e {manager.path} || echo {manager.path}",
            f"rm {manager.path}\n! systemctl -q is-active {name} || {manager.reload}",
            (Touch("file", manager.path),),
        )
    block = f"/^# BEGIN airavata-runbook {site.name}$/,/^# END airavata-runbook {site.name}$/"
    # Written in place: /etc/hosts may be a bind mount, which cannot be replaced by a rename.
    yield Cleared(
        "entry of the site in /etc/hosts",
        f"sed -n '{block}p' /etc/hosts",
        f"rest=$(sed '{block}d' /etc/hosts; echo .)\nprintf %s \"${{rest%.}}\" > /etc/hosts",
        (Touch("lines", "/etc/hosts"),),
    )


@step("State of the services")
def state(target: Target) -> Iterator[Resource]:
    if drop_in := drop_in_of(target.site, "containerd"):
        yield _containerd_given_back(drop_in, containerd_file(target.site))
    for path in (
        "/var/lib/etcd",
        "/var/lib/kubelet",
        *(() if drop_in else CONTAINERD),
        "/var/lib/cni",
        "/run/flannel",
        "/usr/libexec/kubernetes",
        "/var/log/pods",
        "/var/log/containers",
    ):
        yield Absent(path)
    root = target.site.registry.root
    if target.node == target.site.registry_node:
        for name in ("auth", "cert", "config.yml", "config-pull.yml", "docker-compose.yml"):
            yield Absent(f"{root}/{name}")


def _containerd_given_back(drop_in: str, config: str) -> Resource:
    """The host's own containerd has its own configuration again, and is empty: the check `components` lets no others use it."""
    return Cleared(
        "configuration of the site for the host's containerd",
        f"test ! -e {drop_in} || echo {drop_in}",
        f"systemctl stop containerd\nfind {' '.join(CONTAINERD)} -xdev -mindepth 1 -delete 2>/dev/null || true\n"
        f"rm -f {config} {drop_in}\nrmdir --ignore-fail-on-non-empty {drop_in.rpartition('/')[0]} {config.rpartition('/')[0]}\n"
        "systemctl daemon-reload\nsystemctl start containerd",
    )


@step("Packages and package repository")
def packages(target: Target) -> Iterator[Resource]:
    repository, packaging = target.site.repository, target.packaging
    yield Removed(catalogue.of_host(target.site, target.node), packaging)
    yield Absent(packaging.entry_path(repository))
    yield Absent(packaging.index_copies(repository))
    yield Absent(packaging.keyring)
    if keys := packaging.list_keys(owner := f"airavata-runbook, site {target.site.name}"):
        removes = (Touch("package", packaging.key_package),)
        yield Cleared("key of the site in the package manager's database", keys, packaging.remove_keys(owner), removes)
    if repository.folder:
        yield _packages_in(repository.folder, packaging.format)


def _packages_in(folder: str, format: PackageFormat) -> Resource:
    """The files that chapter 02 copies to a repository's folder: packages of any version and their index, also incomplete ones.

    The folder, and the runbook's own above it, are removed when they are empty then; a symbolic link or mount point stays.
    """
    ours = f"({format.files(catalogue.PACKAGE)})([.]part|[.]new)?"
    files = f"test ! -d {folder} || (cd {folder} && find . -maxdepth 2 ! -type d -regextype posix-extended -regex '[.]/{ours}'"
    look, remove = f"{files} -printf '{folder}/%P\\n')\n", f"{files} -delete)\n"
    below = sorted({f"{folder}/{parent}" for name in format.index_files if (parent := name.rpartition("/")[0])})
    for path in (*below, folder, *(above for above in (OWN_FOLDER,) if folder.startswith(f"{above}/"))):
        kept = f"test ! -d {path} || test -L {path} || mountpoint -q {path} ||"
        look += f"{kept} test -n \"$(ls -A {path})\" || echo '{path} (empty)'\n"
        remove += f"{kept} rmdir --ignore-fail-on-non-empty {path}\n"
    return Cleared(f"runbook package in {folder}", look, remove, (Touch("folder", folder),))


@step("Registry images", on=registry_node)
def images(target: Target) -> Iterator[Resource]:
    yield Absent(f"{target.site.registry.root}/data", parents=(target.site.registry.root,))


@step("Storage folders of the databases")
def databases(target: Target) -> Iterator[Resource]:
    here = target.node == target.site.storage_node
    places = [releases.folder(target.site), *folders(target.site)] if here else []
    # Also those of a database that the site's stack has no more.
    stored = target.host.run(STORED_FOLDERS).text.splitlines()
    for path in dict.fromkeys([*places, *stored, *_moved_from(target)]):
        if target.settings.selinux:
            yield Cleared(f"rule of SELinux for {path}", *without_rule(path), (LOCAL_RULES,))
        yield Absent(path, parents=(path.rpartition("/")[0],))
    yield Absent(STORED, parents=("/etc/airavata-runbook",))


def _moved_from(target: Target) -> list[str]:
    """The folders that databases were moved from, on this host."""
    with suppress(HostUnreachable):  # the master's own report says so
        _, recorded = parse_look(target.session.master.run(LOOK).text)
        return [path for one in kept_folders(recorded) if one.host == str(target.node.address) for path in one.folders]
    return []


@step("Secrets of the databases")
def secrets(target: Target) -> Iterator[Resource]:
    yield Absent(RECORD, parents=("/etc/airavata-runbook",))
    yield Absent(RESTORING, parents=("/etc/airavata-runbook",))
    yield Absent(IMAGES, parents=("/etc/airavata-runbook",))
    yield Absent(SECRETS, parents=("/etc/airavata-runbook",))


STEPS = [
    services,
    pods,
    network,
    files,
    state,
    packages,
]
# Only with `--data`.
DATA_STEPS = [
    images,
    databases,
    secrets,
]
