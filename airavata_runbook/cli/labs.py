"""Commands for the lab hosts of this machine."""

import argparse

from airavata_runbook.cli.site_command import Commands, site_of


def add(commands: Commands) -> None:
    lab_command = commands.add_parser("lab", help="manage lab hosts on this machine")
    actions = lab_command.add_subparsers(required=True, metavar="ACTION")
    for name, text, function in (
        ("up", "create and start the lab's hosts", _lab_up),
        ("status", "list the lab's hosts", _lab_status),
        ("down", "delete the lab with all its data", _lab_down),
        ("ssh", "log in to a host, or run a command there: ssh HOST [-- COMMAND]", _lab_ssh),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--site", default="lab", help="a site with a lab: section (default: lab)")
        action.set_defaults(command=function)
        if name == "ssh":
            action.add_argument("host", help="the name of a host in the site file")
            action.add_argument("words", nargs="*", metavar="COMMAND", help="what to run there instead of a shell")


def _lab_up(options: argparse.Namespace) -> None:
    from airavata_runbook import lab

    site = site_of(options)
    lab.up(site)
    lab.status(site)


def _lab_status(options: argparse.Namespace) -> None:
    from airavata_runbook import lab

    lab.status(site_of(options))


def _lab_down(options: argparse.Namespace) -> None:
    from airavata_runbook import lab

    lab.down(site_of(options))


def _lab_ssh(options: argparse.Namespace) -> int:
    from airavata_runbook import lab

    return lab.ssh(site_of(options), options.host, options.words or None)
