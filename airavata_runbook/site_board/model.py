"""The board's grid: what is known of each step on each host, from the reports of steps. It knows no site and asks nobody."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from airavata_runbook.engine.report import MIX, QUIET, STYLES, Failure, Item, Report, Status
from airavata_runbook.errors import counted

SITE = ""  # stands for a host in the cell of a check, which looks at the whole site


class State(StrEnum):
    """Of a step on a host."""

    AS_IT_SHOULD_BE = "as it should be"
    DIFFERS = "differs"
    NOT_YET = "not there yet"
    FAILED = "failed"
    UNKNOWN = "unknown"


MARKS = {State.AS_IT_SHOULD_BE: "=", State.DIFFERS: "~", State.NOT_YET: "–", State.FAILED: "!", State.UNKNOWN: "?"}
COLOURS = {  # as CSS declarations, readable in a light and in a dark theme
    State.AS_IT_SHOULD_BE: MIX.format(plain="#238636", name="success", own="#2da44e"),
    State.DIFFERS: STYLES[Status.WOULD_CHANGE],
    State.NOT_YET: MIX.format(plain="#0969da", name="info", own="#0969da"),
    State.FAILED: STYLES[Status.FAILED],
    State.UNKNOWN: QUIET,
}


@dataclass(frozen=True)
class Row:
    """A step of a chapter. call: the step itself, as a cell calls it. hosts: on which it works, or SITE for a check. in_a_run: a
    check that a plan does not make.
    """

    chapter: str
    name: str
    title: str
    call: Callable[..., Report]
    hosts: tuple[str, ...]
    in_a_run: bool = False

    @property
    def places(self) -> str:
        """Where it works, in words."""
        return "the whole site" if self.hosts == (SITE,) else ", ".join(self.hosts)


@dataclass(frozen=True)
class Cell:
    """note: what the state is about, in a few words. report: of the step, this host's part; error: why there is none."""

    state: State = State.UNKNOWN
    note: str = ""
    report: Report | None = None
    error: str = ""

    @property
    def text(self) -> str:
        """The state in one line, with a mark."""
        return f"{MARKS[self.state]} {self.state}" + (f": {self.note}" if self.note else "")

    @property
    def short(self) -> str:
        """The mark, and what it is about, where a column has no room for more."""
        return f"{MARKS[self.state]} {self.note}".rstrip()


LOOKING = Cell(note="not looked at yet")
CHECKED_IN_A_RUN = Cell(note="checked in a run")


class Grid:
    """The cells of a board by step and host."""

    def __init__(self, hosts: Iterable[str], rows: Iterable[Row]):
        self.hosts, self.rows = tuple(hosts), tuple(rows)
        self.cells = {(row, host): LOOKING for row in self.rows for host in row.hosts}

    @property
    def chapters(self) -> dict[str, list[Row]]:
        """The rows of each chapter, in their order."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.chapter, []).append(row)
        return found

    def rows_from(self, row: Row) -> list[Row]:
        """The row and all after it."""
        return list(self.rows[self.rows.index(row) :])

    def take(self, row: Row, report: Report, note: str = "") -> None:
        """Show what a report says. Hosts that the step left out stay as they are. note: for a host that is as it should be."""
        for host in row.hosts:
            if host == SITE or host in report.hosts or any(failure.host == host for failure in report.failures):
                self.cells[row, host] = cell_of(row, report, host, note)

    def put(self, row: Row, cell: Cell, hosts: Iterable[str] | None = None) -> None:
        """Show the same cell for some hosts of a row, or for all."""
        for host in row.hosts if hosts is None else hosts:
            if host in row.hosts:
                self.cells[row, host] = cell

    def summary(self) -> str:
        """One line: "12 as it should be, 2 differs, 18 checks for a run"."""
        counts = Counter(cell.state for cell in self.cells.values() if cell is not CHECKED_IN_A_RUN)
        found = [f"{counts[state]} {state}" for state in State if counts[state]]
        checks = sum(cell is CHECKED_IN_A_RUN for cell in self.cells.values())
        return ", ".join([*found, *([f"{counted(checks, 'check')} for a run"] if checks else [])]) or "no steps"

    def table(self) -> Iterator[list[str]]:
        """Rows of chapter, step and a text for each host; a check's text stands for the first host. The first row is the head."""
        yield ["chapter", "step", *self.hosts]
        for row in self.rows:
            texts = {host: cell.text for (one, host), cell in self.cells.items() if one is row}
            first = texts.pop(SITE, None)
            yield [
                row.chapter,
                row.title,
                *([first, *[""] * (len(self.hosts) - 1)] if first else (texts.get(one, "") for one in self.hosts)),
            ]


