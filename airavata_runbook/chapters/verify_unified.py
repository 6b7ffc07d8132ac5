"""How 06-verify calls Airavata's unified server and its Keycloak: as users outside the cluster do, through node ports.

Health alone proves nothing: it stays UP with a wrong address of Keycloak and without a keystore. What is created is deleted.
"""

import base64
import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote, urlencode, urlsplit

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.chapters.verified_calls import Calls
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed
from airavata_runbook.stacks import Component
from airavata_runbook.wellknown import SERVICES_CA

CLIENT = "airavata-runbook"  # of the realm: the Job keycloak-realm makes it
# Of Keycloak, and closed from outside. Of each realm but the gateway's, `master` is the one of administrators.
CLOSED = (
    *("/", "/admin", "/admin/master/console/", "/admin/realms", "/health", "/metrics", "/realms", "/realms/master"),
    *("/realms/master/protocol/openid-connect/token", "/resources/../admin/realms", "/resources/%2e%2e/admin/realms"),
)
NAME = "runbook-verify"  # of what is created
TIMEOUT = 30  # seconds for one response


@dataclass(frozen=True)
class Answer:
    """A response. content: its JSON; {} where it has none."""

    status: int
    content: Mapping


@dataclass(frozen=True)
class Server:
    """A server at a forward, whose certificate is for `name` and from the authority of the site's services (PEM)."""

    port: int
    name: str
    authority: bytes
    token: str = ""

    def call(self, method: str, path: str, body: object = None, form: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own. Raises StepFailed without a response."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        sent = urlencode(form) if form is not None else json.dumps(body) if body is not None else None
        context = ssl.create_default_context(cadata=self.authority.decode())
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as plain,
                context.wrap_socket(plain, server_hostname=self.name) as tls,
                closing(HTTPConnection(self.name)) as connection,
            ):
                connection.sock = tls
                connection.request(method, path, sent, headers)
                response = connection.getresponse()
                return Answer(response.status, _json(response.read()))
        except (OSError, HTTPException) as error:
            raise StepFailed(
                "a server did not respond",
                where=f"{self.name}: {method} {path.partition('?')[0]}",
                found=f"{type(error).__name__}: {error}",
                retryable=True,
            ) from None


def verify(session: Session, component: Component, calls: Calls) -> None:
    """Calls that prove the gateway's data, the keystore and Keycloak. Raises StepFailed where one gives nothing to go on with."""
    gateway = session.site.airavata.gateway
    anonymous = _server(session)
    calls.expect("GET gateways without a token", anonymous.call("GET", "/api/v1/gateways").status, 401)
    server = replace(anonymous, token=_keycloak(session, calls))
    calls.expect("GET gateways with a false token", _false(server).call("GET", "/api/v1/gateways").status, 401)

    listed = _content(server, "GET", "/api/v1/gateways").get("gateways", [])
    calls.expect("GET gateways", gateway in [one.get("gatewayId") for one in listed], True, f"{gateway} among them")
    _project(server, gateway, calls)
    _credential(server, gateway, calls)
    users = _content(server, "GET", f"/api/v1/iam/users?{urlencode({'offset': 0, 'limit': 5})}")
    calls.expect("GET users of the realm", isinstance(users.get("users", []), list), True, "HTTP 200, from Keycloak")


def _project(server: Server, gateway: str, calls: Calls) -> None:
    """A project is created, read and deleted."""
    body = {"name": NAME, "owner": f"service-account-{CLIENT}", "gatewayId": gateway, "description": "made by 06-verify"}
    made = _content(server, "POST", f"/api/v1/projects?{urlencode({'gateway_id': gateway})}", body).get("projectId", "")
    path = f"/api/v1/projects/{quote(made, safe='')}"
    try:
        calls.expect("POST project", bool(made), True, "created")
        calls.expect("GET project", _content(server, "GET", path).get("name"), NAME)
    finally:
        deleted = server.call("DELETE", path).status
    calls.expect("DELETE project", deleted, 200)
    # The server of 2026-06 answers 500 for a project that is not there.
    calls.expect("GET project after that", server.call("GET", path).status in (404, 500), True, "not there")


