"""`airavata-runbook move-storage SITE`: bring the databases to where the changed site file has them, without losing anything.

The databases stop, their folders are copied and compared byte by byte, the record of the site is changed, and the databases
start in the new place. What was kept before upgrades of Airavata goes with them, and so does the folder of a database that the
site's stack has no more. Until the record is changed, everything is as before but for the stopped databases; whatever ends the
command by then, the next call begins the copy anew. The folders in the old place are kept until the admin deletes them.
"""

from dataclasses import dataclass

from airavata_runbook.chapters import steps_of
from airavata_runbook.cluster import releases, storage_users
from airavata_runbook.cluster.readiness import node_exists
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.errors import HostUnreachable, SiteError, StepFailed
from airavata_runbook.hosts import folder_copy
from airavata_runbook.hosts.folder_copy import Place
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.output import succeed
from airavata_runbook.local.terminal import size_text
from airavata_runbook.resources import File
from airavata_runbook.run.confirm import confirmed, require_terminal
from airavata_runbook.run.page import step_line
from airavata_runbook.site import Site, storage
from airavata_runbook.site.life import (
    LOOK,
    RECORD,
    Kept,
    departures,
    kept_folders,
    parse_look,
    record,
    recorded_releases,
    recorded_value,
    unfinished_restore,
)

PATH, NODE = "airavata.storage_path", "airavata.storage_node"
MARK = ".airavata-runbook-move"  # in the new place, while it has an unfinished copy: where that is from
SPARE = 256 << 20  # bytes that stay free in the new place


@dataclass(frozen=True)
class _Move:
    """source, target: where the databases are, and where they go. living: there is a cluster. kept: copies of earlier moves."""

    session: Session
    source: Place
    target: Place
    living: bool
    kept: tuple[Kept, ...]

    @property
    def mark(self) -> str:
        return f"{self.target.parent}/{MARK}"


def move_storage(site: Site, yes: bool = False) -> None:
    """Move the databases to the site file's airavata.storage_path on its airavata.storage_node. yes: do not ask.

    Raises SiteError when there is nothing to move from, or another field is changed too; StepFailed and HostUnreachable
    before anything is touched when the new place cannot be used, and later when the copy fails: the old place is then as it was.
    """
    require_terminal("a move of the databases", yes)
    session = session_of(site)
    move = _planned(session)
    if move is None:
        print(f"site {site.name}: the databases are at {site.airavata.storage_path} on {site.storage_node.name}: nothing to move")
        return
    needed = _check(move)
    print(f"site {site.name}: to move from {move.source} to {move.target}: {', '.join(move.source.names)}, {size_text(needed)}")
    print("the databases stop meanwhile; the old folders are kept")
    if not confirmed(site.name, yes):
        print("nothing was changed")
        return
    with session.lock.held("airavata-runbook move-storage"):
        _stop(move)
        _copy(move, needed)
        _finish(move)
        if move.living:
            for step in steps_of("05-deploy-airavata"):
                print(step_line(step(site)), flush=True)
    print(f"site {site.name}: the databases are at {move.target}; the old folders are kept: {', '.join(move.source.folders)}")
    print(f"when everything works, delete them: airavata-runbook move-storage {site.name} --delete-old")


def delete_old(site: Site, yes: bool = False) -> None:
    """Delete the folders that databases were moved from. Raises SiteError for one that is in use."""
    require_terminal("deleting the databases' old folders", yes)
    session = session_of(site)
    _, recorded = parse_look(session.master.run(LOOK).text)
    kept = kept_folders(recorded)
    for one in kept:
        print(f"site {site.name}: kept on {one.host}: {', '.join(one.folders)}")
    if not kept:
        print(f"site {site.name}: no old folders of databases are kept")
        return
    if problems := [str(one) for one in departures(recorded, site, living=True)]:
        raise SiteError("the site file is not as the site was made with", found="\n".join(problems))
    hosts = {str(node.address): session.hosts[node.name] for node in site.nodes}
    places = [(hosts[one.host], one) for one in kept if one.host in hosts]
    for host, one in places:
        _refuse_used(site, host, list(one.folders))
    if not confirmed(site.name, yes):
        print("nothing was changed")
        return
    with session.lock.held("airavata-runbook move-storage --delete-old"):
        for host, one in places:
            parent = one.folders[0].rpartition("/")[0]
            stored = "" if host.node == site.storage_node else f"rm -f {storage.STORED}\n"
            succeed(
                host,
                f"set -e\nrm -rf --one-file-system {' '.join(one.folders)}\nrmdir --ignore-fail-on-non-empty {parent}\n{stored}",
            )
        succeed(session.master, File(RECORD, record(site, releases=recorded_releases(recorded))).write_script())
    print(f"site {site.name}: deleted")


