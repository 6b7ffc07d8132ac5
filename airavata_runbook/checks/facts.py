"""Facts that only the preflight checks need. They are gathered with those of every step, in the same round trip."""

import re
import shlex
from typing import Any, NamedTuple

from airavata_runbook.hosts.facts import HOST_FACTS
from airavata_runbook.hosts.snapshot import Fact
from airavata_runbook.mirror.catalogue import MAINTAINER, PACKAGES
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Node
from airavata_runbook.wellknown import API_PORT

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


class WordSet(Fact[frozenset[str]]):
    """The words that a command prints."""

    def parse(self, text: str) -> frozenset[str]:
        return frozenset(text.split())


class KernelFeatures(WordSet):
    """What the running kernel has or can load as a module. vxlan is tried in a network namespace that is gone at once."""

    command = """loadable() { modprobe -nq $1 2>/dev/null && echo $1; true; }
if grep -qw overlay /proc/filesystems; then echo overlay; else loadable overlay; fi
if test -d /proc/sys/net/bridge; then echo br_netfilter; else loadable br_netfilter; fi
if test -e /proc/sys/net/netfilter/nf_conntrack_max; then echo nf_conntrack; else loadable nf_conntrack; fi
if unshare -n ip link add v0 type vxlan id 1 dstport 8472 local 127.0.0.1 2>/dev/null; then echo vxlan; else loadable vxlan; fi"""


class CgroupControllers(WordSet):
    """The enabled controllers. Version 2 lists them in the first file; version 1 in the second: name, hierarchy, number of
    cgroups, enabled."""

    command = "cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null || awk '$4 == 1 {print $1}' /proc/cgroups"


class ForeignPackages(WordSet):
    """Installed packages of other maintainers that conflict with one of the runbook's or have the same name.

    The second letter of a package's status: n is not installed, of c only the configuration is left. A package that dpkg
    is unpacking, or was interrupted at, has no maintainer yet: after a lost connection it is the runbook's.
    """

    command = (
        "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\t${Maintainer}\\n' "
        + " ".join(sorted({other for package in PACKAGES for other in (package.name, *package.conflicts)}))
        + f" 2>/dev/null | awk -F'\\t' '$1 !~ /^.[nc]/ && $3 != \"\" && $3 != \"{MAINTAINER}\" {{print $2}}'"
    )


class RegistryAddresses(Fact[list[str]]):
    """The addresses that the registry's name resolves to on the host."""

    def __init__(self, site: Site):
        self.command = f"timeout 5 getent ahostsv4 {shlex.quote(site.registry.name)} || true"

    def parse(self, text: str) -> list[str]:
        return sorted({line.split()[0] for line in text.splitlines() if line.strip()})


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
    """Why the host cannot download a package index from the site's repository; "" when it can.

    It uses apt's own downloader, which is installed before curl is and connects the way that apt will.
    """

    def __init__(self, site: Site):
        self.command = f"""url={shlex.quote(site.repository.baseurl.rstrip("/"))} dir=$(mktemp -d)
for file in Release InRelease Packages Packages.gz; do
    output=$(timeout 10 /usr/lib/apt/apt-helper -qq -o Acquire::Retries=0 download-file "$url/$file" $dir/index 2>&1) &&
        output=found && break
    case $? in 124) output="no answer within 10 s" ;; esac
    # Only a file that does not exist may exist by another name.
    case $output in *40[34]*) ;; *) break ;; esac
done
echo "$output" | grep -v '^W:' | head -n 1; rm -rf $dir"""

    def parse(self, text: str) -> str:
        if text.strip() == "found":
            return ""
        return re.sub(r"^E: (Failed to fetch \S+ +)?", "", text.strip())[:200] or "no output"


def filled_folders(site: Site, node: Node) -> list[str]:
    """The folders of a host that the runbook fills."""
    return [PROGRAMS, STATE, CONTAINERS, *site.folders_on(node).values()]


def forwards(site: Site, node: Node) -> list[tuple[str, int]]:
    """Address and port of one of the forwards that the chapters open through a host; none through a host that needs none."""
    if node == site.master:
        return [(LOOPBACK, API_PORT)]
    if node == site.registry_node:
        return [(LOOPBACK, site.registry.port)]
    served = site.airavata.stand_in or "portal" in site.airavata.images  # its page is requested from every host
    return [(str(node.address), site.airavata.portal_node_port)] if served else []


def preflight_facts(site: Site, node: Node) -> list[Fact[Any]]:
    """All that the checks need of a host, the facts of every step among it."""
    facts: list[Fact[Any]] = [
        *HOST_FACTS,
        Listening(),
        KernelFeatures(),
        CgroupControllers(),
        ForeignPackages(),
        RegistryAddresses(site),
        FreeSpace(filled_folders(site, node)),
    ]
    return facts if site.repository.folder else [*facts, PackageIndexError(site)]
