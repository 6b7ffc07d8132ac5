"""The calls that a verifier makes, each with what the server answered and what it should."""

from dataclasses import dataclass, field


@dataclass
class Calls:
    """rows: call and response, for the report. problems: a line for each response that is not the right one."""

    rows: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The name of the last call, for a message."""
        return self.rows[-1][0] if self.rows else "the connection"

    def note(self, call: str, answer: object) -> None:
        """A call that may answer anything."""
        self.rows.append([call, str(answer)])

    def expect(self, call: str, answer: object, right: object, shown: str = "") -> None:
        """A call that must answer `right`. shown: instead of the answer, where that is long, secret or another each time."""
        self.rows.append([call, shown if shown and answer == right else str(answer)])
        if answer != right:
            self.problems.append(f"{call}: found {answer}, needed {right}")

    def skip(self, reason: str) -> None:
        """The server is not called."""
        self.rows.append(["not verified", reason])
