"""A diagram of the site's networks (SVG for a notebook, text for a terminal)."""

import urllib.parse
from dataclasses import dataclass
from html import escape

from airavata_runbook.engine.report import escape_html
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node

WIDTH, GAP, TOP = 210, 24, 96  # a host's box, between two boxes, above them: in pixels
INK, PALE, BLUE, GREEN = "#1f2328", "#59636e", "#ddf4ff", "#dafbe1"


@dataclass(frozen=True)
class Picture:
    """A diagram: SVG for a notebook, the same as text for a terminal."""

    svg: str
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        # As an image: JupyterLab strips <svg> from a notebook that was opened but not run. Percent-encoding keeps it readable
        # when two notebooks are compared.
        return (
            f'<img alt="{escape_html(self.text)}" style="max-width:100%" '
            f'src="data:image/svg+xml,{urllib.parse.quote(self.svg, safe=" =:/.,()")}">'
        )


def network_picture(site: Site) -> Picture:
    """The hosts on the host network, the pod network below them, the service network above."""
    nodes = sorted(site.nodes, key=lambda node: (node.role != "master", node.name))
    width = len(nodes) * (WIDTH + GAP) + GAP
    network = site.network
    dns = f"API server {network.api_address}, DNS {network.dns_address}"
    leases = f"one /{network.subnet_length} a host, leased by flannel, carried by {network.backend}"
    parts = [
        _band(14, width, BLUE, f"services {network.services}", dns),
        *(_host(site, node, GAP + number * (WIDTH + GAP)) for number, node in enumerate(nodes)),
        _band(TOP + 170, width, GREEN, f"pods {network.pods}", leases),
    ]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + 240}" width="{width}" role="img" '
        f'aria-label="Networks of site {escape(site.name)}" font-family="sans-serif" font-size="13">{"".join(parts)}</svg>'
    )
    return Picture(svg, _text(site, nodes))


def _band(y: int, width: int, colour: str, title: str, note: str) -> str:
    """A network, over the whole width of the picture."""
    return (
        f'<rect x="{GAP}" y="{y}" width="{width - 2 * GAP}" height="54" rx="6" fill="{colour}" stroke="{PALE}"/>'
        + _line(GAP + 12, y + 22, title, bold=True)
        + _line(GAP + 12, y + 42, note)
    )


def _host(site: Site, node: Node, x: int) -> str:
    runs = ["etcd, API server", "controllers, scheduler"] if node == site.master else []
    runs += ["registry"] if node == site.registry_node else []
    runs += ["kubelet, kube-proxy", "flannel, containerd"]
    lines = [
        _line(x + 12, TOP + 46 + 19 * number, text) for number, text in enumerate([f"{node.address} on {node.interface}", *runs])
    ]
    return (
        f'<path d="M{x + WIDTH / 2} 68V{TOP}M{x + WIDTH / 2} {TOP + 150}v20" stroke="{PALE}"/>'
        f'<rect x="{x}" y="{TOP}" width="{WIDTH}" height="150" rx="6" fill="white" stroke="{INK}"/>'
        + _line(x + 12, TOP + 24, f"{node.name} ({node.role})", bold=True)
        + "".join(lines)
    )


def _line(x: float, y: float, text: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" fill="{INK}"{weight}>{escape(text)}</text>'


def _text(site: Site, nodes: list[Node]) -> str:
    hosts = "\n".join(f"  {node.name} ({node.role})  {node.address} on {node.interface}" for node in nodes)
    return f"services {site.network.services}\n{hosts}\npods {site.network.pods}, one /{site.network.subnet_length} a host"