def _planned(session: Session) -> _Move | None:
    """The move that the site file asks for, None when the databases are there."""
    site = session.site
    state, recorded = parse_look(session.master.run(LOOK).text)
    if unfinished := unfinished_restore(state, site):
        raise unfinished
    if not recorded:
        raise SiteError(
            "there is no record of where the databases are",
            where=f"{RECORD} on {site.master.name}",
            remedy="run with the values that the site was made with; the run writes the record",
        )
    changed = departures(recorded, site, state != "not")
    if others := [str(one) for one in changed if one.field not in (PATH, NODE)]:
        raise SiteError("only the place of the databases may be changed with this command", found="\n".join(others))
    if not changed:
        return None
    hosts = {str(node.address): session.hosts[node.name] for node in site.nodes}
    if recorded_value(recorded, NODE) not in hosts:
        raise SiteError(
            "the host that has the databases is not in the site file",
            found=recorded_value(recorded, NODE),
            remedy="put it back, until the databases are moved",
        )
    host, parent = hosts[recorded_value(recorded, NODE)], recorded_value(recorded, PATH)
    names = tuple(dict.fromkeys([path.rpartition("/")[2] for path in storage.folders(site)] + _also(host, parent)))
    source = Place(host, parent, names)
    target = Place(session.hosts[site.storage_node.name], site.airavata.storage_path, names)
    return _Move(session, source, target, state != "not", tuple(kept_folders(recorded)))


def _also(host: Host, parent: str) -> list[str]:
    """What else there is beside the databases: folders of those that the site's stack has no more, and kept releases."""
    kept = f"{parent}/{releases.FOLDER}"
    printed = succeed(host, f'{storage.STORED_FOLDERS}\ntest -z "$(ls -A {kept} 2>/dev/null)" || echo {kept}')
    paths = [path.rpartition("/") for path in printed.splitlines()]
    return [name for above, _, name in paths if above == parent]


def _check(move: _Move) -> int:
    """The bytes to copy. Raises StepFailed for anything that would keep the move from succeeding; changes nothing."""
    site, source, target = move.session.site, move.source, move.target
    seen = storage.parse(succeed(source.host, storage.look(source.folders)))
    if missing := [folder for folder in source.folders if seen.state[folder] != "data"]:
        raise StepFailed(
            "there is no data to move",
            where=str(source),
            found=", ".join(f"{folder} is {seen.state[folder]}" for folder in missing),
            needed="the folders of the databases with their data",
            remedy="mount their disk, or restore them (one that the stack has no database for any more: delete it); then run the "
            "command again",
        )
    if source.host is target.host and f"{target.parent}/".startswith(f"{source.parent}/"):
        raise _unusable(move, f"{target.parent} is inside {source.parent}", "a folder outside of the old one")
    there = storage.parse(succeed(target.host, storage.look(target.folders)))
    mark = succeed(target.host, f"cat {move.mark} 2>/dev/null; true").strip()
    if full := [folder for folder, state in there.state.items() if state == "data"]:
        kept = [folder for one in move.kept if one.host == str(target.host.node.address) for folder in one.folders]
        if set(full) & set(kept):
            remedy = f"if it is not needed any more: airavata-runbook move-storage {site.name} --delete-old with the old values"
            raise _unusable(move, f"{', '.join(full)}: the copy that an earlier move kept", "empty folders, or none", remedy)
        if mark != str(source):
            raise _unusable(move, f"{', '.join(full)}: not empty", "empty folders, or none")
    if move.living and not node_exists(move.session, str(target.host.node.address)):
        remedy = f"run with {NODE}: {source.host.name} first, so that the host joins"
        raise _unusable(move, f"{target.host.name} is not a node of the cluster", "a node", remedy)
    needed = folder_copy.size(source)
    free = folder_copy.free(target) + (folder_copy.size_so_far(target) if full else 0)
    if free < needed + SPARE:
        raise _unusable(move, f"{size_text(free)} free", f"{size_text(needed + SPARE)} free", "mount a larger disk there")
    return needed


