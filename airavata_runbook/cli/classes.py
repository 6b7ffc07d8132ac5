"""Commands for a class: a lab for each student, beside each other on this machine."""

import argparse
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from airavata_runbook.cli.site_command import Commands, at_least_one

if TYPE_CHECKING:
    from airavata_runbook.lab.classroom import Class


def add(commands: Commands) -> None:
    command = commands.add_parser("class", help="manage labs for the students of a class, beside each other on this machine")
    actions = command.add_subparsers(required=True, metavar="ACTION")
    for name, text, function in (
        ("up", "create and start labs for that many students; those that are there stay", _up),
        ("status", "list the students' labs", _status),
        ("down", "delete the labs with all their data, and the files that `up` made and nobody changed; asks first", _down),
        ("serve", "a JupyterLab for each student, in their own folder; prints their addresses, Ctrl-C ends all", _serve),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--name", default="class", help="of the class, when there are several (default: class)")
        action.set_defaults(command=function)
        if name == "up":
            action.add_argument("count", type=at_least_one, metavar="NUMBER", help="of students")
            action.add_argument("--site", default="lab", help="whose lab each student's is like (default: lab)")
            action.add_argument(
                "--network", type=_network, metavar="NETWORK", help="each lab has a /24 of it (default: 10.120.0.0/16)"
            )
        if name in ("up", "down"):
            action.add_argument("--jobs", type=at_least_one, default=2, metavar="N", help="how many labs at a time (default: 2)")
        if name == "down":
            action.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        if name == "serve":
            action.add_argument("--ip", default="127.0.0.1", help="this machine's address to serve at (default: 127.0.0.1)")
            action.add_argument("--port", type=at_least_one, default=8901, help="of the first student (default: 8901)")


def _up(options: argparse.Namespace) -> None:
    from airavata_runbook.lab import classroom
    from airavata_runbook.lab.classroom.members import NETWORK, Class

    classroom.up(Class(options.name, options.network or NETWORK, options.site), options.count, options.jobs)


def _status(options: argparse.Namespace) -> None:
    from airavata_runbook.lab import classroom

    classroom.status(_class(options))


def _down(options: argparse.Namespace) -> int:
    from airavata_runbook.lab import classroom
    from airavata_runbook.run.confirm import confirmed, require_terminal

    one = _class(options)
    require_terminal("class down", options.yes)
    if not options.yes:
        classroom.status(one)
    if not confirmed(one.name, options.yes, "class"):
        print("nothing was changed")
        return 1
    classroom.down(one, options.jobs)
    return 0


def _serve(options: argparse.Namespace) -> None:
    from airavata_runbook.run import class_servers

    class_servers.serve(_class(options), options.ip, options.port)


def _class(options: argparse.Namespace) -> "Class":
    from airavata_runbook.lab.classroom import Class

    return Class(options.name)


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
