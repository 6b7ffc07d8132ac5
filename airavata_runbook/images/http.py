"""HTTP to an image registry: verified TLS under the registry's own name, its authentication, its redirects.

A private registry is reached through a forward on 127.0.0.1 while its certificate, and every Location header that it
sends, carry its real name. Sources: OCI distribution-spec 1.1; the registry's token authentication specification.
"""

import base64
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from airavata_runbook.errors import StepFailed
from airavata_runbook.images.layout import BlobReader

TIMEOUT = (10, 300)  # seconds to connect, and between two bytes (a registry hashes a large blob before it answers)
BLOCK = 1 << 18
REDIRECTS = (301, 302, 303, 307, 308)

Body = Callable[[], BlobReader] | bytes | None


class RegistryError(StepFailed):
    """A registry cannot be reached, refuses, or answers something else than the specification has."""


class Connection:
    """Requests to one registry; used by several threads at once. Its repr and its errors show no password.

    base_url: https://HOST:PORT that is connected to. name: the registry's own NAME[:PORT] when that differs. ca: PEM
    bytes, or the path of a PEM file, of the only authorities that are trusted; None: the public ones. user,
    password: for Basic, or for the service that hands out tokens. timeout: seconds to connect, and between two bytes.
    """

    def __init__(
        self,
        base_url: str,
        name: str | None = None,
        ca: bytes | str | Path | None = None,
        user: str | None = None,
        password: str | None = None,
        timeout: tuple[float, float] = TIMEOUT,
    ):
        self.timeout = timeout
        self.base = urlsplit(base_url)
        if self.base.scheme != "https" or not self.base.hostname or "@" in self.base.netloc:
            raise RegistryError(
                "a registry is reached by TLS only",
                where=self.base.netloc.rpartition("@")[2],
                needed="https://HOST[:PORT], credentials apart",
            )
        self.name = name or self.base.netloc
        self.user = user
        self._credentials = _basic(user, password) if user and password is not None else None
        self._granted: dict[str, str] = {}  # scope → the Authorization header that the registry wants for it
        self._lock = threading.Lock()
        self._session = requests.Session()
        if name or ca is not None:
            self._session.trust_env = False  # a forward and a private authority: no proxy, no other bundle
            self._session.mount("https://", _Named(urlsplit(f"//{self.name}").hostname, _context(ca)))

    def __repr__(self) -> str:
        return f"Connection({self.name}, user={self.user})"

    def send(
        self,
        method: str,
        target: str,
        *,
        scope: str = "",
        data: Body = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """One request, with what the registry wants as authentication; redirects are followed for GET and HEAD.

        target: a path, or a Location that the registry sent. scope: what a token has to allow. data: bytes, or a
        function that opens the body anew for each try. Raises RegistryError when no answer comes.
        """
        response = self._once(method, target, scope, data, headers, stream)
        if response.status_code == 401 and self._authenticate(response, scope):
            response.close()
            response = self._once(method, target, scope, data, headers, stream)
        for _ in range(5):
            if response.status_code not in REDIRECTS or method not in ("GET", "HEAD"):
                return response
            response.close()
            response = self._follow(method, response.headers.get("Location", ""), scope, headers, stream)
        raise RegistryError("a registry redirects in a circle", where=self.name)

    def _once(
        self, method: str, target: str, scope: str, data: Body, headers: Mapping[str, str] | None, stream: bool
    ) -> requests.Response:
        url = self._own(target)
        if url is None:
            raise RegistryError(
                "a registry sends an upload elsewhere",
                where=self.name,
                found=_host(urlsplit(target)),
                needed=self.name,
                remedy="set the registry's own name in its configuration (http.host)",
            )
        sent = {"Accept-Encoding": "identity", "Host": self.name, **(headers or {})}
        if granted := self._granted.get(scope):
            sent["Authorization"] = granted
        return self._request(self._session, method, url, sent, data, stream)

    def _follow(
        self, method: str, location: str, scope: str, headers: Mapping[str, str] | None, stream: bool
    ) -> requests.Response:
        if self._own(location):
            return self._once(method, location, scope, None, headers, stream)
        if urlsplit(location).scheme != "https":
            raise RegistryError(
                "a registry redirects to a place without TLS", where=self.name, found=_host(urlsplit(location)), needed="https"
            )
        with requests.Session() as session:  # a store of blobs elsewhere: it gets neither our name nor our credentials
            return self._request(session, method, location, {"Accept-Encoding": "identity"}, None, stream)

    def _own(self, target: str) -> str | None:
        """The URL by which this machine reaches a place of this registry; None for a place elsewhere."""
        parts = urlsplit(target)
        if parts.netloc and _endpoint(parts) not in {_endpoint(self.base), _endpoint(urlsplit(f"//{self.name}"))}:
            return None
        return urlunsplit((self.base.scheme, self.base.netloc, parts.path, parts.query, ""))

    def _request(
        self, session: requests.Session, method: str, url: str, headers: Mapping[str, str], data: Body, stream: bool
    ) -> requests.Response:
        body = data() if callable(data) else data
        try:
            # An auth that does nothing keeps requests from putting in what it finds in ~/.netrc.
            return session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                stream=stream,
                timeout=self.timeout,
                allow_redirects=False,
                auth=lambda request: request,
            )
        except requests.exceptions.RequestException as error:
            # A connection that is cut within TLS is an SSLError too; only a refused certificate is no bad luck.
            if isinstance(_innermost(error), ssl.SSLCertVerificationError):
                raise RegistryError(
                    "a registry's certificate is not accepted",
                    where=self.name,
                    found=reason(error),
                    needed=f"a certificate for {self.name}, signed by a trusted authority",
                ) from None
            raise RegistryError(
                "a registry cannot be reached",
                where=self.name,
                found=reason(error),
                retryable=True,
                remedy="is its service running, and the connection to it (SSH, network) up?",
            ) from None
        finally:
            if isinstance(body, BlobReader):
                body.close()

    def _authenticate(self, response: requests.Response, scope: str) -> bool:
        """Fetch what a 401 asks for; False when there is nothing (more) to offer."""
        challenge = response.headers.get("WWW-Authenticate", "")
        kind = challenge.partition(" ")[0].lower()
        offered = response.request.headers.get("Authorization")
        with self._lock:
            granted = self._granted.get(scope)
            if granted == offered:  # else another thread was quicker: its grant is tried
                if kind == "basic" and offered != self._credentials:
                    granted = self._credentials
                elif kind == "bearer":
                    granted = self._token(dict(re.findall(r'(\w+)="([^"]*)"', challenge)), scope)
                else:
                    return False
                self._granted[scope] = granted
        return granted is not None

    def _token(self, challenge: Mapping[str, str], scope: str) -> str:
        realm = urlsplit(challenge.get("realm", ""))
        if realm.scheme != "https":
            raise RegistryError(
                "a registry names a token service without TLS", where=self.name, found=_host(realm), needed="https"
            )
        query = {"service": challenge.get("service", ""), "scope": scope or challenge.get("scope")}
        url = requests.Request("GET", urlunsplit(realm), params={k: v for k, v in query.items() if v}).prepare().url
        headers = {"Authorization": self._credentials} if self._credentials else {}
        response = self._request(self._session, "GET", self._own(url) or url, headers, None, False)
        if response.status_code != 200:
            raise refused(response, self, f"a token for {query['scope']}")
        answer = json_of(response, self)
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str):
            raise RegistryError("a token service sends no token", where=_host(realm))
        return f"Bearer {token}"