def _unusable(move: _Move, found: str, needed: str, remedy: str = "choose another place, or empty this one") -> StepFailed:
    return StepFailed(
        "the databases cannot be moved there",
        where=str(move.target),
        found=found,
        needed=needed,
        remedy=f"{remedy}; nothing was changed",
    )


def _stop(move: _Move) -> None:
    site = move.session.site
    if move.living:
        print("stopping the databases", flush=True)
        stopped = storage_users.stop(move.session, site.airavata.namespace, move.source.folders)
        print(f"stopped: {', '.join(stopped) or 'all were stopped before'}", flush=True)
    for place in (move.source, move.target):
        _refuse_used(site, place.host, place.folders)


def _copy(move: _Move, needed: int) -> None:
    """Copy and compare. A copy that an interrupted call left is deleted first."""
    source, target = move.source, move.target
    succeed(target.host, f"mkdir -p {target.parent} && printf '%s\\n' '{source}' > {move.mark}")
    folder_copy.empty(target)
    try:
        folder_copy.copy(source, target, lambda done: print(f"copied {size_text(done)} of {size_text(needed)}", flush=True))
        print("comparing both copies", flush=True)
        found = folder_copy.differences(source, target, lambda: print("comparing", flush=True))
    except KeyboardInterrupt:
        print(_way_back(move))
        raise
    except (StepFailed, HostUnreachable) as error:
        error.remedy = "; ".join(filter(None, [error.remedy, _way_back(move)]))
        raise
    if found:
        raise StepFailed(
            "the copy is not equal to the databases' folders",
            where=f"{source} and {target}",
            found="\n".join([*found[:10], *(["…"] if len(found) > 10 else [])]),
            remedy=f"check both disks; {_way_back(move)}",
        )


def _way_back(move: _Move) -> str:
    return (
        f"run the command again: it begins the copy anew; or set {PATH} and {NODE} back and run airavata-runbook run "
        f"{move.session.site.name}: the databases, which are stopped, start in the old place, where everything is as it was"
    )


def _finish(move: _Move) -> None:
    """Change the record: from here on, the databases are in the new place."""
    there = succeed(move.target.host, storage.STORED_FOLDERS).splitlines()
    moved = [path for path in move.target.folders if path != f"{move.target.parent}/{releases.FOLDER}"]
    succeed(move.target.host, File(storage.STORED, storage.stored_text([*there, *moved])).write_script())
    old = Kept(str(move.source.host.node.address), tuple(move.source.folders))
    text = record(move.session.site, kept=(*move.kept, old))
    succeed(move.session.master, File(RECORD, text).write_script())
    succeed(move.target.host, f"rm -f {move.mark}")


def _refuse_used(site: Site, host: Host, folders: list[str]) -> None:
    """Raises StepFailed when a process of a pod uses one of the folders."""
    seen = storage.parse(succeed(host, storage.look(folders)))
    if seen.users:
        raise StepFailed(
            "a pod uses the databases' folders",
            where=f"host {host.name}",
            found=", ".join(f"{folder}: {namespace}/{pod}" for folder, namespace, pod in seen.users),
            needed="no process that uses them",
            remedy=f"stop it; then airavata-runbook move-storage {site.name} again",
        )
