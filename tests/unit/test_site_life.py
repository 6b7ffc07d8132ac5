"""Fields that are fixed once a site exists: a changed site file is refused before anything is touched."""

import json
from types import SimpleNamespace
from typing import Annotated

import pytest

from airavata_runbook.checks.facts import SiteRecord as RecordFact
from airavata_runbook.checks.table import CHECKS
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import StepFailed
from airavata_runbook.resources import SiteRecord
from airavata_runbook.site import Site
from airavata_runbook.site.fields import Model
from airavata_runbook.site.life import HOSTS, Kept, departures, kept_folders, lives, record, recorded_fields
from airavata_runbook.site.marks import Free
from airavata_runbook.site.schema import FIELDS, fields_text, schema_text
from tests.labs import PROJECT

CHANGES = {
    "name": "other",
    "network.pods": "10.200.0.0/16",
    "network.services": "10.201.0.0/16",
    "network.subnet_length": 25,
    "network.etcd_prefix": "/other/network",
    "network.domain": "other.local",
    "repository.id": "other",
    "registry.node": "worker",
    "registry.port": 5001,
    "registry.name": "images.other",
    "registry.root": "/srv/registry",
    "airavata.namespace": "other",
    "airavata.storage_node": "master",
    "airavata.storage_path": "/srv/airavata",
}
DATA = {"airavata.namespace", "airavata.storage_node", "airavata.storage_path"}
SINGLE = {"network.backend", "airavata.stack"}  # there is no other valid value yet
CONTEXT = Context(SimpleNamespace(name="master"), None)


def found(text: str, living: bool = True) -> Found:
    return Found((("living" if living else "not") + "\n" + text).encode())


def changed_lab(change) -> Site:
    """The lab's site with its list of nodes changed."""
    nodes = Site.load("lab").model_dump(mode="json", exclude_unset=True)["nodes"]
    change(nodes)
    return Site.load("lab", {"nodes": nodes})


def test_every_field_of_the_model_says_when_it_may_change():
    assert [field for field, mark in lives().items() if mark is None] == []
    assert {"ssh.user", "nodes.ssh.user", "airavata.images.pull", "registry.certificate.key", "lab.bridge"} <= set(lives())


def test_a_field_that_says_nothing_is_found():
    class Part(Model):
        told: Annotated[int, Free("at any time")] = 1
        silent: int = 1

    class Whole(Model):
        parts: list[Part] = []
        other: Part | None = None

    assert lives(Whole) == {
        "parts.told": Free("at any time"),
        "parts.silent": None,
        "other.told": Free("at any time"),
        "other.silent": None,
    }


def test_the_schema_shows_the_life_of_every_field():
    models = json.loads(schema_text())["$defs"]
    shown = [prop for model in models.values() for prop in model["properties"].values() if "x-life" in prop]
    # Some models are one definition for several fields: Ssh, ImageSource, what a container gets.
    again = ("nodes.ssh.", "airavata.unified.server.", "airavata.components.resources.limits.")
    assert len(shown) == sum(not field.startswith(again) for field in lives())
    assert models["Airavata"]["properties"]["storage_path"]["x-life"] == lives()["airavata.storage_path"].text


def test_the_table_of_fields_is_current():
    assert (PROJECT / FIELDS).read_text() == fields_text(), "airavata-runbook schema --fields > parameters/fields.md"


def test_every_recorded_field_has_its_case_here():
    assert set(recorded_fields()) == set(CHANGES) | SINGLE


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_fixed_field_is_refused_with_the_old_value_and_the_way_on(field):
    made, changed = Site.load("lab"), Site.load("lab", {field: CHANGES[field]})
    with pytest.raises(StepFailed) as caught:
        SiteRecord(changed).change(found(record(made)), CONTEXT)
    old = json.loads(record(made))["fixed"][field]
    old = made.registry_node.name if field == "registry.node" else made.storage_node.name if field in HOSTS else old
    assert f"{field}: found {CHANGES[field]}; needed: {old}," in caught.value.found and "set it back" in caught.value.found
    assert ("airavata-runbook move-storage" in caught.value.found) == ("storage" in field)


@pytest.mark.parametrize("field", CHANGES)
def test_after_a_reset_that_kept_data_only_fields_of_data_are_refused(field):
    made, changed = Site.load("lab"), Site.load("lab", {field: CHANGES[field]})
    assert bool(departures(record(made), changed, living=False)) == (field in DATA)


def test_defaults_that_follow_from_other_fields_are_compared_by_their_value():
    named = Site.load("lab", {"airavata.storage_node": "worker", "registry.node": "master"})  # as the defaults are
    assert departures(record(Site.load("lab")), named, living=True) == []


