"""What a site file may not change once the site exists: each such field is declared as `Fixed` beside its type.

The values that a site was made with are in a record on its master (`RECORD`). It is compared before anything is touched: an
address range that changes under running pods, or a database's folder that is empty in its new place, would be noticed by
nobody until it hurts.
"""

import json
from typing import NamedTuple

from airavata_runbook.site.fields import Fixed, Model
from airavata_runbook.site.site import Site

RECORD = "/etc/airavata-runbook/site.json"
# Shell that prints whether the host is part of a cluster, then the record, if there is one.
LOOK = f"test -d /etc/kubernetes/pki && echo living || echo not; cat {RECORD} 2>/dev/null; true"


class Departure(NamedTuple):
    """A field whose value is not the one that the site was made with."""

    field: str
    found: str
    needed: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: found {self.found}; needed: {self.needed}; {self.remedy}"


def fixed_fields(site: Site) -> dict[str, Fixed]:
    """Dotted field → its declaration, of all fields that are fixed once the site exists."""
    return {
        f"{section}.{name}": mark
        for section in type(site).model_fields
        if isinstance(getattr(site, section), Model)
        for name, field in type(getattr(site, section)).model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Fixed)
    }


def record(site: Site, without: str = "") -> str:
    """The text of the record: the values of the fixed fields, with defaults that follow from other fields, and the hosts.

    without: the name of a host that leaves.
    """
    derived = {"registry.node": site.registry_node_name, "airavata.storage_node": site.storage_node_name}
    values = {}
    for field in fixed_fields(site):
        section, name = field.split(".")
        values[field] = derived.get(field) or str(getattr(getattr(site, section), name))
    hosts = {str(node.address): node.name for node in site.nodes if node.name != without}
    content = {"site": site.name, "master": str(site.master.address), "hosts": hosts, "fixed": values}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def parse_look(printed: str) -> tuple[bool, str]:
    """(whether the host is part of a cluster, the record or ""), of what `LOOK` printed. Raises ValueError."""
    state, _, recorded = printed.partition("\n")
    if state not in ("living", "not"):
        raise ValueError("neither living nor not")
    return state == "living", recorded


def departures(recorded: str, site: Site, living: bool) -> list[Departure]:
    """Where the site file departs from the record of the site. living: the hosts are a cluster now; after a reset only
    the fields that data depends on are compared. Raises ValueError for a text that is not a record."""
    old, new = json.loads(recorded), json.loads(record(site))
    back = "set it back"
    anew = f"to change it: airavata-runbook reset {site.name} with the old value (images and databases are kept), then run"
    moved = f"to change it: stop what uses the data, copy it, remove {RECORD} on {site.master.name}, then run"
    found = []
    for field, mark in fixed_fields(site).items():
        was, now = old["fixed"].get(field, new["fixed"][field]), new["fixed"][field]
        if was != now and (living or mark.data):
            found.append(Departure(field, now, f"{was}, {mark.why}", f"{back}; {moved if mark.data else anew}"))
    if not living:
        return found
    if old["master"] != new["master"]:
        needed = f"the node {old['master']}, which has etcd's data"
        found.append(Departure("the master", new["master"], needed, f"{back}; {anew}"))
    for address in sorted(old["hosts"].keys() - new["hosts"].keys() - {old["master"]}):
        name = old["hosts"][address]
        found.append(
            Departure(
                "nodes",
                f"no {name} ({address})",
                "it: the host is still a node of the cluster",
                f"put it back; to take it out: airavata-runbook remove {site.name} {name}, then delete it from the file",
            )
        )
    return found
