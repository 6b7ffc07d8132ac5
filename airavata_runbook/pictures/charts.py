"""Charts of numbers that are compared: bars with their labels and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from airavata_runbook.pictures.svg import LINE, MARGIN, Drawing, Drawn

LABEL, BARS, NUMBER, HEAD = 344, 400, 100, 160  # pixels: the widths of the columns, the first at most; of a group's name
THICK = 13


@dataclass(frozen=True)
class Bar:
    """shown: its number, as people read it. begin: where it starts, of a chart over time. group: what it belongs to."""

    label: str
    value: float
    shown: str
    begin: float = 0.0
    group: str = ""
    bad: bool = False


def bars(heading: str, found: Sequence[Bar], least: float | None = None, note: str = "") -> Drawn:
    """A bar for each, below each other. heading: the first line of the text. least: what each must have, a line with a note."""
    grouped = any(one.group for one in found)
    left = MARGIN + (HEAD if grouped else 0)
    room = min(LABEL, 24 + 8 * max((len(one.label) for one in found), default=0))
    start, whole = left + room, max((one.begin + one.value for one in found), default=0) or 1
    scale = BARS / max(whole, least or 0)
    drawing, y = Drawing(start + BARS + NUMBER + MARGIN), float(MARGIN)
    before = ""
    for one in found:
        if one.group != before:
            drawing.text(MARGIN, y + 14, one.group, HEAD - 10, colour="quiet")
            before = one.group
        drawing.text(left, y + 14, one.label, room - 10, colour="bad" if one.bad else "ink")
        x, width = start + one.begin * scale, max(one.value * scale, 2)
        drawing.bar(x, y + 3, width, THICK, "bad" if one.bad else "bar")
        drawing.text(x + width + 6, y + 14, one.shown, NUMBER)
        y += LINE + 1
    if least is not None:
        x = start + least * scale
        drawing.line((x, MARGIN - 6), (x, y + 4), colour="ink", dashed=True)
        drawing.text(x - 4, y + 18, note, BARS)
    listed = "\n".join(f"  {one.label}: {one.shown}" for one in found)
    return drawing.finish(heading.removesuffix(":"), "\n".join(filter(None, (heading, listed, note and f"  {note}"))))
