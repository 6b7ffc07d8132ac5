"""The question before something that cannot be undone."""

import sys

from airavata_runbook.errors import SiteError


def require_terminal(what: str, yes: bool) -> None:
    """Raises SiteError when there is no terminal to ask on. what: begins a sentence, as "a reset". yes: nobody is asked."""
    if not yes and not sys.stdin.isatty():
        raise SiteError(f"{what} asks for confirmation, and standard input is no terminal", needed="a terminal, or --yes")


def confirmed(name: str, yes: bool = False, kind: str = "site") -> bool:
    """Whether the user typed the name of the site, or of something of another kind. yes: do not ask."""
    try:
        return yes or input(f"Type the {kind}'s name ({name}) to continue: ").strip() == name
    except EOFError:
        return False
