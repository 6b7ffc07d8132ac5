"""Pictures of a site's hosts: the plan of its networks, flannel's leases, and pods by host."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from airavata_runbook.pictures.svg import LINE, MARGIN, Drawing, Drawn, card_height

COLUMNS = 3  # hosts beside each other at most
WIDTHS = {1: 640, 2: 680, 3: 868}  # pixels, of a picture with so many hosts beside each other
GAP, BAND, CHIP = 34, 54, 26  # between two hosts, in which lines run; the heights of a network and of a line in a box


@dataclass(frozen=True)
class Chip:
    """A part of a host in a box of its own."""

    words: str
    fill: str = "green"
    dashed: bool = False


@dataclass(frozen=True)
class Host:
    """lines: below its name, which says its role too. chips: what is on it."""

    name: str
    lines: tuple[str, ...] = ()
    chips: tuple[Chip, ...] = ()


@dataclass(frozen=True)
class Networks:
    """A site's networks, as texts. api, dns: the addresses of two services. backend: what carries packets between hosts."""

    services: str
    api: str
    dns: str
    pods: str
    subnet_length: int
    backend: str


@dataclass(frozen=True)
class HostLease:
    """A host's lease in etcd and the subnet that it uses; "none" where there is none. mac: of flannel.1."""

    host: str
    address: str
    lease: str
    subnet: str
    mac: str = ""


@dataclass(frozen=True)
class Pod:
    """label: its workload and a number. host: name of the host it runs on, "" before it has one. note: STAND-IN, for example."""

    label: str
    namespace: str
    host: str
    ready: bool = True
    done: bool = False
    note: str = ""


def networks(site: str, hosts: Sequence[Host], plan: Networks) -> Drawn:
    """The hosts on their private network, the service network above, the pod network below."""
    drawing, top = _sheet(len(hosts)), MARGIN
    title = f"Networks of site {site}"
    addresses = f"API server {plan.api}, DNS {plan.dns}; kube-proxy leads each to a pod"
    leases = f"one /{plan.subnet_length} a host, leased by flannel, carried by {plan.backend}"
    _band(drawing, top, "blue", f"services {plan.services}", addresses)
    bottom = _grid(drawing, top + BAND, hosts, below=True)
    _band(drawing, bottom, "green", f"pods {plan.pods}", leases)
    listed = "\n".join(f"  {host.name}: {', '.join(host.lines)}" for host in hosts)
    return drawing.finish(title, f"{title}\nservices {plan.services}: {addresses}\nhosts:\n{listed}\npods {plan.pods}: {leases}")


def leases(site: str, prefix: str, pods: str, port: int, found: Sequence[HostLease]) -> Drawn:
    """Each host's lease in etcd and its subnet, and the vxlan between them. prefix: of the leases' keys. port: vxlan's, UDP."""
    hosts = [
        Host(
            one.host,
            (one.address,),
            (
                Chip(f"lease {one.lease}", "yellow"),
                Chip(f"cni0 {one.subnet}", "green" if one.subnet == one.lease else "red"),
                Chip(f"flannel.1 {one.mac}" if one.mac else "flannel.1"),
            ),
        )
        for one in found
    ]
    drawing, title = _sheet(len(hosts)), f"Leases and vxlan of site {site}"
    keys, vxlan = f"one key a host below {prefix}/", f"UDP {port}, from each host to each other; {pods} is all pods"
    _band(drawing, MARGIN, "yellow", "etcd: flannel's leases", keys)
    bottom = _grid(drawing, MARGIN + BAND, hosts, below=True)
    _band(drawing, bottom, "box", "vxlan between the hosts", vxlan)
    listed = "\n".join(
        f"  {one.host} ({one.address}): lease {one.lease}, subnet on the host {one.subnet}"
        + ("" if one.subnet == one.lease else " DIFFERS")
        for one in found
    )
    return drawing.finish(title, f"{title}\netcd: {keys}\nhosts:\n{listed}\nvxlan: {vxlan}")


