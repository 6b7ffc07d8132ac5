"""HTTP to an image registry: TLS verified for the registry's own name, authentication, redirects.

A private registry is reached through a port forward on 127.0.0.1, while its certificate and its Location headers carry
its real name. Sources: OCI distribution-spec 1.1; the registry's token authentication specification.
"""

import base64
import re
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from airavata_runbook.errors import StepFailed

TIMEOUT = (10, 300)  # seconds to connect, and between two bytes (a registry hashes a large blob before it answers)
BLOCK = 1 << 18  # bytes sent at a time
REDIRECTS = (301, 302, 303, 307, 308)

REMEDIES = {
    401: "check the user and the password",
    403: "check what this user is allowed to do",
    404: "check the name, the tag or the digest",
    429: "the registry limits the rate of requests: wait, or log in",
}


# A request's body, opened anew for each try and closed after it: bytes, or a stream of known length.
Body = Callable[[], AbstractContextManager[Any]]


class RegistryError(StepFailed):
    """A registry is unreachable, refuses a request, or answers outside the specification."""


class Connection:
    """Requests to one registry; thread-safe. Its repr and its errors show no password.

    base_url: https://HOST:PORT to connect to. name: the registry's own NAME[:PORT] when that differs. ca: PEM of
    the only CAs that are trusted; None: the public ones. user, password: for Basic
    authentication, or for the token service. timeout: seconds to connect, and between two bytes.
    """

    def __init__(
        self,
        base_url: str,
        name: str | None = None,
        ca: bytes | None = None,
        user: str | None = None,
        password: str | None = None,
        timeout: tuple[float, float] = TIMEOUT,
    ):
        self.timeout = timeout
        self.base = urlsplit(base_url)
        if self.base.scheme != "https" or not self.base.hostname or "@" in self.base.netloc:
            raise RegistryError(
                "a registry needs an https URL",
                where=self.base.netloc.rpartition("@")[2],
                needed="https://HOST[:PORT], without credentials",
            )
        self.name = name or self.base.netloc
        self.user = user
        self._credentials = _basic(user, password) if user and password is not None else None
        self._authorization: dict[str, str] = {}  # scope → Authorization header
        self._lock = threading.Lock()
        self._session = requests.Session()
        if name or ca is not None:
            self._session.trust_env = False  # a port forward and a private CA: no proxy, no other bundle
            self._session.mount("https://", _NamedAdapter(urlsplit(f"//{self.name}").hostname, _context(ca)))

    def __repr__(self) -> str:
        return f"Connection({self.name}, user={self.user})"

    def send(
        self,
        method: str,
        target: str,
        what: str,
        expected: Collection[int],
        *,
        scope: str = "",
        data: Body = nullcontext,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """One request, authenticated as the registry's challenge demands; redirects are followed for GET and HEAD.

        target: a path, or a Location that the registry sent. what: is requested, for messages. expected: statuses. scope:
        of the bearer token. Raises RegistryError when there is no response, or one with another status.
        """
        request = partial(self._once, method, scope=scope, data=data, headers=headers or {}, stream=stream)
        response = request(target)
        if response.status_code == 401 and self._authenticate(response, scope):
            response.close()
            response = request(target)
        for _ in range(5):
            if response.status_code not in REDIRECTS or method not in ("GET", "HEAD"):
                return self._expect(expected, response, what)
            response.close()
            response = request(response.headers.get("Location", ""), redirected=True)
        raise RegistryError("a registry redirects too often", where=self.name, needed="at most 4 redirects")

    def _once(
        self,
        method: str,
        target: str,
        *,
        scope: str,
        data: Body,
        headers: Mapping[str, str],
        stream: bool,
        redirected: bool = False,
    ) -> requests.Response:
        """redirected: the registry may have sent a GET or HEAD to another host."""
        if url := self._reachable(target):
            headers = {"Accept-Encoding": "identity", "Host": self.name, **headers}
            if authorization := self._authorization.get(scope):
                headers["Authorization"] = authorization
            return self._request(self._session, method, url, headers, data, stream)
        if not redirected:
            raise RegistryError(
                "a registry redirects an upload to another host",
                where=self.name,
                found=_host(urlsplit(target)),
                needed=self.name,
                remedy="set the registry's own name in its configuration (http.host)",
            )
        if urlsplit(target).scheme != "https":
            raise RegistryError(
                "a registry redirects to a URL without TLS", where=self.name, found=_host(urlsplit(target)), needed="https"
            )
        with requests.Session() as session:  # another host's blob storage: it gets neither our Host nor our credentials
            return self._request(session, method, target, {"Accept-Encoding": "identity"}, data, stream)

    def _reachable(self, target: str) -> str | None:
        """The URL by which this machine reaches a path or URL of this registry; None for a URL of another host."""
        parts = urlsplit(target)
        if parts.netloc and _endpoint(parts) not in {_endpoint(self.base), _endpoint(urlsplit(f"//{self.name}"))}:
            return None
        return urlunsplit((self.base.scheme, self.base.netloc, parts.path, parts.query, ""))

    def _request(
        self,
        session: requests.Session,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: Body = nullcontext,
        stream: bool = False,
    ) -> requests.Response:
        try:
            with data() as body:
                # An auth that does nothing keeps requests from using ~/.netrc.
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
            # A connection that is lost within TLS is an SSLError too; only a refused certificate is not worth a retry.
            if isinstance(_innermost(error), ssl.SSLCertVerificationError):
                raise RegistryError(
                    "a registry's certificate is not trusted",
                    where=self.name,
                    found=reason(error),
                    needed=f"a certificate for {self.name}, signed by a trusted CA",
                ) from None
            raise RegistryError(
                "a registry is unreachable",
                where=self.name,
                found=reason(error),
                retryable=True,
                remedy="is its service running, and the connection to it (SSH, network) up?",
            ) from None

    def _expect(self, expected: Collection[int], response: requests.Response, what: str) -> requests.Response:
        status = response.status_code
        if status in expected:
            return response
        with response:  # a streamed one is open still
            raise RegistryError(
                "a registry refuses the credentials" if status == 401 else "a registry refuses a request",
                where=f"{self.name}, {what}",
                found=f"{status} {_errors(response)}".strip(),
                remedy=REMEDIES.get(status, ""),
                retryable=status >= 500 or status == 429,
            )

    def _authenticate(self, response: requests.Response, scope: str) -> bool:
        """Answer the challenge of a 401; False when there is nothing (more) to offer."""
        challenge = response.headers.get("WWW-Authenticate", "")
        scheme = challenge.partition(" ")[0].lower()
        rejected = response.request.headers.get("Authorization")
        with self._lock:
            if self._authorization.get(scope) != rejected:
                return True  # another thread was quicker: its authorization is tried
            if scheme == "basic" and self._credentials and rejected != self._credentials:
                self._authorization[scope] = self._credentials
            elif scheme == "bearer":
                self._authorization[scope] = self._token(dict(re.findall(r'(\w+)="([^"]*)"', challenge)), scope)
            else:
                return False
        return True

    def _token(self, challenge: Mapping[str, str], scope: str) -> str:
        """The Authorization header with a bearer token of the challenge's realm. Raises RegistryError."""
        realm = urlsplit(challenge.get("realm", ""))
        if realm.scheme != "https":
            raise RegistryError("a token service without TLS", where=self.name, found=_host(realm), needed="https")
        query = {"service": challenge.get("service", ""), "scope": scope or challenge.get("scope", "")}
        parameters = urlencode({name: value for name, value in query.items() if value})
        url = realm._replace(query="&".join(filter(None, (realm.query, parameters))), fragment="").geturl()
        headers = {"Authorization": self._credentials} if self._credentials else {}
        response = self._request(self._session, "GET", self._reachable(url) or url, headers)
        self._expect((200,), response, f"a token for {query['scope']}")
        try:
            answer = response.json()
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str):
            needed, remedy = "a JSON object with token", "check the address: is it a registry?"
            raise RegistryError("a token service sent no token", where=_host(realm), needed=needed, remedy=remedy)
        return f"Bearer {token}"


