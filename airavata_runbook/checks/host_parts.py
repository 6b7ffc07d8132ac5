"""Components that a site takes from its hosts: whether they are there, and new enough for the others."""

import re
import shlex
from collections.abc import Iterator

from airavata_runbook.checks.owners import UnitFiles
from airavata_runbook.checks.types import Problem
from airavata_runbook.distributions import makers
from airavata_runbook.distributions.packaging import numbers
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot
from airavata_runbook.mirror.catalogue import MAINTAINER, parts_on
from airavata_runbook.site import Site
from airavata_runbook.site.host_parts import HOST_PARTS, cni_folders
from airavata_runbook.site.node import Node

K8S = "k8s.io"  # containerd's namespace of Kubernetes
VERSIONS = {"containerd": "/usr/bin/containerd --version", "runc": "runc --version", "etcd": "/usr/bin/etcd --version"}


class HostParts(Fact[dict[str, list[str]]]):
    """Component → what its first program says of its version, of those that the site takes from the host; no line where it is
    not there. `component missing` → programs that are not there; `runbook` → components that are of the runbook's own package;
    `namespaces` → those of containerd, while it runs.
    """

    def __init__(self, site: Site, node: Node):
        wanted = parts_on(site, node)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        lines = [f"PATH={path}"]
        for name in wanted:
            part = HOST_PARTS[name]
            if name == "cni":
                look = f"dir=; for one in {' '.join(cni_folders(site))}; do test -x $one/bridge && dir=$one && break; done; "
                lines.append(f"{look}test -z $dir || echo cni $(CNI_COMMAND=VERSION $dir/bridge 2>/dev/null </dev/null)")
                lines.append(f"for one in {' '.join(part.programs)}; do test -x $dir/$one || echo 'cni missing' $one; done")
            else:
                lines.append(
                    f"! command -v {part.programs[0]} >/dev/null || echo {name} $({VERSIONS[name]} 2>/dev/null | head -n 1)"
                )
                lines += [f"command -v {one} >/dev/null || echo '{name} missing' {one}" for one in part.programs]
        ours = [HOST_PARTS[name].package for name in wanted if HOST_PARTS[name].package]
        if ours:
            lines.append(
                f"{makers(ours)} | grep -F {shlex.quote(MAINTAINER)} | while read -r name _; do echo runbook $name; done"
            )
        if "containerd" in wanted:
            lines.append("timeout 5 ctr namespaces ls -q 2>/dev/null | while read -r name; do echo namespaces $name; done")
        self.command = "\n".join([*lines, "true"])

    def parse(self, text: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in text.splitlines():
            row = re.fullmatch(r"((?:\S+ missing)|\S+)(?: (.*))?", line)
            if not row or row[1].partition(" ")[0] not in (*HOST_PARTS, "runbook", "namespaces"):
                raise ValueError("not a component")
            found.setdefault(row[1], []).append(row[2] or "")
        return found


def find_host_parts(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    for name in parts_on(site, host.node):
        part, found = HOST_PARTS[name], host[HostParts]
        release = f"or leave out sources.{name}: the runbook brings its own"
        needed = f"{name} {part.oldest} or later on the host: {part.why}"
        if part.package in found.get("runbook", ()):
            yield Problem(f"{name} is of the runbook's package {part.package}", needed, f"install yours in its place; {release}")
        elif missing := found.get(f"{name} missing"):
            yield Problem(f"no {', '.join(missing)}", needed, f"install it from your distribution; {release}")
        elif numbers(version := _version(name, found.get(name, [""])[0])) < numbers(part.oldest):
            yield Problem(f"{name} {version or 'does not say its version'}", needed, f"install a newer one; {release}")
        if part.unit and not any(path.endswith(f"/{part.unit}.service") for path in host[UnitFiles]):
            yield Problem(f"no unit {part.unit}.service", f"the unit that the package of {name} brings", release)
        others = sorted(set(found.get("namespaces", ())) - {K8S}) if name == "containerd" else []
        if others:
            yield Problem(
                f"containerd has the namespaces {', '.join(others)} of others, whose containers would end",
                f"none but {K8S}",
                f"use a host without them, or leave it: ctr namespaces rm; {release}",
            )


def _version(name: str, said: str) -> str:
    """The version in what a program says; of cni the newest that the plugins know. "" for none."""
    versions = re.findall(r"\d+\.\d+\.\d+", said)
    return max(versions, key=numbers, default="") if name == "cni" else "".join(versions[:1])
