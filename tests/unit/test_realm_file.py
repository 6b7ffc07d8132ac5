"""A realm file: what Keycloak would not import, or Airavata not use, is found before anything is touched, each by its name."""

import json
from pathlib import Path

import pytest

from airavata_runbook.checks.realm import realm_problems
from airavata_runbook.checks.references import check_references
from airavata_runbook.site import Site

ROOT = Path(__file__).parents[2]
LAB = ROOT / "parameters/lab-unified-realm.json"
MAPPER = {"id": "11111111-aaaa", "name": "Client IP Address"}
TWINS = [{"clientId": name, "protocolMappers": [MAPPER]} for name in ("a", "b")]


def realm(**parts):
    return {**json.loads(LAB.read_text()), **parts}


def problems(content, gateway="default"):
    return realm_problems(json.dumps(content).encode(), gateway)


def test_the_labs_realm_has_no_problem():
    assert realm_problems(LAB.read_bytes(), "default") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (realm(clients=TWINS), "Client IP Address of a, Client IP Address of b"),
        (realm(clients=[{"clientId": "pga"}, {"clientId": "pga"}]), "client pga is there 2 times"),
        (realm(users=[{"username": "ann"}, {"username": "Ann"}]), "user ann is there 2 times"),
        (realm(users=[{"username": "ann", "clientRoles": {"portal": ["x"]}}]), "user ann refers to the client portal"),
        (realm(users=[{"username": "s", "serviceAccountClientId": "gone"}]), "client gone, which is not there"),
        (realm(roles={"realm": [{"name": "admin-rw"}]}), "no realm role admin-ro"),
        (realm(realm="another"), "realm another; needed: default"),
        (realm(enabled=False), "not enabled"),
        (realm(browserFlow="mine", authenticationFlows=[{"alias": "browser"}]), "authentication flow mine"),
        (realm(groups=[{"name": "a", "id": "1", "subGroups": [{"name": "b", "id": "1"}]}]), "group id 1 is there 2 times: a, b"),
        (realm(clients=[3]), "a part has another form"),
        ([realm()], "a list: one realm a file is needed"),
        ({"clients": []}, 'no key "realm"'),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_named(content, words):
    found = problems(content)
    assert any(words in line for line in found), found


def test_all_problems_are_named_at_once_and_no_value_is_shown():
    secret = "canary-client-secret"
    found = problems(
        realm(
            realm="another",
            clients=[{"clientId": "pga", "secret": secret, "protocolMappers": [MAPPER, MAPPER]}, {"clientId": "pga"}],
        )
    )
    assert len(found) == 3 and secret not in "".join(found), found


def test_what_keycloak_makes_itself_may_be_referred_to():
    assert problems(realm(users=[{"username": "a", "clientRoles": {"realm-management": ["view-users"]}}])) == []


def test_a_file_that_is_no_json_is_refused():
    assert "no JSON" in realm_problems(b"{", "default")[0]


def test_the_preflight_check_names_the_field_and_the_mapper(tmp_path):
    path = tmp_path / "realm.json"
    path.write_text(json.dumps(realm(clients=[{"clientId": "a", "protocolMappers": [MAPPER, MAPPER]}])))
    site = Site.load(ROOT / "parameters/lab-unified.yaml", {"airavata.unified.realm": str(path)})
    (bad,) = [one for one in check_references(site) if one.problem]
    assert bad.field == "airavata.unified.realm" and "protocol mapper id 11111111-aaaa" in bad.problem
