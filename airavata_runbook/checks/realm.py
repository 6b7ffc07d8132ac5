"""A realm file for Keycloak, looked at before it is imported: what the import would refuse, and what Airavata would miss in it.

Keycloak stops at the first thing that it cannot store and names a database constraint; these are all of them that were seen, by
name. Source: the realm representation of Keycloak's Admin REST API, version 26.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

KEYS = "org.keycloak.keys.KeyProvider"
MASKED = "**********"  # in the place of secrets, in what Keycloak's console exports
ROLES = ("admin-rw", "admin-ro")  # those that the server asks for before it shows or changes users

# SHA-256 of the keys in conf/keycloak/realm-default.json of apache/airavata (seen at commit b10d094), which everybody has: the
# server answers a token that was made with its RSA key.
PUBLISHED = {
    "ead21432ffb10b7e19bbcbf9c3b8b279a0e1435c14c22f6b8d447f635cd88a47",
    "ea880742f541544cd99d0896642c4bb73c97aab05a89f4d89234eb8fd42a7249",
    "8670616834c13901fde6e21113ade20345d00704aef72d8a6472ec9efea8a596",
    "675ec3df48ebb6218bf198edb5f5c0fcd1f282918ff1dee2d9d798ae60803316",
}

# Each list of named things: what one is, the path to the list, and the key of its name.
NAMED = (
    ("client", "clients", "clientId"),
    ("client scope", "clientScopes", "name"),
    ("user", "users", "username"),
    ("group", "groups", "name"),
    ("authentication flow", "authenticationFlows", "alias"),
    ("identity provider", "identityProviders", "alias"),
)


def realm_problems(content: bytes, gateway: str) -> list[str]:
    """Why a realm file cannot be used for this gateway, a line each. No value of the file but names and ids is in them."""
    try:
        realm = json.loads(content)
    except ValueError as error:
        return [f"no JSON: {error}"]
    if not isinstance(realm, dict) or "realm" not in realm:
        found = "a list: one realm a file is needed" if isinstance(realm, list) else 'no key "realm"'
        return [f"no realm of Keycloak: {found}"]
    try:
        _notes(realm)  # for their form
        parts = (_name(realm, gateway), _roles(realm), _published(realm), _twice(realm), _ids(realm), _references(realm))
        return list(chain.from_iterable(parts))
    except (AttributeError, TypeError, KeyError) as error:
        return [f"no realm of Keycloak: a part has another form than its Admin REST API has ({type(error).__name__}: {error})"]


def realm_notes(content: bytes) -> list[str]:
    """What of a realm without problems is no secret where others have the file, a line each. No value of it is in them."""
    return _notes(json.loads(content))


def _notes(realm: Mapping[str, Any]) -> list[str]:
    keys = [str(one["name"]) for one in _key_providers(realm) if any(_keys_of(one))]
    clients = [str(one["clientId"]) for one in realm.get("clients") or () if one.get("secret") not in (None, "", MASKED)]
    users = [str(one["username"]) for one in realm.get("users") or () if one.get("credentials")]
    found = (
        ("private keys", keys, "can issue tokens of any user"),
        ("secrets of clients", clients, "gets tokens of these clients"),
        ("passwords of users, as they are or as hashes", users, "may log in as these users"),
    )
    return [f"has {what} ({', '.join(names)}): whoever has read it {may}" for what, names, may in found if names]


def _key_providers(realm: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (realm.get("components") or {}).get(KEYS) or ()


def _keys_of(provider: Mapping[str, Any]) -> Iterator[str]:
    config = provider.get("config") or {}
    return (value for kind in ("privateKey", "secret") for value in config.get(kind) or () if value != MASKED)


def _published(realm: Mapping[str, Any]) -> Iterator[str]:
    names = [
        str(provider["name"])
        for provider in _key_providers(realm)
        if any(hashlib.sha256(str(key).encode()).hexdigest() in PUBLISHED for key in _keys_of(provider))
    ]
    if names:
        yield (
            f"keys of Airavata's public repository ({', '.join(names)}): anybody can issue tokens with them; "
            "remove these key providers, Keycloak makes its own"
        )


def _name(realm: Mapping[str, Any], gateway: str) -> Iterator[str]:
    if realm["realm"] != gateway:
        yield f"realm {realm['realm']}; needed: {gateway}, as airavata.gateway: the server takes a token's realm for its gateway"
    if realm.get("enabled") is not True:
        yield 'the realm is not enabled; needed: "enabled": true'
    if address := (realm.get("attributes") or {}).get("frontendUrl"):
        yield f"the attribute frontendUrl {address}; needed: none, the issuer of tokens is airavata.unified.keycloak_url"


def _roles(realm: Mapping[str, Any]) -> Iterator[str]:
    there = {role["name"] for role in (realm.get("roles") or {}).get("realm") or ()}
    for role in ROLES:
        if role not in there:
            yield f"no realm role {role}: the server shows users to no one else"


def _twice(realm: Mapping[str, Any]) -> Iterator[str]:
    for what, key, name in NAMED:
        names = [one[name].lower() if key == "users" else one[name] for one in realm.get(key) or ()]
        for twice in sorted({one for one in names if names.count(one) > 1}):
            yield f"{what} {twice} is there {names.count(twice)} times"


def _ids(realm: Mapping[str, Any]) -> Iterator[str]:
    """Ids that Keycloak uses as keys of one table each: of clients, mappers, roles and so on."""
    for what, found in _identified(realm):
        places = defaultdict(list)
        for place, one in found:
            if one.get("id"):
                places[one["id"]].append(place)
        for identifier, where in sorted(places.items()):
            if len(where) > 1:
                yield f"{what} id {identifier} is there {len(where)} times: {', '.join(where)}; remove all but one, or the key id"


def _identified(realm: Mapping[str, Any]) -> Iterator[tuple[str, Iterable[tuple[str, Mapping[str, Any]]]]]:
    """Kind of thing → (place, thing) of all that share a table."""
    clients, scopes, roles = realm.get("clients") or (), realm.get("clientScopes") or (), realm.get("roles") or {}
    yield (
        "protocol mapper",
        (
            (f"{mapper.get('name')} of {owner.get('clientId') or owner.get('name')}", mapper)
            for owner in (*clients, *scopes)
            for mapper in owner.get("protocolMappers") or ()
        ),
    )
    yield "client", ((str(one.get("clientId")), one) for one in clients)
    yield "client scope", ((str(one.get("name")), one) for one in scopes)
    of_clients = chain.from_iterable((roles.get("client") or {}).values())
    yield "role", ((str(one.get("name")), one) for one in (*(roles.get("realm") or ()), *of_clients))
    yield "user", ((str(one.get("username")), one) for one in realm.get("users") or ())
    yield "group", _groups(realm.get("groups") or ())
    yield "authentication flow", ((str(one.get("alias")), one) for one in realm.get("authenticationFlows") or ())
    parts = chain.from_iterable((realm.get("components") or {}).values())
    yield "component", ((str(one.get("name")), one) for one in parts)


def _groups(groups: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for one in groups:
        yield str(one.get("name")), one
        yield from _groups(one.get("subGroups") or ())


def _references(realm: Mapping[str, Any]) -> Iterator[str]:
    """Names of things that the file does not have. Clients that Keycloak itself makes count as there."""
    own = ("account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console")
    clients = {one["clientId"] for one in realm.get("clients") or ()} | set(own)
    flows = {one["alias"] for one in realm.get("authenticationFlows") or ()}
    for client in (realm.get("roles") or {}).get("client") or {}:
        if client not in clients:
            yield f"roles of the client {client}, which is not there"
    for user in realm.get("users") or ():
        named = {*(user.get("clientRoles") or ()), *filter(None, [user.get("serviceAccountClientId")])}
        for client in sorted(named - clients):
            yield f"user {user['username']} refers to the client {client}, which is not there"
    if flows:
        for key in ("browserFlow", "registrationFlow", "directGrantFlow", "resetCredentialsFlow", "clientAuthenticationFlow"):
            if realm.get(key) and realm[key] not in flows:
                yield f"{key} refers to the authentication flow {realm[key]}, which is not there"
