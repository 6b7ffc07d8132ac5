"""A small writer of SVG: boxes, texts and arrows, in light and dark.

Every colour is an attribute, for a light page; a style sheet in the drawing has those for a dark one. So a drawing follows the
page around it, and where styles are removed its light colours are left, on paper of its own.
"""

import re
import unicodedata
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from airavata_runbook.errors import printable

NAMESPACE = "http://www.w3.org/2000/svg"
MARGIN, LINE = 16, 19  # pixels around a drawing, and from one line of text to the next
SIZE = 13  # of text, in pixels
LETTER = 0.57  # the width of a letter of common sans-serif fonts, of their size; bold ones are wider

# Colour → on a light page, on a dark one. Texts have a contrast of at least 4.5 to 1 on every colour of a box (WCAG 2.1, 1.4.3).
COLOURS = {
    "paper": ("#ffffff", "#14181d"),
    "box": ("#f3f5f7", "#262c34"),
    "blue": ("#ddf0fc", "#123a56"),
    "green": ("#dcf5e1", "#17402a"),
    "yellow": ("#fdf3c4", "#4a3b0c"),
    "red": ("#ffdfdb", "#6a211c"),
    "ink": ("#1f2328", "#e8edf2"),
    "quiet": ("#505861", "#b3bcc6"),
    "line": ("#6e7781", "#8b949e"),
    "bar": ("#3f78b0", "#5f9bd1"),
    "bad": ("#b3261e", "#ff8f86"),
    # Of lines that must be told apart.
    "line0": ("#0b5cad", "#6cb0f0"),
    "line1": ("#9a4a00", "#e8a35c"),
    "line2": ("#1a7f37", "#56c271"),
    "line3": ("#8a3ffc", "#c3a1ff"),
    "line4": ("#a8185b", "#f58bbb"),
    "line5": ("#5b6b00", "#bccb4a"),
}
LINES = [name for name in COLOURS if name.startswith("line") and name != "line"]
# An <img> has no part in a page's style sheets, but its prefers-color-scheme is the color-scheme of the element (CSS Color
# Adjustment 1). JupyterLab and VS Code mark their theme on the page's body. Removed from a notebook that is not trusted yet.
THEMES = (
    '[data-jp-theme-light="true"] .runbook-picture,.vscode-light .runbook-picture{color-scheme:light}'
    '[data-jp-theme-light="false"] .runbook-picture,.vscode-dark .runbook-picture{color-scheme:dark}'
)


@dataclass(frozen=True)
class Drawn:
    """A finished picture: SVG, and what it shows in words."""

    svg: str
    text: str


