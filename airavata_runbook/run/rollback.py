"""`airavata-runbook rollback SITE`: Airavata's servers with the images of the release before the last upgrade, then 06-verify.

The images are in the private registry still, where nothing deletes them. All else is as the site file has it, so that a rollback
is the step of chapter 05 with other images; the site file keeps its own, and what to write into it is printed. The databases are
left as they are, unless their dump of that time is asked for.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from airavata_runbook.chapters import airavata, steps_of
from airavata_runbook.chapters.deployment import workload_ready
from airavata_runbook.chapters.site_stack import references, stack_of
from airavata_runbook.cluster import database_users, releases
from airavata_runbook.cluster.mariadb import Database, database_of
from airavata_runbook.cluster.objects import is_ours, listed
from airavata_runbook.cluster.releases import Release, Workloads
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.errors import RunbookError, SiteError
from airavata_runbook.images.reference import Reference
from airavata_runbook.local.terminal import size_text
from airavata_runbook.run.confirm import confirmed, require_terminal
from airavata_runbook.run.page import step_line
from airavata_runbook.site import Site
from airavata_runbook.site.life import LOOK, no_cluster, parse_look
from airavata_runbook.site.parts import SERVER_IMAGE
from airavata_runbook.site.stack_file import SYSTEM
from airavata_runbook.stacks import Stack, image_names


def rollback(site: Site, to: str = "", with_databases: bool = False, yes: bool = False) -> None:
    """Bring the release back that ran before the last upgrade, and verify the site.

    to: the name of another kept release. with_databases: load its dump; the databases as they are now are kept before. yes: do
    not ask. Raises SiteError where there is nothing to go back to, or not by images alone; StepFailed when the servers do not
    come up or a check of 06-verify fails; HostUnreachable.
    """
    require_terminal("a rollback", yes)
    session = session_of(site)
    state, _ = parse_look(session.master.run(LOOK).text)
    if missing := no_cluster(state, site, "to roll back"):
        raise missing
    stack = _stack_by_names(session)
    live = _live(session, stack)
    running = releases.running(stack, live)
    release = _chosen(session, running, to)
    if with_databases:
        _check_dump(session, stack, release)
    pins = _pins(session, stack, release)
    _print_question(site, running, release, with_databases)
    if not confirmed(site.name, yes):
        print("nothing was changed")
        return
    before = Site.load(site, {**pins, "verify.disruptive": False})
    session = session_of(before)
    with session.lock.held("airavata-runbook rollback"):
        if with_databases:
            _load(session, stack, release, live)
        print(step_line(airavata.earlier_servers(before)), flush=True)
        _print_pins(site, pins)
        for check in steps_of("06-verify"):
            print(step_line(check(before)), flush=True)
    print(f"site {site.name}: rolled back to the release that was kept as {release.name}, and verified")


def _stack_by_names(session: Session) -> Stack:
    """The site's stack, its images by their names alone: a source that is gone from this machine is none of its matter."""
    names = {*SYSTEM, *image_names(session.site)}
    return session.stack({name: f"{session.site.registry_address}/{name}" for name in names})


def _live(session: Session, stack: Stack) -> Workloads:
    return {
        (kind, name): one
        for version, kind in releases.kinds(stack)
        for name, one in listed(session.kube(), version, kind, stack.namespace).items()
        if is_ours(one)
    }


def _chosen(session: Session, running: Release | None, to: str) -> Release:
    """The kept release to go back to: the one of that name, else the newest that was whole and is another one than runs now."""
    kept, site = releases.kept(session), session.site
    for one in kept:
        dump = f"dump of {size_text(one.size)}" if one.size else "no dump"
        print(f"site {site.name}: kept: {one.name}, {dump}{'' if one.whole else ', only with --to'}")
    where, remedy = f"{releases.folder(site)} on {site.storage_node.name}", "name another image or jar in the site file, and run"
    if to:
        if found := next((one for one in kept if one.name == to), None):
            return found
        raise SiteError(
            "no such release is kept", where=where, found=to, needed=", ".join(one.name for one in kept) or "an upgrade"
        )
    for one in kept:
        if one.whole and (not running or not running.whole or releases.changed(running.images, one.images)):
            return one
    raise SiteError(
        "there is no release before this one",
        where=where,
        found="nothing that is kept" if not kept else "only what runs now, or what never ran as a whole (--to goes to it)",
        needed="a release that was kept when a run upgraded Airavata",
        remedy=remedy,
    )


