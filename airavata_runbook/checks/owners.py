"""Whose the services of the cluster are: the units of their names, and the processes on their ports."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from airavata_runbook.checks.leftovers import Membership
from airavata_runbook.checks.types import Problem
from airavata_runbook.hosts.snapshot import Fact, HostSnapshot
from airavata_runbook.mirror.catalogue import PACKAGE, PACKAGES, of_host
from airavata_runbook.site import Site
from airavata_runbook.wellknown import PULL_SERVICE

# systemd.unit(5), in its order; the last two, which may be one, are for packages, and the check packages is for those.
UNIT_FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
PACKAGED = ("/usr/lib/systemd/system/", "/lib/systemd/system/")
OWN_DROP_INS = ("/etc/systemd/system/flanneld.service.d/pod-network.conf",)  # chapter 02
UNITS = tuple(unit for package in PACKAGES for unit in package.units)
PROGRAMS = {program: folder for package in PACKAGES for _, program, folder in package.programs}
COMM = 15  # characters of a program's name that the kernel keeps (proc_pid_comm(5))
UNITS_OF = {"registry": ("docker-distribution", PULL_SERVICE)}  # of a program whose units have other names


class Owner(NamedTuple):
    """A process. program: its name. unit: the innermost service or scope of systemd that it is in. executable: its file.

    "" for what is not known. Sources: proc_pid_comm(5), proc_pid_exe(5), cgroups(7).
    """

    program: str
    unit: str
    executable: str

    def runs(self, program: str, any_path: bool) -> bool:
        """Whether it is the runbook's: by its unit and by its executable, as far as they are known."""
        units = [f"{unit}.service" for unit in UNITS_OF.get(program, (program,))]
        path = f"{PROGRAMS[program]}/{program}"
        return self.unit in ("", *units) and (any_path or self.executable in ("", path))


class PortOwners(Fact[dict[tuple[str, int], frozenset[Owner]]]):
    """(protocol, port) → the processes that listen there and have the name of a program of the cluster."""

    command = rf"""ss -Htulnp | grep -E '"({"|".join(sorted({program[:COMM] for program in PROGRAMS}))})"' |
while read -r protocol _ _ _ local _ programs; do
    for pid in $(printf '%s' "$programs" | grep -oE ',pid=[0-9]+,fd=' | grep -oE '[0-9]+,' | tr -d , | sort -u); do
        unit=$(sed -nE 's#^(0:|[0-9]+:name=systemd):(.*/)?([^/]+[.](service|scope))(/.*)?$#\3#p' /proc/$pid/cgroup | head -n 1)
        printf '%s\t%s\t%s\t%s\t%s\n' $protocol "${{local##*:}}" "$(cat /proc/$pid/comm)" "$unit" "$(readlink /proc/$pid/exe)"
    done
done 2>/dev/null; true"""

    def parse(self, text: str) -> dict[tuple[str, int], frozenset[Owner]]:
        found: dict[tuple[str, int], frozenset[Owner]] = {}
        for line in filter(None, text.splitlines()):
            protocol, port, program, unit, executable = line.split("\t")
            # The kernel adds the first, dpkg the second to the name of a program that was replaced since it started.
            executable = executable.removesuffix(" (deleted)").removesuffix(".dpkg-tmp")
            key = (protocol, int(port))
            found[key] = found.get(key, frozenset()) | {Owner(program, unit, executable)}
        return found


class UnitFiles(Fact[list[str]]):
    """Files in systemd's folders that define or change the units of the cluster, masked units among them.

    They are looked up as files: of a unit that is not there, systemctl shows no drop-ins.
    """

    command = (
        f"for unit in {' '.join(UNITS)}; do for folder in {' '.join(UNIT_FOLDERS)}; do "
        'case $folder in /lib/*) test ! -L /lib || continue ;; esac; base="$folder/$unit.service"; '
        'for path in "$base" "$base.d"/*.conf; do { test -e "$path" || test -L "$path"; } && echo "$path"; done; done; done; true'
    )

    def parse(self, text: str) -> list[str]:
        paths = text.splitlines()
        if not all(path.startswith("/") for path in filter(None, paths)):
            raise ValueError("not a path")
        return [path for path in paths if path]


def find_units(site: Site, host: HostSnapshot) -> Iterator[Problem]:
    """A problem for each unit or drop-in of a service of this host that is not the runbook's."""
    mine = {unit for name in of_host(site, host.node) for unit in PACKAGE[name].units}  # others are of the host itself
    for path in host[UnitFiles]:
        unit = re.sub(r".*/([^/]+)\.service(\.d/.*)?", r"\1", path)
        is_drop_in = ".service.d/" in path
        if unit not in mine or path in OWN_DROP_INS or path.startswith(PACKAGED) and not is_drop_in:
            continue
        yield Problem(
            f"{path} {'changes' if is_drop_in else 'replaces'} the unit {unit}",
            "only the unit of the runbook's package",
            f"systemctl disable --now {unit}; rm {path}; systemctl daemon-reload"
            if not is_drop_in
            else f"rm {path}; systemctl daemon-reload; or leave this check out, if the setting is wanted",
        )


def others_on(site: Site, host: HostSnapshot, key: tuple[str, int], program: str, names: frozenset[str]) -> Iterator[str]:
    """What listens on a port and is not the runbook's program, each described. names: of all that listen there.

    On a host that is no node of the site yet nothing is the runbook's. A program of the right name is told from it by its
    unit and its executable.
    """
    ours = program[:COMM]
    is_node = host[Membership].of(site)
    yield from (name or "something" for name in sorted(names - {ours}))
    if ours in names and not is_node:
        yield f"{program or 'something'}, which is not of this site,"
    for owner in sorted(host[PortOwners].get(key, ())) if is_node else ():
        # Packages of a repository of the site's own may have other paths.
        if owner.program == ours and not owner.runs(program, any_path=not site.repository.folder):
            yield " of ".join(filter(None, (owner.executable or program, owner.unit)))