def pods_by_host(heading: str, hosts: Sequence[Host], pods: Sequence[Pod]) -> Drawn:
    """The pods of each host; those of no host last. heading: the first line of the text."""
    waiting = [Host("on no host yet")] if any(not one.host for one in pods) else []
    filled = [
        replace(host, chips=tuple(map(_chip, (one for one in pods if one.host == ("" if host in waiting else host.name)))))
        for host in (*hosts, *waiting)
    ]
    drawing = _sheet(len(filled))
    bottom = _grid(drawing, MARGIN - GAP / 2, filled, rails=False)
    _legend(drawing, bottom, pods)
    listed = "\n".join(f"  {host.name}: {', '.join(chip.words for chip in host.chips) or 'none'}" for host in filled)
    return drawing.finish(heading.removesuffix(":"), f"{heading}\n{listed}")


def _chip(pod: Pod) -> Chip:
    state = "done" if pod.done else "" if pod.ready else "not ready"
    more = ", ".join(filter(None, (pod.note, state)))
    words = f"{pod.label} ({more})" if more else pod.label
    fill = (
        "red" if not (pod.ready or pod.done) else "yellow" if pod.note else "blue" if pod.namespace == "kube-system" else "green"
    )
    return Chip(words, fill, dashed=pod.done)


def _legend(drawing: Drawing, y: float, pods: Sequence[Pod]) -> None:
    """What the colours say, of those that there are."""
    found = {_chip(one).fill for one in pods}
    names = {"blue": "kube-system", "green": "Airavata's stack", "yellow": "STAND-IN", "red": "not ready"}
    x = float(GAP)
    for fill, words in ((fill, words) for fill, words in names.items() if fill in found):
        drawing.box(x, y - 2, 14, 14, fill)
        drawing.text(x + 20, y + 10, words, 130, colour="quiet")
        x += 40 + 8 * len(words)


def _sheet(hosts: int) -> Drawing:
    return Drawing(WIDTHS[_columns(hosts)])


def _columns(hosts: int) -> int:
    """Rows are filled evenly: four hosts are two rows of two."""
    rows = -(-hosts // COLUMNS)
    return -(-hosts // rows) if rows else 1


def _band(drawing: Drawing, y: float, fill: str, title: str, note: str) -> None:
    """Something that all hosts share, over the whole width."""
    drawing.card(MARGIN, y, drawing.width - 2 * MARGIN, [title, note], fill, BAND)


def _grid(drawing: Drawing, top: float, hosts: Sequence[Host], rails: bool = True, below: bool = False) -> float:
    """The hosts in rows below `top`; returns where the next thing may begin. rails: lines to what is above; below: likewise."""
    columns = _columns(len(hosts))
    width = (drawing.width - (columns + 1) * GAP) / columns
    rows = [hosts[start : start + columns] for start in range(0, len(hosts), columns)]
    heights = [max(card_height(1 + len(host.lines)) + CHIP * len(host.chips) for host in row) for row in rows]
    tops = [top + GAP / 2 + sum(heights[:number]) + GAP / 2 * number for number in range(len(rows))]
    bottom = (tops[-1] + heights[-1] if rows else top) + GAP / 2
    middles = [y + height / 2 for y, height in zip(tops, heights, strict=True)]
    for column in range(columns if rails else 0):
        left = GAP + column * (width + GAP)
        ends = [middle for middle, row in zip(middles, rows, strict=True) if column < len(row)]
        for x, edge, start, last in ((left - 12, left, top, ends[-1]), (left + width + 12, left + width, bottom, ends[0])):
            if start == top or below:
                drawing.line((x, start), (x, last))
                for end in ends:
                    drawing.line((x, end), (edge, end))
    for y, height, row in zip(tops, heights, rows, strict=True):
        for column, host in enumerate(row):
            _host(drawing, GAP + column * (width + GAP), y, width, height, host)
    return bottom


def _host(drawing: Drawing, x: float, y: float, width: float, height: float, host: Host) -> None:
    drawing.card(x, y, width, [host.name, *host.lines], "box", height)
    for number, chip in enumerate(host.chips):
        top = y + 12 + LINE * (1 + len(host.lines)) + CHIP * number - 2
        drawing.box(x + 8, top, width - 16, CHIP - 4, chip.fill, chip.dashed)
        drawing.text(x + 16, top + 15, chip.words, width - 32)
