"""The few ways in which the runbook fails. Each message says what, where, found, needed and the remedy."""

import unicodedata

STOPPED_BY_USER = "stopped by the user"  # the message for a host or chapter that Ctrl-C ended


def printable(text: str) -> str:
    """`text` without what would act on a terminal or page instead of being read, or cannot be written at all.

    That is control characters, turned directions, and half characters (lone surrogates).
    """
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs") else "�" for letter in text
    )


class RunbookError(Exception):
    """A failure that is explained to the user; `str()` is the whole message.

    message: one sentence, what went wrong. where: host, step, file or field. command: what was being run. found, needed:
    the two sides of the disagreement. remedy: what the user can do. All are plain text without secrets.
    """

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
        # Further lines of a part stand below its first.
        lines = [self.message, *(f"  {name + ':':8}" + text.replace("\n", "\n" + " " * 10) for name, text in parts if text)]
        return printable("\n".join(lines))

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for its own traceback: an admin wants the message, not our call stack.
        return [f"{type(self).__name__}: {self}"]


class SiteError(RunbookError):
    """A site file that cannot be right; raised before any host is touched."""


class HostUnreachable(RunbookError):
    """No verified SSH session to a host: address, host key, user, key or sudo."""


class HostKeyRefused(HostUnreachable):
    """The key that a host showed is not the known one, or none can be known of it: nothing was said to it."""


class NotRoot(HostUnreachable):
    """A session whose user is not root and cannot become it: sudo asks for a password, or is not there."""


class StoppedByUser(HostUnreachable):
    """Ctrl-C: the host was let go of in the midst of its work. Its message is STOPPED_BY_USER."""


class StepFailed(RunbookError):
    """A step did not reach what it wanted on one host or more.

    retryable: the same call may succeed later. rows: a table of what was found, its head first, for a report.
    report: the step's whole Report, where there is one.
    """

    def __init__(self, message: str, *, retryable: bool = False, rows: list[list[str]] | None = None, report=None, **parts: str):
        super().__init__(message, **parts)
        self.retryable, self.rows, self.report = retryable, rows or [], report


class CannotBuild(RunbookError):
    """The lab or the mirror cannot be made on this machine."""


class NotYet(Exception):
    """What a resource should be depends on something that an earlier step or resource still has to make.

    A plan says so ("known after …"); a run compares again once the earlier resource is there.
    """

    def failure(self) -> StepFailed:
        """What a run says when it is still not there."""
        return StepFailed(f"needs: {self}", retryable=True)
