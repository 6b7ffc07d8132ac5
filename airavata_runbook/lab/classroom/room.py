"""Whether this machine has room for all labs of a class, before any is made."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from airavata_runbook.errors import CannotBuild, counted
from airavata_runbook.lab import preflight
from airavata_runbook.lab.classroom.members import Member
from airavata_runbook.lab.host import LabHost, lab_hosts
from airavata_runbook.lab.preflight import Problem, Resource


def check(members: Sequence[Member]) -> None:
    """Raise CannotBuild with all that is in the way of these labs, and how many of them fit; return when nothing is."""
    growing = {member.name: [host for host in lab_hosts(member.site) if not _has_grown(host)] for member in members}
    kinds = {host.packages for hosts in growing.values() for host in hosts}
    resources = preflight.resources(images=len(kinds))
    found = [*_shortages(resources, growing)]
    fit = _fitting(resources, growing) if found else len(members)
    for member in members:
        if any(host.state != "running" for host in growing[member.name]):
            found += [Problem(f"{member.name}: {one.what}", one.remedy) for one in preflight.network_problems(member.lab)]
    if found:
        fewer = [f"or fewer: airavata-runbook class up {fit}"] if 0 < fit < len(members) else []
        raise CannotBuild(
            f"the class cannot run on this machine ({counted(len(found), 'problem')})",
            found="\n".join(f"{number}. {one.what}" for number, one in enumerate(found, 1)),
            remedy="\n".join([*(f"{number}. {one.remedy}" for number, one in enumerate(found, 1)), *fewer]),
        )


def _shortages(resources: Sequence[Resource], growing: Mapping[str, Sequence[LabHost]]) -> Iterator[Problem]:
    """Of what this machine has too little. A lab takes most of it once its notebooks run: until then it counts in full."""
    hosts = sum(map(len, growing.values()))
    labs = f"{counted(sum(map(bool, growing.values())), 'lab')} with {counted(hosts, 'host')} that have not run yet"
    for one in resources:
        if shortage := one.shortage(hosts):
            fit = _fitting([one], growing)
            yield Problem(f"{labs} need {shortage}: {counted(fit, 'lab')} would fit", one.remedy)


def _fitting(resources: Sequence[Resource], growing: Mapping[str, Sequence[LabHost]]) -> int:
    """How many of the labs there is enough for, from the first on."""
    left = min(one.hosts() for one in resources)
    needed = accumulate(len(hosts) for hosts in growing.values())
    return sum(hosts <= left for hosts in needed)


def _has_grown(host: LabHost) -> bool:
    """Whether the cluster runs on a host: what it takes is no longer available."""
    return host.state == "running" and (host.folder / "upper" / "etc" / "kubernetes").is_dir()
