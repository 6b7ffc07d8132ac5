"""A systemd service that is enabled, running, and younger than everything it reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import NotYet, StepFailed

PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,ExecMainStartTimestamp,Type"


@dataclass(frozen=True)
class Service:
    """reads: files it takes in at start; package: its package. One of them newer than its process: it restarts.

    The host decides (file times against the process's start time), so that a run which was interrupted between
    writing a file and restarting the service is completed by the next one.
    """

    name: str
    reads: Sequence[str] = ()
    package: str = ""

    @property
    def label(self) -> str:
        return f"service {self.name}"

    def probe(self) -> str:
        files = quote(*self.reads) if self.reads else ""
        # The package database's own file list is written at installation; binaries keep the builder's times.
        times = f"stat -L -c '%.6Y %n' {files} 2>/dev/null; " if files else ""
        if self.package:
            times += (
                f"stat -c '%.6Y package' /var/lib/dpkg/info/{self.package}.list 2>/dev/null || "
                f"rpm -q --qf '%{{INSTALLTIME}} package\\n' {self.package} 2>/dev/null; "
            )
        return f"systemctl show --timestamp=us+utc -p {PROPERTIES} {quote(self.name)}.service; {times}true"

    def change(self, found: Found, context: Context) -> Change | None:
        state, times = parse(found.text)
        if not {"LoadState", "ActiveState", "UnitFileState"} <= set(state):
            raise StepFailed("systemd did not say how the service is", where=self.label, found=found.text[:200] or "nothing")
        if state.get("LoadState") == "not-found" and not context.planning:
            raise NotYet(f"the service {self.name} is installed")
        started = started_at(state)
        newer = [name for name, changed in times.items() if started and changed > started]
        touched = [name for name in [*self.reads, f"package {self.package}"] if name in context.touched]
        why = []
        if state.get("ActiveState") != "active":
            why.append("start")
        elif newer or touched:
            names = sorted(set(newer) | {name.split(" ")[0] for name in touched})
            why.append("restart: newer " + ", ".join(names))
        elif state.get("NeedDaemonReload") == "yes":
            why.append("restart: unit file changed")
        if state.get("UnitFileState") != "enabled":
            why.append("enable")
        if not why:
            return None
        # To enable also reloads what systemd knows of all units (systemctl(1)), which takes most of a service's time to start.
        commands = [f"systemctl enable --quiet {self.name}" if "enable" in why else "systemctl daemon-reload"]
        if why[0] != "enable":
            commands.append(f"systemctl {why[0].partition(':')[0]} {self.name}")
        # The reason stands above a long trace, or else in the last lines.
        log = f"journalctl -u {self.name} -n 60 --no-pager -o cat | cut -c1-400"
        complain = f"{{ {{ {log} | grep -iE 'error|panic|fatal|denied|no space' || {log}; }} | tail -n 6 >&2; exit 1; }}"
        return Change(
            ", ".join(why),
            script="\n".join(f"{line} || {complain}" for line in commands),
            shown="\n".join(commands),
            touches=frozenset({f"service {self.name}"}),
        )


def parse(text: str) -> tuple[dict[str, str], dict[str, float]]:
    """(systemd properties, file → time of change in seconds since the epoch) from the probe's output."""
    state, times = {}, {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        stamp, _, name = line.partition(" ")
        if separator and key.isalpha():
            state[key] = value
        elif stamp.replace(".", "").isdigit() and name:
            times[name] = float(stamp)
    return state, times


def started_at(state: dict[str, str]) -> float | None:
    """Seconds since the epoch of the main process's start, None when it never started. Raises ValueError."""
    text = state.get("ExecMainStartTimestamp", "")
    if text in ("", "n/a"):
        return None
    return datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()
