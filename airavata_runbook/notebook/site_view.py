"""How a site is shown as the result of its cell: its hosts, whether its steps only plan, and what was last done on it."""

import threading
from html import escape

from IPython.display import DisplayHandle, display

from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.report import MIX, table_html
from airavata_runbook.errors import RunbookError
from airavata_runbook.hosts import journal, lock
from airavata_runbook.local.terminal import text_table
from airavata_runbook.site import Site

PLAN_ON = "PLAN: steps show what they would change, and change nothing. The switch is in the site picker."
FIXED_PLAN = "PLAN: steps show what they would change, and change nothing, as AIRAVATA_RUNBOOK_PLAN is set."
COLOUR = MIX.format(plain="#9a6700", name="warn", own="#bf8700")
ENTRIES = 3  # of the journal
WAIT = 2.0  # seconds that the cell waits for the journal; it comes later from a host that takes longer

Words = tuple[str, list[list[str]]]  # a sentence, and a table


class SiteView:
    """A site as it is shown, from now on. plan: why its steps only plan, if they do."""

    def __init__(self, site: Site, plan: str):
        self.site, self.plan = site, plan
        self.words: Words = ("What was last done here is being read …", [])
        self._handle: DisplayHandle | None = None
        self._lock = threading.Lock()
        reading = threading.Thread(target=self._read, name=f"journal of {site.name}", daemon=True)
        reading.start()
        reading.join(WAIT)
        with self._lock:
            self._handle = display(self._bundle(), raw=True, display_id=True)

    def update(self, plan: str) -> None:
        """Show that its steps only plan, or that they do not any more."""
        with self._lock:
            self.plan = plan
            self._show_again()

    def _read(self) -> None:
        words = last_done(self.site)
        with self._lock:
            self.words = words
            self._show_again()

    def _show_again(self) -> None:
        if self._handle:
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        sentence, rows = self.words
        page = f"<div>{escape(repr(self.site))}</div>"
        page += f"<div style='{COLOUR}'><b>{escape(self.plan)}</b></div>" if self.plan else ""
        page += f"<div>{escape(sentence)}</div>" + (table_html(rows) if rows else "")
        lines = [repr(self.site), self.plan, sentence, text_table(rows) if rows else ""]
        return {"text/plain": "\n".join(filter(None, lines)), "text/html": page}


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
