"""The journal of a site: what was done on it, when and by whom. For people only; nothing decides by it.

A file on the master, root only, with a line for each time that the site's lock was held; the lock's own script writes it when it
ends, so that it costs no round trip. A host that nothing was installed on yet gets none: the preflight checks change nothing.
"""

from dataclasses import dataclass

from airavata_runbook.errors import printable
from airavata_runbook.footprint import Touch
from airavata_runbook.hosts.batch import Answer
from airavata_runbook.hosts.host import Host

PATH = "/var/log/airavata-runbook.log"
FOOTPRINT = (Touch("file", PATH),)
RUNBOOK = "/etc/airavata-runbook"  # the folder that a site has from chapter 02 on
KEPT = 200  # lines
LONGEST = 300  # characters of what an entry says
LOST = "the connection ended before its outcome was known"
STAMP = "date -u '+%Y-%m-%d %H:%M:%S'"


def append() -> str:
    """Shell that adds a line, from $since, $holder and $outcome. What fails is left: it must not keep the lock from its end."""
    line = f'printf \'%s\\t%s\\t%s\\t%s\\n\' "$since" "$({STAMP})" "$holder" "${{outcome:-{LOST}}}"'
    older = f"tail -n {KEPT - 1} {PATH} 2>/dev/null"
    return f"""if [ -d {RUNBOOK} ]; then
{{ {older}; {line}; }} > {PATH}.part 9>&- && mv -f {PATH}.part {PATH} 9>&-
fi 2>/dev/null"""


def one_line(text: str) -> str:
    """A text as a part of an entry."""
    return " ".join(printable(text).split())[:LONGEST]


@dataclass(frozen=True)
class Entry:
    """since, until: UTC. who: user@machine. what, outcome: in words."""

    since: str
    until: str
    who: str
    what: str
    outcome: str


@dataclass(frozen=True)
class Journal:
    """entries: the newest first. running: what holds the lock now, in words, or ""."""

    entries: list[Entry]
    running: str


def read(master: Host, lock: str, most: int) -> Journal:
    """The newest entries, at most so many, and what is going on, in one round trip. lock: the path of the site's lock.

    Raises HostUnreachable, StepFailed.
    """
    answers = master.run_batch({"lock": f"cat {lock} 2>/dev/null", "journal": f"tail -n {most} {PATH} 2>/dev/null"})
    lines = [_entry(line) for line in _text(answers["journal"]).splitlines()]
    return Journal([entry for entry in reversed(lines) if entry], _text(answers["lock"]).strip())


def _text(answer: Answer) -> str:
    return printable(answer.text)


def _entry(line: str) -> Entry | None:
    match line.split("\t"):
        case since, until, holder, outcome:
            who, _, what = holder.partition(", ")
            process, _, rest = what.partition(", ")
            return Entry(since, until, who, rest if process.startswith("process ") else what, outcome)
    return None
