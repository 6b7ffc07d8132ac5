"""What the commands for one site share: how it is named, and what overrides its fields."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airavata_runbook.site import Site

Commands = argparse._SubParsersAction  # argparse has no public name for what add_subparsers returns
SITE = "a name in parameters/ or the path of a site file"
Command = Callable[[argparse.Namespace], int | None]


def site_command(commands: Commands, name: str, function: Command, text: str, settings: bool = True) -> argparse.ArgumentParser:
    """Add a command for one site. settings: whether --set may override its fields."""
    added = commands.add_parser(name, help=text)
    added.add_argument("site", help=SITE)
    added.set_defaults(command=function)
    if settings:
        _add_settings(added)
    return added


def sites_command(commands: Commands, name: str, function: Command, text: str) -> argparse.ArgumentParser:
    """Add a command for one site, or for several side by side."""
    added = commands.add_parser(name, help=text)
    added.add_argument("sites", nargs="*", metavar="SITE", help=f"{SITE}; several side by side")
    added.add_argument("--all", action="store_true", help="every site in parameters/")
    _add_settings(added)
    added.set_defaults(command=function, wrong_usage=added.error)
    return added


def sites_of(options: argparse.Namespace) -> list[str]:
    """The sites that a command names. Ends the process with a message about the command line when there is none."""
    if options.all == bool(options.sites):
        options.wrong_usage("a SITE is needed, or --all" if not options.all else "--all has every SITE already")
    if not options.all:
        return options.sites
    from airavata_runbook.run.many import every_site

    return every_site()


def _add_settings(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="settings",
        help="override a field of the site file; may be repeated",
    )


def add_yes(*commands: argparse.ArgumentParser) -> None:
    """Let these commands go on without a question."""
    for command in commands:
        command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def at_least_one(text: str) -> int:
    """The number that an argument gives. Raises ArgumentTypeError for another text."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("needs a number of at least 1")
    return int(text)


def site_of(options: argparse.Namespace) -> "Site":
    """The site that a command names, with what --set overrides in it."""
    from airavata_runbook.site import Site

    return Site.load(options.site, settings_of(options))


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """Dotted field → value of each --set. Raises SiteError."""
    from airavata_runbook.site.file import parse_settings

    return parse_settings(getattr(options, "settings", []))
