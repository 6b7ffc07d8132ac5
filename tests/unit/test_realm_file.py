"""A realm file: what Keycloak would not import, or Airavata not use, is found before anything is touched, each by its name."""

import hashlib
import json
from pathlib import Path

import pytest

from airavata_runbook.checks import table
from airavata_runbook.checks.realm import KEYS, realm_notes, realm_problems
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
        (realm(attributes={"frontendUrl": "https://elsewhere.example"}), "the issuer of tokens is airavata.unified.keycloak_url"),
        (realm(components={"org.keycloak.keys.KeyProvider": [3]}), "a part has another form"),
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


def test_a_key_that_everybody_has_is_refused(monkeypatch):
    monkeypatch.setattr("airavata_runbook.checks.realm.PUBLISHED", {hashlib.sha256(b"canary-key").hexdigest()})
    providers = [{"name": name, "config": {"privateKey": [key]}} for name, key in (("own", "mine"), ("public", "canary-key"))]
    (found,) = problems(realm(components={KEYS: providers}))
    assert "public repository (public)" in found and "remove these key providers" in found and "canary-key" not in found


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


def key(name, **config):
    return {"id": name, "name": name, "config": config}


def with_secrets():
    """A realm as Keycloak exports it whole, with what its console masks in others."""
    keys = [key("rsa", privateKey=["canary-key"]), key("aes", secret=["canary-key"]), key("masked", secret=["**********"])]
    return realm(
        components={"org.keycloak.keys.KeyProvider": [*keys, key("made by Keycloak", priority=["100"])]},
        clients=[
            {"clientId": "pga", "secret": "canary-secret"},
            {"clientId": "masked", "secret": "**********"},
            {"clientId": "x"},
        ],
        users=[{"username": "ann", "credentials": [{"type": "password", "value": "canary"}]}, {"username": "bob"}],
    )


def test_secrets_in_a_realm_file_are_named_without_their_values():
    assert realm_notes(json.dumps(with_secrets()).encode()) == [
        "has private keys (rsa, aes): whoever has read it can issue tokens of any user",
        "has secrets of clients (pga): whoever has read it gets tokens of these clients",
        "has passwords of users, as they are or as hashes (ann): whoever has read it may log in as these users",
    ]
    assert realm_notes(LAB.read_bytes()) == []


def test_the_preflight_check_notes_secrets_in_a_realm_file_and_does_not_refuse_it(tmp_path):
    path = tmp_path / "realm.json"
    path.write_text(json.dumps(with_secrets()))
    site = Site.load(ROOT / "parameters/lab-unified.yaml", {"airavata.unified.realm": str(path)})
    found = list(table._sources(site, False))
    assert len(found) == 3 and all(one.note for one in found) and "private keys (rsa, aes)" in found[0].found
    assert "never one that was published" in found[0].needed and "canary" not in str(found)
