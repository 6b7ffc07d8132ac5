"""Several sites side by side: a process for each, a line of progress each, and one report over all in outputs/_sites/RUN.

Each site has its own record in outputs/SITE as well, as if it were run alone. Why processes: papermill changes the working
directory, which threads share.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

from airavata_runbook.errors import SiteError, StepFailed, counted
from airavata_runbook.local import paths
from airavata_runbook.run import runner
from airavata_runbook.run.many.process import SiteProcess
from airavata_runbook.run.many.progress import Lines
from airavata_runbook.run.many.report import Record
from airavata_runbook.site import Site

INTERVAL = 0.3  # seconds between two looks at the processes


def run(
    sources: Sequence[str],
    overrides: Mapping[str, object] | None = None,
    *,
    start: str | None = None,
    to: str | None = None,
    only: str | None = None,
    plan: bool = False,
    jobs: int = 4,
) -> None:
    """Run or plan these sites, as runner.run does one. jobs: how many at a time.

    A site that fails does not stop the others. Raises SiteError before anything is touched, for all invalid sites at once and
    for sites that share a name or a host; StepFailed at the end when one failed; KeyboardInterrupt when the user stopped it,
    after each site has stopped by itself.
    """
    sites = load(sources, overrides)
    project = paths.project_dir()
    runner.choose(runner.notebooks(project), start, to, only)
    request = {"settings": dict(overrides or {}), "start": start, "to": to, "only": only, "plan": plan}
    record = Record(project, "plan" if plan else "run", [site.name for site in sites])
    print(f"{counted(len(sites), 'site')}: {record.report.what}, {record.short}", flush=True)
    processes = [
        SiteProcess(name, {"site": source, **request}, record.folder / f"{name}.log")
        for name, source in zip(record.report.names, sources, strict=True)
    ]
    stopped = _run_all(processes, jobs, Lines(), record)
    record.write(processes, ended=True)
    print(record.table(), flush=True)
    failed = [one.name for one in record.report.sites if one.outcome == "failed"]
    if stopped:
        raise KeyboardInterrupt
    if failed:
        raise StepFailed(
            f"{counted(len(failed), 'site')} of {len(sites)} failed: {', '.join(failed)}",
            found="\n".join(f"{one.name}: {one.error}" for one in record.report.sites if one.error),
            remedy="fix the causes, then run those sites again: what is done stays done",
        )


def load(sources: Sequence[str], overrides: Mapping[str, object] | None = None) -> list[Site]:
    """The sites, all of them valid. Raises SiteError with what is wrong with any, and for two that are the same."""
    sites, problems = [], []
    for source in sources:
        try:
            sites.append(Site.load(source, overrides))
        except SiteError as error:
            problems.append(f"{source}: {error}")
    if problems := problems or list(_collisions(sources, sites)):
        raise SiteError("these sites cannot be run side by side; nothing was touched", problems=problems)
    return sites


def every_site() -> list[str]:
    """The names of the site files in parameters/. Raises SiteError when there is none."""
    folder = paths.project_dir() / "parameters"
    names = sorted(file.stem for file in folder.glob("*.yaml"))
    if not names:
        raise SiteError("no site files", where=str(folder), needed="NAME.yaml there", remedy="airavata-runbook init makes one")
    return names


def _collisions(sources: Sequence[str], sites: Sequence[Site]) -> Iterator[str]:
    """A line for each two sites that are the same, or would be changed as one."""
    for number, (second, site) in enumerate(zip(sources, sites, strict=True)):
        for first, other in zip(sources[:number], sites, strict=False):
            if first == second:
                yield f"{first} is named twice"
            elif site.name == other.name:
                yield f"{first} and {second} are both site {site.name}"
            elif shared := _targets(site) & _targets(other):
                yield f"{first} and {second} share hosts: {', '.join(sorted(shared))}"


def _targets(site: Site) -> set[str]:
    """What this machine connects to."""
    return {
        f"{node.ssh.host or node.address}:{node.ssh.port}" + (f" through {node.ssh.jump}" if node.ssh.jump else "")
        for node in site.nodes
    }


def _run_all(processes: Sequence[SiteProcess], jobs: int, lines: Lines, record: Record) -> bool:
    """Start the processes, `jobs` at a time, and wait until the last has ended. Returns whether the user stopped them."""
    stops = 0
    while True:
        try:
            running = [one for one in processes if one.running]
            waiting = [] if stops else [one for one in processes if one.outcome == "waiting"]
            for one in waiting[: jobs - len(running)]:
                one.start()
            if not running and not waiting:
                lines.close(processes)
                return bool(stops)
            lines.show(processes)
            record.write(processes)
            time.sleep(INTERVAL)
        except KeyboardInterrupt:
            stops += 1
            lines.say("stopping all sites; press Ctrl-C again to stop at once")
            for one in processes:
                one.stop(kill=stops > 2)
        except BaseException:
            for one in processes:
                one.stop(kill=True)
            raise
