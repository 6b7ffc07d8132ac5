"""Releases of Airavata's servers that ran before an upgrade: which images, and the databases as they were.

They are kept on the storage node, beside the databases, in a folder that root alone can read: the dump has everything that
the databases have. A release is a folder that is named by the time (UTC) of its dump:

    release.json      component → container → image by digest, the stand-ins, and whether it was rolled out to its end
    workloads.json    the workloads as they were in the cluster; of Secrets they have the names only
    databases.sql.gz  all databases (cluster/mariadb.py); missing in a site without MariaDB
"""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airavata_runbook.cluster.mariadb import COMPONENT, Database
from airavata_runbook.cluster.objects import SERVER_MADE
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import RunbookError, StepFailed
from airavata_runbook.hosts.host import TIMEOUT
from airavata_runbook.hosts.output import feed, output
from airavata_runbook.site import Site
from airavata_runbook.stacks import Component, Stack
from airavata_runbook.stacks.render import MARK, ONCE, pod_of

FOLDER = "before-upgrades"
KEPT = 3
SPARE = 256 << 20  # bytes that stay free beside the databases
NAME = "%Y%m%dT%H%M%SZ"
FOREVER = 10.0**7  # seconds without any output
PART = ".part"  # a release that is being written
DUMP = "databases.sql.gz"
Images = Mapping[str, Mapping[str, str]]  # component → container → reference
Workloads = Mapping[tuple[str, str], dict]  # (kind, name) → object


@dataclass(frozen=True)
class Release:
    """images: component → container → full reference. stand_ins: components that the STAND-IN served. whole: it was rolled out to
    its end, so that it is one to go back to. name, size: of a kept one, and the bytes of its dump, 0 for none."""

    images: Images
    stand_ins: tuple[str, ...] = ()
    whole: bool = True
    name: str = ""
    size: int = 0


def folder(site: Site) -> str:
    """Where the site's releases are, on its storage node."""
    return f"{site.airavata.storage_path}/{FOLDER}"


def servers(stack: Stack) -> Iterator[tuple[Component, dict]]:
    """Airavata's own components, each with its workloads but for what only runs once."""
    for component in stack.components:
        for manifest in component.objects if component.airavata else ():
            if pod_of(manifest) and manifest["kind"] != ONCE:
                yield component, manifest


def kinds(stack: Stack) -> list[tuple[str, str]]:
    """apiVersion and kind of these workloads, each once."""
    return list(dict.fromkeys((one["apiVersion"], one["kind"]) for _, one in servers(stack)))


def running(stack: Stack, live: Workloads) -> Release | None:
    """The release that the cluster has of a stack's components; None where it has none of them."""
    images: dict[str, dict[str, str]] = {}
    stand_ins, whole = [], True
    for component, manifest in servers(stack):
        if found := live.get((manifest["kind"], manifest["metadata"]["name"])):
            images.setdefault(component.name, {}).update(boxes(found))
            stand_ins += [component.name] if MARK in found["metadata"].get("labels", {}) else []
            whole = whole and _is_whole(found)
    return Release(images, tuple(dict.fromkeys(stand_ins)), whole) if images else None


def wanted(stack: Stack) -> Images:
    """The images that the stack's manifests name, as `Release.images`."""
    images: dict[str, dict[str, str]] = {}
    for component, manifest in servers(stack):
        images.setdefault(component.name, {}).update(boxes(manifest))
    return images


def boxes(workload: dict) -> dict[str, str]:
    """Container → image of a workload's pods."""
    pod = workload["spec"]["template"]["spec"]
    return {box["name"]: box["image"] for box in [*pod.get("initContainers", []), *pod["containers"]]}


def changed(old: Images, new: Images) -> dict[str, tuple[str, str]]:
    """Component → (image before, image now) of those in both that have another image, by its digest.

    An image whose digest is not known yet is another one where its tag is.
    """
    found = {}
    for component in old.keys() & new.keys():
        for box in old[component].keys() & new[component].keys():
            before, now = old[component][box], new[component][box]
            if _other(before, now):
                found[component] = before, now
    return dict(sorted(found.items()))


def short(image: str) -> str:
    """NAME:TAG and the beginning of its digest, of a full reference."""
    name, _, digest = image.partition("@")
    return name.partition("/")[2] + (f" ({digest[:19]})" if digest else "")


def _other(before: str, now: str) -> bool:
    digests = before.partition("@")[2], now.partition("@")[2]
    return digests[0] != digests[1] if all(digests) else before.partition("@")[0] != now.partition("@")[0]


def _is_whole(workload: dict) -> bool:
    """Whether the newest revision of a workload was rolled out to its end; that a pod is not ready just now does not matter."""
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    if workload["kind"] == "Deployment":  # the controller keeps this reason from then on (Kubernetes, "Deployments")
        return any(one.get("reason") == "NewReplicaSetAvailable" for one in status.get("conditions", []))
    return status.get("currentRevision") == status.get("updateRevision")


