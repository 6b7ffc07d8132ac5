"""Facts that only the preflight checks need. They are gathered with those of every step, in the same round trip."""

import re
import shlex
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from airavata_runbook import distributions
from airavata_runbook.checks.firewall import FilterRules
from airavata_runbook.checks.host_parts import HostParts
from airavata_runbook.checks.kernel import CgroupControllers, ContainersInPolicy, KernelFeatures, SysctlsAtBoot, WordSet
from airavata_runbook.checks.leftovers import ClusterRemains, Membership
from airavata_runbook.checks.owners import PortOwners, UnitFiles
from airavata_runbook.configs.node import package_proxy
from airavata_runbook.hosts.facts import HOST_FACTS
from airavata_runbook.hosts.snapshot import Fact
from airavata_runbook.mirror.catalogue import MAINTAINER, PACKAGES, of_distribution
from airavata_runbook.site import Site, storage
from airavata_runbook.site.life import LOOK, parse_look
from airavata_runbook.site.node import Node
from airavata_runbook.site.stack_file import parts_of, runs
from airavata_runbook.wellknown import API_PORT

# What boards and hypervisors have instead of an id of their own.
NO_UUIDS = ("03000200-0400-0500-0006-000700080009", *("-".join(one * n for n in (8, 4, 4, 4, 12)) for one in "0f"))
# Those of the host's own addresses first.
ROUTE_TYPES = ("local", "broadcast", "anycast", "multicast", "unicast", "blackhole", "unreachable", "prohibit", "throw")
PROGRAMS, STATE, CONTAINERS = "/usr", "/var/lib", "/var/lib/containerd"  # what packages, etcd and kubelet, and images fill
LOOPBACK = "127.0.0.1"


class Listening(Fact[dict[tuple[str, int], frozenset[str]]]):
    """(protocol, port) → the names of the programs that listen there, "" for the kernel."""

    command = "ss -Htulnp || echo ss fails"

    def parse(self, text: str) -> dict[tuple[str, int], frozenset[str]]:
        found: dict[tuple[str, int], frozenset[str]] = {}
        for line in text.splitlines():
            words = line.split()
            port = words[4].rpartition(":")[2]
            if not re.fullmatch("[0-9]{1,5}", port):
                raise ValueError("not a port")
            programs = re.findall(r'\("(.*?)",pid=', line) or [""]
            found[words[0], int(port)] = found.get((words[0], int(port)), frozenset()).union(programs)
        return found


class CloudSetup(Fact[bool]):
    """NetworkManager's service that takes a cloud's addresses for the host's own (nm-cloud-setup(8))."""

    command = "systemctl is-enabled nm-cloud-setup.timer 2>/dev/null || true"

    def parse(self, text: str) -> bool:
        if len(text.split()) > 1:
            raise ValueError("not the state of a unit")
        return text.strip() == "enabled"


class ForeignPackages(WordSet):
    """Installed packages of other maintainers that conflict with one of the runbook's or have the same name.

    A package that dpkg is unpacking, or was interrupted at, has no maintainer yet: after a lost connection it is the runbook's.
    """

    command = (
        distributions.makers(sorted({other for package in PACKAGES for other in (package.name, *package.conflicts)}))
        + f" | awk -F'\\t' '$2 != \"\" && $2 != \"{MAINTAINER}\" {{print $1}}'"
    )


class MissingPackages(WordSet):
    """What a host needs of its distribution's packages, and has neither installed nor in a repository that it knows."""

    command = distributions.by_distribution(lambda packaging: packaging.list_missing(of_distribution(packaging.format)))


class RegistryAddresses(Fact[list[str]]):
    """The addresses that the registry's name resolves to on the host."""

    def __init__(self, site: Site):
        self.command = f"timeout 5 getent ahostsv4 {shlex.quote(site.registry.name)} || true"

    def parse(self, text: str) -> list[str]:
        return sorted({line.split()[0] for line in text.splitlines() if line.strip()})


class SiteRecord(Fact[tuple[str, str]]):
    """(what the host is, a key of life.STATES; the record of the site that it was made with, or "")."""

    command = LOOK

    def parse(self, text: str) -> tuple[str, str]:
        return parse_look(text)


class StorageFolders(Fact[storage.Storage]):
    """The folders of the databases on the storage node."""

    def __init__(self, site: Site, node: Node):
        self.command = storage.look(list(storage.folders(site)) if node == site.storage_node else [])

    def parse(self, text: str) -> storage.Storage:
        return storage.parse(text)


class Route(NamedTuple):
    """device: "" for a route that drops or refuses packets."""

    network: IPv4Network
    device: str


class Routes(Fact[list[Route]]):
    """The routes of all tables but those of the host's own addresses and the default ones (ip-route(8))."""

    command = "ip -o -4 route show table all || echo ip fails"

    def parse(self, text: str) -> list[Route]:
        routes = []
        for line in filter(None, text.splitlines()):
            words = line.split()
            kind = words.pop(0) if words[0].isalpha() and words[0] != "default" else "unicast"
            if kind not in ROUTE_TYPES:
                raise ValueError("not a route")
            if kind not in ROUTE_TYPES[:4] and words[0] != "default":
                device = words[words.index("dev") + 1] if "dev" in words else ""
                routes.append(Route(IPv4Network(words[0]), device))
        return routes


class MacAddresses(Fact[dict[str, str]]):
    """Interface → its MAC address, for those that have one."""

    command = "ip -o link show"

    def parse(self, text: str) -> dict[str, str]:
        if not text.strip():
            raise ValueError("no interfaces: even a bare host has lo, so `ip` is missing or failed")
        rows = re.findall(r"^\d+: ([^:@\s]+).* link/ether ([0-9a-f:]{17})\b", text, re.MULTILINE)
        return dict(rows)


