"""The command line: thin, one function a command."""

import argparse
import sys

from airavata_runbook import lab
from airavata_runbook.errors import RunbookError
from airavata_runbook.site import Site


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status. A RunbookError is one message on stderr and status 1."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except RunbookError as error:
        print(f"airavata-runbook: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("airavata-runbook: stopped; run it again, it goes on where it stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airavata-runbook", description="Airavata on Kubernetes from bare machines")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lab_parser = commands.add_parser("lab", help="hosts on this machine")
    actions = lab_parser.add_subparsers(required=True, metavar="ACTION")
    for name, text, command in (("up", "make and start the lab's hosts", _lab_up),
                                ("status", "one host a line", _lab_status),
                                ("down", "take the lab away, with all its data", _lab_down),
                                ("ssh", "log in on a host: ssh HOST [-- COMMAND]", _lab_ssh)):
        action = actions.add_parser(name, help=text)
        action.add_argument("--site", default="lab", help="a site with a lab: section (default: lab)")
        action.set_defaults(command=command)
        if name == "ssh":
            action.add_argument("host")
            action.add_argument("words", nargs="*", metavar="COMMAND")
    return parser


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


if __name__ == "__main__":
    sys.exit(main())
