"""Report: what a step found and did, per host and resource. Data first; text and HTML are views of it."""

from dataclasses import asdict, dataclass, field, fields, replace

from airavata_runbook.errors import STOPPED_BY_USER

OK, CHANGED, WOULD_CHANGE, FAILED, SKIPPED = "ok", "changed", "would change", "failed", "skipped"
STATUSES = (CHANGED, WOULD_CHANGE, FAILED, SKIPPED, OK)


@dataclass
class Item:
    """One resource on one host. detail: its difference. command: what was or would be run. seconds: its own time."""

    label: str
    status: str
    summary: str = ""
    detail: str = ""
    command: str = ""
    seconds: float = 0.0


@dataclass
class Failure:
    """Why a host did not get through a step, ready to be shown."""

    host: str
    message: str
    retryable: bool = False

    @property
    def stopped(self) -> bool:
        """Whether the user stopped the work on the host."""
        return self.message.startswith(STOPPED_BY_USER)


@dataclass
class Report:
    """hosts: name → its items in order. show: rows for a reader (a table of what a check saw), may be empty."""

    chapter: str
    step: str
    title: str
    plan: bool
    hosts: dict[str, list[Item]]
    failures: list[Failure] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    seconds: float = 0.0
    started: float = 0.0

    def count(self, status: str) -> int:
        """How many resources on all hosts have that status."""
        return sum(item.status == status for items in self.hosts.values() for item in items)

    @property
    def failed(self) -> int:
        """How many resources failed. A host that failed without one (it was lost) counts as one more.

        A host that the user stopped is no failure, nor is what was at work there.
        """
        stopped = {one.host for one in self.failures if one.stopped}
        found = {host: sum(item.status == FAILED for item in items) for host, items in self.hosts.items() if host not in stopped}
        return sum(found.values()) + sum(not found.get(one.host) for one in self.failures if not one.stopped)

    @property
    def stopped(self) -> int:
        """On how many hosts the user stopped the step."""
        return sum(one.stopped for one in self.failures)

    @property
    def verdict(self) -> str:
        """One line: "2 hosts: 6 changed, 3 ok"."""
        if not self.hosts and not self.failures:
            return "would be checked" if self.plan else "checked"
        found = {status: self.count(status) for status in STATUSES} | {FAILED: self.failed, "stopped": self.stopped}
        counts = [f"{number} {status}" for status, number in found.items() if number]
        hosts = f"{len(self.hosts)} host" + ("s" if len(self.hosts) != 1 else "")
        return f"{hosts}: {', '.join(counts) or 'nothing to do'}"

    def as_dict(self) -> dict:
        """The whole report as plain data, for report.json."""
        return {**asdict(self), "changed": self.count(CHANGED), "would_change": self.count(WOULD_CHANGE),
                "failed": self.failed, "stopped": self.stopped}

    @classmethod
    def from_dict(cls, data: dict) -> "Report":
        """The Report that `as_dict` told of."""
        own = {one.name: data[one.name] for one in fields(cls)}
        hosts = {host: [Item(**item) for item in items] for host, items in data["hosts"].items()}
        return cls(**own | {"hosts": hosts, "failures": [Failure(**one) for one in data["failures"]]})

    def without_ok(self) -> "Report":
        """The same report of those hosts and resources only that are not simply as they should be."""
        hosts = {host: [item for item in items if item.status != OK] for host, items in self.hosts.items()}
        return replace(self, hosts={host: items for host, items in hosts.items() if items})

    def __str__(self) -> str:
        from airavata_runbook.engine.display import report_text
        return report_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from airavata_runbook.engine.display import report_html
        return report_html(self)
