"""The command line: thin, one function a command."""

import argparse
import os
import sys
from contextlib import suppress

from airavata_runbook import lab
from airavata_runbook.errors import RunbookError, SiteError
from airavata_runbook.local import interrupts
from airavata_runbook.site import Site


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status. A RunbookError is one message on stderr and status 1."""
    options = _parser().parse_args(arguments)
    interrupts.end_the_command()
    try:
        status = options.command(options) or 0
        sys.stdout.flush()
        return status
    except RunbookError as error:
        return _ended(str(error), 1)
    except KeyboardInterrupt:
        return _ended("stopped; run it again, it goes on where it stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python itself complains of it once more
        return _ended("stopped: nobody reads what is printed any more", 141)


def _ended(why: str, status: int) -> int:
    with suppress(OSError):  # the terminal may be gone
        print(f"airavata-runbook: {why}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airavata-runbook", description="Airavata on Kubernetes from bare machines")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lab_parser = commands.add_parser("lab", help="hosts on this machine")
    actions = lab_parser.add_subparsers(required=True, metavar="ACTION")
    for name, text, command in (
        ("up", "make and start the lab's hosts", _lab_up),
        ("status", "one host a line", _lab_status),
        ("down", "take the lab away, with all its data", _lab_down),
        ("ssh", "log in on a host: ssh HOST [-- COMMAND]", _lab_ssh),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--site", default="lab", help="a site with a lab: section (default: lab)")
        action.set_defaults(command=command)
        if name == "ssh":
            action.add_argument("host")
            action.add_argument("words", nargs="*", metavar="COMMAND")
    for name, text, command in (
        ("run", "execute the notebooks for a site", _run),
        ("plan", "show what a run would change; change nothing", _plan),
    ):
        runner_parser = commands.add_parser(name, help=text)
        _add_site(runner_parser)
        runner_parser.add_argument("--from", metavar="CHAPTER", dest="start", help="begin with this chapter, for example 03")
        runner_parser.add_argument("--to", metavar="CHAPTER", help="end with this chapter")
        runner_parser.add_argument("--only", metavar="CHAPTER", help="this chapter alone")
        runner_parser.set_defaults(command=command)
    reset_parser = commands.add_parser("reset", help="take back from the hosts what the runbook did; shows it and asks first")
    _add_site(reset_parser)
    reset_parser.add_argument("--data", action="store_true", help="also the registry's images, the databases and their secrets")
    reset_parser.add_argument("--yes", action="store_true", help="do not ask")
    reset_parser.set_defaults(command=_reset)
    check_parser = commands.add_parser("check", help="look for everything that is wrong with a site; change nothing")
    _add_site(check_parser)
    check_parser.add_argument("--offline", action="store_true", help="the site file alone; no host is touched")
    check_parser.set_defaults(command=_check)
    runs_parser = commands.add_parser("runs", help="list the runs and plans of a site that this machine has kept")
    runs_parser.add_argument("site")
    runs_parser.set_defaults(command=_runs)
    access = commands.add_parser("kubeconfig", help="print the path of a kubeconfig that works from this machine")
    access.add_argument("site")
    access.add_argument("--stop", action="store_true", help="end the SSH forward that an earlier call left open")
    access.set_defaults(command=_kubeconfig)
    commands.add_parser("schema", help="print the JSON Schema of site files").set_defaults(command=_schema)
    commands.add_parser("mirror", help="build and pack all components and images").set_defaults(command=_mirror)
    return parser


def _add_site(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", help="a name in parameters/ or the path of a site file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="settings",
        help="change a field of the site for this call; may be repeated",
    )


def _lab_up(options: argparse.Namespace) -> None:
    site = Site.load(options.site)
    lab.up(site)
    lab.status(site)


def _lab_status(options: argparse.Namespace) -> None:
    lab.status(Site.load(options.site))


def _lab_down(options: argparse.Namespace) -> None:
    lab.down(Site.load(options.site))


def _lab_ssh(options: argparse.Namespace) -> int:
    return lab.ssh(Site.load(options.site), options.host, options.words or None)


def _run(options: argparse.Namespace, plan: bool = False) -> None:
    from airavata_runbook.run import runner  # papermill takes a second to import: only runs pay for it

    if options.only is not None and (options.start is not None or options.to is not None):
        raise SiteError("--only goes neither with --from nor with --to")
    runner.run(
        options.site, runner.parse_settings(options.settings), start=options.start, to=options.to, only=options.only, plan=plan
    )


def _plan(options: argparse.Namespace) -> None:
    _run(options, plan=True)


def _reset(options: argparse.Namespace) -> None:
    from airavata_runbook.run import reset, runner

    settings = runner.parse_settings(options.settings)
    reset.reset(Site.load(options.site, settings), options.data, options.yes, settings)


def _check(options: argparse.Namespace) -> int:
    from airavata_runbook.checks import preflight
    from airavata_runbook.run import runner

    site = Site.load(options.site, runner.parse_settings(options.settings))
    findings = preflight.offline(site) if options.offline else preflight.preflight(site)
    wrong = [one for one in findings if not one.ignored]
    if findings:
        print(preflight.told(findings))
    where = "without looking at a host" if options.offline else f"on {', '.join(node.name for node in site.nodes)}"
    print(f"site {site.name}: {len(wrong) or 'nothing'} in the way, {len(findings) - len(wrong)} ignored, {where}")
    return 1 if wrong else 0


def _runs(options: argparse.Namespace) -> None:
    from airavata_runbook.run import history as runs

    print(runs.table(Site.load(options.site)))


def _kubeconfig(options: argparse.Namespace) -> None:
    from airavata_runbook.cluster import access as kubeconfig
    from airavata_runbook.mirror import kubectl

    site = Site.load(options.site)
    if options.stop:
        print("forward ended" if kubeconfig.stop(site) else "no forward was open")
        return
    print(kubeconfig.kubeconfig(site))
    if not kubectl.put_kubectl():
        print("no kubectl on PATH; `airavata-runbook mirror` builds one", file=sys.stderr)


def _schema(options: argparse.Namespace) -> None:
    from airavata_runbook.site.schema import schema_text

    print(schema_text(), end="")


def _mirror(options: argparse.Namespace) -> None:
    from airavata_runbook import mirror

    mirror.build_all()


if __name__ == "__main__":
    sys.exit(main())
