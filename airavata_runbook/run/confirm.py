"""The question before something that cannot be undone."""

import sys

from airavata_runbook.errors import SiteError
from airavata_runbook.site import Site


def require_terminal(what: str, yes: bool) -> None:
    """Raises SiteError when there is no terminal to ask on. what: begins a sentence, as "a reset". yes: nobody is asked."""
    if not yes and not sys.stdin.isatty():
        raise SiteError(f"{what} asks for confirmation, and standard input is no terminal", needed="a terminal, or --yes")


def confirmed(site: Site, yes: bool = False) -> bool:
    """Whether the user typed the site's name. yes: do not ask."""
    try:
        return yes or input(f"Type the site's name ({site.name}) to continue: ").strip() == site.name
    except EOFError:
        return False