def test_a_host_that_left_the_file_is_reported_and_a_new_one_is_recorded():
    two = Site.load("lab")
    three = Site.load("lab", {"nodes": [*two.model_dump(mode="json")["nodes"], {"name": "third", "address": "10.98.0.13"}]})
    (problem,) = departures(record(three), two, living=True)
    assert (
        problem.field == "nodes"
        and "no third (10.98.0.13)" in problem.found
        and "airavata-runbook remove lab third" in problem.remedy
    )
    change = SiteRecord(three).change(found(record(two)), CONTEXT)
    assert change.summary == "new content" and "third" in change.detail


def test_another_master_is_refused():
    site = Site.load("lab")
    nodes = [
        {**node, "role": "worker" if node["role"] == "master" else "master"} for node in site.model_dump(mode="json")["nodes"]
    ]
    assert "nodes.role" in [one.field for one in departures(record(site), Site.load("lab", {"nodes": nodes}), living=True)]


def test_another_master_is_refused_also_where_the_record_is_on_the_old_one():
    with pytest.raises(StepFailed) as caught:
        SiteRecord(Site.load("lab")).change(Found(b"member\n"), CONTEXT)
    assert "nodes.role: found master is another host of a cluster" in caught.value.found


def test_another_name_of_a_host_is_recorded_and_is_no_departure():
    renamed = changed_lab(lambda nodes: nodes[1].update(name="renamed"))
    assert departures(record(Site.load("lab")), renamed, living=True) == []
    assert "renamed" in SiteRecord(renamed).change(found(record(Site.load("lab"))), CONTEXT).detail


def test_another_address_of_a_worker_is_refused_with_the_way_over_its_removal():
    three = changed_lab(lambda nodes: nodes.append({"name": "third", "address": "10.98.0.13"}))
    moved = changed_lab(lambda nodes: nodes.append({"name": "third", "address": "10.98.0.14"}))
    (problem,) = departures(record(three), moved, living=True)
    assert (problem.field, problem.found) == ("nodes.address", "third at 10.98.0.14")
    assert "airavata-runbook remove lab third with the old address" in problem.remedy


def test_another_address_of_the_host_of_the_databases_is_one_finding():
    moved = changed_lab(lambda nodes: nodes[1].update(address="10.98.0.99"))
    (problem,) = departures(record(Site.load("lab")), moved, living=True)
    assert problem.field == "nodes.address" and "airavata-runbook reset" in problem.remedy


def test_a_record_of_an_earlier_version_is_read():
    """Until 2026-11 it had hosts by their names, and fewer fields."""
    old = json.loads(record(Site.load("lab")))
    fixed = {field: value for field, value in old["fixed"].items() if field.startswith("network.") and field != "network.backend"}
    old["fixed"] = {
        **fixed,
        "registry.node": "master",
        "airavata.storage_node": "worker",
        "airavata.storage_path": "/var/lib/airavata",
    }
    assert departures(json.dumps(old), Site.load("lab"), living=True) == []
    changed = Site.load("lab", {"registry.node": "worker", "name": "other"})
    assert [one.field for one in departures(json.dumps(old), changed, living=True)] == ["name", "registry.node"]


def test_the_folders_that_databases_were_moved_from_stay_in_the_record():
    kept, site = [Kept("10.98.0.12", ("/old/mariadb",))], Site.load("lab")
    text = record(site, kept=kept)
    assert kept_folders(text) == kept and SiteRecord(site).change(found(text), CONTEXT) is None
    named = Site.load("lab", {"airavata.gateway": "other"})
    assert kept_folders(record(named, kept=kept_folders(text))) == kept


def test_free_fields_may_change():
    changed = Site.load("lab", {"airavata.api_replicas": 3, "airavata.gateway": "other", "registry.user": "someone"})
    assert SiteRecord(changed).change(found(record(Site.load("lab"))), CONTEXT) is None


def test_the_preflight_check_finds_it_before_anything_is_touched():
    site = Site.load("lab", {"network.pods": "10.200.0.0/16"})
    check = next(one for one in CHECKS if one.name == "fixed-fields")
    host = {RecordFact: ("living", record(Site.load("lab")))}
    snapshot = type("Snapshot", (), {"node": site.master, "__getitem__": lambda self, fact: host[fact]})()
    (problem,) = check.find(site, snapshot)
    assert "network.pods: 10.200.0.0/16" in problem.found and "10.244.0.0/16" in problem.needed


def test_a_record_that_is_damaged_is_not_taken_for_one():
    with pytest.raises(ValueError):
        SiteRecord(Site.load("lab")).change(found("{"), CONTEXT)
