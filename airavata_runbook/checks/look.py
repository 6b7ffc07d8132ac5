"""What the checks ask of one host, its facts among it: one round trip, and each answer is read by itself."""

import re
import shlex
import time
from collections.abc import Mapping
from contextlib import suppress

from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts import facts as host_facts
from airavata_runbook.hosts.facts import HostFacts
from airavata_runbook.hosts.host import Host
from airavata_runbook.mirror.catalogue import MAINTAINER, PACKAGES
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Node

PROGRAMS, STATE, CONTAINERS = "/usr", "/var/lib", "/var/lib/containerd"  # what packages, etcd and kubelet, and images fill
IN_THE_WAY = {other for package in PACKAGES for other in (package.name, *package.conflicts)}
LISTENING = "ss -Htulnp || echo ss fails"
# Asked of the running kernel; else whether a module could be loaded. A network namespace of its own, gone at once, shows
# whether vxlan works.
FEATURES = """can() { modprobe -nq $1 2>/dev/null && echo $1; true; }
if grep -qw overlay /proc/filesystems; then echo overlay; else can overlay; fi
if test -d /proc/sys/net/bridge; then echo br_netfilter; else can br_netfilter; fi
if test -e /proc/sys/net/netfilter/nf_conntrack_max; then echo nf_conntrack; else can nf_conntrack; fi
if unshare -n ip link add v0 type vxlan id 1 dstport 8472 local 127.0.0.1 2>/dev/null; then echo vxlan; else can vxlan; fi"""
# Version 2 names them in the first file, version 1 in the second: name, hierarchy, number of groups, enabled.
CONTROLLERS = "cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null || awk '$4 == 1 {print $1}' /proc/cgroups"
# Of others only: what is made by the runbook says so. The second letter says how a package is: n is not there, of c only the
# configuration is left. One that dpkg unpacks at this moment, or was stopped at, has no maintainer yet: after a lost
# connection it is ours.
INSTALLED = (
    "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\t${Maintainer}\\n' "
    + " ".join(sorted(IN_THE_WAY))
    + f" 2>/dev/null | awk -F'\\t' '$1 !~ /^.[nc]/ && $3 != \"\" && $3 != \"{MAINTAINER}\" {{print $2}}'"
)
# A folder that is still to be made will lie where the nearest one above it does.
ROOM = (
    'for folder in {folders}; do at="$folder"; until test -e "$at"; do at=$(dirname "$at"); done; '
    'echo "$folder $(df -Pk "$at" | tail -n 1)"; done'
)
# apt's own downloader is there before curl is, and goes the way that apt will go.
INDEX = """dir=$(mktemp -d)
for file in Release InRelease Packages Packages.gz; do
    said=$(timeout 10 /usr/lib/apt/apt-helper -qq -o Acquire::Retries=0 download-file {url}/$file $dir/index 2>&1) &&
        said="index $file" && break
    case $? in 124) said="no answer within 10 s" ;; esac
    # Only what is not there may be there by another name.
    case $said in *40[34]*) ;; *) break ;; esac
done
echo "$said" | grep -v '^W:' | head -n 1; rm -rf $dir"""


class Seen:
    """A host for the checks. What cannot be read is raised as StepFailed by the check that asks for it, and by no other.

    node: of the site file. Each fact has its name in HostFacts, and beside them are: listening: (protocol, port) → the
    programs' names. registry: addresses that the registry's name leads to there. packages: those of others that are in the
    way of one of ours, or are called like it. features: what the kernel has. controllers: of its control groups. room:
    folder → where its file system is mounted, and the bytes free there. repository: "index NAME" that the package
    repository gave the host, or why it gave none.
    """

    def __init__(self, node: Node, facts: Mapping[str, object], looks: Mapping[str, object]):
        self.node, self._facts, self._values = node, facts, {**facts, **looks}

    def __getattr__(self, name: str):
        if name not in vars(self).get("_values", ()):
            raise AttributeError(name)
        if isinstance(value := self._values[name], StepFailed):
            raise value
        return value

    @property
    def facts(self) -> HostFacts:
        """All facts. Raises StepFailed when one of them cannot be read."""
        return host_facts.whole(self._facts)


def look(site: Site, host: Host) -> Seen:
    """What the checks need of one host, looked up anew; the steps that follow take its facts. Raises RunbookError."""
    known = session_of(site).facts
    known.pop(host.name, None)
    asked = time.time()
    answers = host.run_batch(host_facts.FRAGMENTS | fragments(site, host.node))
    seen = parse(site, host.node, {name: answer.text for name, answer in answers.items()}, asked, time.time())
    with suppress(StepFailed):  # the check `settings` tells it
        known[host.name] = seen.facts
    return seen


def fragments(site: Site, node: Node) -> dict[str, str]:
    """What is asked beside the facts, by name."""
    asked = {
        "listening": LISTENING,
        "features": FEATURES,
        "controllers": CONTROLLERS,
        "packages": INSTALLED,
        "registry": f"timeout 5 getent ahostsv4 {shlex.quote(site.registry.name)} || true",
        "room": ROOM.format(folders=shlex.join(folders(site, node))),
    }
    if not site.repository.folder:
        asked["repository"] = INDEX.format(url=shlex.quote(site.repository.baseurl.rstrip("/")))
    return asked


def folders(site: Site, node: Node) -> list[str]:
    """The folders of a host that the runbook fills."""
    wanted = [PROGRAMS, STATE, CONTAINERS]
    wanted += [site.repository.folder] if site.repository.folder else []
    wanted += [site.registry.root] if node == site.registry_node else []
    wanted += [site.airavata.storage_path] if node == site.storage_node else []
    return wanted


def parse(site: Site, node: Node, texts: Mapping[str, str], *when: float) -> Seen:
    """A host from what the fragments printed. when: as in `facts.host.fields`."""
    return Seen(node, host_facts.fields(texts, *when), host_facts.read(texts, fragments(site, node), PARSERS))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _listening(text: str) -> dict[tuple[str, int], frozenset[str]]:
    found: dict[tuple[str, int], frozenset[str]] = {}
    for line in text.splitlines():
        words = line.split()
        port = words[4].rpartition(":")[2]
        if not re.fullmatch("[0-9]{1,5}", port):
            raise ValueError("not a port")
        programs = re.findall(r'\("(.*?)",pid=', line) or [""]
        found[words[0], int(port)] = found.get((words[0], int(port)), frozenset()).union(programs)
    return found


def _room(text: str) -> dict[str, tuple[str, int]]:
    rows = [re.fullmatch(r"(\S+) .* (\d+) +(?:\d+%|-) +(/.*)", line) for line in text.splitlines()]
    if not rows or not all(rows):
        raise ValueError("not what df prints")
    return {row[1]: (row[3], int(row[2]) * 1024) for row in rows}


PARSERS: host_facts.Parsers = {
    "listening": host_facts.one("listening", _listening),
    "registry": host_facts.one("registry", lambda text: sorted({line.split()[0] for line in text.splitlines() if line.strip()})),
    "packages": host_facts.one("packages", _words),
    "features": host_facts.one("features", _words),
    "controllers": host_facts.one("controllers", _words),
    "room": host_facts.one("room", _room),
    "repository": host_facts.one("repository", str.strip),
}
