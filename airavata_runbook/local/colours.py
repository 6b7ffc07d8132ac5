"""Colours of statuses on a terminal. A status is a word as well: colour is never all that tells one from another.

They follow https://no-color.org and https://bixense.com/clicolors: none where NO_COLOR is set, on what is no terminal, or on a
dumb one; CLICOLOR_FORCE and FORCE_COLOR have them everywhere, but for a notebook, whose outputs are kept and compared.
"""

import os
import sys
from typing import TextIO

from airavata_runbook.local.terminal import in_notebook

# SGR parameters (ECMA-48) of the eight colours that a terminal's own theme chooses, so that they are readable on any background.
GREEN, YELLOW, RED, FAINT = "32", "33", "1;31", "2"
STYLES = {
    "ok": GREEN,
    "changed": GREEN,
    "would change": YELLOW,
    "running": YELLOW,
    "stopped": YELLOW,
    "note": YELLOW,
    "failed": RED,
    "skipped": FAINT,
    "ignored": FAINT,
}


def painted(text: str, status: str, stream: TextIO | None = None) -> str:
    """`text` in the colour of that status, where the stream (default: standard output) shows colours; else as it is."""
    style = STYLES.get(status)
    return f"\x1b[{style}m{text}\x1b[0m" if style and shows_colours(stream or sys.stdout) else text


def shows_colours(stream: TextIO) -> bool:
    """Whether colours are written to the stream."""
    if os.environ.get("NO_COLOR") or in_notebook():
        return False
    if any(os.environ.get(name, "0") != "0" for name in ("CLICOLOR_FORCE", "FORCE_COLOR")):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb" and os.environ.get("CLICOLOR") != "0"
