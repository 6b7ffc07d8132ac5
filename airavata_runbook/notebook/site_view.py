"""How a site is shown as the result of its cell."""

from html import escape

from IPython.display import display

from airavata_runbook.engine.report import MIX
from airavata_runbook.site import Site

PLAN = "PLAN: steps show what they would change, and change nothing. The switch is in the site picker."
FIXED_PLAN = "PLAN: steps show what they would change, and change nothing, as AIRAVATA_RUNBOOK_PLAN is set."


def show(site: Site, plan: str = "") -> None:
    """Show a site. plan: why its steps only plan, if they do."""
    lines, style = [f"<div>{escape(repr(site))}</div>"], MIX.format(plain="#9a6700", name="warn", own="#bf8700")
    if plan:
        lines.append(f"<div style='{style}'><b>{escape(plan)}</b></div>")
    display({"text/plain": "\n".join(filter(None, [repr(site), plan])), "text/html": "".join(lines)}, raw=True)