def _check_dump(session: Session, stack: Stack, release: Release) -> None:
    if not (database_of(stack) and release.size):
        raise SiteError(
            "no dump of the databases is kept with this release", found=release.name, remedy="leave out --with-databases"
        )
    releases.check_dump(session, release)


def _pins(session: Session, stack: Stack, release: Release) -> dict[str, dict[str, str]]:
    """Field of the site file → value, with which it names the release's images where it names others.

    Raises SiteError for a release that differs in more than its images.
    """
    site, names = session.site, releases.wanted(stack)
    try:
        named = releases.changed(release.images, releases.wanted(stack_of(site, references(session))))
    except RunbookError:  # a source is gone from this machine
        named = dict.fromkeys(release.images.keys() & names.keys(), ("", ""))
    found: dict[str, dict[str, str]] = {}
    for component in (one for one in stack.components if one.name in named):
        if component.stand_in != (component.name in release.stand_ins):
            now, then = ("the STAND-IN", "an image") if component.stand_in else ("an image", "the STAND-IN")
            raise _not_by_images(component.name, f"the site file has {now} for it, and {then} ran before")
        for box, reference in release.images[component.name].items():
            repository = Reference.parse(reference).repository
            now = Reference.parse(names[component.name].get(box, reference)).repository
            if repository != now:
                raise _not_by_images(component.name, f"the site file names the image {now} for it, and {repository} ran before")
            own = repository == SERVER_IMAGE and site.airavata.unified.server
            field = "airavata.unified.server" if own else f"airavata.images.{repository}"
            if found.setdefault(field, {"pull": reference}) != {"pull": reference}:
                raise _not_by_images(component.name, f"components ran two different images {repository}")
    return found


def _not_by_images(component: str, found: str) -> SiteError:
    return SiteError(
        "this release cannot be brought back by its images alone",
        where=f"component {component}",
        found=found,
        remedy="set the site file back to what it was, and run",
    )


def _print_question(site: Site, running: Release | None, release: Release, with_databases: bool) -> None:
    print(f"site {site.name}: back to {release.name}, the release that ran until {_time(release)} UTC")
    changed = releases.changed(running.images if running else {}, release.images)
    for pair in dict.fromkeys(changed.values()):
        names = ", ".join(name for name, images in changed.items() if images == pair)
        print(f"  {names}: {' → '.join(map(releases.short, pair))}")
    if with_databases:
        print(
            f"the databases are replaced by their dump of {_time(release)} UTC: WHAT WAS WRITTEN SINCE THEN IS LOST to Airavata"
        )
        print("(they are dumped once more before, and kept); Airavata does not answer meanwhile")
    elif release.size:
        print("the databases stay as they are; if the newer release has changed their tables so that this one cannot read them:")
        print("--with-databases loads their dump of that time, and loses what was written since")


def _time(release: Release) -> str:
    return datetime.strptime(release.name, releases.NAME).strftime("%Y-%m-%d %H:%M:%S")


def _load(session: Session, stack: Stack, release: Release, live: Workloads) -> None:
    """Keep the databases as they are now, stop whatever uses them, and load the release's dump."""
    database = database_of(stack)
    assert database
    kept = _keep(session, stack, database, live)
    print(f"the databases as they are now: kept as {kept}", flush=True)
    stopped = database_users.stop(session, stack)
    print(f"stopped: {', '.join(name for _, name in stopped)}", flush=True)
    database.load(session.master, releases.dump_of(session, release))
    print("the dump is loaded", flush=True)
    database_users.start(session, stack, stopped)
    # Of the backing services: Airavata's own servers are started by their step.
    own = {(manifest["kind"], manifest["metadata"]["name"]) for _, manifest in releases.servers(stack)}
    for kind, name in stopped.keys() - own:
        workload_ready(session, kind, stack.namespace, name).wait(session.master)


def _keep(session: Session, stack: Stack, database: Database, live: Workloads) -> str:
    running = releases.running(stack, live)
    assert running
    # None to go back to: it is what the rollback is from.
    return releases.keep(session, replace(running, whole=False), live, database).name


def _print_pins(site: Site, pins: Mapping[str, Mapping[str, str]]) -> None:
    if not pins:
        return
    print("the site file still names the other images: THE NEXT RUN UPGRADES AGAIN. Until there is a better release, set in it:")
    for field, value in pins.items():
        print(f"  {field}: {{pull: {value['pull']}}}")
    print("or put back what it named before; chapter 05 runs now as if it were set")