def _credential(server: Server, gateway: str, calls: Calls) -> None:
    """A password is stored, encrypted with the key of the keystore, and read back as a summary, for which it is decrypted."""
    given = {"loginUserName": NAME, "password": "not-a-password", "description": NAME, "gatewayId": gateway}
    body = {"gatewayId": gateway, "passwordCredential": given}
    made = _content(server, "POST", "/api/v1/credentials/passwords", body).get("token", "")
    name, query = quote(made, safe=""), urlencode({"gateway_id": gateway})
    try:
        calls.expect("POST credential", bool(made), True, "stored, encrypted")
        summary = _content(server, "GET", f"/api/v1/credentials/{name}?{query}")
        calls.expect("GET credential", summary.get("description"), NAME)
    finally:
        deleted = server.call("DELETE", f"/api/v1/credentials/passwords/{name}?{query}").status
    calls.expect("DELETE credential", deleted, 200)


def _content(server: Server, method: str, path: str, body: object = None) -> Mapping:
    answer = server.call(method, path, body)
    if answer.status != 200:
        raise StepFailed(
            "Airavata's server refused a call",
            where=f"{method} {path.partition('?')[0]}",
            found=f"HTTP {answer.status}: {answer.content.get('message', '')}"[:1000],
            needed="HTTP 200",
            remedy="kubectl logs deployment/airavata-server, in the site's namespace, has the cause",
        )
    return answer.content


def _server(session: Session) -> Server:
    address = str(session.site.master.address)
    return _outside(session, session.site.airavata.api_node_port, address)


def _outside(session: Session, node_port: int, name: str) -> Server:
    """What the master serves at a node port, with a certificate for `name`."""
    port = session.master.forward(node_port, str(session.site.master.address))
    return Server(port, name, session.vault.authority(SERVICES_CA).cert)


def _keycloak(session: Session, calls: Calls) -> str:
    """A token of the runbook's own client, got as one outside the cluster does; and what Keycloak must not answer there."""
    site, realm = session.site, f"/realms/{quote(session.site.airavata.gateway, safe='')}"
    keycloak = _outside(session, site.airavata.unified.keycloak_node_port, urlsplit(site.keycloak_url).hostname or "")
    issuer = site.keycloak_url + realm
    listed = keycloak.call("GET", f"{realm}/.well-known/openid-configuration").content
    calls.expect("issuer of the realm, from outside", listed.get("issuer"), issuer, "as airavata.unified.keycloak_url")
    token = _token(session, keycloak, realm)
    calls.expect("token from Keycloak, from outside", _issuer(token), issuer, "issued")
    answered = {path: status for path in CLOSED if (status := keycloak.call("GET", path).status) != 404}
    calls.expect("its administration and other realms, from outside", answered, {}, "HTTP 404")
    return token


def _token(session: Session, keycloak: Server, realm: str) -> str:
    secret = session.vault.secret(stack_of(session.site).secrets["keycloak-client"]["client-secret"])
    form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": secret}
    answer = keycloak.call("POST", f"{realm}/protocol/openid-connect/token", form=form)
    token = answer.content.get("access_token")
    if answer.status != 200 or not token:
        namespace = session.site.airavata.namespace
        raise StepFailed(
            "Keycloak gave no token",
            where=f"{realm}, client {CLIENT}",
            found=f"HTTP {answer.status}: {answer.content.get('error_description') or answer.content.get('error', '')}",
            remedy=f"kubectl -n {namespace} delete job keycloak-realm, then run 05-deploy-airavata: the Job sees to the client",
        )
    return str(token)


def _issuer(token: str) -> str:
    """The issuer in a token, whose signature is not looked at: who takes it does."""
    claims = token.split(".")[1]
    return str(_json(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("iss"))


def _false(server: Server) -> Server:
    """The same with a token whose signature is not Keycloak's."""
    head, claims, signature = server.token.split(".")
    return replace(server, token=".".join((head, claims, signature[::-1])))


def _json(text: bytes) -> Mapping:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