def kept(session: Session) -> list[Release]:
    """The releases that are kept, the newest first. Raises StepFailed for one that cannot be read."""
    place = folder(session.site)
    result = _run(
        session,
        f"""cd {place} 2>/dev/null || exit 0
for name in 2*; do
    test -f "$name/release.json" || continue
    echo "$name $(stat -c %s "$name/{DUMP}" 2>/dev/null || echo 0) $(tr -d '\\n' < "$name/release.json")"
done""",
    )
    try:
        return [_parse(line) for line in reversed(result.splitlines())]
    except (ValueError, LookupError, TypeError) as error:
        raise StepFailed("the record of a kept release is damaged", where=_where(session), found=str(error)) from None


def _parse(line: str) -> Release:
    name, size, text = line.split(" ", 2)
    about: Any = json.loads(text)
    return Release(about["images"], tuple(about["stand_ins"]), bool(about["whole"]), name, int(size))


def keep(
    session: Session,
    release: Release,
    live: Workloads,
    database: Database | None,
    say: Callable[[int], None] = lambda count: None,
) -> Release:
    """Dump the databases and keep them with the release that runs; of the earlier ones KEPT - 1, and the last that was whole.

    Nothing is kept of a dump that fails. say: called with the bytes dumped so far. Raises StepFailed: too little space, a dump
    that failed or is cut, a disk that is full; and HostUnreachable.
    """
    _check_space(session)
    site, host = session.site, session.hosts[session.site.storage_node.name]
    place, name = folder(site), datetime.now(UTC).strftime(NAME)
    about = {"site": site.name, "images": release.images, "stand_ins": release.stand_ins, "whole": release.whole}
    objects = {"apiVersion": "v1", "kind": "List", "items": [_plain(one) for one in live.values()]}
    part = f"{place}/{PART}"
    try:
        _run(
            session,
            f"""set -e; umask 077; mkdir -p {place}; chmod 700 {place}; rm -rf {part}; mkdir {part}
printf '%s\\n' {shlex.quote(json.dumps(about))} > {part}/release.json
printf '%s\\n' {shlex.quote(json.dumps(objects, indent=1))} > {part}/workloads.json""",
        )
        if database:
            feed(host, f"umask 077; gzip -1 > {part}/{DUMP}", _counted(database.dump(session.master), say))
        _run(session, f"set -e; sync -f {part}; mv -T {part} {place}/{name}")
    except BaseException:
        with suppress(RunbookError):
            _run(session, f"rm -rf {part}")
        raise
    there = kept(session)
    for one in outdated(there):
        _run(session, f"rm -rf {place}/{one.name}")
    return next(one for one in there if one.name == name)


def outdated(releases: list[Release]) -> list[Release]:
    """Those of the releases, newest first, that are not kept any longer: never the last one that was whole."""
    last = next((one for one in releases if one.whole), None)
    return [one for one in releases[KEPT:] if one is not last]


def dump_of(session: Session, release: Release) -> Iterator[bytes]:
    """The dump of a kept release, as it is read. Raises StepFailed for one that is damaged."""
    return output(session.hosts[session.site.storage_node.name], f"gzip -dc {folder(session.site)}/{release.name}/{DUMP}")


def check_dump(session: Session, release: Release) -> None:
    """Raises StepFailed for a dump that is damaged."""
    _run(session, f"gzip -t {folder(session.site)}/{release.name}/{DUMP}", FOREVER)


def _check_space(session: Session) -> None:
    """Raises StepFailed where the databases' folder would not fit once more: a dump, packed, is smaller."""
    path = session.site.airavata.storage_path
    size, free = map(
        int,
        _run(
            session,
            f"du -sB1 {path}/{COMPONENT} 2>/dev/null | cut -f1 | grep . || echo 0; df -B1 --output=avail {path} | tail -n 1",
        ).split(),
    )
    if free < size + SPARE:
        raise StepFailed(
            "too little disk space to back up the databases before the upgrade",
            where=_where(session),
            found=f"{free >> 20} MiB free",
            needed=f"{(size + SPARE) >> 20} MiB",
            remedy="free space there, or airavata-runbook move-storage to a larger disk",
        )


def _counted(blocks: Iterable[bytes], say: Callable[[int], None]) -> Iterator[bytes]:
    done = 0
    for block in blocks:
        done += len(block)
        say(done)
        yield block


def _plain(workload: dict) -> dict:
    """A workload without what the API server adds."""
    metadata = {key: value for key, value in workload["metadata"].items() if key not in SERVER_MADE}
    return {**{key: value for key, value in workload.items() if key != "status"}, "metadata": metadata}


def _run(session: Session, script: str, timeout: float = TIMEOUT) -> str:
    result = session.hosts[session.site.storage_node.name].run(script, timeout)
    if result.status:
        raise StepFailed("a command on the kept releases failed", where=_where(session), found=result.last_lines)
    return result.text


def _where(session: Session) -> str:
    return f"{folder(session.site)} on {session.site.storage_node.name}"
