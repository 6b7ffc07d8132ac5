"""What the commands for one site share: how it is named, and what overrides its fields."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airavata_runbook.site import Site

Commands = argparse._SubParsersAction  # argparse has no public name for what add_subparsers returns
Command = Callable[[argparse.Namespace], int | None]


def site_command(commands: Commands, name: str, function: Command, text: str, settings: bool = True) -> argparse.ArgumentParser:
    """Add a command for one site. settings: whether --set may override its fields."""
    added = commands.add_parser(name, help=text)
    added.add_argument("site", help="a name in parameters/ or the path of a site file")
    added.set_defaults(command=function)
    if settings:
        added.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            dest="settings",
            help="override a field of the site file; may be repeated",
        )
    return added


def add_yes(*commands: argparse.ArgumentParser) -> None:
    """Let these commands go on without a question."""
    for command in commands:
        command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def site_of(options: argparse.Namespace) -> "Site":
    """The site that a command names, with what --set overrides in it."""
    from airavata_runbook.site import Site

    return Site.load(options.site, settings_of(options))


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """Dotted field → value of each --set. Raises SiteError."""
    from airavata_runbook.site.file import parse_settings

    return parse_settings(getattr(options, "settings", []))
