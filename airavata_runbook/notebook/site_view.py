"""How a site is shown as the result of its cell: its hosts, whether its steps only plan, and what was last done on it."""

import threading
from html import escape

from IPython.display import display

from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.report import MIX, table_html
from airavata_runbook.errors import RunbookError
from airavata_runbook.hosts import journal, lock
from airavata_runbook.local.terminal import text_table
from airavata_runbook.site import Site

PLAN = "PLAN: steps show what they would change, and change nothing. The switch is in the site picker."
FIXED_PLAN = "PLAN: steps show what they would change, and change nothing, as AIRAVATA_RUNBOOK_PLAN is set."
COLOUR = MIX.format(plain="#9a6700", name="warn", own="#bf8700")
ENTRIES = 3  # of the journal
WAIT = 2.0  # seconds that the cell waits for the journal; it comes later from a host that takes longer

Words = tuple[str, list[list[str]]]  # a sentence, and a table


def show(site: Site, plan: str = "") -> None:
    """Show a site. plan: why its steps only plan, if they do."""
    found: list[Words] = []
    read, shown = threading.Event(), threading.Event()

    def work() -> None:
        found.append(last_done(site))
        read.set()
        shown.wait()
        if waited_for:
            handle.update(_bundle(site, plan, found[0]), raw=True)

    threading.Thread(target=work, name=f"journal of {site.name}", daemon=True).start()
    waited_for = not read.wait(WAIT)
    words: Words = ("What was last done here is being read …", []) if waited_for else found[0]
    handle = display(_bundle(site, plan, words), raw=True, display_id=True)
    shown.set()


def last_done(site: Site) -> Words:
    """What the journal of a site says, the newest first."""
    master = session_of(site).master
    if (master.node.ssh.passphrase or "").startswith("prompt:"):  # nobody is asked for it before a step needs it
        return "What was last done here is not read: this would ask for the passphrase of the key.", []
    try:
        found = journal.read(master, lock.PATH, ENTRIES)
    except RunbookError as error:
        return f"What was last done here is not known: {error.message} (host {master.name}).", []
    running = f"Now: {found.running}." if found.running else ""
    if not found.entries:
        return running or "Nothing was done here yet, as far as the master knows.", []
    rows = [[f"{one.since} to {one.until[11:]}", one.who, one.what, one.outcome] for one in found.entries]
    return f"{running} Last done here:".strip(), [["when (UTC)", "who", "what", "outcome"], *rows]


def _bundle(site: Site, plan: str, words: Words) -> dict[str, str]:
    sentence, rows = words
    page = f"<div>{escape(repr(site))}</div>"
    page += f"<div style='{COLOUR}'><b>{escape(plan)}</b></div>" if plan else ""
    page += f"<div>{escape(sentence)}</div>" + (table_html(rows) if rows else "")
    return {
        "text/plain": "\n".join([repr(site), *([plan] if plan else []), sentence, *([text_table(rows)] if rows else [])]),
        "text/html": page,
    }
