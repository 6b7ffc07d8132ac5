"""The tree of the runbook's errors. Each message says what went wrong, where, what was found, what is needed and the remedy."""

import unicodedata
from collections.abc import Sequence
from typing import Any

STOPPED_BY_USER = "stopped by the user"  # the message for a host or chapter that Ctrl-C ended


def printable(text: str) -> str:
    """`text` with � for each character that a terminal or page would act on, or that cannot be encoded.

    These are Unicode's categories Cc (control), Cf (format, such as bidirectional overrides) and Cs (surrogates), except
    newline and tab.
    """
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs") else "�" for letter in text
    )


def counted(number: int, thing: str) -> str:
    """ "1 problem", "2 problems" """
    return f"{number} {thing}{'s' if number != 1 else ''}"


class RunbookError(Exception):
    """An expected failure; `str()` is the whole message for the user.

    brief: what a live notebook shows instead of the message, where it has shown the rest already. message: one sentence, what
    went wrong. where: host, step, file or field. command: the command that failed. found,
    needed: the actual and the required state. remedy: what the user can do. All are plain text without secrets.
    """

    brief = ""

    def __init__(self, message: str, *, where: str = "", command: str = "", found: str = "", needed: str = "", remedy: str = ""):
        super().__init__(message)
        self.message = message
        self.where = where
        self.command = command
        self.found = found
        self.needed = needed
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [
            ("where", self.where),
            ("ran", self.command),
            ("found", self.found),
            ("needed", self.needed),
            ("remedy", self.remedy),
        ]
        # Further lines of a part are aligned with its first.
        lines = [self.message, *(f"  {name + ':':8}" + text.replace("\n", "\n" + " " * 10) for name, text in parts if text)]
        return printable("\n".join(lines))

    @property
    def summary(self) -> str:
        """One line: what went wrong, and what was found."""
        return f"{self.message}: {self.found}" if self.found else self.message

    def _render_traceback_(self) -> list[str]:
        # IPython calls this instead of printing a traceback: an admin needs the message, not our call stack.
        return [f"{type(self).__name__}: {self.brief or self}"]


class SiteError(RunbookError):
    """An invalid site file, or an invalid reference in it; raised before any host is changed.

    problems: a line for each, where there are several; the message ends with them all.
    """

    def __init__(self, message: str, *, problems: Sequence[str] = (), **parts: str):
        super().__init__("\n".join([message + ":" * bool(problems), *(f"  - {line}" for line in problems)]), **parts)
        self.problems = tuple(problems)


class HostUnreachable(RunbookError):
    """No verified SSH session to a host: wrong address, host key, user, key or sudo."""


class HostKeyRefused(HostUnreachable):
    """The host key is unknown or differs from the known one; the connection was closed before authentication."""


class NotRoot(HostUnreachable):
    """The SSH user is not root and cannot become root: sudo asks for a password, or is not installed."""


class ForwardForbidden(HostUnreachable):
    """The SSH server of a host lets the user log in, but does not forward a port."""


class StoppedByUser(HostUnreachable):
    """Ctrl-C: the session to the host was closed while a command ran on it."""

    def __init__(self, message: str = STOPPED_BY_USER, **parts: str):
        super().__init__(message, **parts)


class StepFailed(RunbookError):
    """A step did not reach the desired state on one host or more.

    retryable: the same call may succeed later. rows: a table for a report, its header row first. picture: for a report too.
    report: the step's whole Report, where there is one. (Both are types of the engine, which is above this module.)
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        rows: list[list[str]] | None = None,
        picture: Any = None,
        report: Any = None,
        **parts: str,
    ):
        super().__init__(message, **parts)
        self.retryable, self.rows, self.picture, self.report = retryable, rows or [], picture, report


class CannotBuild(RunbookError):
    """The lab or the mirror cannot be built on this machine."""


class NotYet(Exception):
    """The desired state of a resource depends on something that an earlier step or resource has yet to create.

    Its text is a clause, "the API server runs". A plan reports "known after …"; a run compares again after the earlier resource.
    """

    def failure(self) -> StepFailed:
        """The error of a run in which the condition does not hold after the earlier resources were applied."""
        return StepFailed(f"needs: {self}", retryable=True)
