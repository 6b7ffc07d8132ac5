"""Commands that look at the hosts of a site or change them."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from airavata_runbook.cli.site_command import (
    Commands,
    add_yes,
    at_least_one,
    settings_of,
    site_command,
    site_of,
    sites_command,
    sites_of,
)
from airavata_runbook.errors import SiteError, counted

if TYPE_CHECKING:
    from airavata_runbook.checks.types import Finding
    from airavata_runbook.site import Site


def add(commands: Commands) -> None:
    run = sites_command(commands, "run", _run, "execute a site's notebooks in order; of several sites side by side")
    plan = sites_command(commands, "plan", _run, "show what a run would change; change nothing")
    for added in (run, plan):
        added.add_argument("--from", metavar="CHAPTER", dest="start", help="the first chapter to execute, for example 03")
        added.add_argument("--to", metavar="CHAPTER", help="the last chapter to execute")
        added.add_argument("--disruptive", action="store_true", help="let 06-verify delete a replica, and restart the database")
        added.add_argument("--only", metavar="CHAPTER", help="execute this chapter only")
        added.add_argument("--jobs", type=at_least_one, default=4, metavar="N", help="how many sites at a time (default: 4)")
        added.set_defaults(plan=added is plan)
    check = sites_command(commands, "check", _check, "run the preflight checks on a site; change nothing")
    check.add_argument("--offline", action="store_true", help="check the site file only; connect to no host")
    kept = "list a site's runs, plans and resets that are kept on this machine"
    site_command(commands, "runs", _runs, kept, settings=False)
    reset = site_command(commands, "reset", _reset, "remove from the hosts what the runbook made; shows it and asks first")
    reset.add_argument("--data", action="store_true", help="also remove the registry's images, the databases and their secrets")
    drain = "drain a host, take it out of the cluster, and remove what the runbook made on it"
    remove = site_command(commands, "remove", _remove, drain)
    remove.add_argument("host", help="the name of a worker in the site file; delete it there afterwards")
    databases = "move the databases to where the changed site file has them; asks first"
    move = site_command(commands, "move-storage", _move_storage, databases)
    move.add_argument("--delete-old", action="store_true", help="delete the folders that they were moved from")
    before = "bring back the release of Airavata before the last upgrade, and verify it; asks first"
    back = site_command(commands, "rollback", _rollback, before)
    back.add_argument("--to", default="", metavar="NAME", help="another one of the kept releases, by its name (a time)")
    back.add_argument("--with-databases", action="store_true", help="also load their dump: what was written since is lost")
    shown = "print a password that the runbook has generated, after asking; without NAME list their names"
    secret = site_command(commands, "secret", _secret, shown, settings=False)
    secret.add_argument("name", nargs="?", metavar="NAME", help="of the secret, such as registry-password")
    add_yes(reset, remove, move, back, secret)
    kubeconfig = site_command(
        commands, "kubeconfig", _kubeconfig, "print the path of a kubeconfig that works from this machine", settings=False
    )
    kubeconfig.add_argument("--stop", action="store_true", help="stop the SSH forward that an earlier call left open")


def _run(options: argparse.Namespace) -> None:
    from airavata_runbook.run.kernels import KernelServer

    if options.only is not None and (options.start is not None or options.to is not None):
        raise SiteError("--only cannot be combined with --from or --to")
    sites = sites_of(options)
    chapters = {"start": options.start, "to": options.to, "only": options.only, "plan": options.plan}
    if len(sites) > 1:
        from airavata_runbook.run import many

        return many.run(sites, _settings(options), **chapters, jobs=options.jobs)
    with KernelServer() as server:  # it loads the kernels' libraries while this process loads its own
        from airavata_runbook.run import runner

        runner.run(sites[0], _settings(options), **chapters, server=server)


def _settings(options: argparse.Namespace) -> dict[str, object]:
    return settings_of(options) | ({"verify.disruptive": True} if options.disruptive else {})


def _check(options: argparse.Namespace) -> int:
    from airavata_runbook.site import Site

    names, settings = sites_of(options), settings_of(options)
    if len(names) > 1:
        from airavata_runbook.run.many import load

        sites = load(names, settings)
    else:
        sites = [Site.load(names[0], settings)]
    from airavata_runbook.checks import preflight

    look = preflight.offline if options.offline else preflight.preflight
    with ThreadPoolExecutor(len(sites)) as beside:
        found = list(beside.map(look, sites))
    return max(_print_findings(site, findings, options.offline) for site, findings in zip(sites, found, strict=True))


def _print_findings(site: "Site", findings: list["Finding"], offline: bool) -> int:
    """Print what the preflight checks found at a site; returns the exit status."""
    from airavata_runbook.checks import preflight
    from airavata_runbook.local.colours import painted

    failed, ignored = sum(one.failed for one in findings), sum(one.ignored for one in findings)
    if findings:
        print(preflight.format_findings(findings, painted))
    where = "without connecting to a host" if offline else f"on {', '.join(node.name for node in site.nodes)}"
    notes = f", {counted(len(findings) - failed - ignored, 'note')}" if len(findings) > failed + ignored else ""
    print(f"site {site.name}: {failed} failed, {ignored} ignored{notes}, {where}")
    return 1 if failed else 0


def _runs(options: argparse.Namespace) -> None:
    from airavata_runbook.run import history

    print(history.table(site_of(options)))


def _reset(options: argparse.Namespace) -> None:
    from airavata_runbook.run import reset

    reset.reset(site_of(options), options.data, options.yes, settings_of(options))


def _remove(options: argparse.Namespace) -> None:
    from airavata_runbook.run import reset

    reset.remove(site_of(options), options.host, options.yes, settings_of(options))


def _move_storage(options: argparse.Namespace) -> None:
    from airavata_runbook.run import move_storage

    (move_storage.delete_old if options.delete_old else move_storage.move_storage)(site_of(options), options.yes)


def _rollback(options: argparse.Namespace) -> None:
    from airavata_runbook.run import rollback

    rollback.rollback(site_of(options), options.to, options.with_databases, options.yes)


def _secret(options: argparse.Namespace) -> int:
    from airavata_runbook.run import secrets

    site = site_of(options)
    if not options.name:
        print(secrets.table(site))
        return 0
    value = secrets.reveal(site, options.name, options.yes)
    if not value:
        print("nothing was shown", file=sys.stderr)
        return 1
    print(value)
    return 0


def _kubeconfig(options: argparse.Namespace) -> None:
    from airavata_runbook.cluster import access
    from airavata_runbook.mirror import kubectl

    site = site_of(options)
    if options.stop:
        print("SSH forward stopped" if access.stop(site) else "no SSH forward was open")
        return
    print(access.kubeconfig(site))
    if not kubectl.ensure_kubectl():
        print("no kubectl on PATH; `airavata-runbook mirror` builds one", file=sys.stderr)
