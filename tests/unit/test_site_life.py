"""Fields that are fixed once a site exists: a changed site file is refused before anything is touched."""

import json
from types import SimpleNamespace

import pytest

from airavata_runbook.checks.facts import SiteRecord as RecordFact
from airavata_runbook.checks.table import CHECKS
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import StepFailed
from airavata_runbook.resources import SiteRecord
from airavata_runbook.site import Site
from airavata_runbook.site.life import departures, fixed_fields, record
from airavata_runbook.site.schema import schema_text

CHANGES = {
    "network.pods": "10.200.0.0/16",
    "network.services": "10.201.0.0/16",
    "network.subnet_length": 25,
    "network.etcd_prefix": "/other/network",
    "network.domain": "other.local",
    "registry.node": "worker",
    "airavata.namespace": "other",
    "airavata.storage_node": "master",
    "airavata.storage_path": "/srv/airavata",
}
DATA = {"airavata.namespace", "airavata.storage_node", "airavata.storage_path"}
CONTEXT = Context(SimpleNamespace(name="master"), None)


def found(text: str, living: bool = True) -> Found:
    return Found((("living" if living else "not") + "\n" + text).encode())


def test_every_fixed_field_has_its_case_here_and_shows_in_the_schema():
    assert set(fixed_fields(Site.load("lab"))) == set(CHANGES)
    assert schema_text().count("x-life") == len(CHANGES)


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_fixed_field_is_refused_with_the_old_value_and_the_way_on(field):
    made, changed = Site.load("lab"), Site.load("lab", {field: CHANGES[field]})
    with pytest.raises(StepFailed) as caught:
        SiteRecord(changed).change(found(record(made)), CONTEXT)
    old = json.loads(record(made))["fixed"][field]
    assert f"{field}: found {CHANGES[field]}; needed: {old}," in caught.value.found and "set it back" in caught.value.found


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
    assert "no third (10.98.0.13)" in problem.found and "airavata-runbook remove lab third" in problem.remedy
    change = SiteRecord(three).change(found(record(two)), CONTEXT)
    assert change.summary == "new content" and "third" in change.detail


def test_another_master_is_refused():
    site = Site.load("lab")
    nodes = [
        {**node, "role": "worker" if node["role"] == "master" else "master"} for node in site.model_dump(mode="json")["nodes"]
    ]
    assert "the master" in [one.field for one in departures(record(site), Site.load("lab", {"nodes": nodes}), living=True)]


def test_free_fields_may_change():
    changed = Site.load("lab", {"airavata.api_replicas": 3, "airavata.gateway": "other", "registry.user": "someone"})
    assert SiteRecord(changed).change(found(record(Site.load("lab"))), CONTEXT) is None


def test_the_preflight_check_finds_it_before_anything_is_touched():
    site = Site.load("lab", {"network.pods": "10.200.0.0/16"})
    check = next(one for one in CHECKS if one.name == "fixed-fields")
    host = {RecordFact: (True, record(Site.load("lab")))}
    snapshot = type("Snapshot", (), {"node": site.master, "__getitem__": lambda self, fact: host[fact]})()
    (problem,) = check.find(site, snapshot)
    assert "network.pods: 10.200.0.0/16" in problem.found and "10.244.0.0/16" in problem.needed


def test_a_record_that_is_damaged_is_not_taken_for_one():
    with pytest.raises(ValueError):
        SiteRecord(Site.load("lab")).change(found("{"), CONTEXT)
