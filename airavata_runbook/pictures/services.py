"""A picture of services: where each is reached, and the pods behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

from airavata_runbook.pictures.svg import LINE, MARGIN, Drawing, Drawn, card_height

OUTSIDE, SERVICE, POD, GAP, ROW = 168, 244, 186, 40, 10  # pixels: widths, between columns, between services
BESIDE = 2  # endpoints beside each other


@dataclass(frozen=True)
class Endpoint:
    label: str
    ready: bool = True


@dataclass(frozen=True)
class Service:
    """ports: as texts. node_ports: those that every host serves."""

    name: str
    namespace: str
    ports: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    node_ports: tuple[str, ...] = ()


def services_to_endpoints(title: str, services: Sequence[Service]) -> Drawn:
    """Services in the middle, their endpoints on the right; on the left the node ports by which clients outside reach them."""
    outside = any(one.node_ports for one in services)
    left = MARGIN + (OUTSIDE + GAP if outside else 0)
    right = left + SERVICE + GAP
    drawing, y = Drawing(right + BESIDE * (POD + 10) - 10 + MARGIN), float(MARGIN)
    heads = [(MARGIN, "outside: every host's port")] if outside else []
    for x, words in (*heads, (left, "service, inside the cluster"), (right, "endpoints: pods")):
        drawing.text(x, y + 12, words, SERVICE + GAP, colour="quiet")
    y += LINE + 4
    for one in services:
        y += _service(drawing, one, left, right, y) + ROW
    return drawing.finish(title, "\n".join([title, *map(_described, services)]))


def _described(one: Service) -> str:
    outside = f", port {', '.join(one.node_ports)} of every host" if one.node_ports else ""
    behind = ", ".join(end.label + ("" if end.ready else " (not ready)") for end in one.endpoints) or "no endpoint"
    return f"  {one.namespace}/{one.name} ({', '.join(one.ports)}{outside}): {behind}"


def _service(drawing: Drawing, one: Service, left: float, right: float, y: float) -> float:
    """A service and what it is joined to; returns its height."""
    lines = max(1, -(-len(one.endpoints) // BESIDE))
    height = max(card_height(2), lines * 30 - 6)
    middle = y + height / 2
    fill = "blue" if one.namespace in ("kube-system", "default") else "box"
    drawing.card(
        left, y, SERVICE, [one.name, f"{', '.join(one.ports)} in {one.namespace}"], fill if one.endpoints else "red", height
    )
    if one.node_ports:
        drawing.box(MARGIN, middle - 13, OUTSIDE, 26, "yellow")
        drawing.text(MARGIN + 10, middle + 5, f"node port {', '.join(one.node_ports)}", OUTSIDE - 20)
        drawing.line((MARGIN + OUTSIDE, middle), (left, middle), arrow=True)
    if not one.endpoints:
        drawing.text(right, middle + 5, "no endpoint", POD, colour="bad", bold=True)
        return height
    top = middle - (lines * 30 - 6) / 2
    for number, end in enumerate(one.endpoints):
        row, column = divmod(number, BESIDE)
        x, line = right + column * (POD + 10), top + 30 * row
        if not column:
            drawing.line((left + SERVICE, middle), (right - 20, middle), (right - 20, line + 12), (right, line + 12), arrow=True)
        else:
            drawing.line((x - 10, line + 12), (x, line + 12))
        drawing.box(x, line, POD, 24, "green" if end.ready else "red")
        drawing.text(x + 10, line + 16, end.label + ("" if end.ready else ", not ready"), POD - 20)
    return height