class _Named(HTTPAdapter):
    """TLS under a given name, whatever address is connected to, and under the given authorities only."""

    def __init__(self, name: str | None, context: ssl.SSLContext):
        self._tls = {"ssl_context": context, "server_hostname": name, "blocksize": BLOCK}
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, **kwargs, **self._tls)

    def cert_verify(self, conn, url, verify, cert):
        # requests would add the public authorities to the context here.
        conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = "CERT_REQUIRED", None, None


def refused(response: requests.Response, connection: Connection, what: str) -> RegistryError:
    """The error for an answer that is not the wanted one. what: what was asked for."""
    status = response.status_code
    remedy = {
        401: "check the user and the password",
        403: "this user may not do that: check its rights",
        404: "check the name, the tag or the digest",
        429: "the registry limits requests: wait, or log in",
    }
    message = "a registry refuses the credentials" if status == 401 else "a registry refuses"
    return RegistryError(
        message,
        where=f"{connection.name}, {what}",
        found=f"{status} {_complaint(response)}".strip(),
        remedy=remedy.get(status, ""),
        retryable=status >= 500 or status == 429,
    )


def json_of(response: requests.Response, connection: Connection) -> dict:
    """The JSON object that a registry answered. Raises RegistryError."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise RegistryError(
            "a registry answers something that is no JSON object",
            where=connection.name,
            needed="the OCI distribution API",
            remedy="check the address: is it a registry?",
        )
    return answer


def reason(error: Exception) -> str:
    """The innermost words of a requests or urllib3 error, without the URL (it may carry signatures)."""
    error = _innermost(error)
    text = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return re.sub(r"(?:<[^>]*>: |\?\S+)", "", str(text))[:200]


def _innermost(error: Exception) -> Exception:
    """What requests and urllib3 wrapped, some layers deep."""
    while wrapped := [part for part in (getattr(error, "reason", None), *error.args) if isinstance(part, Exception)]:
        error = wrapped[0]
    return error


def _complaint(response: requests.Response) -> str:
    """What the registry says itself: `CODE message`, at most 200 characters."""
    try:
        entries = response.json()["errors"]
        return "; ".join(f"{entry.get('code')} {entry.get('message', '')}" for entry in entries)[:200]
    except (ValueError, KeyError, TypeError, AttributeError, requests.exceptions.RequestException):
        return response.reason or ""


def _context(ca: bytes | str | Path | None) -> ssl.SSLContext:
    if ca is None:
        return ssl.create_default_context()
    try:
        pem = ca if isinstance(ca, bytes) else Path(ca).read_bytes()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        where = "" if isinstance(ca, bytes) else str(ca)
        raise RegistryError("a registry's authority cannot be read", where=where, found=str(error), needed="PEM") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate can be what is trusted, as in Go
    return context


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _endpoint(parts: SplitResult) -> tuple[str | None, int]:
    return parts.hostname, parts.port or 443


def _host(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.hostname}"