class _NamedAdapter(HTTPAdapter):
    """TLS for a given name, whatever the address connected to, with the given CAs only."""

    def __init__(self, name: str | None, context: ssl.SSLContext):
        self._tls: dict[str, Any] = {"ssl_context": context, "server_hostname": name, "blocksize": BLOCK}
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options, **self._tls)

    def cert_verify(self, conn, url, verify, cert):
        # requests would add the public CAs to the context here.
        conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = "CERT_REQUIRED", None, None


def reason(error: Exception) -> str:
    """The message of the innermost error in a requests or urllib3 error, without the URL (it can carry signatures)."""
    error = _innermost(error)
    text = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return re.sub(r"(?:<[^>]*>: |\?\S+)", "", str(text))[:200]


def _innermost(error: Exception) -> Exception:
    """The error that requests and urllib3 wrapped, some layers deep."""
    while wrapped := [part for part in (getattr(error, "reason", None), *error.args) if isinstance(part, Exception)]:
        error = wrapped[0]
    return error


def _errors(response: requests.Response) -> str:
    """The registry's own errors: `CODE message`, at most 200 characters."""
    try:
        entries = response.json()["errors"]
        return "; ".join(f"{entry.get('code')} {entry.get('message', '')}" for entry in entries)[:200]
    except (ValueError, KeyError, TypeError, AttributeError, requests.exceptions.RequestException):
        return response.reason or ""


def _context(ca: bytes | None) -> ssl.SSLContext:
    if ca is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise RegistryError("a registry's CA is unreadable", found=str(error), needed="PEM") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate can be the trust anchor, as in Go
    return context


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _endpoint(parts: SplitResult) -> tuple[str | None, int]:
    return parts.hostname, parts.port or 443


def _host(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.hostname}"