class Drawing:
    """Shapes in the order in which they are added; its height grows with them. width: in pixels, of the whole."""

    def __init__(self, width: float):
        self.width, self.height = width, 0.0
        self._parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, fill: str, dashed: bool = False, stroke: str = "line") -> None:
        self._grow(y + height)
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        self._parts.append(
            f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}" rx="6" '
            f"{_paint(fill, stroke)}{dash}/>"
        )

    def bar(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A number in a chart."""
        self._grow(y + height)
        self._parts.append(
            f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}" {_paint(fill)}/>'
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        room: float,
        bold: bool = False,
        colour: str = "ink",
        anchor: str = "start",
    ) -> None:
        """One line, y at its base line. room: its greatest width; what is longer is shortened, and whole in a title."""
        self._grow(y + 5)
        shown = shorten(words, room, bold)
        weight = ' font-weight="600"' if bold else ""
        whole = f"<title>{clean(words)}</title>" if shown != words else ""
        place = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self._parts.append(
            f'<text x="{_number(x)}" y="{_number(y)}"{place}{weight} {_paint(colour)}>{clean(shown)}{whole}</text>'
        )

    def card(
        self, x: float, y: float, width: float, lines: Sequence[str], fill: str, height: float = 0, dashed: bool = False
    ) -> None:
        """A box with lines of text, the first one bold."""
        self.box(x, y, width, height or card_height(len(lines)), fill, dashed)
        for number, words in enumerate(lines):
            self.text(x + 10, y + 20 + LINE * number, words, width - 20, bold=not number)

    def line(self, *points: tuple[float, float], colour: str = "line", dashed: bool = False, arrow: bool = False) -> None:
        """Straight from point to point."""
        self._path("M" + "L".join(_point(*one) for one in points), colour, dashed)
        if arrow:
            self.head(*points[-2], *points[-1], colour)

    def curve(
        self, x: float, y: float, to_x: float, to_y: float, colour: str = "line", dashed: bool = False, arrow: bool = False
    ) -> None:
        """From above to below: it leaves and arrives vertically."""
        middle, end = (y + to_y) / 2, to_y - 7 * arrow
        self._path(f"M{_point(x, y)}C{_point(x, middle)} {_point(to_x, middle)} {_point(to_x, end)}", colour, dashed)
        if arrow:
            self.head(to_x, end - 1, to_x, to_y, colour)

    def head(self, x: float, y: float, to_x: float, to_y: float, colour: str = "line") -> None:
        """An arrow's head at the end of a line, in the line's direction."""
        length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5 or 1
        dx, dy = (to_x - x) / length, (to_y - y) / length
        corners = [
            (to_x, to_y),
            (to_x - 9 * dx + 4 * dy, to_y - 9 * dy - 4 * dx),
            (to_x - 9 * dx - 4 * dy, to_y - 9 * dy + 4 * dx),
        ]
        self._parts.append(f'<path d="M{"L".join(_point(*one) for one in corners)}Z" {_paint(colour)}/>')

    def finish(self, title: str, text: str) -> Drawn:
        """title: what the picture is of. text: what it shows, in words."""
        width, height = _number(self.width), _number(self.height + MARGIN)
        body = f'<rect width="{width}" height="{height}" rx="8" {_paint("paper")}/>{"".join(self._parts)}'
        svg = (
            f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" font-family="system-ui, Segoe UI, Roboto, Helvetica, Arial, sans-serif" font-size="{SIZE}">'
            f"<title>{clean(title)}</title><desc>{clean(text)}</desc>"
            f"<style>@media (prefers-color-scheme:dark){{{_dark(body)}}}</style>{body}</svg>"
        )
        return Drawn(svg, text)

    def _path(self, d: str, colour: str, dashed: bool) -> None:
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        self._parts.append(f'<path d="{d}" stroke-width="1.4" {_paint(stroke=colour)}{dash}/>')

    def _grow(self, bottom: float) -> None:
        self.height = max(self.height, bottom)


def card_height(lines: int) -> float:
    """The height of a card with so many lines."""
    return LINE * lines + 12


def shorten(words: str, room: float, bold: bool = False) -> str:
    """Words that fit into so many pixels: without their middle, where they are longer."""
    most = max(3, int(room / (SIZE * LETTER * (1.07 if bold else 1))))
    if sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in words) <= most:
        return words
    head = (most - 1) * 2 // 3
    return f"{words[:head]}…{words[len(words) - (most - 1 - head) :]}"


def clean(text: str) -> str:
    """Text for an element or an attribute of XML, whatever characters it has."""
    shown = "".join("�" if ord(letter) & 0xFFFE == 0xFFFE else letter for letter in printable(text))
    return escape(shown)


def inline(svg: str) -> str:
    """SVG for a page of HTML, which needs no name of the language: no address is in the page then."""
    return svg.replace(f' xmlns="{NAMESPACE}"', "", 1)


def as_image(svg: str, text: str) -> str:
    """HTML for a notebook. As an image: JupyterLab strips <svg> from a notebook that was opened but not run.

    Percent-encoding keeps it readable when two notebooks are compared.
    """
    source = urllib.parse.quote(svg, safe=" =:/.,()")
    return (
        f"<style>{THEMES}</style>"
        f'<img class="runbook-picture" alt="{clean(text)}" style="max-width:100%" src="data:image/svg+xml,{source}">'
    )


def _paint(fill: str = "", stroke: str = "") -> str:
    """Colours as attributes, and as classes for the style sheet."""
    names = [f"f-{fill}"] * bool(fill) + [f"s-{stroke}"] * bool(stroke)
    colours = f' fill="{COLOURS[fill][0] if fill else "none"}"' + (f' stroke="{COLOURS[stroke][0]}"' if stroke else "")
    return f'class="{" ".join(names)}"{colours}'


def _dark(body: str) -> str:
    """The style sheet for a dark page, of the colours that the drawing has."""
    return "".join(
        f".{kind}-{name}{{{attribute}:{dark}}}"
        for name, (_, dark) in COLOURS.items()
        for kind, attribute in (("f", "fill"), ("s", "stroke"))
        if re.search(rf'class="[^"]*\b{kind}-{name}\b', body)
    )


def _point(x: float, y: float) -> str:
    return f"{_number(x)} {_number(y)}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
