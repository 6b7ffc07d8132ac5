"""A picture of a stack's components: each above those it needs, with a line to each of them.

A layered drawing (Sugiyama): what needs others stands above all of them. A line that passes other layers has a place of its own
in each, and all lines to one component share it, so that they are one trunk and no line runs through a box.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from airavata_runbook.pictures.svg import LINE, LINES, MARGIN, Drawing, Drawn, card_height

BOX, TRUNK, GAP, LAYER = 160, 12, 22, 46  # pixels: a component's width, a trunk's, between them, between two layers
LEGEND = "An arrow leads to what is needed: whole with TLS, dashed without, or until a Job is done."
NARROW = 700  # the least width of a picture
Spot = tuple[str, int]  # a component in its own layer, or the trunk of the lines to it in a layer above


@dataclass(frozen=True)
class Component:
    """lines: below its name. needs: names of components. tls: whether its clients reach it with TLS. stand_in: a STAND-IN."""

    name: str
    lines: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    tls: bool = False
    stand_in: bool = False


def connections(title: str, components: Sequence[Component], left_out: Sequence[str] = ()) -> Drawn:
    """The components, and who needs whom. left_out: lines about those that do not run. A need that does not run is no line."""
    known = {one.name: one for one in components}
    layers = _layers(known)
    order = _ordered(_spots(known, layers), known, layers)
    widest = max((sum(_width(spot, layers) + GAP for spot in row) for row in order), default=0)
    drawing = Drawing(max(NARROW, widest + GAP + 2 * MARGIN))
    heights = [max(card_height(1 + len(known[name].lines)) for name, _ in row) for row in order]
    tops = [MARGIN + sum(heights[number + 1 :]) + LAYER * (len(order) - 1 - number) for number in range(len(order))]
    places = {spot: x for row in order for spot, x in _placed(row, drawing.width, layers)}
    colours = {name: LINES[number % len(LINES)] for number, name in enumerate(sorted(known))}
    lines = dict.fromkeys(
        piece
        for source in components
        for name in source.needs
        if name in known
        for piece in _route(source, known[name], layers, places, tops, heights)
    )  # each piece once: those of a trunk are the same for all lines that share it
    for name, x, y, to_x, to_y, last in lines:
        drawing.curve(x, y, to_x, to_y, colours[name], dashed=not known[name].tls, arrow=last)
    for name, one in known.items():
        layer = layers[name]
        drawing.card(
            places[name, layer] - BOX / 2,
            tops[layer],
            BOX,
            [one.name, *one.lines],
            "yellow" if one.stand_in else "box",
            heights[layer],
            dashed=one.stand_in,
        )
    y = drawing.height + 24
    drawing.text(MARGIN, y, LEGEND, drawing.width - 2 * MARGIN, colour="quiet")
    for number, line in enumerate(left_out):
        drawing.text(MARGIN, y + LINE * (number + 1), line, drawing.width - 2 * MARGIN, colour="quiet")
    return drawing.finish(title, "\n".join([title, *(_described(one, known) for one in components), *left_out]))


def _described(one: Component, known: Mapping[str, Component]) -> str:
    names = [name for name in one.needs if name in known]
    needs = f" needs {', '.join(names)}" if names else ""
    return f"  {one.name} ({', '.join(one.lines)}){needs}" if one.lines else f"  {one.name}{needs}"


def _layers(known: Mapping[str, Component]) -> dict[str, int]:
    """The layer of each component, from 0 at the bottom; no needs in a circle, as a stack has none."""
    found: dict[str, int] = {}

    def layer(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((layer(one) for one in known[name].needs if one in known), default=-1)
        return found[name]

    for name in known:
        layer(name)
    return found


def _spots(known: Mapping[str, Component], layers: Mapping[str, int]) -> list[list[Spot]]:
    """Of every layer: its components, and the trunks that pass it."""
    rows: list[list[Spot]] = [[] for _ in range(1 + max(layers.values(), default=-1))]
    for name in known:
        highest = max((layers[one.name] for one in known.values() if name in one.needs), default=0)
        for layer in range(layers[name], max(layers[name] + 1, highest)):
            rows[layer].append((name, layer))
    return rows


def _ordered(rows: list[list[Spot]], known: Mapping[str, Component], layers: Mapping[str, int]) -> list[list[Spot]]:
    """The spots of every layer beside those they are joined to: each in turn by the mean place of its neighbours (barycentre)."""
    joined: dict[Spot, list[Spot]] = {spot: [] for row in rows for spot in row}
    for source in known.values():
        for name in (one for one in source.needs if one in known):
            own, above = (source.name, layers[source.name]), (name, layers[source.name] - 1)
            joined[own].append(above)
            joined[above].append(own)
    for name, layer in joined:
        if (name, layer - 1) in joined and layer > layers[name]:
            joined[name, layer].append((name, layer - 1))
            joined[name, layer - 1].append((name, layer))

    def mean(spot: Spot, row: list[Spot]) -> float:
        found = [place for place, one in enumerate(row) if one in joined[spot]]
        return sum(found) / len(found) / max(len(row) - 1, 1) if found else 0.5

    for _ in range(4):
        for layer in (*range(1, len(rows)), *range(len(rows) - 2, -1, -1)):
            beside = [one for one in (layer - 1, layer + 1) if 0 <= one < len(rows)]
            rows[layer] = sorted(rows[layer], key=lambda spot, beside=beside: sum(mean(spot, rows[one]) for one in beside))  # type: ignore[misc]
    return rows


def _width(spot: Spot, layers: Mapping[str, int]) -> int:
    return BOX if layers[spot[0]] == spot[1] else TRUNK


def _placed(row: Sequence[Spot], width: float, layers: Mapping[str, int]) -> list[tuple[Spot, float]]:
    """The middle of each spot of a layer, with the same space between all."""
    widths = [_width(spot, layers) for spot in row]
    space = (width - 2 * MARGIN - sum(widths)) / (len(row) + 1)
    return [(spot, MARGIN + space * (number + 1) + sum(widths[:number]) + widths[number] / 2) for number, spot in enumerate(row)]


def _route(
    source: Component,
    target: Component,
    layers: Mapping[str, int],
    places: Mapping[Spot, float],
    tops: Sequence[float],
    heights: Sequence[float],
) -> Iterator[tuple[str, float, float, float, float, bool]]:
    """The pieces of the line from a component down to one that it needs, along that one's trunk; whether each is the last."""
    layer = layers[source.name]
    x, y = places[source.name, layer], tops[layer] + heights[layer]
    for below in range(layer - 1, layers[target.name] - 1, -1):
        there, last = places[target.name, below], below == layers[target.name]
        yield target.name, x, y, there, tops[below], last
        x, y = there, tops[below] + heights[below]
        if not last:
            yield target.name, there, tops[below], there, y, False
