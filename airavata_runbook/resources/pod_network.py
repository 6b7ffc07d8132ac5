"""The pod network of a host as it is now: flannel's interface, and a route to the subnet of every other host."""

from dataclasses import dataclass
from ipaddress import ip_interface

from airavata_runbook.cluster import etcd
from airavata_runbook.cluster.host_causes import service_causes
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.resources.etcd_key import ask_etcd
from airavata_runbook.resources.service import restart

DEADLINE = 30.0  # seconds for flanneld to set up the interface and its routes
# A deleted flannel.1 is made anew by flanneld with another MAC and without routes; only a restart sets them up.
LOOK = """ip -o link show flannel.1 2>/dev/null | sed -n 's#.*link/ether \\([0-9a-f:]*\\).*#mac \\1#p'
ip -4 route show dev flannel.1 2>/dev/null | sed 's/^/route /'
ip -4 neigh show dev flannel.1 2>/dev/null | sed 's/^/neighbour /'
ip -o -4 addr show dev cni0 2>/dev/null | awk '{print "bridge", $4}'
for file in /run/flannel/subnet.env /etc/cni/net.d/10-airavata.conflist; do test -s $file || echo "missing $file"; done"""


@dataclass(frozen=True)
class PodNetwork(ApiResource):
    """flannel.1 with the MAC of the host's lease in etcd, and a route and a neighbour entry for every other lease; cni0 with an
    address of the lease; and the files that are made of it.

    address: the host's own in the site file.
    """

    address: str
    label = "pod network: flannel.1 and its routes"

    def footprint(self) -> Footprint:
        return Touch("interface", "flannel.1"), Touch("interface", "cni0"), Touch("file", "/etc/cni/net.d/10-airavata.conflist")

    def probe(self) -> str:
        return LOOK

    def ask(self, context: Context) -> dict[str, etcd.Lease]:
        return ask_etcd(context, lambda: etcd.leases(context.session))

    def change(self, found: Found, context: Context) -> Change | None:
        if "service flanneld" in context.touched:
            return None  # its start sets up everything
        missing = self._missing(found.text, found.answered())
        if not missing:
            return None
        return Change(
            "restart flanneld",
            "".join(f"{line}\n" for line in missing),
            call=lambda: self._restart(context),
            shown="systemctl restart flanneld",
            touches=frozenset({"service flanneld"}),
        )

    def _missing(self, printed: str, leases: dict[str, etcd.Lease]) -> list[str]:
        lines = [line.split() for line in printed.splitlines()]
        own, macs = leases.get(self.address), [line[1] for line in lines if line[0] == "mac"]
        routes = {line[1] for line in lines if line[0] == "route"}
        neighbours = {line[1] for line in lines if line[0] == "neighbour"}
        if own is None:
            return ["the host has no lease in etcd"]
        if not macs:
            return ["there is no interface flannel.1"]
        bridge = [str(ip_interface(line[1]).network) for line in lines if line[0] == "bridge"]
        missing = [f"flannel.1 has MAC {macs[0]}, its lease {own.mac}"] if own.mac not in ("", macs[0]) else []
        for address, lease in sorted(leases.items()):
            if address != self.address:
                gateway = lease.subnet.partition("/")[0]
                missing += [] if lease.subnet in routes else [f"no route to {lease.subnet} of {address}"]
                missing += [] if gateway in neighbours else [f"no neighbour entry {gateway} of {address}"]
        missing += [] if own.subnet in bridge else [f"cni0 has {', '.join(bridge) or 'no address'}, the lease is {own.subnet}"]
        return missing + [f"there is no {line[1]}" for line in lines if line[0] == "missing"]

    def _restart(self, context: Context) -> None:
        def missing() -> str:
            return "; ".join(self._missing(context.host.run(LOOK).text, etcd.leases(context.session)))

        restart(context, "flanneld", missing, DEADLINE, lambda: service_causes(context.host, "flanneld"))
