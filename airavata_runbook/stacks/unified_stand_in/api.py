"""STAND-IN: the REST calls of Airavata's server that set-up and verification make."""

import json
import os
import re
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from keystore import secret_key
from server import MARK, log
from tokens import Refused

PAGE = f"<!doctype html><title>Airavata (STAND-IN)</title><h1>{MARK}</h1><p>It stands where a site has no jar of its server.</p>"
ADMINS = {"admin-rw", "admin-ro"}
UP, DOWN = {"status": "UP"}, {"status": "DOWN"}


class Answer(Exception):
    """A status other than 200, and why."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Api:
    """settings: those of Airavata's server."""

    def __init__(self, settings: dict[str, str], store, keycloak):
        self.settings, self.store, self.keycloak = settings, store, keycloak
        self.routes = [(method, re.compile(path), call) for method, path, call in self._routes()]

    def _routes(self):
        name = "([^/:]+)"
        return (
            ("GET", "/api/v1/gateways", lambda *_, **__: {"gateways": [json.loads(one) for _, one in self.store.all("gateway")]}),
            ("POST", "/api/v1/gateways", self.add_gateway),
            ("GET", f"/api/v1/gateways/{name}:exists", lambda _, name, **__: {"exists": bool(self.store.get("gateway", name))}),
            ("GET", f"/api/v1/gateways/{name}", lambda _, name, **__: self.existing("gateway", name)),
            ("POST", "/api/v1/projects", self.add_project),
            ("GET", f"/api/v1/projects/{name}", lambda _, name, **__: self.existing("project", name)),
            ("DELETE", f"/api/v1/projects/{name}", lambda _, name, **__: self.delete("project", name)),
            ("POST", "/api/v1/credentials/passwords", self.add_password),
            ("GET", "/api/v1/credentials", self.credentials),
            ("GET", f"/api/v1/credentials/{name}", lambda _, name, **__: self.credential(name)),
            ("DELETE", f"/api/v1/credentials/passwords/{name}", lambda _, name, **__: self.delete("credential", name)),
            ("GET", "/api/v1/iam/users", self.users),
        )

    def answer(self, method: str, path: str, query: dict[str, str], token: str, body: bytes) -> tuple[int, object]:
        """Status and content of the response."""
        try:
            if path.startswith("/actuator/health"):
                return self.health(path)
            if path in ("/", "/docs/"):
                return 200, PAGE
            if not path.startswith("/api/v1/"):
                raise Answer(404, "no such page")
            return 200, self.call(method, path, query, token, body)
        except Answer as answer:
            return answer.status, {"message": f"{MARK}: {answer}"}
        except Exception as error:
            log(f"{method} {path}: {type(error).__name__}: {error}")
            return 500, {"message": f"{MARK}: {type(error).__name__}"}

    def health(self, path: str) -> tuple[int, dict]:
        if path.endswith("/liveness"):
            return 200, UP
        try:
            self.store.query("SELECT 1")
        except OSError:
            return 503, DOWN
        return 200, UP

    def call(self, method: str, path: str, query: dict[str, str], token: str, body: bytes) -> object:
        if not token:
            raise Answer(401, "Missing authorization metadata")
        try:
            caller = self.keycloak.caller(token)
        except (Refused, OSError) as error:
            log(f"token refused: {error}")
            raise Answer(401, "Invalid access token") from None
        for route, pattern, call in self.routes:
            if route == method and (found := pattern.fullmatch(path)):
                return call(caller, *found.groups(), query=query, body=json.loads(body) if body else {})
        raise Answer(501, f"{method} {path} is not implemented")

    def existing(self, kind: str, name: str) -> object:
        content = self.store.get(kind, name)
        if content is None:
            raise Answer(404, f"no {kind} {name}")
        return json.loads(content)

    def delete(self, kind: str, name: str) -> dict:
        if self.store.get(kind, name) is None:
            raise Answer(404, f"no {kind} {name}")
        self.store.delete(kind, name)
        return {}

    def add_gateway(self, _, query: dict, body: dict) -> dict:
        name = str(body.get("gatewayId") or "")
        if not name:
            raise Answer(400, "a gateway needs a gatewayId")
        self.store.put("gateway", name, name, json.dumps(body).encode())
        return {"gatewayId": name}

    def add_project(self, _, query: dict, body: dict) -> dict:
        gateway = query.get("gateway_id", "")
        if self.store.get("gateway", gateway) is None:
            raise Answer(400, f"no gateway {gateway}")
        name = f"{re.sub('[^A-Za-z0-9]', '_', str(body.get('name')))}_{uuid.uuid4()}"
        self.store.put("project", name, gateway, json.dumps(body | {"projectId": name, "gatewayId": gateway}).encode())
        return {"projectId": name}

    def add_password(self, caller, query: dict, body: dict) -> dict:
        name, given = str(uuid.uuid4()), body.get("passwordCredential") or {}
        nonce = os.urandom(12)
        content = nonce + AESGCM(self.key()).encrypt(nonce, json.dumps(given | {"portalUserName": caller.user}).encode(), None)
        self.store.put("credential", name, caller.gateway, content)
        return {"token": name}

    def credentials(self, caller, query: dict, body: dict) -> dict:
        return {"credentialSummaries": [self.summary(name, one) for name, one in self.store.all("credential", caller.gateway)]}

    def credential(self, name: str) -> dict:
        content = self.store.get("credential", name)
        if content is None:
            raise Answer(404, f"no credential {name}")
        return self.summary(name, content)

    def summary(self, name: str, content: bytes) -> dict:
        plain = json.loads(AESGCM(self.key()).decrypt(content[:12], content[12:], None))
        return {
            "type": "PASSWD",
            "token": name,
            "username": plain.get("portalUserName", ""),
            "description": plain.get("description", ""),
        }

    def key(self) -> bytes:
        """Read from the keystore at each call, as the real server does."""
        path = Path(self.settings["airavata.config.dir"], self.settings["credential.store.keystore.url"])
        return secret_key(str(path), self.settings["credential.store.keystore.password"])

    def users(self, caller, query: dict, body: dict) -> dict:
        if not caller.roles & ADMINS:
            raise Answer(403, "Operation requires a gateway admin role")
        names = {"first": query.get("offset", "0"), "max": query.get("limit", "100"), "search": query.get("search", "")}
        found = self.keycloak.users(caller, {key: value for key, value in names.items() if value})
        return {"users": [{"userId": one["username"], "gatewayId": caller.gateway} for one in found]}