class ProductUuid(Fact[str]):
    """The id that the machine's maker or its hypervisor gave it, "" where there is none or in a container.

    A container shows that of the machine below, which all containers there share (lab hosts too): it says nothing of the
    host.
    """

    command = "systemd-detect-virt -q --container 2>/dev/null || cat /sys/class/dmi/id/product_uuid 2>/dev/null || true"

    def parse(self, text: str) -> str:
        uuid = text.strip().lower()
        if uuid and not re.fullmatch(r"[0-9a-f-]{36}", uuid):
            raise ValueError("not a UUID")
        return "" if uuid in NO_UUIDS else uuid


class CloudInitHosts(Fact[list[tuple[str, str]]]):
    """(file, value) of each `manage_etc_hosts` that cloud-init reads, the one that counts last.

    Empty where cloud-init is not installed or is disabled, or where the registry's name is in its template for /etc/hosts.
    """

    def __init__(self, site: Site):
        instance = "/var/lib/cloud/instance"  # the merged settings of vendor and user, which override the host's own
        self.command = rf"""test -d /etc/cloud || exit 0
test ! -e /etc/cloud/cloud-init.disabled && test ! -e /run/cloud-init/disabled || exit 0
grep -qwF {shlex.quote(site.registry.name)} /etc/cloud/templates/hosts.*.tmpl 2>/dev/null && exit 0
for file in /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg {instance}/vendor*-cloud-config.txt {instance}/cloud-config.txt; do
    grep -HE "^[\"']?manage_etc_hosts[\"']? *:" "$file" 2>/dev/null
done; true"""

    def parse(self, text: str) -> list[tuple[str, str]]:
        rows = [
            re.fullmatch(r"""(/[^:]+):["']?manage_etc_hosts["']? *: *(.*)""", line) for line in filter(None, text.splitlines())
        ]
        if not all(rows):
            raise ValueError("not a setting of cloud-init")
        return [(row[1], re.sub(r"\s+#.*", "", row[2]).strip().strip("\"'").lower()) for row in rows if row]


class FileSystem(NamedTuple):
    """mount: where it is mounted. free: bytes."""

    mount: str
    free: int


class FreeSpace(Fact[dict[str, FileSystem]]):
    """Folder that the runbook fills → its file system; of one that does not exist yet, that of the nearest parent."""

    def __init__(self, folders: list[str]):
        self.command = (
            f'for folder in {shlex.join(folders)}; do at="$folder"; until test -e "$at"; do at=$(dirname "$at"); done; '
            'echo "$folder $(df -Pk "$at" | tail -n 1)"; done'
        )

    def parse(self, text: str) -> dict[str, FileSystem]:
        found = {}
        for line in text.splitlines():
            row = re.fullmatch(r"(\S+) .* (\d+) +(?:\d+%|-) +(/.*)", line)
            if not row:
                raise ValueError("not the output of df")
            found[row[1]] = FileSystem(row[3], int(row[2]) * 1024)
        if not found:
            raise ValueError("no output of df")
        return found


class PackageIndexError(Fact[str]):
    """Why the host cannot download a package index from the site's repository; "" when it can."""

    def __init__(self, site: Site):
        url = site.repository.baseurl.rstrip("/")
        look = distributions.by_distribution(lambda packaging: packaging.find_index(url))
        self.command = f"{package_proxy(site, '')}{look}" if site.proxy else look

    def parse(self, text: str) -> str:
        if text.strip() == "found":
            return ""
        # The address may hold a token.
        return re.sub(r"^E: (Failed to fetch \S+ +)?| (for )?https?://\S+", "", text.strip())[:200] or "no output"


def asks_for_index(site: Site) -> bool:
    """Whether a host looks for the package index. The login at a proxy is not on the hosts yet, and is given to no check."""
    return not site.repository.folder and not (site.proxy and site.proxy.auth)


def filled_folders(site: Site, node: Node) -> list[str]:
    """The folders of a host that the runbook fills."""
    return [PROGRAMS, STATE, CONTAINERS, *site.folders_on(node).values()]


def forwards(site: Site, node: Node) -> list[tuple[str, int]]:
    """Address and port of one of the forwards that the chapters open through a host; none through a host that needs none."""
    if node == site.master:
        return [(LOOPBACK, API_PORT)]
    if node == site.registry_node:
        return [(LOOPBACK, site.registry.port)]
    # The portal's page is requested from every host.
    served = any(one.name == "portal" and runs(one, site.airavata) for one in parts_of(site.airavata))
    return [(str(node.address), site.airavata.portal_node_port)] if served else []


def preflight_facts(site: Site, node: Node) -> list[Fact[Any]]:
    """All that the checks need of a host, the facts of every step among it."""
    facts: list[Fact[Any]] = [
        *HOST_FACTS,
        Listening(),
        KernelFeatures(),
        ContainersInPolicy(),
        CloudSetup(),
        SysctlsAtBoot(),
        CgroupControllers(),
        ForeignPackages(),
        MissingPackages(),
        RegistryAddresses(site),
        SiteRecord(),
        StorageFolders(site, node),
        Routes(),
        MacAddresses(),
        ProductUuid(),
        CloudInitHosts(site),
        FilterRules(),
        PortOwners(),
        UnitFiles(),
        Membership(site),
        ClusterRemains(),
        FreeSpace(filled_folders(site, node)),
    ]
    facts += [HostParts(site, node)] if site.sources.hosted else []
    return [*facts, PackageIndexError(site)] if asks_for_index(site) else facts
