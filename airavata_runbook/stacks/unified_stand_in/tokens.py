"""STAND-IN: access tokens, verified by the keys of the real Keycloak, and its users."""

import json
import os
import ssl
import time
import urllib.request
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.parse import quote, urlencode

import jwt

CA = os.environ.get("STAND_IN_CA", "/etc/airavata/tls/ca.crt")
AGE = 300  # seconds for which a realm's keys are believed


class Refused(Exception):
    """A token that does not count."""


@dataclass(frozen=True)
class Caller:
    """Who calls, as the token says: user, gateway (the realm) and roles in it."""

    user: str
    gateway: str
    roles: frozenset[str]
    token: str


class Keycloak:
    """url: as in iam.server.url, for its users. issuer: the address in its tokens, at which the keys are fetched, as Airavata's
    server does; tokens of others do not count."""

    def __init__(self, url: str, issuer: str):
        self.url, self.issuer = url.rstrip("/"), issuer
        self.context = ssl.create_default_context(cafile=CA)
        self.keys: dict[str, tuple[float, dict]] = {}

    def caller(self, token: str) -> Caller:
        """Raises Refused; OSError where Keycloak does not answer."""
        try:
            issuer = str(jwt.decode(token, options={"verify_signature": False}).get("iss"))
            base = f"{self.issuer}/realms/"
            if not issuer.startswith(base) or "/" in (realm := issuer.removeprefix(base)):
                raise Refused(f"another issuer: {issuer}")
            key = self._keys(realm)[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token, key, algorithms=["RS256"], issuer=issuer, options={"verify_aud": False, "require": ["exp"]}
            )
            roles = claims.get("realm_access", {}).get("roles", [])
            return Caller(str(claims.get("preferred_username", "")), realm, frozenset(roles), token)
        except (jwt.PyJWTError, KeyError) as error:
            raise Refused(f"{type(error).__name__}: {error}") from None

    def users(self, caller: Caller, query: dict[str, str]) -> list[dict]:
        """The realm's users, asked for in the caller's name. Raises Refused, OSError."""
        try:
            return self._get(f"{self.url}/admin/realms/{quote(caller.gateway, safe='')}/users?{urlencode(query)}", caller.token)
        except HTTPError as error:
            raise Refused(f"Keycloak: HTTP {error.code}") from None

    def _keys(self, realm: str) -> dict:
        read, keys = self.keys.get(realm, (0.0, {}))
        if time.monotonic() - read > AGE or not keys:
            listed = self._get(f"{self.issuer}/realms/{realm}/protocol/openid-connect/certs")["keys"]
            keys = {one["kid"]: jwt.PyJWK(one).key for one in listed if one.get("use") == "sig" and one.get("kty") == "RSA"}
            self.keys[realm] = time.monotonic(), keys
        return keys

    def _get(self, url: str, token: str = ""):
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        with urllib.request.urlopen(request, timeout=10, context=self.context) as response:
            return json.load(response)
