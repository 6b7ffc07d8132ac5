"""A class: labs beside each other on this machine, one for each student, with a site file and a folder of its own."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from airavata_runbook import lab
from airavata_runbook.errors import CannotBuild, RunbookError, counted
from airavata_runbook.lab.classroom import room
from airavata_runbook.lab.classroom.members import Class, Member
from airavata_runbook.lab.host import lab_hosts
from airavata_runbook.local.colours import painted
from airavata_runbook.local.terminal import duration, text_table

__all__ = ["Class", "Member", "down", "status", "up"]

HEAD = ["student", "hosts", "running", "network", "site file", "folder"]


def up(one: Class, count: int, jobs: int = 2) -> None:
    """Bring up the labs 1 to `count`, `jobs` at a time, and make what each student gets; what is there already stays.

    Raises CannotBuild before anything is made, when this machine has no room for all of them; at the end, when a lab could not be
    brought up, which does not stop the others.
    """
    with one.locked():
        members = [one.member(number) for number in range(1, count + 1)]
        room.check(members)
        for member in members:
            one.make(member)
        _each(members, jobs, "up", lambda member: lab.up(member.site))
    status(one)


def status(one: Class) -> None:
    """Print a table of the students, in order."""
    rows = []
    for member in one.members():
        hosts = lab_hosts(member.site)
        running, state = sum(host.state == "running" for host in hosts), "ok"
        if running < len(hosts):
            state = "stopped"
        network = str(member.lab.network)
        files = [one.shown(member.site_file), one.shown(member.folder)]
        rows.append([member.name, str(len(hosts)), painted(str(running), state), network, *files])
    print(text_table([HEAD, *rows]) if rows else f"class {one.name}: no labs; airavata-runbook class up NUMBER makes them")


def down(one: Class, jobs: int = 2) -> None:
    """Delete the labs with all their data, and the files that `up` made and nobody has changed since; says which are kept."""
    with one.locked():
        members = one.members()
        _each(members, jobs, "down", lambda member: lab.down(member.site))
        for member in members:
            for file in one.forget(member):
                print(f"kept, as it was changed: {one.shown(file)}")
            if member.folder.exists():
                print(f"kept, with what was made there since: {one.shown(member.folder)}")


def _each(members: Iterable[Member], jobs: int, what: str, work: Callable[[Member], object]) -> None:
    """Do the work for all, some at a time, with a line for each. Raises CannotBuild at the end for those that failed."""
    failed: dict[str, str] = {}
    started = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        doing = {pool.submit(work, member): member for member in members}
        try:
            for done in as_completed(doing):
                name, error = doing[done].name, done.exception()
                if error and not isinstance(error, RunbookError):
                    raise error
                if error:
                    failed[name] = str(error)
                outcome = painted("FAILED", "failed") if error else painted(what, "ok")
                print(f"{name}  {outcome}  {duration(time.monotonic() - started)}", flush=True)
        except BaseException:  # Ctrl-C: those that have begun are ended, the others not begun
            pool.shutdown(cancel_futures=True)
            raise
    if failed:
        raise CannotBuild(
            f"{counted(len(failed), 'lab')} of the class failed: {', '.join(failed)}",
            found="\n".join(f"{name}: {error}" for name, error in failed.items()),
            remedy="fix the cause and give the same command again; the others are as they should be",
        )
