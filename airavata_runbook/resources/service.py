"""A systemd service that is enabled, running, and started after the last change of every file that it reads."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from airavata_runbook.cluster.causes import Cause
from airavata_runbook.cluster.host_causes import last_errors, service_causes
from airavata_runbook.distributions import installed_at
from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.hosts.batch import Answer
from airavata_runbook.hosts.host import Host
from airavata_runbook.resources.condition import Condition
from airavata_runbook.resources.programs import at_work

SLICE = 20  # seconds of a start, after which its journal is looked at
TIMED_OUT = 124  # timeout(1)
PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,ExecMainStartTimestamp,Type"


@dataclass(frozen=True)
class Service:
    """reads: files that it reads at start. package: its package. It is restarted when one of them is newer than its process.
    port: a TCP port on which it listens once it works, of a service that does not tell systemd so (Type=notify). listens: ports
    that the site chooses.

    This is decided by file times and the process's start time on the host, so that the next run completes one that was
    interrupted between writing a file and restarting the service.
    """

    name: str
    reads: Sequence[str] = ()
    package: str = ""
    port: int = 0
    listens: Sequence[int] = ()

    @property
    def label(self) -> str:
        return f"service {self.name}"

    def footprint(self) -> Footprint:
        ports = (Touch("port", f"{port}/tcp", by=self.name) for port in self.listens)
        return [*enabled(self.name), *at_work(self.name), *ports]

    def probe(self) -> str:
        files = quote(*self.reads) if self.reads else ""
        times = f"stat -L -c '%.6Y %n' {files} 2>/dev/null; " if files else ""
        if self.package:
            times += f"{installed_at(self.package)}; "
        return f"systemctl show --timestamp=us+utc -p {PROPERTIES} {quote(self.name)}.service; {times}true"

    def change(self, found: Found, context: Context) -> Change | None:
        state, times = parse(found.text, self.label)
        if state["LoadState"] == "not-found" and not context.planning:
            raise NotYet(f"the service {self.name} is installed")
        started = started_at(state)
        newer = [name for name, changed in times.items() if started and changed > started]
        package = f"package {self.package}"
        touched = [name for name in [*self.reads, package] if name in context.touched]
        verb, reasons = "", []
        # A start that is under way with a file as it was before may never end, and another one would only join it.
        current = ("active", "activating") if newer or touched else ("active",)
        if state["ActiveState"] not in current:
            verb, reasons = "start", ["start"]
        elif newer or touched:
            names = sorted(set(newer) | {"package" if name == package else name for name in touched})
            verb, reasons = "restart", ["restart: newer " + ", ".join(names)]
        elif state.get("NeedDaemonReload") == "yes":
            verb, reasons = "restart", ["restart: unit file changed"]
        enable = state["UnitFileState"] != "enabled"
        reasons += ["enable"] if enable else []
        if not reasons:
            return None
        # `enable` also reloads all units (systemctl(1)), which takes most of the time of a service's start.
        commands = [f"systemctl enable --quiet {self.name}" if enable else "systemctl daemon-reload"]
        commands += [f"systemctl {verb} {self.name}"] if verb else []
        return Change(
            ", ".join(reasons),
            call=lambda: self._apply(context.host, commands[0], verb),
            shown="\n".join(commands),
            touches=frozenset({f"service {self.name}"}),
            creates=state["LoadState"] == "not-found",
        )

    def _apply(self, host: Host, first: str, verb: str) -> None:
        result = self._start(host, first, verb) if verb else _run(host, first)
        if result.status:
            why = f"not started after {SLICE} s" if result.status == TIMED_OUT else result.text.strip()
            raise StepFailed(
                f"{self.label} could not be started",
                found=f"{why}\n{last_errors(host, self.name)}".strip(),
                remedy=f"journalctl -u {self.name}",
            )
        if verb and self.port:
            Condition(
                f"{self.label} to listen on port {self.port}",
                f"ss -Htlnp 'sport = :{self.port}' | grep -q \"pid=$(systemctl show -P MainPID {quote(self.name)}),\"",
                causes=lambda: service_causes(host, self.name),
                remedy=f"journalctl -u {self.name}",
            ).wait(host)

    def _start(self, host: Host, first: str, verb: str) -> Answer:
        """systemctl waits until the service is ready or has ended; one that logs an error again and again is not awaited."""
        while True:
            result = _run(host, f"{first} && timeout {SLICE} systemctl {verb} {quote(self.name)}")
            if result.status != TIMED_OUT or any(one.kind == "unit logs errors" for one in service_causes(host, self.name)):
                return result
            first, verb = "true", "start"  # joins the start that is under way (systemctl(1))


def enabled(name: str) -> list[Touch]:
    """What a service's being enabled leaves; its files are its package's."""
    unit = f"{name}.service"
    return [Touch("unit", unit), Touch("file", f"/etc/systemd/system/multi-user.target.wants/{unit}")]


def _run(host: Host, command: str) -> Answer:
    """Its whole output and exit status."""
    return host.run_batch({"command": f"{{ {command}; }} 2>&1"})["command"]


def restart(
    context: Context,
    name: str,
    missing: Callable[[], str],
    deadline: float,
    causes: Callable[[], Iterable[Cause]] = tuple,
) -> None:
    """Restart a service, then wait until `missing` returns "": before that, what is not there yet. deadline: seconds.

    causes: as of a Condition. Raises StepFailed.
    """
    remedy = f"journalctl -u {name}"
    result = context.host.run(f"systemctl restart {quote(name)}")
    if result.status:
        raise StepFailed(f"a restart of {name} failed", found=result.last_lines, remedy=remedy, retryable=True)
    Condition(f"a restart of {name} to help", check=missing, causes=causes, deadline=deadline, remedy=remedy).wait(context.host)


def parse(text: str, where: str) -> tuple[dict[str, str], dict[str, float]]:
    """(systemd properties, file → time of change in seconds since the epoch) from a probe's output. Raises StepFailed."""
    state, times = {}, {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        stamp, _, name = line.partition(" ")
        if separator and key.isalpha():
            state[key] = value
        elif stamp.replace(".", "").isdigit() and name:
            times[name] = float(stamp)
    if not {"LoadState", "ActiveState", "UnitFileState"} <= set(state):
        raise StepFailed("systemd did not report the service's state", where=where, found=text[:200] or "nothing")
    return state, times


def started_at(state: dict[str, str]) -> float | None:
    """Seconds since the epoch of the main process's start, None when it never started. Raises ValueError."""
    text = state.get("ExecMainStartTimestamp", "")
    if text in ("", "n/a"):
        return None
    return datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()
