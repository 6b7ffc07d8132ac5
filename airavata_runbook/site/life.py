"""What a changed site file means for a site that exists: each field declares its life beside its type (site/marks.py).

The values that a site was made with are in a record on its master (`RECORD`). It is compared before anything is touched: an
address range that changes under running pods, or a database's folder that is empty in its new place, would be noticed by
nobody until it hurts.
"""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, get_args

from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.kernel_env import RESTORE
from airavata_runbook.site.fields import Model
from airavata_runbook.site.marks import Fixed, Life, Moved
from airavata_runbook.site.site import Site
from airavata_runbook.site.stack_file import stack_folder
from airavata_runbook.wellknown import CLUSTER_CA, PKI

RECORD = "/etc/airavata-runbook/site.json"
RESTORING = "/etc/airavata-runbook/restoring"  # on the master while a restore is not complete: of which backup
# Shell that prints what the host is (a key of STATES), then the record, if there is one.
LOOK = (
    f"if test -e {RESTORING}; then echo restoring; elif test -e {PKI}/{CLUSTER_CA}.key; then echo living; "
    f"elif test -d {PKI}; then echo member; else echo not; fi; "
    f"cat {RECORD} 2>/dev/null; true"
)
STATES = {
    "restoring": "the master of a site that is not restored yet",
    "living": "the master of a cluster",
    "member": "another host of a cluster",
    "not": "part of no cluster",
}
HOSTS = ("registry.node", "airavata.storage_node")  # recorded by the host's address: its name may change


class Departure(NamedTuple):
    """A field whose value is not the one that the site was made with."""

    field: str
    found: str
    needed: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: found {self.found}; needed: {self.needed}; {self.remedy}"


class Kept(NamedTuple):
    """Folders of databases that were moved: the copy in the old place. host: its address."""

    host: str
    folders: tuple[str, ...]


def lives(model: type[Model] = Site, prefix: str = "") -> dict[str, Life | None]:
    """Dotted field → when it may change, of all fields with those of nested models; None for a field that does not say so.

    A section has no life of its own, unless it is a list or may be absent.
    """
    found: dict[str, Life | None] = {}
    for name, field in model.model_fields.items():
        mark = next((one for one in field.metadata if isinstance(one, Life)), None)
        nested = _models(field.annotation)
        if mark or not nested:
            found[prefix + name] = mark
        for one in nested:
            found |= lives(one, f"{prefix}{name}.")
    return found


def recorded_fields() -> dict[str, Life]:
    """The fields whose values are in the record; those of the nodes are there in another form."""
    return {field: mark for field, mark in lives().items() if mark and mark.recorded and not field.startswith("nodes.")}


def record(site: Site, without: str = "", kept: Sequence[Kept] = (), releases: Sequence[str] = ()) -> str:
    """The text of the record: the values that a run does not change, with defaults that follow from other fields, and the hosts.

    without: the name of a host that leaves. kept: see `kept_folders`. releases: see `recorded_releases`.
    """
    hosts = {str(node.address): node.name for node in site.nodes if node.name != without}
    fixed = {field: _value(site, field) for field in recorded_fields()}
    content: dict[str, Any] = {"site": site.name, "master": str(site.master.address), "hosts": hosts, "fixed": fixed}
    if kept:
        content["kept"] = [one._asdict() for one in kept]
    if releases:
        content["releases"] = sorted(releases)
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def recorded_value(recorded: str, field: str) -> str:
    """A field's value in a record, "" where it is not there; of a host its address. Raises ValueError."""
    return _fixed(_parse(recorded)).get(field, "")


def kept_folders(recorded: str) -> list[Kept]:
    """The folders that databases were moved from, and that were not deleted yet. Raises ValueError."""
    kept = _parse(recorded).get("kept", []) if recorded else []
    return [Kept(one["host"], tuple(one["folders"])) for one in kept]


def recorded_releases(recorded: str) -> list[str]:
    """The components whose official release the site has, by the mirror's names; all others are built. Raises ValueError."""
    return [str(name) for name in _parse(recorded).get("releases", [])] if recorded else []


def parse_look(printed: str) -> tuple[str, str]:
    """(a key of STATES, the record or ""), of what `LOOK` printed. Raises ValueError."""
    state, _, recorded = printed.partition("\n")
    if state not in STATES:
        raise ValueError("no state of a host")
    return state, recorded


