"""A client of the Kubernetes API, through an SSH forward to the API server.

The official client is imported where it is used: it takes a while to load, and most steps use hosts only.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, wraps
from typing import Any
from urllib.parse import urlencode

from airavata_runbook.cluster.memory_file import MemoryFile
from airavata_runbook.errors import StepFailed
from airavata_runbook.pki.types import Pair

APPLY = "application/apply-patch+yaml"  # the body of a server-side apply; JSON is YAML
# The environment's proxies cannot reach a forward. websocket-client 1.9 looks for them there unless it is given a proxy, which
# it does not use for a host that is in no_proxy (_http.py, proxy_info; _url.py, get_proxy_info).
NO_PROXY = "http://none.invalid:1"
TIMEOUT = 20  # seconds for one reply. An API server without its etcd takes 60, and waiting for pods sends many requests.


class ApiError(StepFailed):
    """A request to the API server failed. status: its HTTP status, 0 where no reply came."""

    def __init__(self, status: int, found: str, remedy: str):
        super().__init__("the request to the API server failed", found=found, remedy=remedy, retryable=True)
        self.status = status


class Kube:
    """`core`, `apps`, `batch`: the official typed clients; `request`: anything else. All their calls raise ApiError.

    port: of the forward, on 127.0.0.1. authority: PEM of the certificate authority. admin: the client certificate. master:
    name of the control plane's host, for messages.
    """

    def __init__(self, port: int, authority: bytes, admin: Pair, master: str):
        from kubernetes import client

        self.port, self.admin, self.master = port, admin, master
        self._files = [MemoryFile(content) for content in (authority, admin.cert, admin.key)]
        configuration = client.Configuration(host=f"https://127.0.0.1:{port}")
        configuration.proxy, configuration.no_proxy = NO_PROXY, "127.0.0.1"
        configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file = (file.path for file in self._files)
        configuration.retries = _retries()
        self.api = client.ApiClient(configuration)
        rest = self.api.rest_client
        vars(rest)["request"] = _with_timeout(rest.request)
        self.core: Any = _WithApiErrors(client.CoreV1Api(self.api), self)
        self.apps: Any = _WithApiErrors(client.AppsV1Api(self.api), self)
        # apiVersion → kind → its name in paths, of those asked for so far; Jobs are looked for also where a stack has none.
        self.kinds: dict[str, dict[str, str]] = {"batch/v1": {"Job": "jobs"}}
        self.finding = threading.Lock()  # guards kinds

    @cached_property
    def batch(self) -> Any:
        from kubernetes import client  # its module is loaded only for a stack that has Jobs

        return _WithApiErrors(client.BatchV1Api(self.api), self)

    def for_streams(self) -> Any:
        """`core` with a client of its own: kubernetes.stream replaces the requests of its client while it opens one, and other
        threads' requests with them."""
        from kubernetes import client

        return _WithApiErrors(client.CoreV1Api(client.ApiClient(self.api.configuration)), self)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a response that is not an object, "/readyz" for example."""
        with self.errors():
            response = self.api.rest_client.pool_manager.request(
                "GET", self.api.configuration.host + path, timeout=TIMEOUT, retries=False
            )
        return response.status, response.data.decode(errors="replace")

    def request(self, method: str, path: str, query: Mapping[str, object], body: object = None) -> dict:
        """The object in a response. body: of a server-side apply."""
        from kubernetes.client.exceptions import ApiException

        headers = {"Accept": "application/json", **({"Content-Type": APPLY} if body else {})}
        with self.errors():
            response = self.api.rest_client.pool_manager.request(
                method,
                f"{self.api.configuration.host}{path}?{urlencode(query)}",
                body=json.dumps(body) if body else None,
                headers=headers,
                timeout=TIMEOUT,
            )
            if response.status >= 400:
                error: Any = ApiException(response.status, response.reason)
                error.body = response.data
                raise error
        return json.loads(response.data)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raises errors of the client library in the block as ApiError."""
        import urllib3
        from kubernetes.client.exceptions import ApiException

        remedy = f"on {self.master}: systemctl status etcd kube-apiserver"
        try:
            yield
        except ApiException as error:
            if error.status:
                raise ApiError(error.status, _message(error), remedy) from None
            raise self._no_reply(error.reason, remedy) from None  # a stream that could not be opened
        except urllib3.exceptions.HTTPError as error:
            raise self._no_reply(getattr(error, "reason", None) or error, remedy) from None

    def close(self) -> None:
        """Close its connections."""
        self.api.rest_client.pool_manager.clear()

    @staticmethod
    def _no_reply(reason: Exception | str, remedy: str) -> ApiError:
        # A lost SSH connection cannot be distinguished from a server that closed the connection.
        found = f"no reply over the SSH connection to it ({_cause(reason)})"
        return ApiError(0, found, f"run again: it continues where it stopped; if the error stays, {remedy}")


class _WithApiErrors:
    """An official client whose calls raise ApiError."""

    def __init__(self, client: object, kube: Kube):
        self._client, self._kube = client, kube

    def __getattr__(self, name: str) -> Callable:
        method = getattr(self._client, name)

        @wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            with self._kube.errors():
                return method(*args, **options)

        call.__self__ = method.__self__  # type: ignore[attr-defined]  # kubernetes.stream takes the client from the method
        return call


def _retries():
    """Retry once when the connection was lost, as with a lost SSH connection; not after a timeout."""
    from urllib3 import Retry
    from urllib3.exceptions import ReadTimeoutError

    class Once(Retry):
        def increment(self, method=None, url=None, response=None, error=None, _pool=None, _stacktrace=None):
            if isinstance(error, ReadTimeoutError):
                raise error
            return super().increment(method, url, response, error, _pool, _stacktrace)

    return Once(1)


def _with_timeout(request: Callable) -> Callable:
    """The client's `request` with a default timeout; without one it waits forever."""

    def bounded(*args, _request_timeout=None, **options):
        return request(*args, _request_timeout=_request_timeout or TIMEOUT, **options)

    return bounded


def _message(error: Any) -> str:
    """The API server's message in an ApiException."""
    try:
        return json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _cause(reason: Exception | str) -> str:
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

    if isinstance(reason, (ConnectTimeoutError, ReadTimeoutError)) and not isinstance(reason, NewConnectionError):  # its kind
        return f"nothing within {TIMEOUT} s"
    if "EOF occurred" in str(reason):  # OpenSSL's message when nothing listens behind an SSH forward
        return "closed at once"
    return type(reason).__name__ if isinstance(reason, Exception) else str(reason)
