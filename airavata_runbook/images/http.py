"""HTTP to an image registry: TLS verified for the registry's own name, authentication, redirects.

A private registry is reached through a port forward on 127.0.0.1, while its certificate and its Location headers carry
its real name. Sources: OCI distribution-spec 1.1; the registry's token authentication specification.
"""

import base64
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import requests
import urllib3

from airavata_runbook.images.answer import RegistryError, errors_of, innermost, read_whole, reason
from airavata_runbook.images.challenge import challenges
from airavata_runbook.images.tls import TlsAdapter, context_of

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
            try:
                context = context_of(ca)
            except (ssl.SSLError, ValueError) as error:
                raise RegistryError("a registry's CA is unreadable", found=str(error), needed="PEM") from None
            self._session.mount("https://", TlsAdapter(context))  # a token service on another host has its own name
            named = TlsAdapter(context, urlsplit(f"//{self.name}").hostname, BLOCK)
            self._session.mount(f"https://{self.base.netloc}/", named)

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
        """The URL by which this machine reaches a path or URL of this registry; None for a URL of another host.

        Raises RegistryError for an invalid URL.
        """
        try:
            parts = urlsplit(target)
            if parts.netloc and _endpoint(parts) not in {_endpoint(self.base), _endpoint(urlsplit(f"//{self.name}"))}:
                return None
        except ValueError as error:  # of the address or the port
            raise RegistryError("a registry sent an invalid URL", where=self.name, found=str(error)[:200]) from None
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
        where = self.name if self._reachable(url) else _host(urlsplit(url))
        try:
            with data() as body:
                # An auth that does nothing keeps requests from using ~/.netrc.
                response = session.request(
                    method,
                    url,
                    headers=dict(headers),
                    data=body,
                    stream=True,
                    timeout=self.timeout,
                    allow_redirects=False,
                    auth=lambda request: request,
                )
                if not stream or response.status_code >= 400:
                    read_whole(response, where)
                return response
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            # A connection that is lost within TLS is an SSLError too; only a refused certificate is not worth a retry.
            if isinstance(innermost(error), ssl.SSLCertVerificationError):
                raise RegistryError(
                    "a registry's certificate is not trusted",
                    where=where,
                    found=reason(error),
                    needed=f"a certificate for {where}, signed by a trusted CA",
                ) from None
            raise RegistryError(
                "a registry is unreachable",
                where=where,
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
                found=f"{status} {errors_of(response)}".strip(),
                remedy=REMEDIES.get(status, ""),
                retryable=status >= 500 or status == 429,
            )

    def _authenticate(self, response: requests.Response, scope: str) -> bool:
        """Answer the challenge of a 401; False when there is nothing (more) to offer."""
        offered = challenges(response.headers.get("WWW-Authenticate", ""))
        bearers = [one.parameters for one in offered if one.scheme == "bearer"]
        bearer = next((one for one in bearers if one.get("realm", "").lower().startswith("https:")), None)
        basic = any(one.scheme == "basic" for one in offered) and self._credentials
        rejected = response.request.headers.get("Authorization")
        with self._lock:
            if self._authorization.get(scope) != rejected:
                return True  # another thread was quicker: its authorization is tried
            if bearer is None and basic:
                if rejected == basic:
                    return False
                self._authorization[scope] = basic
            elif bearers:  # as containerd, a token rather than the password; without TLS it is an error
                self._authorization[scope] = self._token(bearer or bearers[0], scope)
            else:
                return False
        return True

    def _token(self, challenge: Mapping[str, str], scope: str) -> str:
        """The Authorization header with a bearer token of the challenge's realm. Raises RegistryError."""
        self._reachable(challenge.get("realm", ""))  # a valid URL
        realm = urlsplit(challenge.get("realm", ""))
        if realm.scheme != "https":
            raise RegistryError("a token service without TLS", where=self.name, found=_host(realm), needed="https")
        query = {"service": challenge.get("service", ""), "scope": scope or challenge.get("scope", "")}
        parameters = urlencode({name: value for name, value in query.items() if value})
        url = realm._replace(query="&".join(filter(None, (realm.query, parameters))), fragment="").geturl()
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": self._credentials} if self._credentials else {})
        response = self._request(self._session, "GET", self._reachable(url) or url, headers)
        self._expect((200,), response, f"a token for {query['scope']}")
        try:
            answer = response.json()
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():  # else no header
            needed, remedy = "a JSON object with token", "check the address: is it a registry?"
            raise RegistryError("a token service sent no token", where=_host(realm), needed=needed, remedy=remedy)
        return f"Bearer {token}"


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _endpoint(parts: SplitResult) -> tuple[str | None, int]:
    return parts.hostname, parts.port or 443


def _host(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.hostname}"