def departures(recorded: str, site: Site, living: bool) -> list[Departure]:
    """Where the site file departs from the record of the site. living: the hosts are a cluster now; after a reset only
    the fields that data depends on are compared. Raises ValueError for a text that is not a record."""
    old, new = _parse(recorded), json.loads(record(site))
    was, now = _fixed(old), _fixed(new)
    found = []
    for field, mark in recorded_fields().items():
        before, after = was.get(field, now[field]), now[field]
        left = field in HOSTS and before not in new["hosts"]  # a finding of its own
        if before != after and (living and not left or _data(mark) and not living):
            needed = f"{_shown(before, old)}, {mark.why if isinstance(mark, Fixed) else 'which has the databases'}"
            found.append(Departure(field, _shown(after, new), needed, f"set it back; {_change(mark, site)}"))
    return [*found, *_nodes(old, new, site)] if living else found


def another_master(state: str, site: Site) -> Departure | None:
    """The departure of a site whose master is, by its state (STATES), another host of a cluster that exists."""
    if state != "member":
        return None
    found = f"{site.master.name} is {STATES[state]}, and not its master"
    return Departure("nodes.role", found, "the master that the cluster was made with", f"set it back; {_anew(site)}")


def no_cluster(state: str, site: Site, purpose: str) -> SiteError | None:
    """Why a site that has to run does not, by the state of its master (STATES). purpose: "to back up", for the message."""
    if state == "living":
        return None
    return SiteError(
        f"there is no cluster {purpose}",
        where=f"host {site.master.name}",
        found=STATES[state],
        needed="the master of a running site",
    )


def unfinished_restore(state: str, site: Site) -> StepFailed | None:
    """Why nothing but a restore may work on a site, by the state of its master (STATES): half of its data is not there yet."""
    if state != "restoring" or RESTORE in os.environ:
        return None
    return StepFailed(
        "the site is not restored yet",
        where=f"host {site.master.name}, {RESTORING}",
        found="a restore that did not end",
        needed="all of the site's data, before anything starts with a part of it",
        remedy=f"give its command again: it goes on where it stopped; or begin anew: airavata-runbook reset {site.name} --data",
    )


def _nodes(old: dict, new: dict, site: Site) -> Iterator[Departure]:
    if old["master"] != new["master"] and old["master"] in new["hosts"]:
        needed = f"{old['hosts'].get(old['master'], old['master'])}, as the master has etcd's data"
        yield Departure("nodes.role", f"{site.master.name} is the master", needed, f"set it back; {_anew(site)}")
    stays = {old["master"], *(_fixed(old).get(field) for field in HOSTS)}
    for address in sorted(old["hosts"].keys() - new["hosts"].keys()):
        name = old["hosts"][address]
        remove = f"airavata-runbook remove {site.name} {name}"
        if moved := next((other for other, one in new["hosts"].items() if one == name), ""):
            way = _anew(site) if address in stays else f"to change it: {remove} with the old address, then run with the new one"
            yield Departure(
                "nodes.address", f"{name} at {moved}", f"{address}, by which the cluster knows the host", f"set it back; {way}"
            )
        else:
            way = _anew(site) if address in stays else f"to take it out: {remove}, then delete it from the file"
            needed = "it: the host is still a node of the cluster"
            yield Departure("nodes", f"no {name} ({address})", needed, f"put it back; {way}")


def _anew(site: Site) -> str:
    return f"to change it: airavata-runbook reset {site.name} with the old value (images and databases are kept), then run"


def _change(mark: Life, site: Site) -> str:
    """How a recorded field is changed, for a remedy."""
    if isinstance(mark, Moved):
        return f"to move the databases there: airavata-runbook move-storage {site.name}"
    if _data(mark):
        return f"to change it: stop what uses the data, copy it, remove {RECORD} on {site.master.name}, then run"
    return _anew(site)


def _data(mark: Life) -> bool:
    return isinstance(mark, Moved) or (isinstance(mark, Fixed) and mark.data)


def _models(annotation: Any) -> list[type[Model]]:
    """The models in a type: itself, or those of its list, dictionary or union."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _value(site: Site, field: str) -> str:
    derived = {"registry.node": site.registry_node, "airavata.storage_node": site.storage_node}
    if field in derived:
        return str(derived[field].address)
    if field == "airavata.stack":
        return stack_folder(site.airavata).name  # a folder of the site's own may be elsewhere on another workstation
    value: Any = site
    for part in field.split("."):
        value = getattr(value, part)
    return str(value)


def _parse(recorded: str) -> dict:
    content = json.loads(recorded)
    if not isinstance(content, dict) or not {"site", "master", "hosts", "fixed"} <= content.keys():
        raise ValueError("not a record of a site")
    return content


def _fixed(content: dict) -> dict[str, str]:
    """The recorded values. Until 2026-11 hosts were recorded by their names, and the site's name only outside of them."""
    addresses = {name: address for address, name in content["hosts"].items()}
    values = {"name": content["site"], **content["fixed"]}
    return {field: addresses.get(value, value) if field in HOSTS else value for field, value in values.items()}


def _shown(value: str, content: dict) -> str:
    """A value for a message; a host by its name."""
    return content["hosts"].get(value, value)
