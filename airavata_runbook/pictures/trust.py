"""A picture of who speaks to whom, and with which certificate."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from airavata_runbook.pictures.svg import LINE, MARGIN, Drawing, Drawn, card_height

CLIENT, SHOWN, SERVER = 272, 340, 290  # pixels: widths of the three columns
ROW, SHORT = 44, 30  # pixels: the height of a client, of one without a certificate


@dataclass(frozen=True)
class Client:
    """shows: its certificate, or what it has instead. user: whom the server takes it for, "" without a certificate."""

    name: str
    shows: str
    user: str = ""


@dataclass(frozen=True)
class Server:
    """shows: its certificate. authority: who signed that, and the certificates of its clients."""

    name: str
    shows: str
    authority: str
    clients: tuple[Client, ...]


def who_speaks_to_whom(title: str, servers: Sequence[Server], unused: Sequence[str] = ()) -> Drawn:
    """Clients on the left, servers on the right, by authority. unused: lines about certificates that no server asks for."""
    drawing, y = Drawing(CLIENT + SHOWN + SERVER + 2 * MARGIN), float(MARGIN)
    text = [title]
    for authority, of_it in groupby(servers, key=lambda one: one.authority):
        drawing.text(MARGIN, y + 14, f"authority {authority}", CLIENT + SHOWN, bold=True)
        text.append(f"authority {authority}:")
        y += LINE + 8
        for one in of_it:
            y += _server(drawing, one, y) + 10
            text.append(f"  {one.name} shows {one.shows} to:")
            text += [f"    {_described(client)}" for client in one.clients] or ["    nobody"]
        y += 6
    for line in unused:
        drawing.text(MARGIN, y + 10, line, drawing.width - 2 * MARGIN, colour="quiet")
        y += LINE
    return drawing.finish(title, "\n".join([*text, *unused]))


def _described(client: Client) -> str:
    return f"{client.name} with {client.shows}" + (f", as {client.user}" if client.user else "")


def _server(drawing: Drawing, one: Server, y: float) -> float:
    """A server and its clients; returns its height."""
    rows = [ROW if client.user else SHORT for client in one.clients]
    height = max(card_height(2), sum(rows) - 4)
    right, line = MARGIN + CLIENT + SHOWN, y + (height - sum(rows) + 4) / 2
    drawing.card(right, y, SERVER, [one.name, f"shows {one.shows}"], "blue", height)
    for client, row in zip(one.clients, rows, strict=True):
        middle, room = line + (row - 4) / 2 + (0 if client.user else 7), SHOWN - 22
        drawing.box(MARGIN, line, CLIENT, row - 4, "green" if client.user else "box", dashed=not client.user)
        drawing.text(MARGIN + 10, line + (row - 4) / 2 + 5, client.name, CLIENT - 20)
        drawing.line((MARGIN + CLIENT, middle), (right, middle), dashed=not client.user, arrow=True)
        drawing.text(MARGIN + CLIENT + 8, middle - 5, client.shows, room, colour="quiet")
        if client.user:
            drawing.text(MARGIN + CLIENT + 8, middle + 15, f"as {client.user}", room, colour="quiet")
        line += row
    return height