@dataclass
class Ran:
    """What became of a run of `total` steps. failed: the one that failed or was stopped. planned: the site's steps only plan."""

    total: int
    done: int = 0
    failed: Row | None = None
    stopped: bool = False
    planned: bool = False

    @property
    def text(self) -> str:
        """One line for a person."""
        of = f"{self.done} of {counted(self.total, 'step')}"
        if self.stopped:
            return f"stopped by you: {of} done, which stay done" + (
                f"; “{self.failed.title}” was going on" if self.failed else ""
            )
        if self.failed:
            return f"“{self.failed.title}” failed, {of} done: click its cell for the reason"
        return f"plan is on for this site, so nothing was changed: {of} planned" if self.planned else f"{of} done"


def cell_of(row: Row, report: Report, host: str, note: str = "") -> Cell:
    """What a report says of a host, or of the site for a check."""
    items = report.hosts.get(host, [])
    failure = next((one for one in report.failures if host in (SITE, one.host)), None)
    own = report.model_copy(update={"hosts": {host: items} if items else {}, "failures": [failure] if failure else []})
    if failure:
        return Cell(_failed(failure), _what_failed(failure, items), own)
    if report.plan and row.in_a_run:
        return CHECKED_IN_A_RUN
    differing = [item for item in items if item.status == Status.WOULD_CHANGE]
    if not differing:
        return Cell(State.AS_IT_SHOULD_BE, note, own)
    if all(item.later for item in differing):
        return Cell(State.NOT_YET, "", own)
    state = State.NOT_YET if all(item.absent or item.later for item in differing) else State.DIFFERS
    resources = [item for item in items if item.status != Status.SKIPPED]  # without waits
    return Cell(state, f"{len(differing)} of {len(resources)}", own)


def _failed(failure: Failure) -> State:
    return State.UNKNOWN if failure.unreachable or failure.kind == "stopped" else State.FAILED


def _what_failed(failure: Failure, items: list[Item]) -> str:
    if failure.kind == "stopped":
        return "stopped"
    if failure.unreachable:
        return "no answer"
    failed = sum(item.status == Status.FAILED for item in items)
    return counted(failed, "resource") if failed else ""


def question(grid: Grid, rows: list[Row], site: str, plans: bool = False) -> str:
    """What is asked before these rows are run, with what they would change by the last look. plans: steps only plan now."""
    first, last = rows[0], rows[-1]
    run = "Plan" if plans else "Run"
    what = f"{run} “{first.title}” on {first.places}"
    if len(rows) > 1:
        what = f"{run} {counted(len(rows), 'step')}, from “{first.title}” of {first.chapter} to “{last.title}” of {last.chapter}"
    if plans:
        return f"{what} (site {site})? Plan is on for this site: nothing is changed."
    cells = [grid.cells[row, host] for row in rows for host in row.hosts]
    changes = sum(cell.report.would_change for cell in cells if cell.report and cell.report.plan)
    known = all(cell.state != State.UNKNOWN or cell is CHECKED_IN_A_RUN for cell in cells)
    found = counted(changes, "resource") + ("" if known else " or more")
    if all(row.hosts == (SITE,) for row in rows):
        return f"{what} (site {site})? A check leaves the site as it was."
    if not changes:
        found = "nothing" if known else "nothing that is known"
    return f"{what} (site {site})? By the last look, {found} would be changed."
